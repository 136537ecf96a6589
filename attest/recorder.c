// SPDX-License-Identifier: Apache-2.0
#include "attest/recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "attest/dsse.h"
#include "attest/file.h"
#include "attest/statement.h"
#include "base/fault.h"

/* ---- after an entry stands in the log: measure it, and advance its machine's chain ---- */

/* Read our own leaf back: which machine is it about, and where in its chain does it stand? */
int rec_read_leaf(struct att_recorder *r, uint64_t leaf, struct xbuf *envelope,
		  struct att_statement *s, struct xerr *err)
{
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_dsse_ struct dsse e = {0};
	int rc = tlog_entry(r->log, leaf, envelope);

	if (rc)
		return xerr_set(err, -rc, "entry %llu of the log cannot be read",
				(unsigned long long)leaf);
	if (!dsse_parse(&e, xbuf_span(envelope), "entry", &why) ||
	    !statement_parse(s, xbuf_span(&e.payload), "entry", &why))
		return xerr_set(err, XO_ELOG, "entry %llu of the log is not a statement: %s",
				(unsigned long long)leaf, why.reason[0].detail);
	return 0;
}

static int put_link(struct att_recorder *r, uint64_t leaf, const struct att_statement *s,
		    struct span envelope, struct xerr *err)
{
	struct rec_link link = {.leaf = leaf};
	int rc = xo_sha256(envelope, link.envelope);

	if (!rc)
		rc = rec_chain_put(r, s->vm_uuid, s->sequence, &link);
	return rc ? xerr_set(err, -rc, "the machine's chain cannot be written") : 0;
}

/* Bring leaf .chained's measurement and chain up to date. */
static int settle_leaf(struct att_recorder *r, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf envelope = XBUF(DSSE_MAX_BYTES);
	_cleanup_free_ struct att_statement *s = calloc(1, sizeof(*s));
	uint64_t leaf = r->chained;
	int rc;

	if (!s)
		return -ENOMEM;
	rc = rec_read_leaf(r, leaf, &envelope, s, err);
	if (!rc && leaf == r->measured.next)
		rc = measured_add(&r->measured, s->vm_uuid, xbuf_span(&envelope), r->tpm, err);
	if (!rc)
		rc = put_link(r, leaf, s, xbuf_span(&envelope), err);
	if (!rc)
		r->chained++;
	return rc;
}

static int settle(struct att_recorder *r, struct xerr *err)
{
	int rc = 0;

	while (!rc && r->chained < tlog_size(r->log))
		rc = settle_leaf(r, err);
	return rc;
}

/* ---- opening ---- */

static int open_dir(const char *dir, struct xerr *err)
{
	int fd;

	if (mkdir(dir, 0700) && errno != EEXIST)
		return xerr_set(err, errno, "%s: cannot be made: %s", dir, strerror(errno));
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? xerr_set(err, errno, "%s: cannot be opened: %s", dir, strerror(errno)) : fd;
}

/* The log's name: the one it got when it was made. */
static int open_signer(struct att_recorder *r, const char *origin, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf line = XBUF(NOTE_VKEY_MAX);
	uint8_t pub[KEY_ED25519_BYTES];
	char made[64], hex[17];
	int rc = file_read(&line, r->dirfd, REC_LOG_VKEY);

	if (key_ed25519_raw(r->log_key, pub))
		return xerr_set(err, XO_EINTERNAL, "the log's key is unusable");
	if (!rc) {
		if (!line.len_bytes ||
		    !note_key_parse(&r->signer, SPAN(line.data, line.len_bytes - 1),
				    NOTE_SIG_ED25519) ||
		    memcmp(pub, r->signer.pub, sizeof(pub)) != 0)
			return xerr_set(err, XO_ESTATE, REC_LOG_VKEY " does not fit " REC_KEY_LOG);
		if (origin && strcmp(origin, r->signer.name) != 0)
			return xerr_set(err, XO_ESTATE, "the log is called %s, not %s",
					r->signer.name, origin);
		return 0;
	}
	if (rc != -ENOENT)
		return xerr_set(err, XO_ESTATE, REC_LOG_VKEY " cannot be read");
	xo_hex(SPAN(pub, 8), hex);
	(void)snprintf(made, sizeof(made), "exopatch/%s", hex);
	rc = note_key_init(&r->signer, origin ? origin : made, NOTE_SIG_ED25519, pub);
	if (rc)
		return xerr_set(err, XO_EUSAGE,
				"'%s' cannot be a log's name: graphic ASCII without '+' and spaces",
				origin ? origin : made);
	rc = note_key_format(&line, &r->signer);
	if (!rc)
		rc = file_replace(r->dirfd, REC_LOG_VKEY, xbuf_span(&line), 0644);
	return rc ? xerr_set(err, -rc, REC_LOG_VKEY " cannot be written") : 0;
}

