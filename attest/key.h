/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and signatures: ECDSA on P-256 with SHA-256 for statements and quotes, Ed25519 for the log.
 * A public key travels as PEM SubjectPublicKeyInfo; its name is the SHA-256 of its DER form.
 */
#ifndef EXOPATCH_ATTEST_KEY_H
#define EXOPATCH_ATTEST_KEY_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/util.h"

#define KEY_PEM_MAX_BYTES  8192
#define KEY_ED25519_BYTES  32
#define KEY_ED25519_SIG	   64
#define KEY_P256_SIG_MAX   80 /* DER: two integers of at most 33 bytes */
#define KEY_CERT_MAX_BYTES 65536

enum key_type { KEY_P256, KEY_ED25519 };

/** key_open_private - read the private key file @name of directory @dirfd (mode 0600), making it if
 *  there is none; durable before it returns. Return: 0, -XO_ESTATE, -XO_EINTERNAL, -errno */
int key_open_private(EVP_PKEY **ret, int dirfd, const char *name, enum key_type type,
		     struct xerr *err) XO_MUST_CHECK;

/** key_parse_public - one PEM public key of @type and nothing else. Return: 0, -XO_EMALFORMED */
int key_parse_public(EVP_PKEY **ret, struct span pem, enum key_type type) XO_MUST_CHECK;

/** key_public_pem - append the PEM form of @key's public part */
int key_public_pem(struct xbuf *out, EVP_PKEY *key) XO_MUST_CHECK;

/** key_digest - SHA-256 of the DER SubjectPublicKeyInfo */
int key_digest(EVP_PKEY *key, uint8_t ret[XO_SHA256_BYTES]) XO_MUST_CHECK;

/** key_sign - sign @msg. @ret: KEY_P256_SIG_MAX bytes (DER for P-256, 64 raw for Ed25519) */
int key_sign(EVP_PKEY *key, struct span msg, uint8_t *ret, size_t *ret_len) XO_MUST_CHECK;

/** key_verify - whether @sig is @key's signature over @msg */
bool key_verify(EVP_PKEY *key, struct span msg, struct span sig) XO_MUST_CHECK;

/** key_ed25519_raw - the 32 bytes of an Ed25519 public key */
int key_ed25519_raw(EVP_PKEY *key, uint8_t ret[KEY_ED25519_BYTES]) XO_MUST_CHECK;

/**
 * key_check_cert - does the first PEM certificate of @pem vouch for @key at @now?
 * @pem: the key's certificate, then intermediates
 * @what: the key's role, for messages
 * @why: XO_EEXPIRED, XO_EUNTRUSTED
 * Return: whether it does
 */
bool key_check_cert(EVP_PKEY *key, struct span pem, X509_STORE *roots, int64_t now_s,
		    const char *what, struct refusal *why) XO_MUST_CHECK;

static inline void key_free_ptr(EVP_PKEY **k)
{
	EVP_PKEY_free(*k);
}
#define _cleanup_key_ XO_CLEANUP(key_free_ptr)

#endif
