// SPDX-License-Identifier: Apache-2.0
#include <openssl/pem.h>

#include "attest/verify.h"

static bool has_prefix(const struct att_file *f, const char *dir)
{
	return !strncmp(f->name, dir, strlen(dir));
}

/* Whether @key is one of the trust directory's @dir. */
static bool is_pinned(const struct verify *v, EVP_PKEY *key, const char *dir)
{
	for (size_t i = 0; i < v->trust->nr; i++) {
		const struct att_file *f = &v->trust->file[i];
		_cleanup_key_ EVP_PKEY *pinned = NULL;

		if (has_prefix(f, dir) && !key_parse_public(&pinned, f->bytes, KEY_P256) &&
		    EVP_PKEY_eq(pinned, key) == 1)
			return true;
	}
	return false;
}

/* The trust directory's roots. Return: NULL if memory ran out */
static X509_STORE *load_roots(const struct verify *v)
{
	X509_STORE *store = X509_STORE_new();

	for (size_t i = 0; store && i < v->trust->nr; i++) {
		const struct att_file *f = &v->trust->file[i];
		BIO *bio;
		X509 *cert;

		if (!has_prefix(f, TRUST_CA) || f->bytes.len_bytes > KEY_CERT_MAX_BYTES)
			continue;
		bio = BIO_new_mem_buf(f->bytes.p, (int)f->bytes.len_bytes);
		while (bio && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
			X509_STORE_add_cert(store, cert);
			X509_free(cert);
		}
		BIO_free(bio);
	}
	return store;
}

/*
 * The key in file @name: trusted if the trust directory pins it, or a certificate beside it holds.
 * Return: the key, or NULL with the reason given
 */
static EVP_PKEY *trusted_key(struct verify *v, const char *name, const char *cert_name,
			     const char *dir, const char *what)
{
	const struct att_file *f = verify_file(v, name), *cert;
	_cleanup_key_ EVP_PKEY *key = NULL;
	X509_STORE *roots;
	bool good;

	if (!f)
		return NULL;
	if (key_parse_public(&key, f->bytes, KEY_P256)) {
		refusal_add(v->why, XO_EUNTRUSTED, "%s: is not a P-256 public key", name);
		return NULL;
	}
	cert = att_files_get(v->evidence, cert_name);
	if (is_pinned(v, key, dir))
		return XO_TAKE_PTR(key);
	if (!cert) {
		refusal_add(v->why, XO_EUNTRUSTED,
			    "the %s is neither in the trust directory's %s nor certified", what,
			    dir);
		return NULL;
	}
	roots = load_roots(v);
	good = roots && key_check_cert(key, cert->bytes, roots, v->expect->now_s, what, v->why);
	X509_STORE_free(roots);
	return good ? XO_TAKE_PTR(key) : NULL;
}

/* The attestation key says of the statement key: I was told of it while I was in this TPM. */
static bool certified_by_ak(struct verify *v, EVP_PKEY *key)
{
	const struct att_file *msg = verify_file(v, EVIDENCE_KEY_MSG);
	const struct att_file *sig = verify_file(v, EVIDENCE_KEY_SIG);
	uint8_t want[XO_SHA256_BYTES];
	struct quote q;

	if (!msg || !sig)
		return false;
	if (!quote_signed_by(msg->bytes, sig->bytes, v->ak)) {
		refusal_add(v->why, XO_ESIGNATURE,
			    EVIDENCE_KEY_SIG ": is not the attestation key's");
		return false;
	}
	if (!quote_parse(&q, msg->bytes)) {
		refusal_add(v->why, XO_EQUOTE,
			    EVIDENCE_KEY_MSG ": is not a quote over SHA-256 PCRs");
		return false;
	}
	if (quote_over_key(key, want) || q.extra_len != sizeof(want) ||
	    memcmp(q.extra, want, sizeof(want)) != 0) {
		refusal_add(v->why, XO_EKEYBINDING,
			    "the attestation key vouched for another statement key");
		return false;
	}
	return true;
}

void verify_keys(struct verify *v)
{
	_cleanup_key_ EVP_PKEY *key = NULL;
	const struct att_file *f;

	if (!att_files_get(v->evidence, EVIDENCE_AK)) {
		if (v->expect->require_tpm)
			refusal_add(v->why, XO_ESOFTWARE, "there is no attestation key");
		v->statement_key = trusted_key(v, EVIDENCE_STATEMENT_KEY, EVIDENCE_STATEMENT_CERT,
					       TRUST_STATEMENT, "statement key");
		return;
	}
	v->ret->tpm_rooted = true;
	v->ak = trusted_key(v, EVIDENCE_AK, EVIDENCE_AK_CERT, TRUST_AK, "attestation key");
	f = verify_file(v, EVIDENCE_STATEMENT_KEY);
	if (!v->ak || !f)
		return;
	if (key_parse_public(&key, f->bytes, KEY_P256)) {
		refusal_add(v->why, XO_EUNTRUSTED,
			    EVIDENCE_STATEMENT_KEY ": is not a P-256 public key");
		return;
	}
	if (certified_by_ak(v, key))
		v->statement_key = XO_TAKE_PTR(key);
}
