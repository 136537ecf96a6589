// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/ops.h"

#include <errno.h>
#include <string.h>

#include "vmm-agent/agent/appraise.h"
#include "vmm-agent/agent/record.h"

static int attest_once(struct session *s, const char *nonce, json_t **ret, struct xerr *err)
{
	struct appraiser *a = NULL;
	int rc = op_attest(s, &a, NULL, nonce, ret, err);

	appraiser_free(a);
	return rc;
}

int op_dispatch(struct session *s, enum control_op op, const char *argument, json_t **ret,
		struct refusal *why, struct xerr *err)
{
	switch (op) {
	case CONTROL_INSPECT:
		return op_inspect(s, ret, why, err);
	case CONTROL_APPLY:
		return op_apply(s, argument, ret, why, err);
	case CONTROL_REVERT:
		return op_revert(s, argument, ret, why, err);
	case CONTROL_STATUS:
		return op_status(s, ret, err);
	case CONTROL_RECOVER:
		return op_recover(s, ret, why, err);
	case CONTROL_ATTEST:
		return attest_once(s, argument, ret, err);
	case CONTROL_GUARD_STATUS:
	case CONTROL_GUARD_STOP:
		break;
	}
	return xerr_set(err, XO_EINTERNAL, "operation %d is not one on a session", (int)op);
}

static bool is_recorded(enum control_op op)
{
	return op == CONTROL_APPLY || op == CONTROL_REVERT || op == CONTROL_RECOVER;
}

static int run(const struct agent_opts *o, enum control_op op, const char *argument, json_t **ret,
	       struct refusal *why, struct xerr *err)
{
	_cleanup_session_ struct session s = {0};
	bool done = false;
	int rc = 0;

	/* By us, not by the guard: while a TPM takes its time, it has writers to judge. */
	if (is_recorded(op) && control_is_served(o))
		rc = record_ready(o, err);
	if (!rc)
		rc = control_ask(o, op, argument, &done, ret, why, err);
	if (rc || done)
		return rc;
	rc = session_open(&s, o, why, err);
	if (!rc && op == CONTROL_INSPECT)
		return op_inspect(&s, ret, why, err);
	if (!rc && !why->nr)
		rc = session_journal(&s, err);
	if (!rc && !why->nr && is_recorded(op))
		rc = record_ready(o, err);
	if (rc || why->nr)
		return rc;
	return op_dispatch(&s, op, argument, ret, why, err);
}

int op_run(const struct agent_opts *o, enum control_op op, const char *argument, json_t **ret,
	   struct refusal *why, struct xerr *err)
{
	int rc = run(o, op, argument, ret, why, err);

	if (is_recorded(op))
		record_late(o, *ret);
	return rc;
}

void op_pending(const struct session *s, struct refusal *why)
{
	for (size_t i = 0; i < s->nr_rows; i++) {
		const struct jrow *r = &s->row[i];

		if (r->state == J_APPLYING || r->state == J_REVERTING)
			refusal_add(why, XO_ENEEDSRECOVER,
				    "%s: left %s by a process that ended; run exopatch recover",
				    r->patch_id, jstate_name(r->state));
	}
}

int op_drop_lost(struct session *s, struct xerr *err)
{
	int rc = 0;

	for (size_t i = 0; i < s->nr_rows && !rc; i++)
		if (s->row[i].state == J_ACTIVE && !session_same_kernel(s, &s->row[i]))
			rc = journal_set_state(s->journal, &s->row[i], J_LOST, 0, err);
	return rc;
}

static json_t *targets_json(const struct jrow *row)
{
	json_t *list = json_array();

	for (size_t i = 0; i < row->nr_targets; i++) {
		const struct jtarget *t = &row->target[i];

		if (!t->replacement.v)
			continue;
		json_array_append_new(
			list,
			json_pack("{s:s,s:o,s:I,s:i,s:o}", "symbol", t->symbol, "address",
				  json_sprintf("0x%llx", (unsigned long long)t->addr.v),
				  "size_bytes", (json_int_t)t->size_bytes, "detour_offset",
				  (int)t->detour_off, "replacement",
				  json_sprintf("0x%llx", (unsigned long long)t->replacement.v)));
	}
	return list;
}

json_t *op_row_json(const struct jrow *row)
{
	return json_pack(
		"{s:s,s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:s,s:o,s:I,s:s,s:s,s:f,s:o}", "id",
		row->patch_id, "version", row->version, "state", jstate_name(row->state),
		"manifest_sha256", row->manifest_sha256, "payload_sha256", row->payload_sha256,
		"build_id", row->build_id, "serial", (json_int_t)row->serial, "security_epoch",
		(json_int_t)row->security_epoch, "home", row->home_kind, "home_address",
		json_sprintf("0x%llx", (unsigned long long)row->home.v), "home_bytes",
		(json_int_t)row->home_bytes, "created", row->created, "updated", row->updated,
		"blackout_us", (double)row->blackout_ns / 1e3, "functions", targets_json(row));
}

json_t *op_doc(const struct session *s, const char *operation)
{
	json_t *doc = json_pack("{s:s}", "operation", operation);

	if (doc && session_vm_json(s, doc)) {
		json_decref(doc);
		return NULL;
	}
	return doc;
}

int agent_inspect(const struct agent_opts *o, json_t **ret, struct refusal *why, struct xerr *err)
{
	return op_run(o, CONTROL_INSPECT, NULL, ret, why, err);
}

int agent_apply(const struct agent_opts *o, const char *path, json_t **ret, struct refusal *why,
		struct xerr *err)
{
	_cleanup_free_ char *absolute = realpath(path, NULL);

	if (!absolute)
		return xerr_set(err, errno, "%s: %s", path, strerror(errno));
	return op_run(o, CONTROL_APPLY, absolute, ret, why, err);
}

int agent_revert(const struct agent_opts *o, const char *id, json_t **ret, struct refusal *why,
		 struct xerr *err)
{
	return op_run(o, CONTROL_REVERT, id, ret, why, err);
}

int agent_status(const struct agent_opts *o, json_t **ret, struct refusal *why, struct xerr *err)
{
	return op_run(o, CONTROL_STATUS, NULL, ret, why, err);
}

int agent_recover(const struct agent_opts *o, json_t **ret, struct refusal *why, struct xerr *err)
{
	return op_run(o, CONTROL_RECOVER, NULL, ret, why, err);
}
