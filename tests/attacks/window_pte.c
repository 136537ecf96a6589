// SPDX-License-Identifier: GPL-2.0-only
/* The page-table entry of a patch's home in the firmware window leads to a copy. */
#include "patch.h"
#include "remap.h"

static u64 *entry;
static u64 old;
static u8 *copy;

static int run(void)
{
	u8 *code = patch_code();
	unsigned int level;

	if (!code)
		return -ENOENT;
	entry = (u64 *)lookup_address((unsigned long)code, &level);
	if (level != PG_LEVEL_4K)
		return -ENOENT;
	copy = remap_copy(code);
	if (!copy)
		return -ENOMEM;
	old = *entry;
	WRITE_ONCE(*entry, remap_entry(copy, old));
	attack_flush();
	return 0;
}

static void undo(void)
{
	WRITE_ONCE(*entry, old);
	attack_flush();
	free_page((unsigned long)copy);
}

ATTACK(run, undo, NULL, "the window's page-table entries");
