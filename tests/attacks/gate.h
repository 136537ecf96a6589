/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A gate of the IDT that user space may use and should not: the breakpoint's,
 * under a vector that nobody has. The program "use-gate" gets SIGTRAP if the
 * gate is there, SIGSEGV if not.
 */
#ifndef EXOPATCH_TESTS_GATE_H
#define EXOPATCH_TESTS_GATE_H

#include <asm/desc.h>
#include <asm/trapnr.h>

#define GATE_VECTOR 0xd7

static inline gate_desc *gate_table(void)
{
	struct desc_ptr idtr;

	store_idt(&idtr);
	return (gate_desc *)idtr.address;
}

#endif
