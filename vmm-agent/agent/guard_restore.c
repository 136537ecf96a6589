// SPDX-License-Identifier: Apache-2.0
/*
 * A snapshot of before a patch, or of amid one, is loaded: what the journal knows and the guest's
 * memory does not have is not put back piece by piece, but left as it is and said. The golden
 * copies follow what the guest has now, in the places of the journal's records only; whatever else
 * differs is judged.
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm-agent/agent/change.h"
#include "vmm-agent/agent/guard.h"

static int follow(struct guard *g, const struct jrow *row, const struct survey *sv,
		  struct xerr *err)
{
	_cleanup_free_ struct mon_write *w = calloc(row->nr_writes + 1, sizeof(*w));
	size_t nr = 0;

	if (!w)
		return xerr_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < row->nr_writes; i++) {
		const struct jwrite *r = &row->write[i];
		bool has = sv->side[i] == SIDE_NEW;

		if (sv->side[i] == SIDE_FOREIGN)
			continue;
		w[nr++] = (struct mon_write){
			.gpa = r->gpa,
			.len_bytes = r->len_bytes,
			.expected = has ? r->before : r->after,
			.replacement = has ? r->after : r->before,
		};
	}
	return mon_guard_follow(&g->fds, w, nr, err);
}

static void say(struct guard *g, const struct jrow *row, const struct survey *sv)
{
	const char *guest = sv->nr_foreign ? "changed" : sv->nr_new ? "mixed" : "old";

	guard_emit(g, "patch-absent", NULL,
		   json_pack("{s:s,s:s,s:s,s:s}", "reason",
			     "the memory that was restored does not have all of what the journal "
			     "says is active; revert it, and apply it again",
			     "id", row->patch_id, "state", jstate_name(row->state), "guest",
			     guest));
}

int guard_follow_rows(struct guard *g, struct xerr *err)
{
	int rc = session_journal(&g->s, err);

	for (size_t i = 0; i < g->s.nr_rows && !rc; i++) {
		const struct jrow *row = &g->s.row[i];
		_cleanup_survey_ struct survey sv = {0};

		if (!session_row_here(&g->s, row))
			continue;
		rc = change_survey(&g->s, row, &sv, err);
		if (!rc)
			rc = follow(g, row, &sv, err);
		if (!rc && row->state == J_ACTIVE && sv.nr_old)
			say(g, row, &sv);
	}
	return rc;
}
