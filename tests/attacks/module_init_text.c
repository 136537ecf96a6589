// SPDX-License-Identifier: GPL-2.0-only
/* A live module whose structure says that an executable page is the code of its start. */
#include <linux/set_memory.h>

#include "own_parts.h"

ATTACK_SYMBOL(set_memory_ro);
ATTACK_SYMBOL(set_memory_rw);
ATTACK_SYMBOL(set_memory_x);
ATTACK_SYMBOL(set_memory_nx);
static struct own_parts parts;
static void *code;

static int set(unsigned long function)
{
	return ((int (*)(unsigned long, int))function)((unsigned long)code, 1);
}

static void add(struct work_struct *work)
{
	own_parts_save(&parts);
	own_parts_init_text(code);
	msleep(OWN_LOOKS_MS);
	if (set(set_memory_ro_at) || set(set_memory_x_at))
		pr_err("attack " KBUILD_MODNAME ": cannot be made here\n");
	ATTACK_CHANGED();
}

static DECLARE_DELAYED_WORK(later, add);

static int run(void)
{
	code = vmalloc(PAGE_SIZE);
	if (!code)
		return -ENOMEM;
	memcpy(code, attack_works, sizeof(attack_works));
	schedule_delayed_work(&later, HZ);
	return 0;
}

static void undo(void)
{
	flush_delayed_work(&later);
	own_parts_restore(&parts);
	if (!set(set_memory_nx_at) && !set(set_memory_rw_at))
		vfree(code);
}

/* Not before it is executable. */
static int probe(void)
{
	unsigned int level;
	pte_t *pte = code ? lookup_address((unsigned long)code, &level) : NULL;

	return pte && !(pte_val(*pte) & _PAGE_NX) ? attack_call(code) : 0;
}

ATTACK(run, undo, probe, "a module that says it is still starting");
