// SPDX-License-Identifier: GPL-2.0-only
/* Another IDT: a copy with one gate more, on every processor. */
#include "attack.h"
#include "gate.h"

static struct desc_ptr old, copy;

static void load(void *idtr)
{
	asm volatile("lidt %0" : : "m"(*(struct desc_ptr *)idtr));
}

static int run(void)
{
	gate_desc *table = (void *)__get_free_page(GFP_KERNEL);

	if (!table)
		return -ENOMEM;
	store_idt(&old);
	memcpy(table, (void *)old.address, PAGE_SIZE);
	table[GATE_VECTOR] = table[X86_TRAP_BP];
	copy = (struct desc_ptr){.size = old.size, .address = (unsigned long)table};
	on_each_cpu(load, &copy, 1);
	return 0;
}

static void undo(void)
{
	on_each_cpu(load, &old, 1);
	free_page(copy.address);
}

ATTACK(run, undo, NULL, "LIDT with a copied IDT");
