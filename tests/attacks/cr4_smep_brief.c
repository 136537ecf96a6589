// SPDX-License-Identifier: GPL-2.0-only
/* As cr4_smep, but on one processor and for a moment: no look at intervals sees it. */
#include "smep.h"

static int result;

static int run(void)
{
	long code = smep_user_code();
	unsigned long flags;

	if (code < 0 || !boot_cpu_has(X86_FEATURE_SMEP) || !boot_cpu_has(X86_FEATURE_SMAP))
		return code < 0 ? (int)code : -EOPNOTSUPP;
	local_irq_save(flags);
	smep_set(SMEP_BITS, 0);
	result = attack_call((void *)code);
	smep_set(0, SMEP_BITS);
	local_irq_restore(flags);
	return 0;
}

static void undo(void)
{
}

static int probe(void)
{
	return result;
}

ATTACK(run, undo, probe, "CR4.SMEP off for a moment");
