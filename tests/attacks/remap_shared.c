// SPDX-License-Identifier: GPL-2.0-only
/* Text mapped to a copied page, in the page tables that all address spaces share. */
#include "remap.h"

ATTACK_SYMBOL(execdomains_proc_show);
static u64 *entry, *table;
static u64 old;
static u8 *copy;

static int run(void)
{
	u8 *at = attack_body(execdomains_proc_show_at);
	unsigned int level;

	entry = (u64 *)lookup_address((unsigned long)at, &level);
	old = *entry;
	copy = remap_copy(at);
	if (!copy || (level != PG_LEVEL_4K && level != PG_LEVEL_2M))
		return -ENOMEM;
	if (level == PG_LEVEL_2M) {
		table = remap_split(old);
		if (!table)
			return -ENOMEM;
		table[pte_index((unsigned long)at)] = remap_entry(copy, table[0]);
		WRITE_ONCE(*entry, remap_table(table));
	} else {
		WRITE_ONCE(*entry, remap_entry(copy, old));
	}
	attack_flush();
	return 0;
}

static void undo(void)
{
	WRITE_ONCE(*entry, old);
	attack_flush();
	free_page((unsigned long)copy);
	free_page((unsigned long)table);
}

ATTACK(run, undo, NULL, "text mapped to a copy, for all address spaces");
