/* SPDX-License-Identifier: GPL-2.0-only */
/* Ring 0 runs code on a page of user space, which SMEP is there to stop. */
#ifndef EXOPATCH_TESTS_SMEP_H
#define EXOPATCH_TESTS_SMEP_H

#include <linux/mman.h>
#include <linux/uaccess.h>

#include "attack.h"

#define SMEP_BITS (X86_CR4_SMEP | X86_CR4_SMAP)

/* Return: the old value */
static inline unsigned long smep_set(unsigned long clear, unsigned long set)
{
	unsigned long cr4;

	asm volatile("mov %%cr4, %0" : "=r"(cr4));
	asm volatile("mov %0, %%cr4" : : "r"((cr4 & ~clear) | set) : "memory");
	return cr4;
}

/* A page of code in the process that loads the module. Return: its address, or a negative errno */
static inline long smep_user_code(void)
{
	unsigned long at = vm_mmap(NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC,
				   MAP_ANONYMOUS | MAP_PRIVATE, 0);

	if (IS_ERR_VALUE(at))
		return (long)at;
	if (copy_to_user((void __user *)at, attack_works, sizeof(attack_works)))
		return -EFAULT;
	return (long)at;
}

#endif
