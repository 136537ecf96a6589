// SPDX-License-Identifier: Apache-2.0
#include "package/trust.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#define TRUST_JSON_MAX (1u << 20)
#define PEM_FILES_MAX  256

static void json_free(json_t **j)
{
	json_decref(*j);
}
#define _cleanup_json_ XO_CLEANUP(json_free)

static void trust_free_ptr(struct pkg_trust **t)
{
	pkg_trust_free(*t);
}

/* Every key of @o must be one of the NULL-terminated @known. */
static int only_keys(const json_t *o, const char *const *known, struct xerr *err)
{
	char shown[128];
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)o, key, value)
	{
		size_t i = 0;

		while (known[i] && strcmp(known[i], key) != 0)
			i++;
		if (!known[i])
			return xerr_set(err, XO_EMALFORMED, "trust.json: unknown key \"%s\"",
					xo_escape(SPAN(key, strlen(key)), shown, sizeof(shown)));
	}
	return 0;
}

static int parse_signers(struct trust_role *r, const json_t *signers, struct xerr *err)
{
	uint8_t raw[XO_SHA256_BYTES];

	if (json_is_string(signers) && !strcmp(json_string_value(signers), "any")) {
		r->any = true;
		return 0;
	}
	if (!json_is_array(signers))
		return xerr_set(err, XO_EMALFORMED,
				"trust.json: role %s: signers must be \"any\" or key ids", r->name);
	r->signer = calloc(json_array_size(signers) + 1, sizeof(*r->signer));
	if (!r->signer)
		return -ENOMEM;
	for (size_t i = 0; i < json_array_size(signers); i++) {
		const char *id = json_string_value(json_array_get(signers, i));

		if (!id || !xo_unhex(id, raw, sizeof(raw)))
			return xerr_set(err, XO_EMALFORMED,
					"trust.json: role %s: signer %zu is not the 64 hex "
					"digits of a key id",
					r->name, i);
		xo_hex(SPAN(raw, sizeof(raw)), r->signer[r->nr_signers]);
		if (trust_role_has(r, r->signer[r->nr_signers]))
			return xerr_set(err, XO_EMALFORMED,
					"trust.json: role %s: signer %s is listed twice", r->name,
					id);
		r->nr_signers++;
	}
	return 0;
}

static int parse_role(struct trust_role *r, const char *name, const json_t *o, struct xerr *err)
{
	static const char *const keys[] = {"threshold", "signers", NULL};
	char shown[128];
	json_int_t k;
	int rc;

	if (!container_role_ok(name) || !json_is_object(o))
		return xerr_set(
			err, XO_EMALFORMED,
			"trust.json: \"%s\" is not a role: its name must be [a-z][a-z0-9-]*, "
			"at most %d, its value an object",
			xo_escape(SPAN(name, strlen(name)), shown, sizeof(shown)),
			CONTAINER_ROLE_MAX);
	memcpy(r->name, name, strlen(name) + 1);
	rc = only_keys(o, keys, err);
	if (!rc)
		rc = parse_signers(r, json_object_get(o, "signers"), err);
	if (rc)
		return rc;
	k = json_integer_value(json_object_get(o, "threshold"));
	if (k < 1 || k > PKG_MAX_SIGNERS || (!r->any && (size_t)k > r->nr_signers))
		return xerr_set(err, XO_EMALFORMED,
				"trust.json: role %s: threshold must be 1 to %d and not exceed "
				"the number of signers",
				name, PKG_MAX_SIGNERS);
	r->threshold = (size_t)k;
	return 0;
}

static int parse_json(struct pkg_trust *t, struct span bytes, struct xerr *err)
{
	static const char *const keys[] = {"format", "roles", NULL};
	_cleanup_json_ json_t *root = NULL;
	const char *format, *name;
	json_t *roles, *role;
	json_error_t je;
	int rc;

	root = json_loadb((const char *)bytes.p, bytes.len_bytes, JSON_REJECT_DUPLICATES, &je);
	if (!root)
		return xerr_set(err, XO_EMALFORMED, "trust.json: line %d: %s", je.line, je.text);
	rc = only_keys(root, keys, err);
	if (rc)
		return rc;
	format = json_string_value(json_object_get(root, "format"));
	roles = json_object_get(root, "roles");
	if (!format || strcmp(format, "xpatch-trust/1") != 0 || json_object_size(roles) < 1 ||
	    json_object_size(roles) > TRUST_MAX_ROLES)
		return xerr_set(err, XO_EMALFORMED,
				"trust.json: format must be \"xpatch-trust/1\", and roles an "
				"object of 1 to %d",
				TRUST_MAX_ROLES);
	json_object_foreach(roles, name, role)
	{
		rc = parse_role(&t->role[t->nr_roles++], name, role, err);
		if (rc)
			return rc;
	}
	return 0;
}

static int add_cert(struct pkg_trust *t, X509 *cert)
{
	if (X509_self_signed(cert, 1) == 1)
		return X509_STORE_add_cert(t->store, cert) == 1 ? 0 : -XO_EINTERNAL;
	if (X509_up_ref(cert) != 1)
		return -XO_EINTERNAL;
	if (!sk_X509_push(t->intermediates, cert)) {
		X509_free(cert);
		return -ENOMEM;
	}
	return 0;
}

