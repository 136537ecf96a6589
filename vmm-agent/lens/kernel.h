/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel that was found: where it is, its symbols, and the layouts the lens needs. */
#ifndef EXOPATCH_LENS_KERNEL_H
#define EXOPATCH_LENS_KERNEL_H

#include "package/kernel/kimage.h"
#include "vmm-agent/lens/btf.h"
#include "vmm-agent/lens/paging.h"

/** struct goffs - from BTF; members of "task_struct" and so on, sizes where the name says so */
struct goffs {
	struct gmember task_tasks, task_thread_node, task_signal, task_pid, task_comm, task_stack;
	struct gmember task_sp, task_on_cpu, task_cpu, task_restart_fn, task_start_time;
	struct gmember task_nvcsw, task_nivcsw, task_ret_stack, task_curr_ret_stack, task_rethooks;
	struct gmember task_stack_canary;
	struct gmember task_size, signal_thread_head, thread_union_size;
	struct gmember rethook_llist, rethook_ret_addr;
	struct gmember module_list, module_name, module_state, module_kallsyms, module_exit;
	struct gmember module_core, module_init, module_mem, module_mem_size, module_size;
	struct gmember layout_base, layout_bytes, layout_text, mem_base, mem_bytes;
	struct gmember mks_symtab, mks_num, mks_strtab, mks_typetab;
	struct gmember kprobe_hlist, kprobe_addr;
	struct gmember ftrace_next, ftrace_records, ftrace_index, dyn_ftrace_ip, dyn_ftrace_size;
	struct gmember dyn_ftrace_flags;
	struct gmember cpuinfo_caps, pcpu_hot_irq_stack;
};

#define GKERNEL_MAX_CPUS 512
#define GKERNEL_MAX_TASK 65536 /* bytes of struct task_struct */

struct gkernel {
	struct gspace *space; /* the kernel's own tables: init_top_pgt */
	struct ksyms syms;
	struct goffs off;
	uint64_t base, end; /* [_text, _end) */
	uint64_t text_end;  /* _etext */
	struct gpa phys;
	bool pti;
	char banner[512]; /* escaped, as lens.h */
	char release[64];
	uint8_t build_id[20];
	uint32_t build_id_bytes;
	uint32_t nr_cpus; /* possible CPUs */
	uint32_t nr_online;
	uint64_t percpu[GKERNEL_MAX_CPUS]; /* per-CPU base of each; 0: no such CPU */
	uint64_t thread_bytes;		   /* THREAD_SIZE */
	uint64_t boot_token;		   /* as lens.h */
};

/**
 * gkernel_load - learn all of the kernel at @base from its own tables
 * @space: an address space that maps it; its root becomes init_top_pgt
 * Return: 0, -XO_EKALLSYMS (nothing there), or another code
 */
int gkernel_load(struct gkernel *ret, struct gspace *space, uint64_t base,
		 struct xerr *err) XO_MUST_CHECK;

/** gkernel_symbol - address of the only symbol called so; 0 if there is none or more than one */
uint64_t gkernel_symbol(const struct gkernel *k, const char *name);

/** gkernel_need - as gkernel_symbol, with an error if there is none */
int gkernel_need(const struct gkernel *k, const char *name, uint64_t *ret,
		 struct xerr *err) XO_MUST_CHECK;

/** gkernel_copy - a private copy of [@start, @stop), at most @max bytes; free it */
int gkernel_copy(const struct gkernel *k, uint64_t start, uint64_t stop, size_t max, uint8_t **ret,
		 struct xerr *err) XO_MUST_CHECK;

/** gkernel_table - a private copy of what lies between two symbols; nothing if they are missing */
int gkernel_table(const struct gkernel *k, const char *start, const char *stop, size_t max,
		  uint8_t **ret, size_t *ret_bytes, struct xerr *err) XO_MUST_CHECK;

void gkernel_free(struct gkernel *k);

#endif