static int open_log(struct att_recorder *r, struct xerr *err)
{
	_cleanup_close_ int fd = -1;

	if (mkdirat(r->dirfd, REC_LOG_DIR, 0755) && errno != EEXIST)
		return xerr_set(err, errno, "the log's directory cannot be made");
	fd = openat(r->dirfd, REC_LOG_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return xerr_set(err, errno, "the log's directory cannot be opened");
	return tlog_open(&r->log, fd, r->log_key, &r->signer, err);
}

int att_recorder_open(struct att_recorder **ret, const struct att_recorder_opts *o,
		      struct xerr *err)
{
	struct att_recorder *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return -ENOMEM;
	r->measured.fd = r->measured.statefd = -1;
	r->dirfd = open_dir(o->dir, err);
	rc = r->dirfd < 0 ? r->dirfd : 0;
	if (!rc && o->pcr > 23)
		rc = xerr_set(err, XO_EUSAGE, "there is no PCR %u", o->pcr);
	if (!rc)
		rc = key_open_private(&r->statement_key, r->dirfd, REC_KEY_STATEMENT, KEY_P256,
				      err);
	if (!rc)
		rc = key_open_private(&r->log_key, r->dirfd, REC_KEY_LOG, KEY_ED25519, err);
	if (!rc)
		rc = open_signer(r, o->origin, err);
	if (!rc)
		rc = open_log(r, err);
	if (!rc && o->tcti)
		rc = tpm_open(&r->tpm, o->tcti, o->pcr, err);
	if (!rc)
		rc = measured_open(&r->measured, r->dirfd, o->pcr, tlog_size(r->log), r->tpm, err);
	/* Whoever measured the last entry may have died before its chain knew of it. */
	if (!rc)
		r->chained = r->measured.next ? r->measured.next - 1 : 0;
	if (!rc)
		rc = settle(r, err);
	if (rc) {
		att_recorder_close(r);
		return rc;
	}
	*ret = r;
	return 0;
}

void att_recorder_close(struct att_recorder *r)
{
	if (!r)
		return;
	measured_close(&r->measured);
	tpm_close(r->tpm);
	tlog_close(r->log);
	EVP_PKEY_free(r->statement_key);
	EVP_PKEY_free(r->log_key);
	xo_close_ptr(&r->dirfd);
	free(r);
}

/* ---- recording ---- */

static int next_in_chain(struct att_recorder *r, struct att_statement *s, struct xerr *err)
{
	struct rec_link link = {0};
	int rc = rec_chain_length(r, s->vm_uuid, &s->sequence);

	if (!rc && s->sequence)
		rc = rec_chain_get(r, s->vm_uuid, s->sequence - 1, &link);
	if (rc)
		return xerr_set(err, -rc, "the chain of machine %s cannot be read", s->vm_uuid);
	memcpy(s->previous, link.envelope, sizeof(s->previous));
	return 0;
}

int att_record(struct att_recorder *r, struct att_statement *s, uint64_t *ret_leaf,
	       struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf json = XBUF(STATEMENT_MAX_BYTES), env = XBUF(DSSE_MAX_BYTES);
	uint64_t leaf;
	int rc;

	rc = settle(r, err);
	if (!rc)
		rc = next_in_chain(r, s, err);
	if (rc)
		return rc;
	rc = statement_format(&json, s);
	if (!rc)
		rc = dsse_seal(&env, xbuf_span(&json), r->statement_key);
	if (rc)
		return xerr_set(err, -rc, "the statement cannot be written: %s", xo_code_text(rc));
	rc = tlog_append(r->log, xbuf_span(&env), &leaf, err);
	if (rc)
		return rc;
	fault_pass(FAULT_rec_logged);
	rc = settle(r, err);
	if (rc)
		return rc;
	if (ret_leaf)
		*ret_leaf = leaf;
	return 0;
}

int att_checkpoint(struct att_recorder *r, struct xbuf *out, struct xerr *err)
{
	return tlog_checkpoint(r->log, out, err);
}

int att_log_key(struct att_recorder *r, struct xbuf *out)
{
	return note_key_format(out, &r->signer);
}
