// SPDX-License-Identifier: GPL-2.0-only
/* Kernel text at its own address, while CR0.WP is off for three instructions. */
#include "attack.h"

static int write_text(void *at, const void *bytes, size_t len)
{
	unsigned long flags, cr0;

	local_irq_save(flags);
	asm volatile("mov %%cr0, %0" : "=r"(cr0));
	asm volatile("mov %0, %%cr0" : : "r"(cr0 & ~X86_CR0_WP) : "memory");
	memcpy(at, bytes, len);
	asm volatile("mov %0, %%cr0" : : "r"(cr0) : "memory");
	local_irq_restore(flags);
	return 0;
}

ATTACK_TEXT(write_text, loadavg_proc_show, "text with CR0.WP cleared");
