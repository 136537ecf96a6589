// SPDX-License-Identifier: Apache-2.0
#include "attest/key.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <sys/stat.h>

#define P256_NAME "prime256v1"
#define MAX_CHAIN 8

static void bio_free_ptr(BIO **b)
{
	BIO_free(*b);
}

static void bytes_free_ptr(unsigned char **p)
{
	OPENSSL_free(*p);
}

static bool is_type(EVP_PKEY *key, enum key_type type)
{
	char group[32];

	if (type == KEY_ED25519)
		return EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519;
	return EVP_PKEY_get_base_id(key) == EVP_PKEY_EC &&
	       EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1 &&
	       !strcmp(group, P256_NAME);
}

static int write_private(int dirfd, const char *name, EVP_PKEY *key, struct xerr *err)
{
	XO_CLEANUP(bio_free_ptr) BIO *bio = BIO_new(BIO_s_mem());
	_cleanup_close_ int fd = -1;
	const char *pem;
	char tmp[64];
	long n;

	if (!bio || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
		return xerr_set(err, XO_EINTERNAL, "%s: the key cannot be encoded", name);
	n = BIO_get_mem_data(bio, &pem);
	snprintf(tmp, sizeof(tmp), ".%s.new", name);
	fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, pem, (size_t)n) != n || fsync(fd) ||
	    renameat(dirfd, tmp, dirfd, name) || fsync(dirfd))
		return xerr_set(err, XO_ESTATE, "%s: cannot be written: %s", name, strerror(errno));
	return 0;
}

static int make_private(EVP_PKEY **ret, int dirfd, const char *name, enum key_type type,
			struct xerr *err)
{
	_cleanup_key_ EVP_PKEY *key = type == KEY_P256
					      ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", P256_NAME)
					      : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	int rc;

	if (!key)
		return xerr_set(err, XO_EINTERNAL, "%s: no key could be made", name);
	rc = write_private(dirfd, name, key, err);
	if (rc)
		return rc;
	*ret = XO_TAKE_PTR(key);
	return 0;
}

int key_open_private(EVP_PKEY **ret, int dirfd, const char *name, enum key_type type,
		     struct xerr *err)
{
	_cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	XO_CLEANUP(bio_free_ptr) BIO *bio = NULL;
	_cleanup_xbuf_ struct xbuf pem = XBUF(KEY_PEM_MAX_BYTES);
	_cleanup_key_ EVP_PKEY *key = NULL;
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return make_private(ret, dirfd, name, type, err);
	if (fd < 0 || fstat(fd, &st) || xbuf_read_fd(&pem, fd))
		return xerr_set(err, XO_ESTATE, "%s: cannot be read: %s", name, strerror(errno));
	if (st.st_mode & 077)
		return xerr_set(err, XO_ESTATE,
				"%s: others may read this private key; chmod 600 if they did not",
				name);
	bio = BIO_new_mem_buf(pem.data, (int)pem.len_bytes);
	key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)(uintptr_t) "") : NULL;
	OPENSSL_cleanse(pem.data, pem.len_bytes);
	if (!key || !is_type(key, type))
		return xerr_set(err, XO_ESTATE, "%s: is not an unencrypted PEM %s private key",
				name, type == KEY_P256 ? "P-256" : "Ed25519");
	*ret = XO_TAKE_PTR(key);
	return 0;
}

int key_parse_public(EVP_PKEY **ret, struct span pem, enum key_type type)
{
	XO_CLEANUP(bio_free_ptr) BIO *bio = NULL;
	_cleanup_key_ EVP_PKEY *key = NULL;

	if (!pem.len_bytes || pem.len_bytes > KEY_PEM_MAX_BYTES)
		return -XO_EMALFORMED;
	bio = BIO_new_mem_buf(pem.p, (int)pem.len_bytes);
	key = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
	if (!key || !is_type(key, type))
		return -XO_EMALFORMED;
	*ret = XO_TAKE_PTR(key);
	return 0;
}

int key_public_pem(struct xbuf *out, EVP_PKEY *key)
{
	XO_CLEANUP(bio_free_ptr) BIO *bio = BIO_new(BIO_s_mem());
	const char *pem;
	long n;

	if (!bio || PEM_write_bio_PUBKEY(bio, key) != 1)
		return -XO_EINTERNAL;
	n = BIO_get_mem_data(bio, &pem);
	return xbuf_add(out, pem, (size_t)n);
}

