// SPDX-License-Identifier: Apache-2.0
/* A recorder's log, read beside its writer: only what the last checkpoint covers. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#include "attest/attest.h"
#include "attest/dsse.h"
#include "attest/file.h"
#include "attest/note.h"
#include "attest/recorder.h"
#include "attest/statement.h"
#include "attest/statement_words.h"
#include "attest/tiles.h"

/** struct reading - an open log and its checkpoint, whose signature nobody has looked at */
struct reading {
	struct tiles tiles;
	struct xbuf note;
	struct checkpoint checkpoint;
};

static void reading_close(struct reading *r)
{
	xo_close_ptr(&r->tiles.dirfd);
	xbuf_free(&r->note);
}

static int reading_open(struct reading *r, const char *dir, struct xerr *err)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct note n;
	int rc;

	r->note = XBUF(NOTE_MAX_BYTES);
	r->tiles.dirfd = fd < 0 ? -1 : openat(fd, REC_LOG_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->tiles.dirfd < 0)
		return xerr_set(err, errno, "%s: there is no log: %s", dir, strerror(errno));
	rc = file_read(&r->note, r->tiles.dirfd, "checkpoint");
	if (rc == -ENOENT)
		return xerr_set(err, XO_EMISSING, "%s: the log has no checkpoint yet", dir);
	if (rc || !note_parse(&n, xbuf_span(&r->note)) || !checkpoint_parse(&r->checkpoint, n.text))
		return xerr_set(err, XO_ELOG, "%s: the log's checkpoint is damaged", dir);
	r->tiles.size = r->checkpoint.size;
	return 0;
}

#define _cleanup_reading_ XO_CLEANUP(reading_close)

int att_log_read_checkpoint(const char *dir, struct xbuf *out, struct xerr *err)
{
	_cleanup_reading_ struct reading r = {0};
	int rc = reading_open(&r, dir, err);

	return rc ? rc : xbuf_add(out, r.note.data, r.note.len_bytes);
}

int att_log_size(const char *dir, uint64_t *ret, struct xerr *err)
{
	_cleanup_reading_ struct reading r = {0};
	int rc = reading_open(&r, dir, err);

	if (!rc)
		*ret = r.checkpoint.size;
	return rc;
}

static int no_entry(const struct reading *r, uint64_t index, struct xerr *err)
{
	return xerr_set(err, XO_EUSAGE, "there is no entry %" PRIu64 ", the log has %" PRIu64,
			index, r->checkpoint.size);
}

int att_log_entry(const char *dir, uint64_t index, struct xbuf *out, struct xerr *err)
{
	_cleanup_reading_ struct reading r = {0};
	int rc = reading_open(&r, dir, err);

	if (rc)
		return rc;
	if (index >= r.checkpoint.size)
		return no_entry(&r, index, err);
	rc = tiles_entry(out, r.tiles.dirfd, r.tiles.size, index);
	return rc ? xerr_set(err, -rc, "entry %" PRIu64 " of the log is damaged", index) : 0;
}

int att_log_prove(const char *dir, uint64_t index, struct xbuf *out, struct xerr *err)
{
	_cleanup_reading_ struct reading r = {0};
	struct merkle_tree tree = {.node = tiles_node, .arg = &r.tiles};
	struct merkle_proof p;
	int rc = reading_open(&r, dir, err);

	if (rc)
		return rc;
	if (index >= r.checkpoint.size)
		return no_entry(&r, index, err);
	rc = merkle_prove_inclusion(&tree, index, r.tiles.size, &p);
	if (!rc)
		rc = tlog_proof_format(out, index, &p, xbuf_span(&r.note));
	return rc ? xerr_set(err, -rc, "entry %" PRIu64 " cannot be proved", index) : 0;
}

int att_log_consistency(const char *dir, uint64_t old, struct xbuf *out, struct xerr *err)
{
	_cleanup_reading_ struct reading r = {0};
	struct merkle_tree tree = {.node = tiles_node, .arg = &r.tiles};
	struct merkle_proof p;
	int rc = reading_open(&r, dir, err);

	if (rc)
		return rc;
	if (old > r.checkpoint.size)
		return no_entry(&r, old, err);
	rc = merkle_prove_consistency(&tree, old, r.tiles.size, &p);
	if (!rc)
		rc = xbuf_addf(out, "old %" PRIu64 "\n", old);
	if (!rc)
		rc = proof_lines(out, &p);
	if (!rc)
		rc = xbuf_add(out, "\n", 1);
	if (!rc)
		rc = xbuf_add(out, r.note.data, r.note.len_bytes);
	return rc ? xerr_set(err, -rc, "there is no proof from size %" PRIu64, old) : 0;
}

int att_statement_line(struct span envelope, struct xbuf *out, struct xerr *err)
{
	_cleanup_free_ struct att_statement *s = calloc(1, sizeof(*s));
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_dsse_ struct dsse e = {0};
	char when[21];

	if (!s)
		return -ENOMEM;
	if (!dsse_parse(&e, envelope, "entry", &why) ||
	    !statement_parse(s, xbuf_span(&e.payload), "entry", &why))
		return xerr_set(err, XO_EMALFORMED, "%s", why.reason[0].detail);
	json_time(s->finished_s, when);
	if (s->kind == ATT_APPRAISAL)
		return xbuf_addf(out, "%s  %s  appraisal", when, s->vm_uuid);
	return xbuf_addf(out, "%s  %s  %s %s%s%s", when, s->vm_uuid, att_act_name(s->action.act),
			 statement_verdicts[s->action.verdict], s->action.has_package ? "  " : "",
			 s->action.has_package ? s->action.package.id : "");
}
