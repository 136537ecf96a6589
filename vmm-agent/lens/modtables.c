// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/modtables.h"

#include <string.h>

#include "base/util.h"

/* find_module_sections of kernel/module/main.c: all that the loader looks up by a section's name,
 * but for .BTF, which stays in its copy of the file, and what others only read to describe it. */
static const struct {
	const char *at, *nr;
} tables[LENS_MODULE_TABLES] = {
	{"kp", "num_kp"},
	{"syms", "num_syms"},
	{"crcs", "num_syms"},
	{"gpl_syms", "num_gpl_syms"},
	{"gpl_crcs", "num_gpl_syms"},
	{"ctors", "num_ctors"},
	{"noinstr_text_start", "noinstr_text_size"},
	{"tracepoints_ptrs", "num_tracepoints"},
	{"srcu_struct_ptrs", "num_srcu_structs"},
	{"bpf_raw_events", "num_bpf_raw_events"},
	{"jump_entries", "num_jump_entries"},
	{"trace_bprintk_fmt_start", "num_trace_bprintk_fmt"},
	{"trace_events", "num_trace_events"},
	{"trace_evals", "num_trace_evals"},
	{"ftrace_callsites", "num_ftrace_callsites"},
	{"kprobes_text_start", "kprobes_text_size"},
	{"kprobe_blacklist", "num_kprobe_blacklist"},
	{"static_call_sites", "num_static_call_sites"},
	{"ei_funcs", "num_ei_funcs"},
	{"printk_index_start", "printk_index_size"},
	{"kunit_suites", "num_kunit_suites"},
	{"kunit_init_suites", "num_kunit_init_suites"},
	{"extable", "num_exentries"},
	{"bug_table", "num_bugs"},
	{"arch.orc_unwind", "arch.num_orcs"},
	{"arch.orc_unwind_ip", "arch.num_orcs"},
};

const char *lens_module_table_name(size_t i)
{
	return i < LENS_MODULE_TABLES ? tables[i].at : "?";
}

int gmodtables_load(struct gmodtables *t, const struct gkernel *k, struct xerr *err)
{
	struct gwant want[2 * LENS_MODULE_TABLES];
	_cleanup_free_ uint8_t *raw = NULL;
	size_t bytes;
	int rc;

	if (t->loaded)
		return 0;
	for (size_t i = 0; i < LENS_MODULE_TABLES; i++) {
		want[2 * i] = (struct gwant){"module", tables[i].at, &t->at[i], false};
		want[2 * i + 1] = (struct gwant){"module", tables[i].nr, &t->nr[i], false};
	}
	rc = gkernel_table(k, "__start_BTF", "__stop_BTF", GBTF_MAX_BYTES, &raw, &bytes, err);
	if (!rc)
		rc = gbtf_find(SPAN(raw, bytes), want, XO_ARRAY_SIZE(want), err);
	t->loaded = !rc;
	return rc;
}

static int read_one(const struct gmember *at, const struct gmember *nr, const struct gkernel *k,
		    uint64_t addr, struct lens_module_span *ret)
{
	uint32_t unit = at->target_bytes ? at->target_bytes : 1;
	uint32_t entries = 0;
	int rc = gspace_u64(k->space, (struct gva){addr + at->off}, &ret->base.v);

	if (!rc)
		rc = gspace_read(k->space, (struct gva){addr + nr->off}, &entries,
				 nr->size_bytes < sizeof(entries) ? nr->size_bytes
								  : sizeof(entries));
	ret->len_bytes = (uint64_t)entries * unit;
	return rc;
}

int gmodtables_read(const struct gmodtables *t, const struct gkernel *k, uint64_t addr,
		    struct lens_module_span ret[LENS_MODULE_TABLES])
{
	int rc = 0;

	memset(ret, 0, LENS_MODULE_TABLES * sizeof(*ret));
	for (size_t i = 0; !rc && i < LENS_MODULE_TABLES; i++)
		if (t->at[i].known && t->nr[i].known)
			rc = read_one(&t->at[i], &t->nr[i], k, addr, &ret[i]);
	return rc;
}
