// SPDX-License-Identifier: GPL-2.0-only
/* As exec_pte, in the direct map: one entry makes 2 MiB of data executable. */
#include "attack.h"

static void *code;
static u64 old;

static int run(void)
{
	code = (void *)__get_free_page(GFP_KERNEL);
	if (!code)
		return -ENOMEM;
	memcpy(code, attack_works, sizeof(attack_works));
	old = attack_edit_entry(code, 0, _PAGE_NX);
	return 0;
}

static void undo(void)
{
	attack_edit_entry(code, old & _PAGE_NX, 0);
	free_page((unsigned long)code);
}

static int probe(void)
{
	return attack_call(code);
}

ATTACK(run, undo, probe, "executable data in the direct map");
