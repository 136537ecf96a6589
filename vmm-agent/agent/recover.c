// SPDX-License-Identifier: Apache-2.0
#include <errno.h>

#include "vmm-agent/agent/ops.h"
#include "vmm-agent/agent/record.h"

/* What to do with a row that a dead process left: docs/transaction.md, "Recover". */
enum decision { KEEP_NEW, GO_NEW, KEEP_OLD, GO_OLD, MIXED };

static enum decision decide(const struct jrow *row, const struct survey *sv)
{
	if (sv->nr_foreign)
		return MIXED;
	if (!sv->nr_old)
		return KEEP_NEW;
	if (!sv->nr_new)
		return KEEP_OLD;
	if (row->state == J_APPLYING)
		return sv->detours_new ? GO_NEW : GO_OLD;
	return sv->detours_old ? GO_OLD : GO_NEW;
}

static const char *const decision_text[] = {
	[KEEP_NEW] = "was wholly new; kept",	     [GO_NEW] = "was partly new; finished",
	[KEEP_OLD] = "was wholly old; kept",	     [GO_OLD] = "was partly old; put back",
	[MIXED] = "holds foreign bytes; left alone",
};

/* A row that is wholly new is active, whoever was at work; wholly old is aborted or reverted. */
static enum jstate outcome(const struct jrow *row, enum decision d)
{
	if (d == KEEP_NEW || d == GO_NEW)
		return J_ACTIVE;
	return row->state == J_APPLYING ? J_ABORTED : J_REVERTED;
}

/* Whoever began it could not say how it ended. */
static int record(struct session *s, struct jrow *row, enum jstate state, uint64_t blackout_ns,
		  struct xerr *err)
{
	const bool applied = row->state == J_APPLYING;
	const bool done = state == (applied ? J_ACTIVE : J_REVERTED);
	_cleanup_refusal_ struct refusal why = {0};
	const struct record_about about = {.act = applied ? ATT_APPLY : ATT_REVERT,
					   .verdict = done ? ATT_DONE : ATT_FAILED,
					   .why = &why};

	refusal_add(&why, state == J_LOST ? XO_EREBOOTED : XO_ENEEDSRECOVER,
		    "found interrupted, and settled later");
	return record_outcome(s, row, state, blackout_ns, &about, err);
}

static int settle(struct session *s, struct jrow *row, const char **ret_text, struct refusal *why,
		  struct xerr *err)
{
	_cleanup_survey_ struct survey sv = {0};
	struct change_result result = {0};
	size_t before = why->nr;
	enum decision d;
	int rc;

	if (!session_same_kernel(s, row)) {
		*ret_text = "guest rebooted since; nothing to do";
		return record(s, row, J_LOST, 0, err);
	}
	rc = change_survey(s, row, &sv, err);
	if (rc)
		return rc;
	d = decide(row, &sv);
	*ret_text = decision_text[d];
	if (d == MIXED) {
		change_foreign(row, &sv, XO_EMIXED, why);
		return 0;
	}
	if (d == GO_NEW || d == GO_OLD) {
		rc = change_run(s, row, &sv, d == GO_NEW ? SIDE_NEW : SIDE_OLD, why, &result, err);
		if (rc || why->nr > before)
			return rc;
	}
	return record(s, row, outcome(row, d), result.blackout_ns, err);
}

/* A dead exopatch's gdb stub holds a TCG guest stopped: take it out, let the guest go on. */
static int clear_stub(struct session *s, bool *ret_resumed, struct xerr *err)
{
	bool was_running = false;
	int rc;

	*ret_resumed = false;
	if (!tgt_gdb_stale(s->tgt))
		return 0;
	for (size_t i = 0; i < s->nr_rows; i++)
		if (s->row[i].state == J_APPLYING || s->row[i].state == J_REVERTING)
			was_running |= s->row[i].was_running;
	rc = tgt_gdb_close(s->tgt, err);
	if (rc || s->vm->running || !was_running)
		return rc;
	*ret_resumed = true;
	rc = tgt_resume(s->tgt, err);
	return rc ? rc : tgt_refresh(s->tgt, err);
}

static int recover(struct session *s, json_t *list, struct refusal *why, struct xerr *err)
{
	for (size_t i = 0; i < s->nr_rows; i++) {
		struct jrow *row = &s->row[i];
		const char *text = NULL;
		json_t *item;
		int rc;

		if (row->state != J_APPLYING && row->state != J_REVERTING)
			continue;
		rc = settle(s, row, &text, why, err);
		if (rc)
			return rc;
		item = op_row_json(row);
		if (!item || json_object_set_new(item, "found", json_string(text)) ||
		    json_array_append_new(list, item))
			return xerr_set(err, ENOMEM, "out of memory");
	}
	return 0;
}

int op_recover(struct session *s, json_t **ret, struct refusal *why, struct xerr *err)
{
	_cleanup_json_ json_t *doc = NULL, *list = json_array();
	bool resumed = false;
	int rc;

	rc = clear_stub(s, &resumed, err);
	if (!rc)
		rc = recover(s, list, why, err);
	if (rc)
		return rc;
	doc = op_doc(s, "recover");
	if (!doc || json_object_set_new(doc, "resumed", json_boolean(resumed)) ||
	    json_object_set(doc, "recovered", list))
		return xerr_set(err, ENOMEM, "out of memory");
	*ret = XO_TAKE_PTR(doc);
	return 0;
}
