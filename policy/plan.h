/* SPDX-License-Identifier: Apache-2.0 */
/* A plan's inside, for those that explain or simulate it. */
#ifndef EXOPATCH_POLICY_PLAN_H
#define EXOPATCH_POLICY_PLAN_H

#include "policy/judge.h"

struct pol_plan {
	const struct pol_policy *p;
	const struct pol_fleet *f;
	struct world own_world;
	const struct world *w;
	struct moment m;
	struct pol_verdict *verdict; /* [patch][vm] */
	size_t nr;
	uint32_t *start; /* allowed ones, in the order they start */
	size_t nr_starts;
	uint32_t *order;       /* all of them, in the order of pol_plan_item; NULL: not asked for */
	struct finding *later; /* limits and busy VMs, of all verdicts, one after the other */
	size_t nr_later, room_later;
	int64_t until;
};

/** plan_run - judge every pair of a world. @ret zero-initialised; plan_clear it whatever comes back
 *  Return: 0, -ENOMEM, -XO_ELIMIT */
int plan_run(struct pol_plan *ret, const struct world *w, const struct pol_fleet *f,
	     int64_t at) XO_MUST_CHECK;
void plan_clear(struct pol_plan *plan);

/** plan_findings - all that stands in the way of a pair, the deciding one first */
void plan_findings(const struct pol_plan *plan, const struct pol_verdict *v, struct findings *ret);

#endif
