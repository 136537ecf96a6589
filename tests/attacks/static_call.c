// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's own rewriting machinery with a target of ours: every static call
 * that asks for the time comes here first. The bytes are of the right form, but
 * they lead into the middle of a function.
 */
#include <linux/static_call.h>

#include "attack.h"

ATTACK_SYMBOL(__SCK__pv_sched_clock);
ATTACK_SYMBOL(__SCT__pv_sched_clock);
static void *old;
static unsigned long hits;

/* Bytes of the function that are skipped; endbr64 has 4. */
static int skip = 4;
module_param(skip, int, 0);

/* Called from below only. */
u64 attack_hook(void);
notrace u64 attack_hook(void)
{
	u64 (*original)(void) = old;

	WRITE_ONCE(hits, hits + 1);
	return original();
}

/* What is skipped, and a jump there. */
void attack_entry(void);
asm(".pushsection .text, \"ax\"\n"
    ".type attack_entry, @function\n"
    "attack_entry:\n"
    "	endbr64\n"
    "	jmp attack_hook\n"
    ".size attack_entry, . - attack_entry\n"
    ".popsection\n");

static void set_target(void *function)
{
	__static_call_update((void *)__SCK__pv_sched_clock_at, (void *)__SCT__pv_sched_clock_at,
			     function);
}

static int run(void)
{
	unsigned long to = (unsigned long)attack_entry;

	OPTIMIZER_HIDE_VAR(to); /* or objtool sees a pointer into a function */
	old = ((struct static_call_key *)__SCK__pv_sched_clock_at)->func;
	set_target((void *)(to + skip));
	return 0;
}

static void undo(void)
{
	set_target(old);
	synchronize_rcu();
}

static int probe(void)
{
	return READ_ONCE(hits) ? ATTACK_WORKS : 0;
}

ATTACK(run, undo, probe, "a static call into the middle of a function");
