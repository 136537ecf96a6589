// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/kernel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define IMAGE_MAX_BYTES	 (UINT64_C(1) << 30)   /* KERNEL_IMAGE_SIZE, asm/page_64_types.h */
#define SEARCH_MAX_BYTES (UINT64_C(128) << 20) /* how far behind _text to look for rodata */
#define RUN_MIN_BYTES	 (UINT64_C(256) << 10)
#define NOTES_MAX_BYTES	 65536
#define FEATURE_PTI	 (7 * 32 + 11) /* X86_FEATURE_PTI, asm/cpufeatures.h */

uint64_t gkernel_symbol(const struct gkernel *k, const char *name)
{
	const struct ksym *sym = k->syms.sym;
	size_t i = 0;

	return sym && ksyms_lookup(&k->syms, name, &i, 1) == 1 ? sym[i].addr : 0;
}

int gkernel_need(const struct gkernel *k, const char *name, uint64_t *ret, struct xerr *err)
{
	uint64_t addr = gkernel_symbol(k, name);

	if (!addr)
		return xerr_set(err, XO_EKALLSYMS,
				"kallsyms: symbol %s is missing or ambiguous; is KALLSYMS_ALL off?",
				name);
	*ret = addr;
	return 0;
}

int gkernel_copy(const struct gkernel *k, uint64_t start, uint64_t stop, size_t max, uint8_t **ret,
		 struct xerr *err)
{
	_cleanup_free_ uint8_t *copy = NULL;
	int rc;

	if (stop < start || stop - start > max)
		return xerr_set(err, XO_ELIMIT, "guest kernel: table %#llx-%#llx is too long",
				(unsigned long long)start, (unsigned long long)stop);
	copy = malloc(stop - start + 1);
	if (!copy)
		return xerr_set(err, ENOMEM, "guest kernel: out of memory");
	rc = gspace_read(k->space, (struct gva){start}, copy, stop - start);
	if (rc)
		return xerr_set(err, rc, "guest kernel: table %#llx-%#llx: %s",
				(unsigned long long)start, (unsigned long long)stop,
				xo_code_text(rc));
	*ret = XO_TAKE_PTR(copy);
	return 0;
}

int gkernel_table(const struct gkernel *k, const char *start, const char *stop, size_t max,
		  uint8_t **ret, size_t *ret_bytes, struct xerr *err)
{
	uint64_t from = gkernel_symbol(k, start), to = gkernel_symbol(k, stop);
	int rc = gkernel_copy(k, from, from && to ? to : from, max, ret, err);

	if (!rc)
		*ret_bytes = from && to ? to - from : 0;
	return rc;
}

/* The first long run of pages from @base on that are neither writable nor executable. */
static bool find_rodata(const struct gspace *s, uint64_t base, uint64_t *ret_start,
			uint64_t *ret_stop)
{
	uint64_t start = 0;

	for (uint64_t at = base; at - base < SEARCH_MAX_BYTES;) {
		struct gpage page;
		bool mapped = !gspace_walk(s, (struct gva){at}, &page);
		bool ro = mapped && !page.write && !page.exec;

		if (ro && !start)
			start = at;
		if (!ro && start) {
			if (at - start >= RUN_MIN_BYTES) {
				*ret_start = start;
				*ret_stop = at;
				return true;
			}
			start = 0;
		}
		at += mapped ? page.left : XO_PAGE_SIZE;
	}
	return false;
}

/* Copy what is mapped of [@start, @stop), zeros elsewhere, and look for the table in it. */
static int load_symbols_from(struct gkernel *k, uint64_t start, uint64_t stop, struct xerr *err)
{
	_cleanup_free_ uint8_t *copy = NULL;

	if (stop - start > KSYMS_MAX_RODATA)
		stop = start + KSYMS_MAX_RODATA;
	copy = calloc(1, stop - start);
	if (!copy)
		return xerr_set(err, ENOMEM, "guest kernel: out of memory");
	for (uint64_t at = start; at < stop;) {
		struct gpage page;
		uint64_t left = XO_PAGE_SIZE;

		if (!gspace_walk(k->space, (struct gva){at}, &page)) {
			left = page.left < stop - at ? page.left : stop - at;
			if (gmem_read(k->space->mem, page.gpa, copy + (at - start), left))
				memset(copy + (at - start), 0, left);
		}
		at += left;
	}
	return ksyms_find(&k->syms, SPAN(copy, stop - start), k->base, k->base + IMAGE_MAX_BYTES,
			  err);
}

