// SPDX-License-Identifier: GPL-2.0-only
/* A patch's code in the firmware window, written to: ROM to the guest, so nothing happens. */
#include "patch.h"

static u8 old[sizeof(attack_fail)];

static int write_home(const void *bytes)
{
	u8 *code = patch_code();
	void *direct;

	if (!code)
		return -ENOENT;
	memcpy(old, code, sizeof(old));
	direct = __va(attack_pa(code));
	attack_edit_entry(direct, _PAGE_RW, 0);
	memcpy(direct, bytes, sizeof(old));
	return 0;
}

static int run(void)
{
	return write_home(attack_fail);
}

static void undo(void)
{
	(void)write_home(old);
}

ATTACK(run, undo, NULL, "the firmware window's pages");
