// SPDX-License-Identifier: GPL-2.0-only
/* A call gate in a free entry of this processor's GDT: user space could enter ring 0 through it. */
#include <asm/desc.h>

#include "attack.h"

#define FREE_ENTRY 7 /* GDT_ENTRY_TSS is the first one behind those of the system call */
#define CALL_GATE  0x0000ec0000000000ULL /* present, for ring 3, 64 bits */

static u64 *entry;
static u64 old;

static int run(void)
{
	entry = (u64 *)get_cpu_gdt_rw(0) + FREE_ENTRY;
	old = *entry;
	WRITE_ONCE(*entry, CALL_GATE);
	return 0;
}

static void undo(void)
{
	WRITE_ONCE(*entry, old);
}

static int probe(void)
{
	return READ_ONCE(*entry) == CALL_GATE ? ATTACK_WORKS : 0;
}

ATTACK(run, undo, probe, "a call gate in the GDT");
