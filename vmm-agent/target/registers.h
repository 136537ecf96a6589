/* SPDX-License-Identifier: Apache-2.0 */
/* Control registers of x86 vCPUs, from the text of HMP `info registers -a`. */
#ifndef EXOPATCH_TARGET_REGISTERS_H
#define EXOPATCH_TARGET_REGISTERS_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/span.h"

/** struct control_regs - of one vCPU; values chosen by the guest */
struct control_regs {
	uint64_t cpu_index; /* QEMU's number of it */
	uint64_t cr0, cr3, cr4, efer;
	/* 0 where the text does not tell */
	uint64_t tr_base, gdt_base, gdt_limit, idt_base;
};

/**
 * registers_parse - control registers of each vCPU in the text, in its order
 * @text: hostile
 * @ret: room for @max entries; further vCPUs are left out
 * Return: 0, or -XO_EMALFORMED (a vCPU without one of the registers)
 */
int registers_parse(struct span text, struct control_regs *ret, size_t max, size_t *ret_nr,
		    struct xerr *err) XO_MUST_CHECK;

#endif
