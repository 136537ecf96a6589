/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Kernel text mapped elsewhere: its page stays as it is, but its address leads
 * to a copy that differs. Large pages are split, so that nothing else moves.
 */
#ifndef EXOPATCH_TESTS_REMAP_H
#define EXOPATCH_TESTS_REMAP_H

#include <linux/io.h>

#include "attack.h"

#define REMAP_ADDRESS 0x000ffffffffff000ULL

/* A copy of @at's page, in which @at begins with attack_fail. */
static inline u8 *remap_copy(const u8 *at)
{
	u8 *page = (u8 *)__get_free_page(GFP_KERNEL);

	if (!page)
		return NULL;
	memcpy(page, (void *)((unsigned long)at & PAGE_MASK), PAGE_SIZE);
	memcpy(page + offset_in_page(at), attack_fail, sizeof(attack_fail));
	return page;
}

/* The 4 KiB entries that say the same as the 2 MiB entry @large. */
static inline u64 *remap_split(u64 large)
{
	u64 *table = (u64 *)get_zeroed_page(GFP_KERNEL);
	u64 rights = large & ~(REMAP_ADDRESS | _PAGE_PSE);

	for (int i = 0; table && i < PTRS_PER_PTE; i++)
		table[i] = ((large & REMAP_ADDRESS & PMD_MASK) + i * PAGE_SIZE) | rights;
	return table;
}

static inline u64 remap_entry(const void *table, u64 rights)
{
	return virt_to_phys((void *)table) | (rights & ~(REMAP_ADDRESS | _PAGE_PSE));
}

/* Entry of a table for a table below it. */
static inline u64 remap_table(const void *table)
{
	return virt_to_phys((void *)table) | _KERNPG_TABLE_NOENC;
}

#endif
