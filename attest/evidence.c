// SPDX-License-Identifier: Apache-2.0
/* Writing an evidence directory: docs/formats/evidence.md. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "attest/dsse.h"
#include "attest/file.h"
#include "attest/names.h"
#include "attest/quote.h"
#include "attest/recorder.h"
#include "attest/statement.h"

#define VEX_MAX_BYTES (4U << 20)

/** struct writing - one evidence directory being written */
struct writing {
	struct att_recorder *r;
	int dirfd;
	struct att_statement *last; /* the appraisal */
	uint64_t since;		    /* tree size of the asker's, or 0 */
	uint64_t first;		    /* sequence numbers of the chain: from here to the appraisal */
	struct xbuf checkpoint;
	struct xbuf vex;
	struct xerr *err;
};

static int put(const struct writing *w, const char *name, struct span bytes)
{
	_cleanup_close_ int fd = -1;
	int rc = file_mkdirs(w->dirfd, name, 0755);

	if (!rc) {
		fd = openat(w->dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			    0644);
		rc = fd < 0 ? -errno : file_write_all(fd, bytes);
	}
	return rc ? xerr_set(w->err, -rc, "evidence file %s: %s", name, strerror(-rc)) : 0;
}

/* Statement @sequence of the machine, read back from the log. */
static int read_statement(const struct writing *w, uint64_t sequence, struct rec_link *link,
			  struct xbuf *envelope, struct att_statement *s)
{
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_dsse_ struct dsse e = {0};
	int rc = rec_chain_get(w->r, w->last->vm_uuid, sequence, link);

	if (!rc)
		rc = tlog_entry(w->r->log, link->leaf, envelope);
	if (rc)
		return xerr_set(w->err, -rc, "statement %" PRIu64 " of the machine cannot be read",
				sequence);
	if (!s)
		return 0;
	return dsse_parse(&e, xbuf_span(envelope), "entry", &why) &&
			       statement_parse(s, xbuf_span(&e.payload), "entry", &why)
		       ? 0
		       : xerr_set(w->err, XO_ELOG, "entry %" PRIu64 " of the log is damaged",
				  link->leaf);
}

static bool is_active(const struct att_statement *now, const struct att_patch *p)
{
	for (size_t i = 0; i < now->nr_patches; i++)
		if (!memcmp(now->patch[i].manifest, p->manifest, sizeof(p->manifest)))
			return true;
	return false;
}

/* An apply of this boot whose patch is active: one of the fixes that OpenVEX tells of. */
static bool is_fix(const struct att_statement *now, const struct att_statement *s)
{
	return s->kind == ATT_ACTION && s->action.act == ATT_APPLY &&
	       !memcmp(s->boot, now->boot, sizeof(s->boot)) && s->action.verdict == ATT_DONE &&
	       s->action.nr_advisories && is_active(now, &s->action.package);
}

/** struct fixes - statements kept for OpenVEX, owned */
struct fixes {
	size_t nr;
	struct att_statement *s[ATT_MAX_PATCHES];
};

static void fixes_free(struct fixes *f)
{
	for (size_t i = 0; i < f->nr; i++)
		free(f->s[i]);
}

/* Statement @s, of this boot: may the evidence begin with it? */
static bool may_begin(const struct writing *w, const struct att_statement *s, uint64_t leaf)
{
	/* The appraisal that the asker has accepted. */
	return leaf < w->since && s->kind == ATT_APPRAISAL;
}

/*
 * Walk the chain backwards to a statement that evidence may begin with, or the very first; and on
 * through this boot, for the fixes.
 */
static int find_first(struct writing *w, struct fixes *fixes)
{
	struct boot_seen after = statement_boot(w->last), boot;
	uint64_t length, at;
	bool found = false;
	int rc = rec_chain_length(w->r, w->last->vm_uuid, &length);

	if (rc)
		return xerr_set(w->err, -rc, "the machine's chain cannot be read");
	w->first = length;
	for (at = length; at && length - at < EVIDENCE_MAX_STATEMENTS - 1; at--) {
		_cleanup_xbuf_ struct xbuf envelope = XBUF(DSSE_MAX_BYTES);
		_cleanup_free_ struct att_statement *s = calloc(1, sizeof(*s));
		struct rec_link link;

		if (!s)
			return -ENOMEM;
		rc = read_statement(w, at - 1, &link, &envelope, s);
		if (rc)
			return rc;
		if (!found)
			w->first = at - 1;
		/* One before this boot's first: whoever finds it knows that none of this boot is
		 * left out. */
		boot = statement_boot(s);
		if (boot_is_new(&boot, &after))
			break;
		found |= may_begin(w, s, link.leaf);
		after = boot;
		if (is_fix(w->last, s) && fixes->nr < XO_ARRAY_SIZE(fixes->s))
			fixes->s[fixes->nr++] = XO_TAKE_PTR(s);
	}
	return 0;
}

