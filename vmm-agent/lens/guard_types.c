// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/guard_types.h"

int gguard_types_load(struct gguard_types *ret, const struct gkernel *k, struct xerr *err)
{
	struct gguard_types t = {0};
	const struct gwant want[] = {
		{"module_layout", "ro_size", &t.layout_ro, false},
		{"module_layout", "ro_after_init_size", &t.layout_ro_after_init, false},
		{"module", "jump_entries", &t.mod_jumps, false},
		{"module", "num_jump_entries", &t.mod_nr_jumps, false},
		{"module", "static_call_sites", &t.mod_calls, false},
		{"module", "num_static_call_sites", &t.mod_nr_calls, false},
		{"module", "ftrace_callsites", &t.mod_entries, false},
		{"module", "num_ftrace_callsites", &t.mod_nr_entries, false},
		{"module", "mkobj.kobj.sd", &t.mod_node, false},
		{"kernfs_node", "id", &t.node_id, false},
		{"module", "percpu", &t.mod_percpu, false},
		{"kprobe", "opcode", &t.kprobe_opcode, false},
		{"kprobe", "pre_handler", &t.kprobe_pre_handler, false},
		{"optimized_kprobe", "optinsn.insn", &t.opt_insn, false},
		{"optimized_kprobe", "optinsn.copied_insn", &t.opt_copied, false},
		{"static_call_key", "func", &t.call_key_func, false},
		{"ftrace_ops", "list", &t.ops_list, false},
		{"ftrace_ops", "trampoline", &t.ops_trampoline, false},
		{"ftrace_ops", "trampoline_size", &t.ops_trampoline_bytes, false},
		{"bpf_ksym", "start", &t.bpf_start, false},
		{"bpf_ksym", "end", &t.bpf_end, false},
		{"bpf_ksym", "lnode", &t.bpf_list, false},
		{"bpf_ksym", "prog", &t.bpf_program, false},
		{"bpf_ksym", "name", &t.bpf_name, false},
		{"bpf_prog_pack", "list", &t.pack_list, false},
		{"bpf_prog_pack", "ptr", &t.pack_ptr, false},
		{"kprobe_insn_cache", "pages", &t.slots_pages, false},
		{"kprobe_insn_page", "list", &t.slot_list, false},
		{"kprobe_insn_page", "insns", &t.slot_insns, false},
		{"task_struct", "mm", &t.task_mm, true},
		{"task_struct", "active_mm", &t.task_active_mm, true},
		{"mm_struct", "pgd", &t.mm_pgd, true},
		{"real_mode_header", "text_start", &t.real_text, false},
		{"real_mode_header", "ro_end", &t.real_ro_end, false},
	};
	_cleanup_free_ uint8_t *raw = NULL;
	size_t bytes;
	int rc = gkernel_table(k, "__start_BTF", "__stop_BTF", GBTF_MAX_BYTES, &raw, &bytes, err);

	if (!rc)
		rc = gbtf_find(SPAN(raw, bytes), want, XO_ARRAY_SIZE(want), err);
	if (!rc)
		*ret = t;
	return rc;
}
