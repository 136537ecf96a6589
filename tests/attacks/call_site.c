// SPDX-License-Identifier: GPL-2.0-only
/* The call from do_syscall_64 to the dispatcher leads here: getppid has an answer of ours. */
#include <asm/syscall.h>

#include "attack.h"

#define SEARCH_BYTES 1024
#define CALL	     0xe8

ATTACK_SYMBOL(do_syscall_64);
ATTACK_SYMBOL(x64_sys_call);
static u8 *site;
static s32 old_rel;

static long hook(const struct pt_regs *regs, unsigned int nr)
{
	long (*original)(const struct pt_regs *, unsigned int) = (void *)x64_sys_call_at;

	return nr == __NR_getppid ? ATTACK_WORKS : original(regs, nr);
}

static int run(void)
{
	unsigned long to = (unsigned long)hook;
	s32 rel;

	for (u8 *p = (u8 *)do_syscall_64_at; p < (u8 *)do_syscall_64_at + SEARCH_BYTES; p++) {
		memcpy(&old_rel, p + 1, sizeof(old_rel));
		if (*p == CALL && (unsigned long)(p + 5 + old_rel) == x64_sys_call_at) {
			site = p;
			break;
		}
	}
	if (!site)
		return -ENOENT;
	OPTIMIZER_HIDE_VAR(to); /* or objtool sees a pointer to 5 bytes before the function */
	rel = (s32)(to - (unsigned long)(site + 5));
	return attack_write(site + 1, &rel, sizeof(rel));
}

static void undo(void)
{
	(void)attack_write(site + 1, &old_rel, sizeof(old_rel));
}

ATTACK(run, undo, NULL, "a call site in the system-call dispatcher");
