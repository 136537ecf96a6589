// SPDX-License-Identifier: Apache-2.0
#include "attest/witness/witness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "attest/file.h"

#define KEY	  "witness.key"
#define VKEY	  "witness.vkey"
#define LOCK	  "lock"
#define LOGS	  "log"
#define STATE	  "state/"
#define VKEY_MAX  256
#define MAX_PROOF 63 /* lines; C2SP tlog-witness */

enum {
	HTTP_OK = 200,
	HTTP_BAD = 400,
	HTTP_FORBIDDEN = 403,
	HTTP_UNKNOWN = 404,
	HTTP_CONFLICT = 409,
	HTTP_UNPROCESSABLE = 422,
	HTTP_FAILED = 500
};

struct witness {
	int dirfd, lockfd;
	EVP_PKEY *key;
	struct note_key self;
};

/** struct request - taken apart */
struct request {
	uint64_t old;
	struct merkle_proof proof;
	struct note note;
	struct checkpoint checkpoint;
};

static int open_self(struct witness *w, const char *name, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf line = XBUF(VKEY_MAX);
	uint8_t pub[KEY_ED25519_BYTES];
	int rc = file_read(&line, w->dirfd, VKEY);

	if (key_ed25519_raw(w->key, pub))
		return xerr_set(err, XO_EINTERNAL, "the witness's key is unusable");
	if (!rc) {
		if (!line.len_bytes ||
		    !note_key_parse(&w->self, SPAN(line.data, line.len_bytes - 1),
				    NOTE_SIG_COSIGNED) ||
		    memcmp(pub, w->self.pub, sizeof(pub)) != 0 ||
		    (name && strcmp(name, w->self.name) != 0))
			return xerr_set(err, XO_ESTATE, VKEY " does not fit the key and name");
		return 0;
	}
	if (rc != -ENOENT)
		return xerr_set(err, XO_ESTATE, VKEY " cannot be read");
	if (!name || note_key_init(&w->self, name, NOTE_SIG_COSIGNED, pub))
		return xerr_set(err, XO_EUSAGE,
				"a new witness needs a name: graphic ASCII without '+' and spaces");
	rc = note_key_format(&line, &w->self);
	if (!rc)
		rc = file_replace(w->dirfd, VKEY, xbuf_span(&line), 0644);
	return rc ? xerr_set(err, -rc, VKEY " cannot be written") : 0;
}

int witness_open(struct witness **ret, const char *dir, const char *name, struct xerr *err)
{
	struct witness *w = calloc(1, sizeof(*w));
	int rc = 0;

	if (!w)
		return -ENOMEM;
	w->lockfd = -1;
	if (mkdir(dir, 0700) && errno != EEXIST)
		rc = xerr_set(err, errno, "%s: %s", dir, strerror(errno));
	w->dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!rc && w->dirfd < 0)
		rc = xerr_set(err, errno, "%s: %s", dir, strerror(errno));
	if (!rc) {
		w->lockfd = openat(w->dirfd, LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (w->lockfd < 0 || flock(w->lockfd, LOCK_EX | LOCK_NB))
			rc = xerr_set(err, XO_ELOCKED, "%s: another witness runs there", dir);
	}
	if (!rc)
		rc = key_open_private(&w->key, w->dirfd, KEY, KEY_ED25519, err);
	if (!rc)
		rc = open_self(w, name, err);
	if (rc) {
		witness_close(w);
		return rc;
	}
	*ret = w;
	return 0;
}

void witness_close(struct witness *w)
{
	if (!w)
		return;
	EVP_PKEY_free(w->key);
	xo_close_ptr(&w->lockfd);
	xo_close_ptr(&w->dirfd);
	free(w);
}

static bool parse(struct request *r, struct span body)
{
	struct span line;

	return body.len_bytes <= WITNESS_MAX_REQUEST && line_take(&body, &line) &&
	       line.len_bytes > 4 && !memcmp(line.p, "old ", 4) &&
	       line_number(SPAN(line.p + 4, line.len_bytes - 4), &r->old) &&
	       proof_parse_lines(&r->proof, body, &body) && r->proof.nr <= MAX_PROOF &&
	       note_parse(&r->note, body) && checkpoint_parse(&r->checkpoint, r->note.text);
}

/* Whether the log is known, and whether a key of it signed. The operator may add logs at any time.
 */
