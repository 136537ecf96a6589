// SPDX-License-Identifier: Apache-2.0
/*
 * exopatch attest. The appraisal is made where the guest is attached to, in the
 * guard if there is one; it is recorded, and the evidence written, by who asked.
 */
#include <errno.h>
#include <string.h>

#include "vmm-agent/agent/appraise.h"
#include "vmm-agent/agent/ops.h"
#include "vmm-agent/agent/record.h"

#define MAX_STATEMENT 65536

/* ---- the appraising side ---- */

/* The appraiser of the kernel that runs, with its vendor's files. */
static int ready(struct session *s, struct appraiser **a, const struct appraise_guard *g,
		 struct xerr *err)
{
	struct vendor *v = NULL;
	int rc;

	if (*a && appraiser_fits(*a, s))
		return 0;
	appraiser_free(*a);
	*a = NULL;
	session_progress(s, "reading the vendor's kernel");
	rc = vendor_open(&v, agent_state_dir(s->opts), s->build_id, g ? g->step : NULL,
			 g ? g->arg : NULL, err);
	if (rc)
		return rc;
	*a = appraiser_new(v);
	if (*a)
		return 0;
	vendor_free(v);
	return xerr_set(err, ENOMEM, "out of memory");
}

static json_t *took(const struct appraise_stats *stats, uint64_t vendor_ns, uint64_t appraisal_ns)
{
	return json_pack("{s:f,s:f,s:f,s:f,s:I,s:I}", "vendor_ms", (double)vendor_ns / 1e6,
			 "appraisal_ms", (double)appraisal_ns / 1e6, "text_ms",
			 (double)stats->text_ns / 1e6, "modules_ms",
			 (double)stats->modules_ns / 1e6, "pages", (json_int_t)stats->pages,
			 "pages_judged", (json_int_t)stats->pages_judged);
}

static int state(struct session *s, const struct att_appraisal *found, json_t *detail, json_t **ret,
		 struct xerr *err)
{
	_cleanup_free_ struct att_statement *st = NULL;
	_cleanup_xbuf_ struct xbuf body = XBUF(MAX_STATEMENT);
	_cleanup_json_ json_t *doc = NULL;
	int rc = record_new(s, ATT_APPRAISAL, &st, err);

	if (rc)
		return rc;
	st->appraisal = *found;
	rc = att_statement_write(&body, st);
	if (rc)
		return xerr_set(err, rc, "statement: %s", xo_code_text(rc));
	doc = op_doc(s, "attest");
	if (!doc ||
	    json_object_set_new(doc, "statement",
				json_stringn((const char *)body.data, body.len_bytes)) ||
	    json_object_set(doc, "detail", detail))
		return xerr_set(err, ENOMEM, "out of memory");
	*ret = XO_TAKE_PTR(doc);
	return 0;
}

int op_attest(struct session *s, struct appraiser **a, const struct appraise_guard *g,
	      const char *nonce, json_t **ret, struct xerr *err)
{
	_cleanup_free_ struct att_appraisal *found = calloc(1, sizeof(*found));
	_cleanup_json_ json_t *detail = NULL;
	uint64_t start = xo_now_ns(), opened;
	struct appraise_stats stats;
	int rc;

	if (!found)
		return xerr_set(err, ENOMEM, "out of memory");
	rc = ready(s, a, g, err);
	if (rc)
		return rc;
	opened = xo_now_ns();
	found->nonce_len = nonce ? strlen(nonce) / 2 : 0;
	if (!found->nonce_len || found->nonce_len > ATT_MAX_NONCE ||
	    !xo_unhex(nonce, found->nonce, found->nonce_len))
		return xerr_set(err, XO_EUSAGE, "the nonce is not hex of 1 to %d bytes",
				ATT_MAX_NONCE);
	session_progress(s, "comparing the guest's code with the vendor's");
	rc = appraise(*a, s, g, found, &detail, &stats, err);
	if (!rc)
		rc = state(s, found, detail, ret, err);
	if (!rc &&
	    json_object_set_new(*ret, "took", took(&stats, opened - start, xo_now_ns() - opened)))
		rc = xerr_set(err, ENOMEM, "out of memory");
	return rc;
}

/* ---- the asking side ---- */

/* Which kernel is it? */
static int prepare(const struct agent_attest_opts *o, struct refusal *why, struct xerr *err)
{
	const struct vendor_from from = {.nr = o->nr_from};
	struct vendor_from all = from;
	_cleanup_json_ json_t *doc = NULL;
	const char *build_id, *release;
	int rc = agent_inspect(&o->agent, &doc, why, err);

	if (rc || why->nr)
		return rc;
	if (json_unpack(doc, "{s:{s:s,s:s}}", "kernel", "build_id", &build_id, "release", &release))
		return xerr_set(err, XO_ENOKERNEL, "there is no kernel to appraise");
	for (size_t i = 0; i < o->nr_from; i++)
		all.source[i] = o->from[i];
	return vendor_prepare(agent_state_dir(&o->agent), build_id, release, &all, err);
}

static int write_evidence(const struct agent_attest_opts *o, json_t *doc, struct xerr *err)
{
	_cleanup_free_ struct att_statement *st = calloc(1, sizeof(*st));
	const char *body = json_string_value(json_object_get(doc, "statement"));
	_cleanup_free_ char *detail =
		json_dumps(json_object_get(doc, "detail"), JSON_INDENT(1) | JSON_PRESERVE_ORDER);
	struct att_recorder *r = NULL;
	int rc;

	if (!st || !detail)
		return xerr_set(err, ENOMEM, "out of memory");
	rc = body ? att_statement_read(st, SPAN(body, strlen(body)), err) : -XO_EPROTO;
	if (!rc)
		rc = record_open(&o->agent, &r, err);
	if (rc)
		return rc;
	rc = att_evidence_write(r, st,
				&(struct att_evidence_opts){.dir = o->out,
							    .detail = SPAN(detail, strlen(detail)),
							    .since = o->since},
				err);
	att_recorder_close(r);
	return rc;
}

/* What people want to know of it; the rest is in the evidence. */
static int summarise(const struct agent_attest_opts *o, json_t *doc, struct xerr *err)
{
	const char *body = json_string_value(json_object_get(doc, "statement"));
	_cleanup_json_ json_t *statement = body ? json_loads(body, 0, NULL) : NULL;
	json_t *detail = json_object_get(doc, "detail");
	json_t *found = json_object_get(json_object_get(statement, "predicate"), "appraisal");

	if (!found || json_object_set(doc, "appraisal", found) ||
	    json_object_set(doc, "unexplained", json_object_get(detail, "unexplained")) ||
	    json_object_set(doc, "unapproved_pages", json_object_get(detail, "unapproved_pages")) ||
	    json_object_set_new(doc, "evidence", json_string(o->out)) ||
	    json_object_del(doc, "statement") || json_object_del(doc, "detail"))
		return xerr_set(err, ENOMEM, "out of memory");
	return 0;
}

int agent_attest(const struct agent_attest_opts *o, json_t **ret, struct refusal *why,
		 struct xerr *err)
{
	_cleanup_json_ json_t *doc = NULL;
	int rc = prepare(o, why, err);

	if (!rc && !why->nr)
		rc = op_run(&o->agent, CONTROL_ATTEST, o->nonce, &doc, why, err);
	if (rc || why->nr)
		return rc;
	rc = write_evidence(o, doc, err);
	if (!rc)
		rc = summarise(o, doc, err);
	if (!rc)
		*ret = XO_TAKE_PTR(doc);
	return rc;
}
