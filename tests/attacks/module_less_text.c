// SPDX-License-Identifier: GPL-2.0-only
/* A live module whose structure says that it has no code, until its code has been rewritten. */
#include "own_parts.h"

static u8 old[sizeof(attack_works)];
static struct own_parts parts;

static noinline int victim(void)
{
	asm volatile(".skip 16, 0x90");
	return 0;
}

/* Where it is, as a number: it is not called from there. */
static u8 *place(void)
{
	unsigned long at = (unsigned long)victim;

	OPTIMIZER_HIDE_VAR(at);
	return attack_body(at);
}

static void rewrite(struct work_struct *work)
{
	own_parts_save(&parts);
	own_parts_no_text();
	msleep(OWN_LOOKS_MS);
	attack_write(place(), attack_works, sizeof(attack_works));
	own_parts_restore(&parts);
	ATTACK_CHANGED();
}

static DECLARE_DELAYED_WORK(later, rewrite);

static int run(void)
{
	memcpy(old, place(), sizeof(old));
	schedule_delayed_work(&later, HZ);
	return 0;
}

static void undo(void)
{
	flush_delayed_work(&later);
	attack_write(place(), old, sizeof(old));
}

ATTACK(run, undo, victim, "a module that says it has no code");
