// SPDX-License-Identifier: Apache-2.0
/*
 * Modules come plain or compressed, in directories or in Debian's packages: an
 * ar archive, one member of which is a compressed tar. libarchive reads them
 * all, and everything goes through one function for one file.
 */
#include "package/build/modules.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fts.h>
#include <string.h>
#include <sys/stat.h>

#include "package/build/output.h"
#include "package/build/sign.h"
#include "package/cms.h"

#define MAX_DEB	    (512u << 20)
#define MAX_ENTRIES (1u << 20)

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
static bool is_module(const char *path)
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

/* A file that may be compressed; plain ones come out as they are. */
static int decompress(struct span in, struct xbuf *out, const char *path, struct xerr *err)
{
	_cleanup_reader_ struct archive *a = archive_read_new();
	struct archive_entry *e;

	if (!a)
		return xerr_set(err, ENOMEM, "out of memory");
	archive_read_support_filter_all(a);
	archive_read_support_format_raw(a);
	if (archive_read_open_memory(a, in.p, in.len_bytes) != ARCHIVE_OK ||
	    archive_read_next_header(a, &e) != ARCHIVE_OK)
		return broken(a, path, err);
	return read_entry(a, out, path, err);
}

static int add_module(struct modlist *l, const char *path, struct span file, struct refusal *why,
		      struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf plain = XBUF(MODREF_MAX_FILE);
	_cleanup_modref_ struct modref *r = NULL;
	const char *shown = strstr(path, "/kernel/");
	struct xerr found = {0};
	char name[256];
	int rc = decompress(file, &plain, path, err);

	if (rc)
		return rc;
	rc = modref_make(&r, xbuf_span(&plain), &found);
	if (rc == -XO_EOBJECT || rc == -XO_ELIMIT) {
		xo_escape(SPAN(path, strlen(path)), name, sizeof(name));
		refusal_add(why, -rc, "%s: %s", name, found.text);
		return 0;
	}
	if (!rc)
		rc = modlist_add(l, r, shown ? shown + 1 : path);
	return rc ? xerr_set(err, -rc, "%s: %s", path, xo_code_text(rc)) : 0;
}

/* ---- packages ---- */

static int add_tar(struct modlist *l, const char *path, struct span tar, struct refusal *why,
		   struct xerr *err)
{
	_cleanup_reader_ struct archive *a = archive_read_new();
	_cleanup_xbuf_ struct xbuf file = XBUF(MODREF_MAX_FILE);
	struct archive_entry *e;
	int rc = 0, next = ARCHIVE_OK;

	if (!a)
		return xerr_set(err, ENOMEM, "out of memory");
	archive_read_support_filter_all(a);
	archive_read_support_format_tar(a);
	if (archive_read_open_memory(a, tar.p, tar.len_bytes) != ARCHIVE_OK)
		return broken(a, path, err);
	for (uint32_t i = 0; !rc && i < MAX_ENTRIES; i++) {
		const char *name;

		next = archive_read_next_header(a, &e);
		if (next != ARCHIVE_OK && next != ARCHIVE_WARN)
			break;
		name = archive_entry_pathname(e);
		if (!name || archive_entry_filetype(e) != AE_IFREG || !is_module(name))
			continue;
		xbuf_reset(&file);
		rc = read_entry(a, &file, path, err);
		if (!rc)
			rc = add_module(l, name, xbuf_span(&file), why, err);
	}
	if (!rc && next != ARCHIVE_EOF)
		rc = broken(a, path, err);
	return rc;
}

/* deb(5): debian-binary, control.tar.*, data.tar.* */
static int add_deb(struct modlist *l, const char *path, struct refusal *why, struct xerr *err)
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
	return rc ? rc : add_tar(l, path, xbuf_span(&data), why, err);
}

/* ---- files and directories ---- */

static int add_file(struct modlist *l, const char *path, struct refusal *why, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(MODREF_MAX_FILE);
	int rc = xbuf_read_file(&file, path);

	if (rc)
		return xerr_set(err, -rc, "%s: %s", path, xo_code_text(rc));
	return add_module(l, path, xbuf_span(&file), why, err);
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

static int add_dir(struct modlist *l, const char *path, struct refusal *why, struct xerr *err)
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
		if (e->fts_info == FTS_F && is_module(e->fts_path))
			rc = add_file(l, e->fts_path, why, err);
	}
	return rc;
}

int modules_add_from(struct modlist *l, const char *path, struct refusal *why, struct xerr *err)
{
	size_t n = strlen(path);
	struct stat st;

	if (stat(path, &st))
		return xerr_set(err, errno, "%s: %s", path, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return add_dir(l, path, why, err);
	if (n > 4 && !strcmp(path + n - 4, ".deb"))
		return add_deb(l, path, why, err);
	return add_file(l, path, why, err);
}

/* ---- the list ---- */

static int sign(const struct modules_options *o, struct span list, struct xerr *err)
{
	for (size_t i = 0; i < o->nr_signers; i++) {
		const struct build_signer *s = &o->signer[i];
		_cleanup_xbuf_ struct xbuf sig = XBUF(CONTAINER_SIG_MAX);
		char keyid[XO_SHA256_HEX_SIZE], path[4096];
		int rc =
			sign_content(&sig, keyid, CMS_MODULES, s->role, list, s->cert, s->key, err);

		if (rc)
			return rc;
		if ((size_t)snprintf(path, sizeof(path), "%s.%s.%s.p7s", o->output, s->role,
				     keyid) >= sizeof(path))
			return xerr_set(err, ENAMETOOLONG, "%.64s...: %s", o->output,
					strerror(ENAMETOOLONG));
		rc = output_file(path, xbuf_span(&sig), err);
		if (rc)
			return rc;
	}
	return 0;
}

int modules_allow(struct modlist **ret, const struct modules_options *o, struct refusal *why,
		  struct xerr *err)
{
	_cleanup_modlist_ struct modlist *l = calloc(1, sizeof(*l));
	_cleanup_xbuf_ struct xbuf list = XBUF(MODLIST_MAX_BYTES);
	int rc;

	if (!l)
		return xerr_set(err, ENOMEM, "out of memory");
	rc = output_time(l->created, sizeof(l->created), err);
	for (size_t i = 0; !rc && i < o->nr_from; i++)
		rc = modules_add_from(l, o->from[i], why, err);
	if (rc || why->nr)
		return rc;
	modlist_sort(l);
	if (!l->nr) {
		refusal_add(why, XO_EOBJECT, "there is no module in what --from names");
		return 0;
	}
	rc = modlist_format(&list, l);
	if (rc)
		return xerr_set(err, -rc, "list of modules: %s", xo_code_text(rc));
	/* Signatures first: a list that is there is signed. */
	rc = sign(o, xbuf_span(&list), err);
	if (!rc)
		rc = output_file(o->output, xbuf_span(&list), err);
	if (!rc)
		rc = xo_sha256(xbuf_span(&list), l->sha256);
	if (!rc)
		*ret = XO_TAKE_PTR(l);
	return rc;
}
