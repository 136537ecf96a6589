// SPDX-License-Identifier: GPL-2.0-only
/* A page of code that no module has, made executable with the kernel's own functions. */
#include <linux/set_memory.h>

#include "attack.h"

ATTACK_SYMBOL(set_memory_ro);
ATTACK_SYMBOL(set_memory_rw);
ATTACK_SYMBOL(set_memory_x);
ATTACK_SYMBOL(set_memory_nx);
static void *code;

static int set(unsigned long function)
{
	return ((int (*)(unsigned long, int))function)((unsigned long)code, 1);
}

static int run(void)
{
	code = vmalloc(PAGE_SIZE);
	if (!code)
		return -ENOMEM;
	memcpy(code, attack_works, sizeof(attack_works));
	return set(set_memory_ro_at) || set(set_memory_x_at) ? -EIO : 0;
}

static void undo(void)
{
	if (!set(set_memory_nx_at) && !set(set_memory_rw_at))
		vfree(code);
}

static int probe(void)
{
	return attack_call(code);
}

ATTACK(run, undo, probe, "an executable page nobody approved");
