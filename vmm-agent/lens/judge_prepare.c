// SPDX-License-Identifier: Apache-2.0
/* What a judge knows before the first write. */
#include "vmm-agent/lens/judge.h"

#include <errno.h>
#include <stdlib.h>

static void load_copied(struct gjudge *j)
{
	const struct gkernel *k = j->k;

	j->tracer[0] = (struct gcopied){
		.start = gkernel_symbol(k, "ftrace_caller"),
		.end = gkernel_symbol(k, "ftrace_caller_end"),
		.op = gkernel_symbol(k, "ftrace_caller_op_ptr"),
		.call = gkernel_symbol(k, "ftrace_call"),
	};
	j->tracer[1] = (struct gcopied){
		.start = gkernel_symbol(k, "ftrace_regs_caller"),
		.end = gkernel_symbol(k, "ftrace_regs_caller_end"),
		.op = gkernel_symbol(k, "ftrace_regs_caller_op_ptr"),
		.call = gkernel_symbol(k, "ftrace_regs_call"),
		.jump = gkernel_symbol(k, "ftrace_regs_caller_jmp"),
	};
	j->detour = (struct gdetour){
		.start = gkernel_symbol(k, "optprobe_template_entry"),
		.clac = gkernel_symbol(k, "optprobe_template_clac"),
		.val = gkernel_symbol(k, "optprobe_template_val"),
		.call = gkernel_symbol(k, "optprobe_template_call"),
		.end = gkernel_symbol(k, "optprobe_template_end"),
		.callback = gkernel_symbol(k, "optimized_callback"),
	};
}

static void load_addresses(struct gjudge *j)
{
	const struct gkernel *k = j->k;
	uint64_t thunks = gkernel_symbol(k, "thunks_initialized"), gdt, at;
	uint8_t on = 0;

	j->ftrace_caller[0] = gkernel_symbol(k, "ftrace_caller");
	j->ftrace_caller[1] = gkernel_symbol(k, "ftrace_regs_caller");
	j->ftrace_func[0] = gkernel_symbol(k, "ftrace_stub");
	j->ftrace_func[1] = gkernel_symbol(k, "arch_ftrace_ops_list_func");
	j->ftrace_func[2] = gkernel_symbol(k, "ftrace_ops_list_func");
	j->ftrace_func[3] = gkernel_symbol(k, "ftrace_ops_assist_func");
	j->ftrace_func_now = gkernel_symbol(k, "ftrace_trace_function");
	j->graph[0] = gkernel_symbol(k, "ftrace_graph_caller");
	j->graph[1] = j->ftrace_func[0];
	j->return0 = gkernel_symbol(k, "__static_call_return0");
	j->static_return = gkernel_symbol(k, "__static_call_return");
	j->return_thunk = gkernel_symbol(k, "__x86_return_thunk");
	at = gkernel_symbol(k, "x86_return_thunk");
	if (!at || gspace_u64(k->space, (struct gva){at}, &j->return_thunk_now))
		j->return_thunk_now = 0;
	j->call_thunks =
		thunks && !gspace_read(k->space, (struct gva){thunks}, &on, sizeof(on)) && on;
	gdt = gkernel_symbol(k, "gdt_page");
	j->nr_gdt = 0;
	for (uint32_t cpu = 0; gdt && cpu < k->nr_cpus; cpu++) {
		struct gpage page;

		if (!k->percpu[cpu] ||
		    gspace_walk(k->space, (struct gva){k->percpu[cpu] + gdt}, &page))
			continue;
		j->gdt_gva[j->nr_gdt] = k->percpu[cpu] + gdt;
		j->gdt[j->nr_gdt++] = page.gpa.v;
	}
}

int gjudge_follow(struct gjudge *j, struct xerr *err)
{
	int rc = gmoved_follow(j, err);

	if (!rc && gmodtexts_follow(&j->texts, j->k, &j->t, &j->areas, &j->modules, &j->sites))
		rc = xerr_set(err, ENOMEM, "out of memory");
	return rc ? rc : gprobes_follow(j, err);
}

int gjudge_prepare(struct gjudge *j, const struct gkernel *k, struct xerr *err)
{
	struct gmodules fresh;
	int rc;

	/* What needs no lists: with it alone, page tables and GDTs can be compared. */
	if (!j->sites.nr) {
		j->k = k;
		load_addresses(j);
		load_copied(j);
	}
	rc = j->t.mm_pgd.known ? 0 : gguard_types_load(&j->t, k, err);
	if (!rc)
		rc = gmodules_load(&fresh, k, err);
	if (rc)
		return rc;
	gmodules_free(&j->modules);
	j->modules = fresh;
	if (!j->sites.nr)
		rc = gsites_load(&j->sites, k, err);
	if (!rc && gsmplocks_load(&j->smplocks, k))
		rc = xerr_set(err, ENOMEM, "out of memory");
	return rc ? rc : gjudge_follow(j, err);
}

void gjudge_free(struct gjudge *j)
{
	gareas_free(&j->areas);
	gsites_free(&j->sites);
	gsmplocks_free(&j->smplocks);
	gmodules_free(&j->modules);
	gmoved_free(&j->moved);
	gmodtexts_free(&j->texts);
	free(j->probe);
	*j = (struct gjudge){0};
}
