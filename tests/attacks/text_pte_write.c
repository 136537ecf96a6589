// SPDX-License-Identifier: GPL-2.0-only
/* Kernel text at its own address, whose page-table entry is made writable and stays so. */
#include "attack.h"

static int write_text(void *at, const void *bytes, size_t len)
{
	attack_edit_entry(at, _PAGE_RW, 0);
	memcpy(at, bytes, len);
	return 0;
}

ATTACK_SYMBOL(filesystems_proc_show);
static u8 old_bytes[sizeof(attack_fail)];
static u64 old_entry;

static int run(void)
{
	u8 *at = attack_body(filesystems_proc_show_at);

	memcpy(old_bytes, at, sizeof(old_bytes));
	old_entry = attack_edit_entry(at, 0, 0);
	return write_text(at, attack_fail, sizeof(attack_fail));
}

static void undo(void)
{
	u8 *at = attack_body(filesystems_proc_show_at);

	(void)write_text(at, old_bytes, sizeof(old_bytes));
	attack_edit_entry(at, 0, old_entry & _PAGE_RW ? 0 : _PAGE_RW);
}

/* Whether the right is there, with or without the write. */
static int probe(void)
{
	return attack_edit_entry((void *)filesystems_proc_show_at, 0, 0) & _PAGE_RW ? ATTACK_WORKS
										    : 0;
}

ATTACK(run, undo, probe, "text through its own page, made writable");
