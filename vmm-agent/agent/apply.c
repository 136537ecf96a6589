// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/util.h"
#include "vmm-agent/agent/decide.h"
#include "vmm-agent/agent/facts.h"
#include "vmm-agent/agent/ops.h"
#include "vmm-agent/agent/record.h"
#include "vmm-agent/agent/resolve.h"

static void pkg_free_ptr(struct pkg **p)
{
	pkg_free(*p);
}
static void trust_free_ptr(struct pkg_trust **t)
{
	pkg_trust_free(*t);
}

static int load_package(const struct agent_opts *o, const char *path, struct pkg **ret,
			struct refusal *why, struct xerr *err)
{
	XO_CLEANUP(trust_free_ptr) struct pkg_trust *trust = NULL;
	_cleanup_xbuf_ struct xbuf file = XBUF(PKG_MAX_BYTES);
	int rc;

	rc = xbuf_read_file(&file, path);
	if (rc == -XO_ELIMIT) {
		refusal_add(why, XO_ENOTPACKAGE, "%s: larger than %u bytes", path, PKG_MAX_BYTES);
		return 0;
	}
	if (rc)
		return xerr_set(err, -rc, "%s: %s", path, xo_code_text(rc));
	rc = pkg_trust_load(&trust, o->trust_dir ? o->trust_dir : AGENT_TRUST_DIR, err);
	if (rc)
		return rc;
	return pkg_open(ret, xbuf_span(&file), trust, time(NULL), why, err);
}

/* ---- homes ---- */

static int find_home(struct session *s, struct home *ret, struct refusal *why, struct xerr *err)
{
	enum agent_home want = s->opts->home;
	_cleanup_refusal_ struct refusal first = {0};
	int rc;

	if (want != AGENT_HOME_AUTO)
		return home_survey(s, want, ret, why, err);
	rc = home_survey(s, AGENT_HOME_WINDOW, ret, &first, err);
	if (rc || !first.nr)
		return rc;
	if (s->kernel.has_shim)
		return home_survey(s, AGENT_HOME_SHIM, ret, why, err);
	for (size_t i = 0; i < first.nr; i++)
		refusal_add(why, first.reason[i].code, "%s", first.reason[i].detail);
	return 0;
}

/* ---- the row ---- */

static void join(const char (*word)[64], size_t nr, char *out, size_t size)
{
	size_t n = 0;

	out[0] = '\0';
	for (size_t i = 0; i < nr && n < size; i++) {
		int w = snprintf(out + n, size - n, "%s%s", i ? " " : "", word[i]);

		n += w > 0 ? (size_t)w : 0;
	}
}

static void describe_row(const struct session *s, const struct pkg *p, struct jrow *row)
{
	const struct pkg_manifest *m = pkg_manifest(p);

	row->state = J_APPLYING;
	snprintf(row->vm, sizeof(row->vm), "%s", s->vm_key);
	snprintf(row->patch_id, sizeof(row->patch_id), "%s", m->id);
	snprintf(row->version, sizeof(row->version), "%s", m->version);
	xo_hex(SPAN(pkg_digest(p), XO_SHA256_BYTES), row->manifest_sha256);
	xo_hex(SPAN(pkg_payload_digest(p), XO_SHA256_BYTES), row->payload_sha256);
	snprintf(row->build_id, sizeof(row->build_id), "%s", s->build_id);
	row->serial = m->serial;
	row->security_epoch = m->security_epoch;
	join(m->prereq, m->nr_prereqs, row->requires_ids, sizeof(row->requires_ids));
	row->kernel_base = s->kernel.base;
	row->boot_token = s->kernel.boot_token;
	join(m->advisory, m->nr_advisories, row->advisories, sizeof(row->advisories));
}

/* What the policy says goes with the row, and is recorded by itself. */
static int ask_policy(struct session *s, const struct pkg *p, bool home, struct jrow *row,
		      json_t **decision, struct refusal *why, struct xerr *err)
{
	_cleanup_refusal_ struct refusal not_now = {0};
	const char *digest, *policy;
	int rc = decide_apply(s, p, home, decision, &not_now, err);

	if (rc || !*decision)
		return rc;
	if (!json_unpack(*decision, "{s:s,s:{s:s}}", "sha256", &digest, "statement",
			 "policy_sha256", &policy)) {
		snprintf(row->decision_sha256, sizeof(row->decision_sha256), "%s", digest);
		snprintf(row->policy_sha256, sizeof(row->policy_sha256), "%s", policy);
	}
	for (size_t i = 0; i < not_now.nr; i++)
		refusal_add(why, not_now.reason[i].code, "%s", not_now.reason[i].detail);
	return record_policy(s, p, *decision, &not_now, err);
}

/* In another kernel, or where a patch stands already, the code differs of course: no need to say
 * so. */
static bool worth_resolving(const struct refusal *why)
{
	for (size_t i = 0; i < why->nr; i++) {
		int code = why->reason[i].code;

		if (code == XO_EARCH || code == XO_EBUILDID || code == XO_EAPPLIED ||
		    code == XO_EINUSE)
			return false;
	}
	return true;
}

/* Everything that can be refused is refused here, before the first write. */
static int prepare(struct session *s, const struct pkg *p, struct jrow *row, json_t **decision,
		   struct refusal *why, struct xerr *err)
{
	const struct pkg_manifest *m = pkg_manifest(p);
	_cleanup_resolved_ struct resolved r = {0};
	_cleanup_facts_ struct facts facts = {0};
	_cleanup_home_ struct home home = {0};
	int rc;

