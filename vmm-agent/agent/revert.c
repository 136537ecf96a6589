// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "vmm-agent/agent/facts.h"
#include "vmm-agent/agent/ops.h"
#include "vmm-agent/agent/record.h"

static struct jrow *newest_active(struct session *s, const char *id)
{
	for (size_t i = s->nr_rows; i-- > 0;)
		if (s->row[i].state == J_ACTIVE && !strcmp(s->row[i].patch_id, id))
			return &s->row[i];
	return NULL;
}

/* The guest that held the patch is no more. */
static int lost(struct session *s, struct jrow *row, struct refusal *why, struct xerr *err)
{
	const struct record_about about = {.act = ATT_REVERT, .verdict = ATT_REFUSED, .why = why};

	refusal_add(why, XO_EREBOOTED,
		    "%s: the guest booted another kernel since; nothing to revert", row->patch_id);
	return record_outcome(s, row, J_LOST, 0, &about, err);
}

static int carry_out(struct session *s, struct jrow *row, const struct survey *sv,
		     struct change_result *result, struct refusal *why, struct xerr *err)
{
	struct record_about about = {.act = ATT_REVERT, .why = why};
	int rc;

	rc = record_rehearse(s, row, ATT_REVERT, err);
	if (!rc)
		rc = tgt_refresh(s->tgt, err);
	if (rc)
		return rc;
	row->was_running = s->vm->running;
	rc = fault_point(FAULT_agent_planned);
	if (rc)
		return xerr_set(err, -rc, "a fault point failed as told");
	rc = journal_set_state(s->journal, row, J_REVERTING, 0, err);
	if (rc)
		return rc;
	fault_pass(FAULT_agent_intent);
	rc = change_run(s, row, sv, SIDE_OLD, why, result, err);
	if (rc)
		return xerr_wrap(err, "%s: not reverted, run exopatch recover", row->patch_id);
	about.verdict = why->nr ? ATT_REFUSED : ATT_DONE;
	if (why->nr)
		return record_outcome(s, row, J_ACTIVE, 0, &about, err);
	rc = record_outcome(s, row, J_REVERTED, result->blackout_ns, &about, err);
	if (!rc)
		fault_pass(FAULT_agent_done);
	return rc;
}

static int revert(struct session *s, const char *id, struct jrow **ret_row,
		  struct change_result *result, struct refusal *why, struct xerr *err)
{
	_cleanup_survey_ struct survey sv = {0};
	_cleanup_facts_ struct facts facts = {0};
	const struct record_about refused = {.act = ATT_REVERT, .verdict = ATT_REFUSED, .why = why};
	struct jrow *row = newest_active(s, id);
	int rc;

	op_pending(s, why);
	if (row && !why->nr && !session_same_kernel(s, row)) {
		*ret_row = row;
		return lost(s, row, why, err);
	}
	rc = facts_gather(s, NULL, &facts, err);
	if (rc)
		return rc;
	pol_retire(&facts.f, id, why);
	if (why->nr)
		return row ? record_outcome(s, row, row->state, 0, &refused, err)
			   : record_refused(s, ATT_REVERT, NULL, NULL, why, err);
	if (!row)
		return 0;
	*ret_row = row;
	rc = change_survey(s, row, &sv, err);
	if (rc)
		return rc;
	change_foreign(row, &sv, XO_EFOREIGN, why);
	return why->nr ? record_outcome(s, row, row->state, 0, &refused, err)
		       : carry_out(s, row, &sv, result, why, err);
}

int op_revert(struct session *s, const char *id, json_t **ret, struct refusal *why,
	      struct xerr *err)
{
	_cleanup_json_ json_t *doc = NULL;
	struct change_result result = {0};
	struct jrow *row = NULL;
	int rc = revert(s, id, &row, &result, why, err);

	if (rc)
		return rc;
	doc = op_doc(s, "revert");
	if (!doc || (row && json_object_set_new(doc, "patch", op_row_json(row))) ||
	    (result.attempts && json_object_set_new(doc, "hold", change_result_json(&result))))
		return xerr_set(err, ENOMEM, "out of memory");
	*ret = XO_TAKE_PTR(doc);
	return 0;
}
