/* SPDX-License-Identifier: Apache-2.0 */
/* What stands between one VM and one patch at one moment. */
#ifndef EXOPATCH_POLICY_JUDGE_H
#define EXOPATCH_POLICY_JUDGE_H

#include "policy/world.h"

/** struct finding - one thing that stands in the way */
struct finding {
	uint8_t kind;  /* enum pol_kind */
	uint16_t rule; /* POL_NO_RULE: built in */
	int64_t value; /* until when; POL_NEVER: time will not do. POL_BY_BASELINE: the month
			* needed; POL_BY_ELIGIBILITY: enum demand; POL_BY_PREREQUISITE: which of its
			* requires; POL_BY_ACTIVE, _SERIAL, _VERSION: which of the VM's applied, for
			* POL_BY_ACTIVE POL_NEVER: its baseline */
};

/* What an eligibility rule asks for that is not there. */
enum demand {
	DEMAND_PATCH, /* signer roles, serial or epoch of the patch */
	DEMAND_BUILD_ID,
	DEMAND_ARCH,
	DEMAND_GUARD,
	DEMAND_HOME,
	DEMAND_NOT_CONFIDENTIAL,
	DEMAND_RAM,
	DEMAND_BASELINE_AGE,
};

#define MAX_FINDINGS 512

/** struct findings - of one pair, in no order; beyond MAX_FINDINGS the least are left out */
struct findings {
	size_t nr;
	struct finding f[MAX_FINDINGS];
};

/** struct finding_list - in an arena */
struct finding_list {
	const struct finding *f;
	size_t nr;
};

/** struct class_now - the windows and freezes of a class */
struct class_now {
	const uint16_t *window, *freeze, *limit;
	size_t nr_windows, nr_freezes, nr_limits;
	struct finding_list shut; /* FREEZE and WINDOW, as things are */
	int64_t until;
	/* The last answer of class_opens. */
	int64_t asked, answer;
	uint32_t asked_skips;
};

/** struct cell - what rules say of a class and a patch */
struct cell {
	struct finding_list lasting, waiting;
	const uint16_t *deadline;
	size_t nr_deadlines;
	uint32_t skips;	   /* POL_SKIP_*: expedited */
	uint32_t baseline; /* month needed; 0: any */
	uint16_t baseline_rule;
	uint16_t allow; /* the first rule that allows it; POL_NO_RULE: none */
	int64_t until;
};

enum health_state { HEALTH_GOOD, HEALTH_PENDING, HEALTH_BAD, HEALTH_UNKNOWN };

/** struct ring_state - how far a patch has come in a ring */
struct ring_state {
	uint32_t members, successes, failures, unknown;
	bool halted, passed, open;
	uint16_t halted_by; /* itself, or the nearest before it that has halted; NO_RING: none */
	int64_t passes_at;  /* if nothing changes; POL_NEVER: not as things are */
};

struct moment {
	struct arena arena;
	const struct world *w;
	int64_t at;
	int64_t stale_since;	       /* POL_NEVER: not stale */
	struct class_now *class;       /* [class] */
	struct cell *cell;	       /* [class][patch] */
	struct finding_list *unfit;    /* [vm]: eligibility that the VM lacks */
	int64_t *busy_until;	       /* [vm]; 0: free */
	const struct word **busy_with; /* [vm] */
	struct ring_state *ring;       /* [ring][patch] */
	int64_t *patch_until;	       /* [patch]: when its rings may change */
	int32_t *patch_of;	       /* [word]: the patch of that id, or -1 */
	int64_t until;		       /* for every verdict */
};

/** moment_build - all but the rings. @ret zero-initialised; moment_free it whatever comes back */
int moment_build(struct moment *ret, const struct world *w, const struct pol_fleet *f,
		 int64_t at) XO_MUST_CHECK;
void moment_free(struct moment *m);

/** class_opens - the first time from @t on that no window or freeze keeps a class from */
int64_t class_opens(struct moment *m, size_t class, int64_t t, uint32_t skips);

/** health_of - of an applied patch, by the rules of the VM's class. @ret_until: when a pending one
 *  is decided */
enum health_state health_of(const struct moment *m, const struct health_rule *h,
			    const struct applied *a, int64_t *ret_until);

/** judge_lasting - what no time takes away. Nothing but POL_BY_ACTIVE, _HEALTH or _KERNEL if it
 *  is one of those */
void judge_lasting(const struct moment *m, size_t vm, size_t patch, struct findings *ret);

/** judge_waiting - what time or others take away, but for limits */
void judge_waiting(const struct moment *m, size_t vm, size_t patch, struct findings *ret,
		   uint32_t *skips, bool *overdue);

/** judge_when - the first time that the findings, all of them waiting, could be gone */
int64_t judge_when(struct moment *m, size_t vm, size_t patch, const struct findings *f,
		   uint32_t skips);

/** deadline_of - when it forces: at least its grace after the VM became reachable */
int64_t deadline_of(const struct deadline *d, const struct patch *p, const struct vm *vm);

/** rings_progress - fill m->ring; @lasting tells for [patch][vm] whether something lasting stands
 *  in the way. Return: 0, -ENOMEM */
int rings_progress(struct moment *m, const bool *lasting) XO_MUST_CHECK;

static inline void findings_add(struct findings *l, enum pol_kind kind, uint16_t rule,
				int64_t value)
{
	if (l->nr < MAX_FINDINGS)
		l->f[l->nr++] =
			(struct finding){.kind = (uint8_t)kind, .rule = rule, .value = value};
}

/** note_change - @t is a time at which something changes */
static inline void note_change(int64_t *until, int64_t at, int64_t t)
{
	if (t > at && t < *until)
		*until = t;
}

#define _cleanup_moment_ XO_CLEANUP(moment_free)

#endif
