// SPDX-License-Identifier: GPL-2.0-only
/* The shim's table of patches, through a writable alias: a patch gets another name. */
#include "attack.h"

#define TABLE_OFF_BYTES 4096 /* docs/formats/shim-abi.md */

ATTACK_SYMBOL(exopatch_abi);
static char old;

static char *name(void)
{
	return (char *)exopatch_abi_at + TABLE_OFF_BYTES;
}

static int run(void)
{
	old = *name();
	return old ? attack_write(name(), "X", 1) : -ENOENT;
}

static void undo(void)
{
	(void)attack_write(name(), &old, 1);
}

ATTACK(run, undo, NULL, "the shim's ABI page");