/* Early in boot, and with rodata=off, rights do not tell read-only data apart. */
static int load_symbols(struct gkernel *k, struct xerr *err)
{
	uint64_t start, stop;

	if (find_rodata(k->space, k->base, &start, &stop))
		return load_symbols_from(k, start, stop, err);
	return load_symbols_from(k, k->base, k->base + KSYMS_MAX_RODATA, err);
}

/* "Linux version RELEASE (...": init/version.c */
static int load_banner(struct gkernel *k, struct xerr *err)
{
	static const char start[] = "Linux version ";
	char text[512] = {0};
	uint64_t addr = 0;
	int rc = gkernel_need(k, "linux_banner", &addr, err);

	if (rc)
		return rc;
	rc = gspace_read(k->space, (struct gva){addr}, text, sizeof(text) - 1);
	if (rc || strncmp(text, start, strlen(start)) != 0)
		return xerr_set(err, XO_ENOKERNEL, "guest kernel: no Linux banner at %#llx",
				(unsigned long long)addr);
	text[strcspn(text, "\n")] = '\0';
	xo_escape(SPAN(text, sizeof(text)), k->banner, sizeof(k->banner));
	text[strlen(start) + strcspn(text + strlen(start), " ")] = '\0';
	xo_escape(SPAN(text + strlen(start), sizeof(text) - strlen(start)), k->release,
		  sizeof(k->release));
	return 0;
}

static int load_build_id(struct gkernel *k, struct xerr *err)
{
	_cleanup_free_ uint8_t *notes = NULL;
	size_t bytes;
	int rc = gkernel_table(k, "__start_notes", "__stop_notes", NOTES_MAX_BYTES, &notes, &bytes,
			       err);

	if (rc)
		return rc;
	rc = kimage_build_id(SPAN(notes, bytes), k->build_id);
	if (rc < 0)
		return xerr_set(err, XO_ENOKERNEL, "guest kernel: it has no GNU build-id");
	k->build_id_bytes = (uint32_t)rc;
	return 0;
}