	rc = op_drop_lost(s, err);
	if (rc)
		return rc;
	op_pending(s, why);
	rc = facts_gather(s, m, &facts, err);
	if (rc)
		return rc;
	facts_admit(&facts, m, why);
	if (worth_resolving(why))
		rc = resolve_package(s, p, &r, why, err);
	if (!rc)
		rc = find_home(s, &home, why, err);
	if (!rc)
		rc = ask_policy(s, p, home.nr_pages != 0, row, decision, why, err);
	if (rc || why->nr)
		return rc;
	describe_row(s, p, row);
	return resolve_row(s, p, &r, &home, row, why, err);
}

static int remember(struct session *s, const struct pkg_manifest *m, struct xerr *err)
{
	int rc = journal_saw(s->journal, s->build_id, m->id, m->serial, m->security_epoch, err);

	for (size_t i = 0; i < m->nr_advisories && !rc; i++)
		rc = journal_saw(s->journal, s->build_id, m->advisory[i], m->serial,
				 m->security_epoch, err);
	return rc;
}

/* The change failed: if the guest is provably as before, the row is done with; else recover. */
static int give_up(struct session *s, struct jrow *row, int rc, struct xerr *err)
{
	const struct record_about about = {.act = ATT_APPLY, .verdict = ATT_FAILED, .failed = err};
	_cleanup_survey_ struct survey sv = {0};
	struct xerr late = {0};

	if (!change_survey(s, row, &sv, &late) && !sv.nr_new && !sv.nr_foreign &&
	    !record_outcome(s, row, J_ABORTED, 0, &about, &late))
		return rc;
	return xerr_wrap(err, "%s: left half done, run exopatch recover", row->patch_id);
}

static int carry_out(struct session *s, struct jrow *row, struct change_result *result,
		     struct refusal *why, struct xerr *err)
{
	struct record_about about = {.act = ATT_APPLY, .why = why};
	_cleanup_survey_ struct survey sv = {0};
	int rc;

	rc = record_rehearse(s, row, ATT_APPLY, err);
	if (!rc)
		rc = tgt_refresh(s->tgt, err);
	if (rc)
		return rc;
	row->was_running = s->vm->running;
	rc = fault_point(FAULT_agent_planned);
	if (rc)
		return xerr_set(err, -rc, "a fault point failed as told");
	rc = journal_insert(s->journal, row, err);
	if (rc)
		return rc;
	fault_pass(FAULT_agent_intent);
	rc = change_survey(s, row, &sv, err);
	if (!rc && sv.nr_foreign)
		change_foreign(row, &sv, XO_EFOREIGN, why);
	if (!rc && !sv.nr_foreign)
		rc = change_run(s, row, &sv, SIDE_NEW, why, result, err);
	if (rc)
		return give_up(s, row, rc, err);
	about.verdict = why->nr ? ATT_REFUSED : ATT_DONE;
	if (why->nr)
		return record_outcome(s, row, J_ABORTED, 0, &about, err);
	rc = record_outcome(s, row, J_ACTIVE, result->blackout_ns, &about, err);
	if (!rc)
		fault_pass(FAULT_agent_done);
	return rc;
}

static json_t *signers_json(const struct pkg *p)
{
	const struct pkg_signer *signer;
	size_t nr = pkg_signers(p, &signer);
	json_t *list = json_array();

	for (size_t i = 0; i < nr; i++)
		json_array_append_new(list,
				      json_pack("{s:s,s:s,s:s}", "role", signer[i].role, "keyid",
						signer[i].keyid, "subject", signer[i].subject));
	return list;
}

int op_apply(struct session *s, const char *path, json_t **ret, struct refusal *why,
	     struct xerr *err)
{
	XO_CLEANUP(pkg_free_ptr) struct pkg *p = NULL;
	_cleanup_jrow_ struct jrow row = {0};
	_cleanup_json_ json_t *doc = NULL, *decision = NULL;
	struct change_result result = {0};
	uint64_t start = xo_now_ns(), verified;
	int rc;

	rc = load_package(s->opts, path, &p, why, err);
	verified = xo_now_ns();
	if (!rc && p)
		rc = prepare(s, p, &row, &decision, why, err);
	/* Before the first byte is written: whoever dies then must not forget it. */
	if (!rc && !why->nr)
		rc = remember(s, pkg_manifest(p), err);
	if (!rc && !why->nr)
		rc = carry_out(s, &row, &result, why, err);
	if (!rc && why->nr && !row.id)
		rc = record_refused(s, ATT_APPLY, p, decision, why, err);
	if (rc)
		return rc;
	doc = op_doc(s, "apply");
	if (!doc || (p && json_object_set_new(doc, "signers", signers_json(p))) ||
	    (decision && json_object_set(doc, "decision", decision)) ||
	    (row.id && json_object_set_new(doc, "patch", op_row_json(&row))) ||
	    (result.attempts && json_object_set_new(doc, "hold", change_result_json(&result))) ||
	    json_object_set_new(doc, "times_ms",
				json_pack("{s:f,s:f,s:f}", "verify",
					  (double)(verified - start) / 1e6, "attach",
					  (double)(start - s->opened_ns) / 1e6, "total",
					  (double)(xo_now_ns() - s->opened_ns) / 1e6)))
		return xerr_set(err, ENOMEM, "out of memory");
	*ret = XO_TAKE_PTR(doc);
	return 0;
}