static void find_log(const struct witness *w, const struct request *r, bool *ret_known,
		     bool *ret_signed)
{
	int fd = openat(w->dirfd, LOGS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;

	*ret_known = *ret_signed = false;
	while (dir && (e = readdir(dir))) {
		_cleanup_xbuf_ struct xbuf b = XBUF(VKEY_MAX);
		struct span rest, line;
		struct note_key k;

		if (e->d_name[0] == '.' || file_read(&b, fd, e->d_name))
			continue;
		rest = xbuf_span(&b);
		if (!line_take(&rest, &line) || !note_key_parse(&k, line, NOTE_SIG_ED25519) ||
		    strcmp(k.name, r->checkpoint.origin) != 0)
			continue;
		*ret_known = true;
		*ret_signed |= note_signed_by(&r->note, &k, NULL);
	}
	if (dir)
		closedir(dir);
	else if (fd >= 0)
		close(fd);
}

static int state_path(const char *origin, char out[64])
{
	char hex[XO_SHA256_HEX_SIZE];
	uint8_t digest[XO_SHA256_BYTES];
	int rc = xo_sha256(SPAN(origin, strlen(origin)), digest);

	xo_hex(SPAN(digest, 16), hex);
	(void)snprintf(out, 64, STATE "%.32s", hex);
	return rc;
}

/* The checkpoint cosigned last; of size 0 if there is none. */
static int read_state(const struct witness *w, const char *path, struct checkpoint *ret)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(NOTE_MAX_BYTES);
	int rc = file_read(&b, w->dirfd, path);

	*ret = (struct checkpoint){0};
	if (rc == -ENOENT)
		return 0;
	if (!rc && !checkpoint_parse(ret, xbuf_span(&b)))
		rc = -XO_ESTATE;
	return rc;
}

/* The status that the request deserves, short of cosigning it. */
static unsigned int judge(const struct witness *w, const struct request *r,
			  const struct checkpoint *last)
{
	bool known, is_signed;

	find_log(w, r, &known, &is_signed);
	if (!known)
		return HTTP_UNKNOWN;
	if (!is_signed)
		return HTTP_FORBIDDEN;
	if (r->old > r->checkpoint.size)
		return HTTP_BAD;
	if (r->old != last->size)
		return HTTP_CONFLICT;
	if (r->old == r->checkpoint.size && r->old &&
	    memcmp(last->root, r->checkpoint.root, sizeof(last->root)) != 0)
		return HTTP_CONFLICT;
	if (!merkle_check_consistency(r->old, last->root, r->checkpoint.size, r->checkpoint.root,
				      &r->proof))
		return HTTP_UNPROCESSABLE;
	return HTTP_OK;
}

static void answer(struct witness_answer *a, unsigned int status, const char *text)
{
	a->status = status;
	a->type = "text/plain; charset=utf-8";
	if (xbuf_addf(&a->body, "%s", text))
		a->status = HTTP_FAILED;
}

void witness_add_checkpoint(struct witness *w, struct span body, int64_t now_s,
			    struct witness_answer *ret)
{
	struct request *r = calloc(1, sizeof(*r));
	struct checkpoint last;
	unsigned int status;
	char path[64];

	*ret = (struct witness_answer){.body = XBUF(NOTE_MAX_BYTES)};
	if (!r || !parse(r, body)) {
		answer(ret, r ? HTTP_BAD : HTTP_FAILED, "not an add-checkpoint request\n");
		goto out;
	}
	if (state_path(r->checkpoint.origin, path) || read_state(w, path, &last)) {
		answer(ret, HTTP_FAILED, "the witness's state cannot be read\n");
		goto out;
	}
	status = judge(w, r, &last);
	if (status == HTTP_CONFLICT) {
		ret->status = status;
		ret->type = "text/x.tlog.size";
		if (xbuf_addf(&ret->body, "%" PRIu64 "\n", last.size))
			ret->status = HTTP_FAILED;
	} else if (status != HTTP_OK) {
		answer(ret, status,
		       status == HTTP_UNKNOWN	  ? "this log is not known here\n"
		       : status == HTTP_FORBIDDEN ? "no known key of this log signed it\n"
		       : status == HTTP_BAD	  ? "the old size is larger than the new\n"
						  : "the consistency proof does not hold\n");
	} else if (file_replace(w->dirfd, path, r->note.text, 0600) ||
		   note_sign_line(&ret->body, r->note.text, &w->self, w->key, (uint64_t)now_s)) {
		answer(ret, HTTP_FAILED, "the checkpoint cannot be kept\n");
	} else {
		answer(ret, HTTP_OK, "");
	}
out:
	free(r);
}
