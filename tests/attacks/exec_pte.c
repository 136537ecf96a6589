// SPDX-License-Identifier: GPL-2.0-only
/* A page of data made executable by its page-table entry, and still writable. */
#include "attack.h"

static void *code;
static u64 old;

static int run(void)
{
	code = vmalloc(PAGE_SIZE);
	if (!code)
		return -ENOMEM;
	memcpy(code, attack_works, sizeof(attack_works));
	old = attack_edit_entry(code, 0, _PAGE_NX);
	return 0;
}

static void undo(void)
{
	attack_edit_entry(code, old & _PAGE_NX, 0);
	vfree(code);
}

static int probe(void)
{
	return attack_call(code);
}

ATTACK(run, undo, probe, "a page writable and executable, by its entry");
