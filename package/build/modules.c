// SPDX-License-Identifier: Apache-2.0
#include "package/build/modules.h"

#include <errno.h>
#include <string.h>

#include "package/build/output.h"
#include "package/build/sign.h"
#include "package/build/source.h"
#include "package/cms.h"

struct adding {
	struct modlist *l;
	struct refusal *why;
};

static bool wants(void *arg, const char *path)
{
	(void)arg;
	return source_is_module(path);
}

static int add_module(void *arg, const char *path, struct span file, struct xerr *err)
{
	struct adding *a = arg;
	_cleanup_modref_ struct modref *r = NULL;
	const char *shown = strstr(path, "/kernel/");
	struct xerr found = {0};
	char name[256];
	int rc = modref_make(&r, file, &found);

	if (rc == -XO_EOBJECT || rc == -XO_ELIMIT) {
		xo_escape(SPAN(path, strlen(path)), name, sizeof(name));
		refusal_add(a->why, -rc, "%s: %s", name, found.text);
		return 0;
	}
	if (!rc)
		rc = modlist_add(a->l, r, shown ? shown + 1 : path);
	return rc ? xerr_set(err, -rc, "%s: %s", path, xo_code_text(rc)) : 0;
}

int modules_add_from(struct modlist *l, const char *path, struct refusal *why, struct xerr *err)
{
	struct adding a = {.l = l, .why = why};
	const struct source_visitor v = {.arg = &a, .wants = wants, .take = add_module};

	return source_read(path, &v, err);
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
