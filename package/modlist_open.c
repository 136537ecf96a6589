// SPDX-License-Identifier: Apache-2.0
/* A list and who signed it. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "package/modlist.h"
#include "package/signers.h"

#define SUFFIX ".p7s"

int modlist_open(struct modlist **ret, struct span bytes, const struct container_sig *sig,
		 size_t nr_sigs, const struct pkg_trust *trust, time_t now, struct refusal *why,
		 struct xerr *err)
{
	_cleanup_modlist_ struct modlist *l = NULL;
	struct pkg_signer signer[PKG_MAX_SIGNERS];
	size_t nr_signers = 0, before = why->nr;
	int rc;

	*ret = NULL;
	rc = signers_check(CMS_MODULES, sig, nr_sigs, bytes, trust, now, signer, &nr_signers, why);
	if (!rc && why->nr == before)
		rc = modlist_parse(&l, bytes, why);
	if (rc)
		return xerr_set(err, -rc, "list of modules: checking failed: %s", xo_code_text(rc));
	if (!l)
		return 0;
	memcpy(l->signer, signer, sizeof(signer));
	l->nr_signers = nr_signers;
	*ret = XO_TAKE_PTR(l);
	return 0;
}

/* "BASE.ROLE.KEYID.p7s" */
static bool is_signature(const char *name, const char *base, struct container_sig *ret)
{
	size_t n = strlen(name), base_len = strlen(base), tail = 1 + 64 + strlen(SUFFIX), role;
	uint8_t raw[XO_SHA256_BYTES];
	struct container_sig s = {0};

	if (n <= base_len + 1 + tail || strncmp(name, base, base_len) != 0 ||
	    name[base_len] != '.' || strcmp(name + n - strlen(SUFFIX), SUFFIX) != 0 ||
	    name[n - tail] != '.')
		return false;
	role = n - tail - base_len - 1;
	if (role > CONTAINER_ROLE_MAX)
		return false;
	memcpy(s.role, name + base_len + 1, role);
	memcpy(s.keyid, name + n - tail + 1, 64);
	if (!container_role_ok(s.role) || !xo_unhex(s.keyid, raw, sizeof(raw)) ||
	    strspn(s.keyid, "0123456789abcdef") != 64)
		return false;
	*ret = s;
	return true;
}

struct sigs {
	size_t nr;
	struct container_sig sig[PKG_MAX_SIGNERS];
	struct xbuf bytes[PKG_MAX_SIGNERS];
};

static void sigs_free(struct sigs *s)
{
	for (size_t i = 0; i < s->nr; i++)
		xbuf_free(&s->bytes[i]);
}

static int read_signature(struct sigs *s, const char *dir, const char *name,
			  const struct container_sig *sig, struct refusal *why, struct xerr *err)
{
	char path[4096 + 256 + 2];
	int rc;

	if (s->nr == PKG_MAX_SIGNERS) {
		refusal_add(why, XO_EARCHIVEPATH, "%s: one of more than %d signatures", name,
			    PKG_MAX_SIGNERS);
		return 0;
	}
	snprintf(path, sizeof(path), "%s/%.255s", dir, name);
	s->sig[s->nr] = *sig;
	s->bytes[s->nr] = XBUF(CONTAINER_SIG_MAX);
	rc = xbuf_read_file(&s->bytes[s->nr], path);
	if (rc) {
		xbuf_free(&s->bytes[s->nr]);
		return xerr_set(err, -rc, "%s: %s", path, xo_code_text(rc));
	}
	s->sig[s->nr].bytes = xbuf_span(&s->bytes[s->nr]);
	s->nr++;
	return 0;
}

static int read_signatures(struct sigs *s, const char *path, struct refusal *why, struct xerr *err)
{
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	struct container_sig sig;
	struct dirent *d;
	char dir[4096];
	int rc = 0;
	DIR *stream;

	if (slash && (size_t)(slash - path) >= sizeof(dir))
		return xerr_set(err, ENAMETOOLONG, "%.64s...: %s", path, strerror(ENAMETOOLONG));
	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
	stream = opendir(slash == path ? "/" : dir);
	if (!stream)
		return xerr_set(err, errno, "%s: %s", dir, strerror(errno));
	while (!rc && (d = readdir(stream)))
		if (is_signature(d->d_name, base, &sig))
			rc = read_signature(s, dir, d->d_name, &sig, why, err);
	closedir(stream);
	return rc;
}

int modlist_load(struct modlist **ret, const char *path, const struct pkg_trust *trust, time_t now,
		 struct refusal *why, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(MODLIST_MAX_BYTES);
	XO_CLEANUP(sigs_free) struct sigs s = {0};
	size_t before = why->nr;
	int rc = xbuf_read_file(&file, path);

	*ret = NULL;
	if (rc)
		return xerr_set(err, -rc, "%s: %s", path, xo_code_text(rc));
	rc = read_signatures(&s, path, why, err);
	if (rc || why->nr > before)
		return rc;
	return modlist_open(ret, xbuf_span(&file), s.sig, s.nr, trust, now, why, err);
}