/* All certificates and CRLs of one PEM file; there must be some. */
static int load_pem(struct pkg_trust *t, const char *path, struct xerr *err)
{
	STACK_OF(X509_INFO) *all = NULL;
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	size_t nr = 0;
	int rc = 0;

	if (!f)
		return xerr_set(err, errno, "%s: %s", path, strerror(errno));
	all = PEM_X509_INFO_read(f, NULL, NULL, NULL);
	for (int i = 0; !rc && i < sk_X509_INFO_num(all); i++) {
		X509_INFO *info = sk_X509_INFO_value(all, i);

		if (info->x509) {
			rc = add_cert(t, info->x509);
			nr++;
		}
		if (!rc && info->crl) {
			rc = X509_STORE_add_crl(t->store, info->crl) == 1 ? 0 : -XO_EINTERNAL;
			nr++;
		}
	}
	sk_X509_INFO_pop_free(all, X509_INFO_free);
	ERR_clear_error();
	if (!rc && !nr)
		rc = -XO_EMALFORMED;
	if (rc)
		return xerr_set(err, -rc, "%s: no certificate or CRL could be read from it", path);
	return 0;
}

static int is_pem(const struct dirent *d)
{
	size_t n = strlen(d->d_name);

	return n > 4 && !strcmp(d->d_name + n - 4, ".pem");
}

/* Load every *.pem in DIR/SUB, by name. Return: how many files, or a code */
static int load_folder(struct pkg_trust *t, const char *dir, const char *sub, struct xerr *err)
{
	_cleanup_free_ char *folder = NULL;
	struct dirent **entry = NULL;
	int nr, rc = 0;

	if (asprintf(&folder, "%s/%s", dir, sub) < 0) {
		folder = NULL;
		return -ENOMEM;
	}
	nr = scandir(folder, &entry, is_pem, alphasort);
	if (nr < 0)
		return errno == ENOENT ? 0 : xerr_set(err, errno, "%s: cannot be listed", folder);
	if (nr > PEM_FILES_MAX)
		rc = xerr_set(err, XO_ELIMIT, "%s: more than %d files", folder, PEM_FILES_MAX);
	for (int i = 0; i < nr; i++) {
		_cleanup_free_ char *path = NULL;

		if (!rc && asprintf(&path, "%s/%s", folder, entry[i]->d_name) < 0) {
			path = NULL;
			rc = -ENOMEM;
		}
		if (!rc)
			rc = load_pem(t, path, err);
		free(entry[i]);
	}
	free(entry);
	return rc ? rc : nr;
}

static int load_certs(struct pkg_trust *t, const char *dir, struct xerr *err)
{
	int nr;

	t->store = X509_STORE_new();
	t->intermediates = sk_X509_new_null();
	if (!t->store || !t->intermediates)
		return -ENOMEM;
	nr = load_folder(t, dir, "ca", err);
	if (nr < 0)
		return nr;
	if (!nr)
		return xerr_set(err, ENOENT, "%s/ca: holds no *.pem; put the roots there", dir);
	nr = load_folder(t, dir, "crl", err);
	if (nr < 0)
		return nr;
	if (nr > 0 &&
	    X509_STORE_set_flags(t->store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) != 1)
		return -XO_EINTERNAL;
	return 0;
}

int pkg_trust_load(struct pkg_trust **ret, const char *dir, struct xerr *err)
{
	XO_CLEANUP(trust_free_ptr) struct pkg_trust *t = calloc(1, sizeof(*t));
	_cleanup_xbuf_ struct xbuf json = XBUF(TRUST_JSON_MAX);
	_cleanup_free_ char *path = NULL;
	int rc;

	if (!t)
		return xerr_set(err, ENOMEM, "trust directory: out of memory");
	if (asprintf(&path, "%s/trust.json", dir) < 0) {
		path = NULL;
		return xerr_set(err, ENOMEM, "trust directory: out of memory");
	}
	rc = xbuf_read_file(&json, path);
	if (rc)
		return xerr_set(err, -rc, "%s: cannot be read: %s", path, xo_code_text(rc));
	rc = parse_json(t, xbuf_span(&json), err);
	if (!rc)
		rc = load_certs(t, dir, err);
	if (rc)
		return xerr_set(err, -rc, "%s: cannot be loaded: %s", dir, xo_code_text(rc));
	*ret = XO_TAKE_PTR(t);
	return 0;
}

void pkg_trust_free(struct pkg_trust *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->nr_roles; i++)
		free(t->role[i].signer);
	X509_STORE_free(t->store);
	sk_X509_pop_free(t->intermediates, X509_free);
	free(t);
}

const struct trust_role *trust_role_find(const struct pkg_trust *t, const char *name)
{
	for (size_t i = 0; i < t->nr_roles; i++)
		if (!strcmp(t->role[i].name, name))
			return &t->role[i];
	return NULL;
}

bool trust_role_has(const struct trust_role *r, const char *keyid)
{
	for (size_t i = 0; i < r->nr_signers; i++)
		if (!strcmp(r->signer[i], keyid))
			return true;
	return r->any;
}
