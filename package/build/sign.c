// SPDX-License-Identifier: Apache-2.0
#include "package/build/sign.h"

#include <errno.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#include "package/cms.h"

static void cms_free_ptr(CMS_ContentInfo **p)
{
	CMS_ContentInfo_free(*p);
}
static void key_free_ptr(EVP_PKEY **p)
{
	EVP_PKEY_free(*p);
}
static void bio_free_ptr(BIO **p)
{
	BIO_free(*p);
}
static void certs_free_ptr(STACK_OF(X509) * *p)
{
	sk_X509_pop_free(*p, X509_free);
}
static void openssl_free_ptr(uint8_t **p)
{
	OPENSSL_free(*p);
}

/* All certificates of a PEM file, the signer's first. */
static int load_certs(STACK_OF(X509) * *ret, const char *path, struct xerr *err)
{
	XO_CLEANUP(certs_free_ptr) STACK_OF(X509) *certs = sk_X509_new_null();
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	X509 *cert;

	if (!f)
		return xerr_set(err, errno, "%s: %s", path, strerror(errno));
	while (certs && (cert = PEM_read_X509(f, NULL, NULL, NULL))) {
		if (!sk_X509_push(certs, cert)) {
			X509_free(cert);
			return -ENOMEM;
		}
	}
	ERR_clear_error();
	if (sk_X509_num(certs) < 1)
		return xerr_set(err, XO_EMALFORMED, "%s: holds no PEM certificate", path);
	*ret = XO_TAKE_PTR(certs);
	return 0;
}

static int load_key(EVP_PKEY **ret, const char *path, const X509 *cert, struct xerr *err)
{
	XO_CLEANUP(key_free_ptr) EVP_PKEY *key = NULL;
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	char kind[128];

	if (!f)
		return xerr_set(err, errno, "%s: %s", path, strerror(errno));
	key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	ERR_clear_error();
	if (!key)
		return xerr_set(err, XO_EMALFORMED, "%s: no private key could be read from it",
				path);
	if (!cms_key_fits(key, kind, sizeof(kind)))
		return xerr_set(err, XO_ESIGNATURE,
				"%s: the key is %s; only ECDSA on P-256 is accepted", path, kind);
	if (X509_check_private_key(cert, key) != 1)
		return xerr_set(err, XO_ESIGNATURE, "%s: is not the certificate's key", path);
	*ret = XO_TAKE_PTR(key);
	return 0;
}

static CMS_ContentInfo *make_cms(const char *format, const char *role, struct span content,
				 STACK_OF(X509) * certs, EVP_PKEY *key)
{
	const unsigned flags = CMS_DETACHED | CMS_BINARY | CMS_NOSMIMECAP | CMS_PARTIAL;
	XO_CLEANUP(cms_free_ptr) CMS_ContentInfo *cms = NULL;
	XO_CLEANUP(bio_free_ptr) BIO *in = NULL;
	char name[CMS_NAMESPACE_SIZE];
	CMS_SignerInfo *si;

	in = BIO_new_mem_buf(content.p, (int)content.len_bytes);
	cms = CMS_sign(NULL, NULL, NULL, NULL, flags);
	if (!in || !cms)
		return NULL;
	si = CMS_add1_signer(cms, sk_X509_value(certs, 0), key, EVP_sha256(), flags);
	cms_namespace(format, role, name, sizeof(name));
	if (!si || CMS_signed_add1_attr_by_NID(si, NID_pkcs9_unstructuredName, V_ASN1_UTF8STRING,
					       name, (int)strlen(name)) != 1)
		return NULL;
	for (int i = 1; i < sk_X509_num(certs); i++)
		if (CMS_add1_cert(cms, sk_X509_value(certs, i)) != 1)
			return NULL;
	if (CMS_final(cms, in, NULL, CMS_DETACHED | CMS_BINARY) != 1)
		return NULL;
	return XO_TAKE_PTR(cms);
}

int sign_content(struct xbuf *out, char keyid[XO_SHA256_HEX_SIZE], const char *format,
		 const char *role, struct span content, const char *cert, const char *key,
		 struct xerr *err)
{
	XO_CLEANUP(certs_free_ptr) STACK_OF(X509) *certs = NULL;
	XO_CLEANUP(cms_free_ptr) CMS_ContentInfo *cms = NULL;
	XO_CLEANUP(openssl_free_ptr) uint8_t *der = NULL;
	XO_CLEANUP(key_free_ptr) EVP_PKEY *pkey = NULL;
	char id[XO_SHA256_HEX_SIZE];
	int n, rc;

	if (!container_role_ok(role))
		return xerr_set(err, XO_EUSAGE, "role \"%s\": must be [a-z][a-z0-9-]*, at most %d",
				role, CONTAINER_ROLE_MAX);
	rc = load_certs(&certs, cert, err);
	if (!rc)
		rc = load_key(&pkey, key, sk_X509_value(certs, 0), err);
	if (!rc)
		rc = cms_keyid(sk_X509_value(certs, 0), id);
	if (rc)
		return rc;
	cms = make_cms(format, role, content, certs, pkey);
	n = cms ? i2d_CMS_ContentInfo(cms, &der) : -1;
	if (n <= 0) {
		char text[256];

		ERR_error_string_n(ERR_get_error(), text, sizeof(text));
		ERR_clear_error();
		return xerr_set(err, XO_EINTERNAL, "%s: signing failed: %s", cert, text);
	}
	rc = xbuf_add(out, der, (size_t)n);
	if (!rc)
		memcpy(keyid, id, sizeof(id));
	return rc;
}
