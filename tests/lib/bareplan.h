/* SPDX-License-Identifier: Apache-2.0 */
/* The one-function patch of the bare guest: new code, its page table entry, the detour. */
#ifndef EXOPATCH_TESTS_BAREPLAN_H
#define EXOPATCH_TESTS_BAREPLAN_H

#include "tests/lib/bare.h"

#define BAREPLAN_CODE_BYTES 200 /* of the replacement: a typical small function */
#define BAREPLAN_RECORDS    3

enum { BAREPLAN_CODE, BAREPLAN_PTE, BAREPLAN_DETOUR };

/** struct bareplan - forward and backward, over the same bytes */
struct bareplan {
	uint8_t code_old[BAREPLAN_CODE_BYTES], code_new[BAREPLAN_CODE_BYTES];
	uint64_t pte_old, pte_new;
	uint8_t detour_old[5], detour_new[5];
	struct mon_write apply[BAREPLAN_RECORDS];
	struct mon_write revert[BAREPLAN_RECORDS];
};

/**
 * bareplan_make - make victim() return @value
 * @home: guest-physical page for the new code: BARE_HOME_GPA or BARE_ROM_GPA
 */
void bareplan_make(struct bareplan *p, uint32_t value, uint64_t home);

/**
 * bareplan_undo - make all old again: the detour first, the rest when nobody is in the new code
 * Return: 0 or -1
 */
int bareplan_undo(const struct bareplan *p, const struct bare *b, struct mon *m,
		  struct xerr *err) XO_MUST_CHECK;

/** bareplan_state - of guest memory, for record @i: 0 wholly old, 1 wholly new, -1 neither */
int bareplan_state(const struct bareplan *p, const struct bare *b, size_t i);

#endif
