/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moving a guest towards the old or the new side of a journal row: the one
 * machine behind apply, revert and recover (docs/transaction.md). It looks at
 * what the guest holds, and writes only what is still missing.
 */
#ifndef EXOPATCH_AGENT_CHANGE_H
#define EXOPATCH_AGENT_CHANGE_H

#include "vmm-agent/agent/session.h"

enum side { SIDE_OLD, SIDE_NEW, SIDE_FOREIGN };

/**
 * struct survey - on which side each record of a row is now; zero-initialise, survey_free.
 * Records shared with another live patch (J_MAP, J_PIN) count for nothing: they stay.
 */
struct survey {
	size_t nr;
	enum side *side; /* by record */
	bool *shared;	 /* by record */
	size_t nr_old, nr_new, nr_foreign;
	size_t detours_old, detours_new;
	size_t first_foreign; /* valid if nr_foreign */
};

/** change_survey - compare the guest with the row; @ret is valid only on success */
int change_survey(struct session *s, const struct jrow *row, struct survey *ret,
		  struct xerr *err) XO_MUST_CHECK;

void survey_free(struct survey *sv);

#define _cleanup_survey_ XO_CLEANUP(survey_free)

/** change_foreign - add the reason that names the first foreign record */
void change_foreign(const struct jrow *row, const struct survey *sv, int code, struct refusal *why);

/** struct change_result - how the hold went */
struct change_result {
	unsigned int attempts;
	size_t nr_writes;
	uint64_t blackout_ns, stop_ns, held_ns, release_ns;
	struct lens_check_stats check;
};

/**
 * change_run - hold, check that nobody is inside, write what is missing, let go
 * @sv:     from change_survey, without foreign records
 * @toward: SIDE_OLD or SIDE_NEW
 * @why:    the tasks in the way, if they stayed there until the time-out; nothing is changed then
 * Return: 0 (look at @why), or a negative code. -XO_EEXPECTED: the guest changed a byte since the
 * survey, nothing was written.
 */
int change_run(struct session *s, const struct jrow *row, const struct survey *sv, enum side toward,
	       struct refusal *why, struct change_result *ret, struct xerr *err) XO_MUST_CHECK;

/** change_result_json - "attempts", "writes", "blackout_us" and so on. NULL when out of memory */
json_t *change_result_json(const struct change_result *r);

#endif