static int make_vex(struct writing *w)
{
	XO_CLEANUP(fixes_free) struct fixes fixes = {0};
	int rc = find_first(w, &fixes);

	memset(w->last->appraisal.vex, 0, XO_SHA256_BYTES);
	if (rc || !fixes.nr)
		return rc;
	rc = vex_format(&w->vex, (const struct att_statement *const *)fixes.s, fixes.nr,
			w->last->finished_s);
	if (!rc)
		rc = xo_sha256(xbuf_span(&w->vex), w->last->appraisal.vex);
	return rc ? xerr_set(w->err, -rc, "the OpenVEX document cannot be made") : 0;
}

static int put_statement(const struct writing *w, const struct merkle_tree *tree, uint64_t size,
			 uint64_t sequence)
{
	_cleanup_xbuf_ struct xbuf envelope = XBUF(DSSE_MAX_BYTES),
				   proof = XBUF(2 * NOTE_MAX_BYTES);
	char name[EVIDENCE_NAME_SIZE];
	struct merkle_proof p;
	struct rec_link link;
	int rc = read_statement(w, sequence, &link, &envelope, NULL);

	if (rc)
		return rc;
	evidence_name(name, EVIDENCE_STATEMENT, link.leaf);
	rc = put(w, name, xbuf_span(&envelope));
	if (!rc)
		rc = merkle_prove_inclusion(tree, link.leaf, size, &p);
	if (!rc)
		rc = tlog_proof_format(&proof, link.leaf, &p, xbuf_span(&w->checkpoint));
	if (rc)
		return xerr_set(w->err, -rc, "entry %" PRIu64 " cannot be proved", link.leaf);
	evidence_name(name, EVIDENCE_PROOF, link.leaf);
	return put(w, name, xbuf_span(&proof));
}

static int put_log(struct writing *w, const struct att_evidence_opts *o)
{
	_cleanup_xbuf_ struct xbuf request = XBUF(2 * NOTE_MAX_BYTES), ima = XBUF(IMA_LOG_MAX);
	struct merkle_tree tree = tlog_tree(w->r->log);
	uint64_t size = tlog_size(w->r->log);
	struct merkle_proof p;
	int rc = put(w, EVIDENCE_CHECKPOINT, xbuf_span(&w->checkpoint));

	for (uint64_t i = w->first; !rc && i <= w->last->sequence; i++)
		rc = put_statement(w, &tree, size, i);
	if (!rc && o->since && o->since <= size) {
		rc = merkle_prove_consistency(&tree, o->since, size, &p);
		if (!rc)
			rc = xbuf_addf(&request, "old %" PRIu64 "\n", o->since);
		if (!rc)
			rc = proof_lines(&request, &p);
		if (!rc)
			rc = xbuf_addf(&request, "\n");
		if (!rc)
			rc = xbuf_add(&request, w->checkpoint.data, w->checkpoint.len_bytes);
		if (!rc)
			rc = put(w, EVIDENCE_CONSISTENCY, xbuf_span(&request));
	}
	if (!rc)
		rc = measured_read(&w->r->measured, &ima);
	if (rc)
		return xerr_set(w->err, -rc, "the evidence's logs cannot be written");
	return put(w, EVIDENCE_IMA, xbuf_span(&ima));
}

static int put_quote(struct writing *w, const uint8_t extra[XO_SHA256_BYTES], const char *msg_name,
		     const char *sig_name)
{
	struct tpm_quote q = {0};
	int rc = tpm_quote_pcr(w->r->tpm, extra, &q, w->err);

	if (!rc)
		rc = put(w, msg_name, xbuf_span(&q.msg));
	if (!rc)
		rc = put(w, sig_name, xbuf_span(&q.sig));
	tpm_quote_free(&q);
	return rc;
}

