// SPDX-License-Identifier: GPL-2.0-only
/*
 * Code in the user half of one address space, its page made the supervisor's: so
 * SMEP does not mind. Only while the loading program waits, hold_ms long.
 */
#include <linux/delay.h>

#include "smep.h"

static unsigned int hold_ms = 3000;
module_param(hold_ms, uint, 0);
static int result;

/* lookup_address looks in the kernel's tables; this one in the process's. */
static u64 *user_entry(unsigned long at)
{
	pgd_t *pgd = pgd_offset(current->mm, at);
	p4d_t *p4d = p4d_offset(pgd, at);
	pud_t *pud = pud_offset(p4d, at);
	pmd_t *pmd = pmd_offset(pud, at);

	return (u64 *)pte_offset_kernel(pmd, at);
}

static int run(void)
{
	long code = smep_user_code();
	u64 *entry;
	u64 old;

	if (code < 0)
		return (int)code;
	entry = user_entry((unsigned long)code);
	old = READ_ONCE(*entry);
	WRITE_ONCE(*entry, old & ~(u64)_PAGE_USER);
	attack_flush();
	ATTACK_CHANGED();
	result = attack_call((void *)code);
	msleep(hold_ms);
	WRITE_ONCE(*entry, old);
	attack_flush();
	return 0;
}

static void undo(void)
{
}

static int probe(void)
{
	return result;
}

ATTACK(run, undo, probe, "supervisor's code in the user half");
