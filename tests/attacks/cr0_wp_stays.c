// SPDX-License-Identifier: GPL-2.0-only
/* CR0.WP off on every processor, for good: page-table entries no longer bind the kernel. */
#include "attack.h"

static void set_wp(void *on)
{
	unsigned long cr0;

	asm volatile("mov %%cr0, %0" : "=r"(cr0));
	cr0 = on ? cr0 | X86_CR0_WP : cr0 & ~X86_CR0_WP;
	asm volatile("mov %0, %%cr0" : : "r"(cr0) : "memory");
}

static int run(void)
{
	on_each_cpu(set_wp, NULL, 1);
	return 0;
}

static void undo(void)
{
	on_each_cpu(set_wp, (void *)1, 1);
}

static int probe(void)
{
	unsigned long cr0;

	asm volatile("mov %%cr0, %0" : "=r"(cr0));
	return cr0 & X86_CR0_WP ? 0 : ATTACK_WORKS;
}

ATTACK(run, undo, probe, "CR0.WP off");
