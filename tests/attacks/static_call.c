// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's own rewriting machinery with a target of ours: every static call
 * that asks for the time comes here first. The bytes are of the right form.
 */
#include <linux/static_call.h>

#include "attack.h"

ATTACK_SYMBOL(__SCK__pv_sched_clock);
ATTACK_SYMBOL(__SCT__pv_sched_clock);
static void *old;
static unsigned long hits;

static notrace u64 hook(void)
{
	u64 (*original)(void) = old;

	WRITE_ONCE(hits, hits + 1);
	return original();
}

static void set_target(void *function)
{
	__static_call_update((void *)__SCK__pv_sched_clock_at, (void *)__SCT__pv_sched_clock_at,
			     function);
}

static int run(void)
{
	old = ((struct static_call_key *)__SCK__pv_sched_clock_at)->func;
	set_target(hook);
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

ATTACK(run, undo, probe, "a static call to a function of the attacker's");
