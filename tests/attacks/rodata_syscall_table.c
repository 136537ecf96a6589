// SPDX-License-Identifier: GPL-2.0-only
/* sys_call_table: what rootkits write to. New kernels no longer dispatch through it. */
#include <asm/syscall.h>

#include "attack.h"

ATTACK_SYMBOL(sys_call_table);
static u64 *entry;
static u64 old;

static long hook(const struct pt_regs *regs)
{
	return ATTACK_WORKS;
}

static int run(void)
{
	u64 now = (u64)hook;

	entry = (u64 *)sys_call_table_at + __NR_getppid;
	old = *entry;
	return attack_write(entry, &now, sizeof(now));
}

static void undo(void)
{
	(void)attack_write(entry, &old, sizeof(old));
}

static int probe(void)
{
	return READ_ONCE(*entry) == (u64)hook ? ATTACK_WORKS : 0;
}

ATTACK(run, undo, probe, "the system-call table");