static int load_types(struct gkernel *k, struct xerr *err)
{
	struct goffs *o = &k->off;
	const struct gwant want[] = {
		{"task_struct", "", &o->task_size, true},
		{"task_struct", "tasks", &o->task_tasks, true},
		{"task_struct", "thread_node", &o->task_thread_node, true},
		{"task_struct", "signal", &o->task_signal, true},
		{"task_struct", "pid", &o->task_pid, true},
		{"task_struct", "comm", &o->task_comm, true},
		{"task_struct", "stack", &o->task_stack, true},
		{"task_struct", "thread.sp", &o->task_sp, true},
		{"task_struct", "on_cpu", &o->task_on_cpu, true},
		{"task_struct", "thread_info.cpu", &o->task_cpu, true},
		{"task_struct", "restart_block.fn", &o->task_restart_fn, true},
		{"task_struct", "start_time", &o->task_start_time, true},
		{"task_struct", "nvcsw", &o->task_nvcsw, true},
		{"task_struct", "nivcsw", &o->task_nivcsw, true},
		{"task_struct", "ret_stack", &o->task_ret_stack, false},
		{"task_struct", "curr_ret_stack", &o->task_curr_ret_stack, false},
		{"task_struct", "rethooks.first", &o->task_rethooks, false},
		{"task_struct", "stack_canary", &o->task_stack_canary, false},
		{"signal_struct", "thread_head", &o->signal_thread_head, true},
		{"thread_union", "", &o->thread_union_size, false},
		{"rethook_node", "llist", &o->rethook_llist, false},
		{"rethook_node", "ret_addr", &o->rethook_ret_addr, false},
		{"module", "", &o->module_size, true},
		{"module", "list", &o->module_list, true},
		{"module", "name", &o->module_name, true},
		{"module", "state", &o->module_state, true},
		{"module", "kallsyms", &o->module_kallsyms, true},
		{"module", "exit", &o->module_exit, false},
		{"module", "core_layout", &o->module_core, false},
		{"module", "init_layout", &o->module_init, false},
		{"module", "mem", &o->module_mem, false},
		{"module_layout", "base", &o->layout_base, false},
		{"module_layout", "size", &o->layout_bytes, false},
		{"module_layout", "text_size", &o->layout_text, false},
		{"module_memory", "", &o->module_mem_size, false},
		{"module_memory", "base", &o->mem_base, false},
		{"module_memory", "size", &o->mem_bytes, false},
		{"mod_kallsyms", "symtab", &o->mks_symtab, true},
		{"mod_kallsyms", "num_symtab", &o->mks_num, true},
		{"mod_kallsyms", "strtab", &o->mks_strtab, true},
		{"mod_kallsyms", "typetab", &o->mks_typetab, true},
		{"kprobe", "hlist", &o->kprobe_hlist, false},
		{"kprobe", "addr", &o->kprobe_addr, false},
		{"ftrace_page", "next", &o->ftrace_next, false},
		{"ftrace_page", "records", &o->ftrace_records, false},
		{"ftrace_page", "index", &o->ftrace_index, false},
		{"dyn_ftrace", "", &o->dyn_ftrace_size, false},
		{"dyn_ftrace", "ip", &o->dyn_ftrace_ip, false},
		{"dyn_ftrace", "flags", &o->dyn_ftrace_flags, false},
		{"cpuinfo_x86", "x86_capability", &o->cpuinfo_caps, true},
		{"pcpu_hot", "hardirq_stack_ptr", &o->pcpu_hot_irq_stack, false},
	};
	_cleanup_free_ uint8_t *raw = NULL;
	size_t bytes;
	int rc = gkernel_table(k, "__start_BTF", "__stop_BTF", GBTF_MAX_BYTES, &raw, &bytes, err);

	if (rc)
		return rc;
	if (!bytes)
		return xerr_set(err, XO_EBTF, "guest kernel: it has no BTF");
	rc = gbtf_find(SPAN(raw, bytes), want, XO_ARRAY_SIZE(want), err);
	if (!rc && o->task_size.size_bytes > GKERNEL_MAX_TASK)
		rc = xerr_set(err, XO_EBTF, "BTF: struct task_struct has %u bytes",
			      o->task_size.size_bytes);
	return rc;
}

static uint32_t count_bits(const uint8_t *map, uint32_t nr)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < nr; i++)
		n += map[i / 8] >> (i % 8) & 1;
	return n;
}

static int load_cpus(struct gkernel *k, struct xerr *err)
{
	uint8_t possible[GKERNEL_MAX_CPUS / 8], online[GKERNEL_MAX_CPUS / 8];
	uint64_t ids = 0, possible_at = 0, online_at = 0, percpu_at = 0;
	int rc;

	if (gkernel_need(k, "nr_cpu_ids", &ids, err) ||
	    gkernel_need(k, "__cpu_possible_mask", &possible_at, err) ||
	    gkernel_need(k, "__cpu_online_mask", &online_at, err) ||
	    gkernel_need(k, "__per_cpu_offset", &percpu_at, err))
		return -XO_EKALLSYMS;
	rc = gspace_u32(k->space, (struct gva){ids}, &k->nr_cpus);
	if (!rc && (k->nr_cpus == 0 || k->nr_cpus > GKERNEL_MAX_CPUS))
		rc = -XO_ECPUCOUNT;
	if (!rc)
		rc = gspace_read(k->space, (struct gva){possible_at}, possible,
				 (k->nr_cpus + 7) / 8);
	if (!rc)
		rc = gspace_read(k->space, (struct gva){online_at}, online, (k->nr_cpus + 7) / 8);
	if (!rc)
		rc = gspace_read(k->space, (struct gva){percpu_at}, k->percpu,
				 k->nr_cpus * sizeof(k->percpu[0]));
	if (rc)
		return xerr_set(err, rc, "guest kernel: its list of CPUs: %s", xo_code_text(rc));
	k->nr_online = count_bits(online, k->nr_cpus);
	for (uint32_t i = 0; i < k->nr_cpus; i++)
		if (!(possible[i / 8] >> (i % 8) & 1))
			k->percpu[i] = 0;
	return 0;
}

