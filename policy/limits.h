/* SPDX-License-Identifier: Apache-2.0 */
/* How many at once, and how far apart. */
#ifndef EXOPATCH_POLICY_LIMITS_H
#define EXOPATCH_POLICY_LIMITS_H

#include "policy/judge.h"

/** struct usage - of one limit by what it counts by: a host, a group, a ring, everything */
struct usage {
	uint32_t busy;	   /* VMs in hand */
	int64_t next_free; /* when the first of them is done */
	int64_t last;	   /* when the last one started */
};

struct limits {
	const struct moment *m;
	struct usage **usage; /* [limit][key] */
};

/** limits_build - with what is in hand already. @a: owns it. Return: 0, -ENOMEM */
int limits_build(struct limits *ret, const struct moment *m, struct arena *a) XO_MUST_CHECK;

/** limits_judge - what keeps the VM from starting now. @until: see note_change */
void limits_judge(const struct limits *l, size_t vm, struct findings *ret, int64_t *until);

/** limits_take - the VM starts at @at and is done at @done */
void limits_take(struct limits *l, size_t vm, int64_t at, int64_t done);

#endif
