// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/record.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "attest/statement.h"
#include "vmm-agent/agent/gate.h"

#define KEY_UUID "uuid:"

int record_machine(const char *vm_key, char ret[37])
{
	uint8_t d[XO_SHA256_BYTES];
	char hex[XO_SHA256_HEX_SIZE];
	int rc;

	if (!strncmp(vm_key, KEY_UUID, strlen(KEY_UUID)) &&
	    strlen(vm_key) == strlen(KEY_UUID) + 36 &&
	    strspn(vm_key + strlen(KEY_UUID), "0123456789abcdefABCDEF-") == 36) {
		for (size_t i = 0; i < 37; i++)
			ret[i] = (char)tolower((unsigned char)vm_key[strlen(KEY_UUID) + i]);
		return 0;
	}
	rc = xo_sha256(SPAN(vm_key, strlen(vm_key)), d);
	if (rc)
		return rc;
	d[6] = 0x80 | (d[6] & 0x0f); /* RFC 9562, version 8 */
	d[8] = 0x80 | (d[8] & 0x3f);
	xo_hex(SPAN(d, 16), hex);
	snprintf(ret, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
	return 0;
}

int record_boot(const char *uuid, const char *build_id, struct gva base, uint64_t boot_token,
		uint8_t ret[XO_SHA256_BYTES])
{
	char text[192];
	int n = snprintf(text, sizeof(text), "exopatch-boot/1\n%s\n%s\n%llx\n%llx\n", uuid,
			 build_id, (unsigned long long)base.v, (unsigned long long)boot_token);

	return n < 0 || (size_t)n >= sizeof(text) ? -XO_EINTERNAL
						  : xo_sha256(SPAN(text, (size_t)n), ret);
}

/* As it may stand in a statement: what is not graphic ASCII is escaped. */
static void put_text(char *out, size_t size, const char *text)
{
	size_t n = strlen(text);

	for (size_t i = 0; i < n; i++) {
		if (text[i] < 0x20 || text[i] > 0x7e) {
			xo_escape(SPAN(text, n), out, size);
			return;
		}
	}
	snprintf(out, size, "%s", text);
}

static void name_patch(struct att_patch *p, const struct jrow *row)
{
	memcpy(p->id, row->patch_id, sizeof(p->id));
	memcpy(p->version, row->version, sizeof(p->version));
	if (!xo_unhex(row->manifest_sha256, p->manifest, sizeof(p->manifest)))
		memset(p->manifest, 0, sizeof(p->manifest));
}

void record_add_patch(struct att_statement *st, const struct jrow *row)
{
	if (st->nr_patches < ATT_MAX_PATCHES && strcmp(row->patch_id, GATE_ROW) != 0)
		name_patch(&st->patch[st->nr_patches++], row);
}

int record_new(const struct session *s, enum att_kind kind, struct att_statement **ret,
	       struct xerr *err)
{
	_cleanup_free_ struct att_statement *st = calloc(1, sizeof(*st));
	int rc;

	if (!st)
		return xerr_set(err, ENOMEM, "out of memory");
	st->kind = kind;
	st->finished_s = (int64_t)time(NULL);
	st->started_s = st->finished_s - (int64_t)((xo_now_ns() - s->opened_ns) / 1000000000);
	memcpy(st->build_id, s->build_id, sizeof(st->build_id));
	put_text(st->release, sizeof(st->release), s->kernel.release);
	memcpy(st->process, s->process, sizeof(st->process));
	st->resets = s->resets;
	rc = record_machine(s->vm_key, st->vm_uuid);
	rc = rc ? rc
		: record_boot(st->vm_uuid, s->build_id, s->kernel.base, s->kernel.boot_token,
			      st->boot);
	if (rc)
		return xerr_set(err, rc, "statement: %s", xo_code_text(rc));
	for (size_t i = 0; i < s->nr_rows; i++)
		if (s->row[i].state == J_ACTIVE && session_same_kernel(s, &s->row[i]))
			record_add_patch(st, &s->row[i]);
	*ret = XO_TAKE_PTR(st);
	return 0;
}

void record_reason(struct att_action *a, const char *key, const char *detail)
{
	struct att_reason *r;

	if (a->nr_reasons == ATT_MAX_REASONS)
		return;
	r = &a->reason[a->nr_reasons++];
	snprintf(r->key, sizeof(r->key), "%s", key);
	put_text(r->detail, sizeof(r->detail), detail);
}

static void add_reasons(struct att_action *a, const struct refusal *why, const struct xerr *failed)
{
	for (size_t i = 0; why && i < why->nr; i++)
		record_reason(a, xo_code_key(why->reason[i].code),
			      why->reason[i].detail ? why->reason[i].detail : "");
	if (failed && failed->code)
		record_reason(a, xo_code_key(failed->code), failed->text);
}

int record_queue(struct journal *j, const struct att_statement *st, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf body = XBUF(STATEMENT_MAX_BYTES);
	int rc = statement_format(&body, st);

	if (rc)
		return xerr_set(err, rc, "statement: %s", xo_code_text(rc));
	return journal_queue(j, xbuf_span(&body), err);
}

/* ---- about a row of the journal ---- */

static int digest_side(const struct jrow *row, bool after, uint8_t ret[XO_SHA256_BYTES])
{
	_cleanup_xbuf_ struct xbuf b = XBUF(SIZE_MAX);
	int rc = 0;

	for (size_t i = 0; i < row->nr_writes && !rc; i++)
		rc = xbuf_add(&b, after ? row->write[i].after : row->write[i].before,
			      row->write[i].len_bytes);
	return rc ? rc : xo_sha256(xbuf_span(&b), ret);
}

static void split_advisories(struct att_action *a, const char *text)
{
	while (*text && a->nr_advisories < ATT_MAX_ADVISORIES) {
		size_t n = strcspn(text, " ");

		snprintf(a->advisory[a->nr_advisories++], sizeof(a->advisory[0]), "%.*s", (int)n,
			 text);
		text += n + (text[n] == ' ');
	}
}

static void put_digest(uint8_t ret[XO_SHA256_BYTES], const char *hex)
{
	if (!xo_unhex(hex, ret, XO_SHA256_BYTES))
		memset(ret, 0, XO_SHA256_BYTES);
}

static int describe(struct att_statement *st, const struct jrow *row, uint64_t blackout_ns,
		    const struct record_about *about)
{
	struct att_action *a = &st->action;
	bool reverts = about->act == ATT_REVERT;
	int rc = 0;

	a->act = about->act;
	a->verdict = about->verdict;
	a->has_package = true;
	name_patch(&a->package, row);
	put_digest(st->policy, row->policy_sha256);
	put_digest(a->decision, row->decision_sha256);
	add_reasons(a, about->why, about->failed);
	if (about->verdict != ATT_DONE)
		return 0;
	a->held_us = blackout_ns / 1000;
	split_advisories(a, row->advisories);
	rc = digest_side(row, reverts, a->before);
	return rc ? rc : digest_side(row, !reverts, a->after);
}

/* What is active once @row is in @state. */
static void list_patches(const struct session *s, const struct jrow *row, enum jstate state,
			 struct att_statement *st)
{
	st->nr_patches = 0;
	for (size_t i = 0; i < s->nr_rows; i++)
		if (s->row[i].id != row->id && s->row[i].state == J_ACTIVE &&
		    session_same_kernel(s, &s->row[i]))
			record_add_patch(st, &s->row[i]);
	if (state == J_ACTIVE)
		record_add_patch(st, row);
}

static int make(const struct session *s, const struct jrow *row, enum jstate state,
		uint64_t blackout_ns, const struct record_about *a, struct att_statement **ret,
		struct xerr *err)
{
	_cleanup_free_ struct att_statement *st = NULL;
	int rc = record_new(s, ATT_ACTION, &st, err);

	if (rc || !st)
		return rc;
	list_patches(s, row, state, st);
	rc = describe(st, row, blackout_ns, a);
	if (rc)
		return xerr_set(err, rc, "statement: %s", xo_code_text(rc));
	*ret = XO_TAKE_PTR(st);
	return 0;
}

int record_rehearse(const struct session *s, const struct jrow *row, enum att_act act,
		    struct xerr *err)
{
	const struct record_about about = {.act = act, .verdict = ATT_DONE};
	_cleanup_xbuf_ struct xbuf body = XBUF(STATEMENT_MAX_BYTES);
	_cleanup_free_ struct att_statement *st = NULL;
	int rc = make(s, row, act == ATT_APPLY ? J_ACTIVE : J_REVERTED, 0, &about, &st, err);

	if (rc || !st)
		return rc;
	rc = statement_format(&body, st);
	return rc ? xerr_set(err, rc, "%s: no statement can be made about it: %s", row->patch_id,
			     xo_code_text(rc))
		  : 0;
}

int record_outcome(struct session *s, struct jrow *row, enum jstate state, uint64_t blackout_ns,
		   const struct record_about *a, struct xerr *err)
{
	_cleanup_free_ struct att_statement *st = NULL;
	enum jstate was = row->state;
	int rc;

	if (!strcmp(row->patch_id, GATE_ROW))
		return journal_set_state(s->journal, row, state, blackout_ns, err);
	rc = make(s, row, state, blackout_ns, a, &st, err);
	rc = rc ? rc : journal_begin(s->journal, err);
	if (rc)
		return rc;
	rc = journal_set_state(s->journal, row, state, blackout_ns, err);
	rc = rc ? rc : record_queue(s->journal, st, err);
	if (rc)
		journal_undo(s->journal);
	else
		rc = journal_commit(s->journal, err);
	if (rc)
		row->state = was;
	return rc;
}

/* ---- about a package that has no row ---- */

static void name_package(struct att_action *a, const struct pkg *p)
{
	const struct pkg_manifest *m = pkg_manifest(p);

	a->has_package = true;
	memcpy(a->package.id, m->id, sizeof(a->package.id));
	memcpy(a->package.version, m->version, sizeof(a->package.version));
	memcpy(a->package.manifest, pkg_digest(p), sizeof(a->package.manifest));
}

static void name_decision(struct att_statement *st, const json_t *decision)
{
	const char *policy = NULL, *digest = NULL;

	if (json_unpack((json_t *)(uintptr_t)decision, "{s:s,s:{s:s}}", "sha256", &digest,
			"statement", "policy_sha256", &policy))
		return;
	put_digest(st->policy, policy);
	put_digest(st->action.decision, digest);
}

static int say(struct session *s, enum att_act act, const struct pkg *p, const json_t *decision,
	       const struct refusal *why, struct xerr *err)
{
	_cleanup_free_ struct att_statement *st = NULL;
	int rc;

	if (!s->discovered || !s->journal)
		return 0;
	rc = record_new(s, ATT_ACTION, &st, err);
	if (rc || !st)
		return rc;
	st->action.act = act;
	st->action.verdict = why->nr ? ATT_REFUSED : ATT_DONE;
	if (p)
		name_package(&st->action, p);
	if (decision)
		name_decision(st, decision);
	add_reasons(&st->action, why, NULL);
	return record_queue(s->journal, st, err);
}

int record_refused(struct session *s, enum att_act act, const struct pkg *p, const json_t *decision,
		   const struct refusal *why, struct xerr *err)
{
	return say(s, p ? act : ATT_REFUSE, p, decision, why, err);
}

int record_policy(struct session *s, const struct pkg *p, const json_t *decision,
		  const struct refusal *why, struct xerr *err)
{
	return say(s, ATT_POLICY, p, decision, why, err);
}
