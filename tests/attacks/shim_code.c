// SPDX-License-Identifier: GPL-2.0-only
/* A patch's code in the shim's arena, through a writable alias. */
#include "patch.h"

static u8 *code;
static u8 old[sizeof(attack_fail)];

static int run(void)
{
	code = patch_code();
	if (!code)
		return -ENOENT;
	memcpy(old, code, sizeof(old));
	return attack_write(code, attack_fail, sizeof(attack_fail));
}

static void undo(void)
{
	(void)attack_write(code, old, sizeof(old));
}

ATTACK(run, undo, NULL, "the shim's code");
