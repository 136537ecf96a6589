// SPDX-License-Identifier: GPL-2.0-only
/* A gate of the kernel's IDT, through a writable alias of its page. */
#include "attack.h"
#include "gate.h"

static gate_desc old;

static int run(void)
{
	gate_desc *table = gate_table();

	old = table[GATE_VECTOR];
	return attack_write(&table[GATE_VECTOR], &table[X86_TRAP_BP], sizeof(old));
}

static void undo(void)
{
	(void)attack_write(&gate_table()[GATE_VECTOR], &old, sizeof(old));
}

ATTACK(run, undo, NULL, "a gate of the IDT");