/* From now on use the kernel's own tables: those of a process go away with it. */
static int load_root(struct gkernel *k, struct xerr *err)
{
	struct gpa root, phys;
	uint64_t addr = 0, left;
	int rc = gkernel_need(k, "init_top_pgt", &addr, err);

	if (rc)
		return rc;
	rc = gspace_translate(k->space, (struct gva){addr}, &root, &left);
	if (!rc)
		rc = gspace_translate(k->space, (struct gva){k->base}, &k->phys, &left);
	if (!rc) {
		k->space->root.v = root.v & GPTE_ADDR;
		gspace_flush(k->space);
		rc = gspace_translate(k->space, (struct gva){k->base}, &phys, &left);
	}
	if (!rc && phys.v != k->phys.v)
		rc = -XO_EPAGETABLE;
	if (rc)
		return xerr_set(err, rc, "guest kernel: init_top_pgt does not map the kernel: %s",
				xo_code_text(rc));
	return 0;
}

static int load_features(struct gkernel *k, struct xerr *err)
{
	uint64_t cpu = 0, size = k->off.thread_union_size.size_bytes;
	uint32_t word;
	int rc = gkernel_need(k, "boot_cpu_data", &cpu, err);

	if (rc)
		return rc;
	cpu += k->off.cpuinfo_caps.off + FEATURE_PTI / 32 * sizeof(word);
	rc = gspace_u32(k->space, (struct gva){cpu}, &word);
	if (rc)
		return xerr_set(err, rc, "guest kernel: boot_cpu_data: %s", xo_code_text(rc));
	k->pti = word >> (FEATURE_PTI % 32) & 1;
	k->thread_bytes = 16384; /* THREAD_SIZE, asm/page_64_types.h; 32 KiB with KASAN */
	if (k->off.thread_union_size.known && size >= 8192 && size <= 65536 && !(size & (size - 1)))
		k->thread_bytes = size;
	return 0;
}

/*
 * init_task's stack canary is made of random bits early in start_kernel, and
 * never again (boot_init_stack_canary, asm/stackprotector.h). It is the guest's
 * secret: 32 bits of it, well mixed, tell boots apart and do not give it away.
 */
static int load_boot_token(struct gkernel *k, struct xerr *err)
{
	uint64_t task = 0, canary = 0;
	int rc;

	if (!k->off.task_stack_canary.known)
		return 0;
	rc = gkernel_need(k, "init_task", &task, err);
	if (rc)
		return rc;
	task += k->off.task_stack_canary.off;
	rc = gspace_u64(k->space, (struct gva){task}, &canary);
	if (rc)
		return xerr_set(err, rc, "guest kernel: init_task: %s", xo_code_text(rc));
	if (canary)
		k->boot_token = UINT64_C(1) << 32 | (canary * UINT64_C(0x9e3779b97f4a7c15)) >> 32;
	return 0;
}

int gkernel_load(struct gkernel *ret, struct gspace *space, uint64_t base, struct xerr *err)
{
	struct gkernel k = {.space = space, .base = base};
	int rc = load_symbols(&k, err);

	if (!rc)
		rc = load_banner(&k, err);
	if (!rc)
		rc = load_root(&k, err);
	if (!rc)
		rc = gkernel_need(&k, "_etext", &k.text_end, err);
	if (!rc)
		rc = gkernel_need(&k, "_end", &k.end, err);
	if (!rc && (k.text_end <= base || k.end < k.text_end))
		rc = xerr_set(err, XO_EKALLSYMS, "kallsyms: _text, _etext and _end are disordered");
	if (!rc)
		rc = load_build_id(&k, err);
	if (!rc)
		rc = load_types(&k, err);
	if (!rc)
		rc = load_cpus(&k, err);
	if (!rc)
		rc = load_features(&k, err);
	if (!rc)
		rc = load_boot_token(&k, err);
	if (rc) {
		gkernel_free(&k);
		return rc;
	}
	*ret = k;
	return 0;
}

void gkernel_free(struct gkernel *k)
{
	ksyms_free(&k->syms);
}
