// SPDX-License-Identifier: GPL-2.0-only
/* A module that nobody approved. That it is there is all. */
#include "attack.h"

static int run(void)
{
	return 0;
}

static void undo(void)
{
}

static int probe(void)
{
	return ATTACK_WORKS;
}

ATTACK(run, undo, probe, "a module without approval");
