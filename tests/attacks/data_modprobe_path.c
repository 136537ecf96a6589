// SPDX-License-Identifier: GPL-2.0-only
/* Not code: the path of the program that the kernel starts as root to load a module. */
#include "attack.h"

ATTACK_SYMBOL(modprobe_path);
static char old[8];

static int run(void)
{
	memcpy(old, (char *)modprobe_path_at, sizeof(old));
	memcpy((char *)modprobe_path_at, "/attack", sizeof(old));
	return 0;
}

static void undo(void)
{
	memcpy((char *)modprobe_path_at, old, sizeof(old));
}

ATTACK(run, undo, NULL, "modprobe_path");
