// SPDX-License-Identifier: Apache-2.0
/*
 * What a distribution ships comes plain or compressed, in directories or in
 * Debian's packages: an ar archive, one member of which is a compressed tar.
 * libarchive reads them all, and everything goes through one function for one
 * file.
 */
#include "package/build/source.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fts.h>
#include <string.h>
#include <sys/stat.h>

#include "package/modref.h"

#define MAX_DEB	    (512u << 20)
#define MAX_ENTRIES (1u << 20)
#define MAX_PLAIN   (INT64_C(4) << 30) /* that a package may grow to, with what nobody wants */
#define MAX_LIST    (16u << 20)
#define DPKG_LIST   "/var/lib/dpkg/info/%s%s.list"

static void reader_free(struct archive **a)
{
	archive_read_free(*a);
}
#define _cleanup_reader_ XO_CLEANUP(reader_free)

static void xbuf_reset(struct xbuf *b)
{
	b->len_bytes = 0;
}

/* "loop" and what it may be compressed as. */
bool source_is_module(const char *path)
{
	static const char *const ends[] = {".ko", ".ko.xz", ".ko.zst", ".ko.gz"};
	size_t n = strlen(path);

	for (size_t i = 0; i < XO_ARRAY_SIZE(ends); i++)
		if (n > strlen(ends[i]) && !strcmp(path + n - strlen(ends[i]), ends[i]))
			return true;
	return false;
}

static int broken(struct archive *a, const char *path, struct xerr *err)
{
	const char *text = archive_error_string(a);

	return xerr_set(err, XO_EMALFORMED, "%s: %s", path, text ? text : "cannot be read");
}

/* The rest of the entry the archive stands at. */
static int read_entry(struct archive *a, struct xbuf *out, const char *path, struct xerr *err)
{
	for (;;) {
		uint8_t block[65536];
		la_ssize_t n = archive_read_data(a, block, sizeof(block));
		int rc;

		if (n < 0)
			return broken(a, path, err);
		if (!n)
			return 0;
		rc = xbuf_add(out, block, (size_t)n);
		if (rc)
			return xerr_set(err, -rc, "%s: %s", path, xo_code_text(rc));
	}
}

/* Open what is compressed as distributions do, or not at all. Compressed twice, a few bytes that
 * come out can be any number of bytes between. */
static int open_plain(struct archive *a, struct span in, const char *path, struct xerr *err)
{
	archive_read_support_filter_gzip(a);
	archive_read_support_filter_xz(a);
	archive_read_support_filter_zstd(a);
	if (archive_read_open_memory(a, in.p, in.len_bytes) != ARCHIVE_OK)
		return broken(a, path, err);
	/* The last one is the memory itself. */
	if (archive_filter_count(a) > 2)
		return xerr_set(err, XO_EMALFORMED, "%s: is compressed more than once", path);
	return 0;
}

/* A file that may be compressed; plain ones come out as they are. */
static int decompress(struct span in, struct xbuf *out, const char *path, struct xerr *err)
{
	_cleanup_reader_ struct archive *a = archive_read_new();
	struct archive_entry *e;
	int rc;

	if (!a)
		return xerr_set(err, ENOMEM, "out of memory");
	archive_read_support_format_raw(a);
	rc = open_plain(a, in, path, err);
	if (!rc && archive_read_next_header(a, &e) != ARCHIVE_OK)
		rc = broken(a, path, err);
	return rc ? rc : read_entry(a, out, path, err);
}

bool source_is_kernel(const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	return !strcmp(name, "vmlinuz") || !strncmp(name, "vmlinuz-", strlen("vmlinuz-"));
}

static int take(const struct source_visitor *v, const char *path, struct span file,
		struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf plain = XBUF(MODREF_MAX_FILE);
	int rc;

	if (!source_is_module(path))
		return v->take(v->arg, path, file, err);
	rc = decompress(file, &plain, path, err);
	return rc ? rc : v->take(v->arg, path, xbuf_span(&plain), err);
}

/* ---- packages ---- */

/* Also what is passed over has to be decompressed. */
static int check_room(struct archive *a, struct archive_entry *e, const char *path,
		      struct xerr *err)
{
	int64_t so_far = archive_filter_bytes(a, 0), size = archive_entry_size(e);

	if (so_far >= 0 && so_far <= MAX_PLAIN && size >= 0 && size <= MAX_PLAIN - so_far)
		return 0;
	return xerr_set(err, XO_ELIMIT, "%s: holds more than %lld bytes", path,
			(long long)MAX_PLAIN);
}

static int add_tar(const struct source_visitor *v, const char *path, struct span tar,
		   struct xerr *err)
{
	_cleanup_reader_ struct archive *a = archive_read_new();
	_cleanup_xbuf_ struct xbuf file = XBUF(MODREF_MAX_FILE);
	struct archive_entry *e;
	int rc, next = ARCHIVE_OK;