int key_digest(EVP_PKEY *key, uint8_t ret[XO_SHA256_BYTES])
{
	XO_CLEANUP(bytes_free_ptr) unsigned char *der = NULL;
	int n = i2d_PUBKEY(key, &der);

	return n > 0 ? xo_sha256(SPAN(der, (size_t)n), ret) : -XO_EINTERNAL;
}

int key_sign(EVP_PKEY *key, struct span msg, uint8_t *ret, size_t *ret_len)
{
	const EVP_MD *md = is_type(key, KEY_P256) ? EVP_sha256() : NULL;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t n = KEY_P256_SIG_MAX;
	bool good = ctx && EVP_DigestSignInit(ctx, NULL, md, NULL, key) == 1 &&
		    EVP_DigestSign(ctx, ret, &n, msg.p, msg.len_bytes) == 1;

	EVP_MD_CTX_free(ctx);
	if (!good)
		return -XO_EINTERNAL;
	*ret_len = n;
	return 0;
}

bool key_verify(EVP_PKEY *key, struct span msg, struct span sig)
{
	const EVP_MD *md = is_type(key, KEY_P256) ? EVP_sha256() : NULL;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool good = ctx && EVP_DigestVerifyInit(ctx, NULL, md, NULL, key) == 1 &&
		    EVP_DigestVerify(ctx, sig.p, sig.len_bytes, msg.p, msg.len_bytes) == 1;

	EVP_MD_CTX_free(ctx);
	return good;
}

int key_ed25519_raw(EVP_PKEY *key, uint8_t ret[KEY_ED25519_BYTES])
{
	size_t n = KEY_ED25519_BYTES;

	return EVP_PKEY_get_raw_public_key(key, ret, &n) == 1 && n == KEY_ED25519_BYTES
		       ? 0
		       : -XO_EINTERNAL;
}

/* Certificates of @pem: the first is the leaf. Return: NULL if there is none or too many */
static STACK_OF(X509) * read_chain(struct span pem)
{
	XO_CLEANUP(bio_free_ptr) BIO *bio = NULL;
	STACK_OF(X509) *chain = sk_X509_new_null();
	X509 *cert;

	if (!chain || !pem.len_bytes || pem.len_bytes > KEY_CERT_MAX_BYTES)
		goto bad;
	bio = BIO_new_mem_buf(pem.p, (int)pem.len_bytes);
	while (bio && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		if (sk_X509_num(chain) >= MAX_CHAIN || !sk_X509_push(chain, cert)) {
			X509_free(cert);
			goto bad;
		}
	}
	if (sk_X509_num(chain) > 0)
		return chain;
bad:
	sk_X509_pop_free(chain, X509_free);
	return NULL;
}

/* OpenSSL's verdict on a chain as one of our codes; XO_OK if it holds. */
static int judge_chain(STACK_OF(X509) * chain, X509_STORE *roots, int64_t now_s, const char **cause)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	int code = XO_EUNTRUSTED, x;

	*cause = "it cannot be checked";
	if (!ctx || X509_STORE_CTX_init(ctx, roots, sk_X509_value(chain, 0), chain) != 1)
		goto out;
	X509_STORE_CTX_set_time(ctx, 0, (time_t)now_s);
	if (X509_verify_cert(ctx) == 1) {
		code = XO_OK;
		goto out;
	}
	x = X509_STORE_CTX_get_error(ctx);
	*cause = X509_verify_cert_error_string(x);
	if (x == X509_V_ERR_CERT_HAS_EXPIRED || x == X509_V_ERR_CERT_NOT_YET_VALID)
		code = XO_EEXPIRED;
out:
	X509_STORE_CTX_free(ctx);
	return code;
}

bool key_check_cert(EVP_PKEY *key, struct span pem, X509_STORE *roots, int64_t now_s,
		    const char *what, struct refusal *why)
{
	STACK_OF(X509) *chain = read_chain(pem);
	const char *cause;
	int code;

	if (!chain) {
		refusal_add(why, XO_EUNTRUSTED, "%s: its certificate is malformed", what);
		return false;
	}
	if (EVP_PKEY_eq(X509_get0_pubkey(sk_X509_value(chain, 0)), key) != 1) {
		code = XO_EUNTRUSTED;
		cause = "it is for another key";
	} else {
		code = judge_chain(chain, roots, now_s, &cause);
	}
	if (code)
		refusal_add(why, code, "%s: its certificate: %s", what, cause);
	sk_X509_pop_free(chain, X509_free);
	return !code;
}
