// SPDX-License-Identifier: Apache-2.0
/* Directories of files in memory, sorted by name. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "attest/attest.h"
#include "attest/file.h"
#include "attest/names.h"

/* Where @name is, or belongs. */
static size_t place(const struct att_files *f, const char *name)
{
	size_t lo = 0, hi = f->nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(f->file[mid].name, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct att_file *att_files_get(const struct att_files *f, const char *name)
{
	size_t i = place(f, name);

	return i < f->nr && !strcmp(f->file[i].name, name) ? &f->file[i] : NULL;
}

static int grow(struct att_files *f)
{
	size_t room = f->room ? f->room * 2 : 32;
	struct att_file *file = realloc(f->file, room * sizeof(*file));
	uint8_t **owned;

	if (!file)
		return -ENOMEM;
	f->file = file;
	owned = realloc(f->owned, room * sizeof(*owned));
	if (!owned)
		return -ENOMEM;
	f->owned = owned;
	f->room = room;
	return 0;
}

/* As att_files_add; @owned is freed with the rest. */
static int add(struct att_files *f, const char *name, struct span bytes, uint8_t *owned)
{
	size_t i = place(f, name), n = strlen(name);
	int rc;

	if (!n || n >= sizeof(f->file[0].name) || f->nr == ATT_FILES_MAX ||
	    bytes.len_bytes > ATT_FILES_MAX_BYTES - f->total_bytes || att_files_get(f, name))
		return -XO_ELIMIT;
	rc = f->nr == f->room ? grow(f) : 0;
	if (rc)
		return rc;
	memmove(f->file + i + 1, f->file + i, (f->nr - i) * sizeof(*f->file));
	memcpy(f->file[i].name, name, n + 1);
	f->file[i].bytes = bytes;
	f->owned[f->nr++] = owned;
	f->total_bytes += bytes.len_bytes;
	return 0;
}

int att_files_add(struct att_files *f, const char *name, struct span bytes)
{
	return add(f, name, bytes, NULL);
}

static int load_file(struct att_files *f, int dirfd, const char *file, const char *name,
		     struct xerr *err)
{
	struct xbuf b = XBUF(ATT_FILES_MAX_BYTES - f->total_bytes);
	int rc = file_read(&b, dirfd, file);

	if (!rc)
		rc = add(f, name, xbuf_span(&b), b.data);
	if (rc) {
		xbuf_free(&b);
		return xerr_set(err, -rc, "%s: %s", name,
				rc == -XO_ELIMIT ? "too many files, or too long" : strerror(-rc));
	}
	return 0;
}

static int load_dir(struct att_files *f, int dirfd, const char *prefix, struct xerr *err);

static int load_entry(struct att_files *f, int dirfd, const char *prefix, const char *entry,
		      struct xerr *err)
{
	_cleanup_close_ int sub = -1;
	char name[sizeof(f->file[0].name)];
	struct stat st;
	int n = snprintf(name, sizeof(name), "%s%s", prefix, entry);

	if (n >= (int)sizeof(name) - 1)
		return xerr_set(err, XO_ELIMIT, "a file's name is too long");
	if (fstatat(dirfd, entry, &st, AT_SYMLINK_NOFOLLOW))
		return xerr_set(err, errno, "%s: %s", name, strerror(errno));
	if (S_ISREG(st.st_mode))
		return load_file(f, dirfd, entry, name, err);
	if (!S_ISDIR(st.st_mode) || prefix[0])
		return 0;
	sub = openat(dirfd, entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (sub < 0)
		return xerr_set(err, errno, "%s: %s", name, strerror(errno));
	memcpy(name + n, "/", 2);
	return load_dir(f, XO_TAKE_FD(sub), name, err);
}

/* Load what is in @dirfd, which is closed. */
static int load_dir(struct att_files *f, int dirfd, const char *prefix, struct xerr *err)
{
	DIR *dir = fdopendir(dirfd);
	const struct dirent *e;
	int rc = 0;

	if (!dir) {
		close(dirfd);
		return -ENOMEM;
	}
	while (!rc && (e = readdir(dir)))
		if (e->d_name[0] != '.')
			rc = load_entry(f, dirfd, prefix, e->d_name, err);
	closedir(dir);
	return rc;
}

int att_files_load(struct att_files *ret, const char *dir, struct xerr *err)
{
	struct att_files f = {0};
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return xerr_set(err, errno, "%s: %s", dir, strerror(errno));
	rc = load_dir(&f, fd, "", err);
	if (rc) {
		att_files_free(&f);
		return xerr_wrap(err, "%s", dir);
	}
	*ret = f;
	return 0;
}

void att_files_free(struct att_files *f)
{
	for (size_t i = 0; i < f->nr; i++)
		free(f->owned[i]);
	free(f->owned);
	free(f->file);
	memset(f, 0, sizeof(*f));
}

/* The envelope that the evidence ends in. */
static const struct att_file *last_statement(const struct att_files *evidence)
{
	const struct att_file *last = NULL;

	for (size_t i = 0; i < evidence->nr; i++)
		if (!strncmp(evidence->file[i].name, "statements/", 11))
			last = &evidence->file[i];
	return last;
}

/* Keep @bytes as @name in the trust directory. */
static int keep(int dirfd, const char *dir, const char *name, struct span bytes, struct xerr *err)
{
	int rc = file_replace(dirfd, name, bytes, 0644);

	return rc ? xerr_set(err, -rc, "%s/%s: %s", dir, name, strerror(-rc)) : 0;
}

int att_remember(const char *dir, const struct att_files *evidence, const struct att_result *res,
		 struct xerr *err)
{
	const struct att_file *f = att_files_get(evidence, EVIDENCE_CHECKPOINT);
	const struct att_file *last = last_statement(evidence);
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char hex[XO_SHA256_HEX_SIZE], name[96];
	uint8_t digest[XO_SHA256_BYTES];
	int rc;

	if (res->verdict != ATT_TRUSTED || !f || !last)
		return xerr_set(err, XO_EMISSING, "only trusted evidence is remembered");
	if (fd < 0)
		return xerr_set(err, errno, "%s: %s", dir, strerror(errno));
	/* One file a log, called after the digest of its name. */
	rc = xo_sha256(SPAN(res->log_origin, strlen(res->log_origin)), digest);
	if (rc)
		return rc;
	xo_hex(SPAN(digest, 8), hex);
	(void)snprintf(name, sizeof(name), TRUST_SEEN "%s", hex);
	rc = keep(fd, dir, name, f->bytes, err);
	if (!rc)
		rc = xo_sha256(last->bytes, digest);
	if (rc)
		return rc;
	xo_hex(SPAN(digest, sizeof(digest)), hex);
	hex[sizeof(hex) - 1] = '\n';
	(void)snprintf(name, sizeof(name), TRUST_ACCEPTED "%s", res->vm_uuid);
	return keep(fd, dir, name, SPAN(hex, sizeof(hex)), err);
}
