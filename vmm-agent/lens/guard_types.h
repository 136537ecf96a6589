/* SPDX-License-Identifier: Apache-2.0 */
/* What the guard's part knows of the kernel's structures beyond struct goffs; from its BTF. */
#ifndef EXOPATCH_LENS_GUARD_TYPES_H
#define EXOPATCH_LENS_GUARD_TYPES_H

#include "vmm-agent/lens/kernel.h"

struct gguard_types {
	struct gmember layout_ro, layout_ro_after_init; /* Linux 6.1: struct module_layout */
	struct gmember mod_jumps, mod_nr_jumps, mod_calls, mod_nr_calls, mod_entries,
		mod_nr_entries, mod_percpu;
	struct gmember mod_node, node_id; /* of a module's directory in sysfs */
	struct gmember kprobe_opcode, kprobe_pre_handler, opt_insn, opt_copied;
	struct gmember call_key_func;
	struct gmember ops_list, ops_trampoline, ops_trampoline_bytes;
	struct gmember bpf_start, bpf_end, bpf_list, bpf_program, bpf_name, pack_list, pack_ptr;
	struct gmember slots_pages, slot_list, slot_insns;
	struct gmember task_mm, task_active_mm, mm_pgd;
	struct gmember real_text, real_ro_end;
};

/** gguard_types_load - Return: 0, -XO_EBTF, -ENOMEM. What a kernel lacks stays unknown */
int gguard_types_load(struct gguard_types *ret, const struct gkernel *k,
		      struct xerr *err) XO_MUST_CHECK;

#endif