	if (!a)
		return xerr_set(err, ENOMEM, "out of memory");
	archive_read_support_format_tar(a);
	rc = open_plain(a, tar, path, err);
	for (uint32_t i = 0; !rc && i < MAX_ENTRIES; i++) {
		const char *name;

		next = archive_read_next_header(a, &e);
		if (next != ARCHIVE_OK && next != ARCHIVE_WARN)
			break;
		rc = check_room(a, e, path, err);
		name = archive_entry_pathname(e);
		if (rc || !name || archive_entry_filetype(e) != AE_IFREG || !v->wants(v->arg, name))
			continue;
		xbuf_reset(&file);
		rc = read_entry(a, &file, path, err);
		if (!rc)
			rc = take(v, name, xbuf_span(&file), err);
	}
	if (!rc && next != ARCHIVE_EOF)
		rc = broken(a, path, err);
	return rc;
}

/* deb(5): debian-binary, control.tar.*, data.tar.* */
static int add_deb(const struct source_visitor *v, const char *path, struct xerr *err)
{
	_cleanup_reader_ struct archive *a = archive_read_new();
	_cleanup_xbuf_ struct xbuf data = XBUF(MAX_DEB);
	struct archive_entry *e;
	int rc;

	if (!a)
		return xerr_set(err, ENOMEM, "out of memory");
	archive_read_support_format_ar(a);
	if (archive_read_open_filename(a, path, 65536) != ARCHIVE_OK)
		return broken(a, path, err);
	do {
		if (archive_read_next_header(a, &e) != ARCHIVE_OK)
			return xerr_set(err, XO_EMALFORMED, "%s: is no Debian package: no data.tar",
					path);
	} while (!archive_entry_pathname(e) ||
		 strncmp(archive_entry_pathname(e), "data.tar", 8) != 0);
	rc = read_entry(a, &data, path, err);
	return rc ? rc : add_tar(v, path, xbuf_span(&data), err);
}

/* ---- files and directories ---- */

static int add_file(const struct source_visitor *v, const char *path, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(MODREF_MAX_FILE);
	int rc = xbuf_read_file(&file, path);

	if (rc)
		return xerr_set(err, -rc, "%s: %s", path, xo_code_text(rc));
	return take(v, path, xbuf_span(&file), err);
}

static void fts_free(FTS **f)
{
	if (*f)
		fts_close(*f);
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int add_dir(const struct source_visitor *v, const char *path, struct xerr *err)
{
	char *const paths[] = {(char *)(uintptr_t)path, NULL};
	XO_CLEANUP(fts_free) FTS *f = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
	FTSENT *e;
	int rc = 0;

	if (!f)
		return xerr_set(err, errno, "%s: %s", path, strerror(errno));
	while (!rc && (e = fts_read(f))) {
		if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR || e->fts_info == FTS_NS)
			return xerr_set(err, e->fts_errno, "%s: %s", e->fts_path,
					strerror(e->fts_errno));
		if (e->fts_info == FTS_F && v->wants(v->arg, e->fts_path))
			rc = add_file(v, e->fts_path, err);
	}
	return rc;
}

/* ---- packages that are installed ---- */

/* dpkg's list of a package's files, which for some has the architecture in its name. */
static int read_list(const char *name, struct xbuf *ret)
{
	static const char *const arches[] = {"", ":amd64"};
	int rc = -ENOENT;

	for (size_t i = 0; rc && i < XO_ARRAY_SIZE(arches); i++) {
		char path[512];

		if ((size_t)snprintf(path, sizeof(path), DPKG_LIST, name, arches[i]) < sizeof(path))
			rc = xbuf_read_file(ret, path);
	}
	return rc;
}

static int add_installed(const struct source_visitor *v, const char *name, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf list = XBUF(MAX_LIST);
	char *line, *rest;
	int rc = strchr(name, '/') ? -ENOENT : read_list(name, &list);

	if (!rc)
		rc = xbuf_add(&list, "", 1);
	if (rc)
		return xerr_set(err, -rc, "%s: no such file, nor a package that is installed",
				name);
	for (line = strtok_r((char *)list.data, "\n", &rest); line && !rc;
	     line = strtok_r(NULL, "\n", &rest)) {
		struct stat st;

		if (v->wants(v->arg, line) && !stat(line, &st) && S_ISREG(st.st_mode))
			rc = add_file(v, line, err);
	}
	return rc;
}

int source_read(const char *path, const struct source_visitor *v, struct xerr *err)
{
	size_t n = strlen(path);
	struct stat st;

	if (stat(path, &st))
		return errno == ENOENT ? add_installed(v, path, err)
				       : xerr_set(err, errno, "%s: %s", path, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return add_dir(v, path, err);
	if (n > 4 && !strcmp(path + n - 4, ".deb"))
		return add_deb(v, path, err);
	return add_file(v, path, err);
}
