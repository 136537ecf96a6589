// SPDX-License-Identifier: GPL-2.0-only
/* Kernel text through the direct map, whose entry is made writable first. */
#include "attack.h"

static int write_text(void *at, const void *bytes, size_t len)
{
	void *direct = __va(attack_pa(at));
	u64 old = attack_edit_entry(direct, _PAGE_RW, 0);

	memcpy(direct, bytes, len);
	attack_edit_entry(direct, old & _PAGE_RW, old & _PAGE_RW ? 0 : _PAGE_RW);
	return 0;
}

ATTACK_TEXT(write_text, version_proc_show, "text through the direct map");
