// SPDX-License-Identifier: GPL-2.0-only
/*
 * CR4.SMEP and SMAP off on every processor; then ring 0 runs a page of user space.
 * The kernel itself sets them again when it next flushes all translations.
 */
#include <linux/delay.h>

#include "smep.h"

#define HOLD_MS 100

static int result;

static void off(void *unused)
{
	smep_set(SMEP_BITS, 0);
}

static void on(void *unused)
{
	smep_set(0, SMEP_BITS);
}

static int run(void)
{
	long code = smep_user_code();

	if (code < 0 || !boot_cpu_has(X86_FEATURE_SMEP) || !boot_cpu_has(X86_FEATURE_SMAP))
		return code < 0 ? (int)code : -EOPNOTSUPP;
	on_each_cpu(off, NULL, 1);
	result = attack_call((void *)code);
	mdelay(HOLD_MS);
	return 0;
}

static void undo(void)
{
	on_each_cpu(on, NULL, 1);
}

static int probe(void)
{
	return result;
}

ATTACK(run, undo, probe, "CR4.SMEP off");