static int put_tpm(struct writing *w)
{
	const struct att_appraisal *a = &w->last->appraisal;
	_cleanup_xbuf_ struct xbuf pem = XBUF(KEY_PEM_MAX_BYTES);
	uint8_t extra[XO_SHA256_BYTES];
	struct note n;
	int rc = key_public_pem(&pem, tpm_ak(w->r->tpm));

	if (!rc)
		rc = put(w, EVIDENCE_AK, xbuf_span(&pem));
	if (!rc)
		rc = put(w, EVIDENCE_PCR, SPAN(w->r->measured.value, XO_SHA256_BYTES));
	if (!rc)
		rc = quote_over_key(w->r->statement_key, extra);
	if (!rc)
		rc = put_quote(w, extra, EVIDENCE_KEY_MSG, EVIDENCE_KEY_SIG);
	if (!rc && !note_parse(&n, xbuf_span(&w->checkpoint)))
		rc = -XO_EINTERNAL;
	if (!rc)
		rc = quote_over_checkpoint(SPAN(a->nonce, a->nonce_len), n.text, extra);
	if (!rc)
		rc = put_quote(w, extra, EVIDENCE_QUOTE_MSG, EVIDENCE_QUOTE_SIG);
	return rc ? xerr_set(w->err, -rc, "the quote cannot be written") : 0;
}

/* A certificate that the operator put beside the keys, if there is one. */
static int put_cert(const struct writing *w, const char *from, const char *to)
{
	_cleanup_xbuf_ struct xbuf pem = XBUF(KEY_CERT_MAX_BYTES);
	int rc = file_read(&pem, w->r->dirfd, from);

	if (rc == -ENOENT)
		return 0;
	return rc ? xerr_set(w->err, XO_ESTATE, "%s cannot be read", from)
		  : put(w, to, xbuf_span(&pem));
}

static int put_keys(const struct writing *w)
{
	_cleanup_xbuf_ struct xbuf pem = XBUF(KEY_PEM_MAX_BYTES), vkey = XBUF(NOTE_VKEY_MAX);
	int rc = key_public_pem(&pem, w->r->statement_key);

	if (!rc)
		rc = note_key_format(&vkey, &w->r->signer);
	if (rc)
		return xerr_set(w->err, -rc, "the public keys cannot be written");
	rc = put(w, EVIDENCE_STATEMENT_KEY, xbuf_span(&pem));
	if (!rc)
		rc = put(w, EVIDENCE_LOG_KEY, xbuf_span(&vkey));
	if (!rc)
		rc = put_cert(w, REC_CERT_STATEMENT, EVIDENCE_STATEMENT_CERT);
	return rc || !w->r->tpm ? rc : put_cert(w, REC_CERT_AK, EVIDENCE_AK_CERT);
}

static int write_all(struct writing *w, const struct att_evidence_opts *o)
{
	int rc = make_vex(w);

	if (!rc)
		rc = att_record(w->r, w->last, NULL, w->err);
	if (!rc)
		rc = tlog_checkpoint(w->r->log, &w->checkpoint, w->err);
	if (!rc)
		rc = put_log(w, o);
	if (!rc)
		rc = put_keys(w);
	if (!rc && w->r->tpm)
		rc = put_tpm(w);
	if (!rc && w->vex.len_bytes)
		rc = put(w, EVIDENCE_VEX, xbuf_span(&w->vex));
	if (!rc && o->detail.len_bytes)
		rc = put(w, EVIDENCE_DETAIL, o->detail);
	return rc;
}

static int open_out(const char *dir, struct xerr *err)
{
	int fd;

	if (mkdir(dir, 0755))
		return xerr_set(err, errno, "%s: cannot be made: %s", dir, strerror(errno));
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? xerr_set(err, errno, "%s: cannot be opened: %s", dir, strerror(errno)) : fd;
}

int att_evidence_write(struct att_recorder *r, struct att_statement *s,
		       const struct att_evidence_opts *o, struct xerr *err)
{
	struct writing w = {.r = r,
			    .last = s,
			    .since = o->since,
			    .checkpoint = XBUF(NOTE_MAX_BYTES),
			    .vex = XBUF(VEX_MAX_BYTES),
			    .err = err};
	int rc = 0;

	if (s->kind != ATT_APPRAISAL || !s->appraisal.nonce_len ||
	    s->appraisal.nonce_len > ATT_MAX_NONCE || o->detail.len_bytes > ATT_MAX_DETAIL)
		return xerr_set(err, XO_EUSAGE,
				"evidence is an appraisal for a nonce of 1 to %d "
				"bytes",
				ATT_MAX_NONCE);
	s->appraisal.tpm_rooted = r->tpm != NULL;
	memset(s->appraisal.detail, 0, XO_SHA256_BYTES);
	if (o->detail.len_bytes)
		rc = xo_sha256(o->detail, s->appraisal.detail);
	if (rc)
		return rc;
	w.dirfd = open_out(o->dir, err);
	if (w.dirfd < 0)
		return w.dirfd;
	rc = write_all(&w, o);
	close(w.dirfd);
	xbuf_free(&w.checkpoint);
	xbuf_free(&w.vex);
	return rc;
}
