/* SPDX-License-Identifier: GPL-2.0-only */
/* Where a patch of cmdline_proc_show has its new code: its detour says it. */
#ifndef EXOPATCH_TESTS_PATCH_H
#define EXOPATCH_TESTS_PATCH_H

#include "attack.h"

ATTACK_SYMBOL(cmdline_proc_show);

/* Return: address of the new code, or NULL if it is not patched */
static inline u8 *patch_code(void)
{
	u8 *p = (u8 *)cmdline_proc_show_at;
	s32 rel;

	for (int i = 0; i < 16; i++) {
		memcpy(&rel, p + i + 1, sizeof(rel));
		/* Further than any jump of this function's own. */
		if (p[i] == 0xe9 && (rel > 0x100000 || rel < -0x100000))
			return p + i + 5 + rel;
	}
	return NULL;
}

#endif
