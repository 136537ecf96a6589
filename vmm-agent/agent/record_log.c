// SPDX-License-Identifier: Apache-2.0
/* From the journal into the recorder's log: docs/attest.md. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attest/statement.h"
#include "base/fault.h"
#include "vmm-agent/agent/record.h"

#define CHECKPOINT_MAX (64U << 10)
#define WAIT_NS	       UINT64_C(5000000) /* for another process, which records one statement or a few */

static int open_log(const struct agent_opts *o, struct att_recorder **ret, struct xerr *err)
{
	_cleanup_free_ char *made = NULL;
	struct att_recorder_opts r = {
		.dir = o->log_dir, .tcti = o->tpm, .pcr = o->pcr ? o->pcr : ATT_DEFAULT_PCR};
	uint64_t deadline = xo_now_ns() + o->timeout_ns;
	int rc;

	if (!r.dir) {
		if (asprintf(&made, "%s/attest", agent_state_dir(o)) < 0)
			return xerr_set(err, ENOMEM, "out of memory");
		(void)mkdir(agent_state_dir(o), 0700);
		r.dir = made;
	}
	for (;;) {
		struct xerr failed = {0};

		rc = att_recorder_open(ret, &r, &failed);
		if (!rc)
			return 0;
		if (rc != -XO_ELOCKED || xo_now_ns() + WAIT_NS > deadline)
			return xerr_set(err, rc, "recorder: %s",
					failed.code ? failed.text : xo_code_text(rc));
		xo_sleep_ns(WAIT_NS);
	}
}

static int parse(const struct jqueued *q, struct att_statement *st, struct xerr *err)
{
	_cleanup_refusal_ struct refusal why = {0};

	if (statement_parse(st, xbuf_span(&q->body), "statement", &why))
		return 0;
	return xerr_set(err, XO_ESTATE, "journal: a statement that waits is malformed: %s",
			why.nr ? why.reason[0].detail : "");
}

/* Once, whoever dies where: its place is noted before, and looked for by whoever comes after. */
static int record_one(struct journal *j, struct jqueued *q, struct att_recorder *r,
		      struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf checkpoint = XBUF(CHECKPOINT_MAX);
	_cleanup_free_ struct att_statement *st = calloc(1, sizeof(*st));
	uint64_t length = 0;
	int rc;

	if (!st)
		return xerr_set(err, ENOMEM, "out of memory");
	rc = parse(q, st, err);
	if (!rc && !q->begun) {
		rc = att_chain_length(r, st->vm_uuid, &length, err);
		rc = rc ? rc : journal_queue_begin(j, q, length, err);
	}
	if (rc)
		return rc;
	fault_pass(FAULT_record_begun);
	rc = att_record_once(r, st, q->sequence, NULL, err);
	if (rc)
		return rc;
	fault_pass(FAULT_record_logged);
	rc = att_checkpoint(r, &checkpoint, err);
	if (rc)
		return rc;
	return journal_queue_done(j, q, err);
}

static int drain(struct journal *j, struct att_recorder *r, struct xerr *err)
{
	int rc;

	for (;;) {
		XO_CLEANUP(journal_queued_free) struct jqueued q = {0};

		rc = journal_queued(j, &q, err);
		if (rc || !q.id)
			return rc;
		rc = record_one(j, &q, r, err);
		if (rc)
			return rc;
	}
}

/* The journal, if there is one. */
static int open_journal(const struct agent_opts *o, struct journal **ret, struct xerr *err)
{
	_cleanup_free_ char *path = NULL;

	if (asprintf(&path, "%s/journal.db", agent_state_dir(o)) < 0)
		return xerr_set(err, ENOMEM, "out of memory");
	return access(path, F_OK) ? 0 : journal_open(ret, agent_state_dir(o), err);
}

int record_open(const struct agent_opts *o, struct att_recorder **ret, struct xerr *err)
{
	struct att_recorder *r = NULL;
	struct journal *j = NULL;
	int rc = open_log(o, &r, err);

	if (rc)
		return rc;
	rc = open_journal(o, &j, err);
	if (!rc && j)
		rc = drain(j, r, err);
	journal_close(j);
	if (rc) {
		att_recorder_close(r);
		return rc;
	}
	*ret = r;
	return 0;
}

int record_flush(const struct agent_opts *o, struct xerr *err)
{
	struct att_recorder *r = NULL;
	int rc = record_open(o, &r, err);

	if (!rc)
		att_recorder_close(r);
	return rc;
}

int record_ready(const struct agent_opts *o, struct xerr *err)
{
	struct xerr failed = {0};
	int rc = record_flush(o, &failed);

	return rc ? xerr_set(err, rc, "nothing was done, since it could not be recorded: %s",
			     failed.text)
		  : 0;
}

void record_late(const struct agent_opts *o, json_t *doc)
{
	struct journal *j = NULL;
	struct xerr failed = {0};
	uint64_t waiting = 0;
	int rc = open_journal(o, &j, &failed);

	if (!rc && j)
		rc = journal_queue_length(j, &waiting, &failed);
	journal_close(j);
	if (!rc && waiting)
		rc = record_flush(o, &failed);
	if (rc && doc)
		(void)!json_object_set_new(doc, "unrecorded",
					   json_pack("{s:s,s:s}", "code", xo_code_key(rc), "detail",
						     failed.code ? failed.text : xo_code_text(rc)));
}
