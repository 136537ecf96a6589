// SPDX-License-Identifier: Apache-2.0
#include "package/cms.h"

#include <errno.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/pkcs7.h>
#include <openssl/x509v3.h>
#include <string.h>

#define CMS_MAX_CERTS 8

static void cms_free_ptr(CMS_ContentInfo **p)
{
	CMS_ContentInfo_free(*p);
}
static void pkcs7_free_ptr(PKCS7 **p)
{
	PKCS7_free(*p);
}
static void bio_free_ptr(BIO **p)
{
	BIO_free(*p);
}
static void certs_free_ptr(STACK_OF(X509) * *p)
{
	sk_X509_pop_free(*p, X509_free);
}
static void store_ctx_free_ptr(X509_STORE_CTX **p)
{
	X509_STORE_CTX_free(*p);
}
static void openssl_free_ptr(uint8_t **p)
{
	OPENSSL_free(*p);
}
#define _cleanup_certs_ XO_CLEANUP(certs_free_ptr)

int cms_keyid(const X509 *cert, char ret[XO_SHA256_HEX_SIZE])
{
	XO_CLEANUP(openssl_free_ptr) uint8_t *der = NULL;
	uint8_t digest[XO_SHA256_BYTES];
	int n;

	n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	if (n <= 0 || xo_sha256(SPAN(der, (size_t)n), digest))
		return -XO_EINTERNAL;
	xo_hex(SPAN(digest, sizeof(digest)), ret);
	return 0;
}

bool cms_key_fits(const EVP_PKEY *key, char *what, size_t size)
{
	char group[64] = "";
	const char *type = key ? EVP_PKEY_get0_type_name(key) : NULL;

	if (key && EVP_PKEY_is_a(key, "EC")) {
		if (EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1 &&
		    !strcmp(group, "prime256v1"))
			return true;
		snprintf(what, size, "EC on %s", group[0] ? group : "an unnamed curve");
	} else {
		snprintf(what, size, "%s", type ? type : "of an unknown kind");
	}
	return false;
}

char *cms_namespace(const char *format, const char *role, char *out, size_t size)
{
	snprintf(out, size, "%s %s", format, role);
	return out;
}

/* SHA-256 without parameters, or with the NULL that older tools write. */
static bool alg_is(const X509_ALGOR *alg, int nid, bool null_ok)
{
	const ASN1_OBJECT *oid;
	int type;

	X509_ALGOR_get0(&oid, &type, NULL, alg);
	return OBJ_obj2nid(oid) == nid &&
	       (type == V_ASN1_UNDEF || (null_ok && type == V_ASN1_NULL));
}

static const char *signer_fault(const PKCS7_SIGNER_INFO *si, char *room, size_t size)
{
	const ASN1_OBJECT *oid;

	if (ASN1_INTEGER_get(si->version) != 1)
		return "the SignerInfo's version is not 1";
	if (!alg_is(si->digest_alg, NID_sha256, true))
		return "the digest is not SHA-256";
	if (!alg_is(si->digest_enc_alg, NID_ecdsa_with_SHA256, false)) {
		X509_ALGOR_get0(&oid, NULL, NULL, si->digest_enc_alg);
		snprintf(room, size, "the algorithm is %s; only ecdsa-with-SHA256 is accepted",
			 OBJ_nid2ln(OBJ_obj2nid(oid)));
		return room;
	}
	if (sk_X509_ATTRIBUTE_num(si->auth_attr) < 1)
		return "there are no signed attributes";
	if (si->unauth_attr)
		return "there are unsigned attributes";
	return NULL;
}

/*
 * What is wrong with the form, or NULL. CMS_verify() takes many forms and
 * ignores some fields; here each field has its one value, and the bytes are the
 * DER of what was parsed, so no bit can be changed unnoticed. PKCS7 is the same
 * structure with fields that one may look at.
 */
static const char *form_fault(struct span sig, char *room, size_t size)
{
	XO_CLEANUP(pkcs7_free_ptr) PKCS7 *p7 = NULL;
	XO_CLEANUP(openssl_free_ptr) uint8_t *der = NULL;
	const uint8_t *p = sig.p;
	const PKCS7_SIGNED *sd;
	int n;

	p7 = d2i_PKCS7(NULL, &p, (long)sig.len_bytes);
	if (!p7 || p != sig.p + sig.len_bytes || !PKCS7_type_is_signed(p7) || !p7->d.sign)
		return "it is not a DER-encoded CMS SignedData";
	n = i2d_PKCS7(p7, &der);
	if (n < 0 || (size_t)n != sig.len_bytes || memcmp(der, sig.p, sig.len_bytes) != 0)
		return "it is not in DER";
	sd = p7->d.sign;
	if (ASN1_INTEGER_get(sd->version) != 1)
		return "the SignedData's version is not 1";
	if (sk_X509_ALGOR_num(sd->md_algs) != 1 ||
	    !alg_is(sk_X509_ALGOR_value(sd->md_algs, 0), NID_sha256, true))
		return "the digest is not SHA-256";
	if (OBJ_obj2nid(sd->contents->type) != NID_pkcs7_data || sd->contents->d.data)
		return "it is not detached from its content";
	if (sd->crl)
		return "it carries CRLs";
	if (sk_X509_num(sd->cert) < 1 || sk_X509_num(sd->cert) > CMS_MAX_CERTS)
		return "it must carry its signer's certificate, and few others";
	if (sk_PKCS7_SIGNER_INFO_num(sd->signer_info) != 1)
		return "it must have one signer";
	return signer_fault(sk_PKCS7_SIGNER_INFO_value(sd->signer_info, 0), room, size);
}

/* Whether the signed attributes tie the signature to @format and @role. */
static bool role_matches(CMS_SignerInfo *si, const char *format, const char *role)
{
	char want[CMS_NAMESPACE_SIZE];
	const ASN1_STRING *text;
	int i, len;

	text = CMS_signed_get0_data_by_OBJ(si, OBJ_nid2obj(NID_pkcs9_unstructuredName), -3,
					   V_ASN1_UTF8STRING);
	i = CMS_signed_get_attr_by_NID(si, NID_pkcs9_unstructuredName, -1);
	if (!text || i < 0)
		return false;
	cms_namespace(format, role, want, sizeof(want));
	len = ASN1_STRING_length(text);
	return len >= 0 && (size_t)len == strlen(want) &&
	       !memcmp(ASN1_STRING_get0_data(text), want, strlen(want));
}

/*
 * Whether the SignerInfo names @cert byte for byte. OpenSSL compares names
 * without regard to case, spaces and string types, and keeps their raw bytes.
 */
static bool names_exactly(CMS_SignerInfo *si, const X509 *cert)
{
	const uint8_t *got, *want;
	ASN1_OCTET_STRING *keyid;
	size_t got_len, want_len;
	ASN1_INTEGER *serial;
	X509_NAME *issuer;

	return CMS_SignerInfo_get0_signer_id(si, &keyid, &issuer, &serial) == 1 && issuer &&
	       X509_NAME_get0_der(issuer, &got, &got_len) == 1 &&
	       X509_NAME_get0_der(X509_get_issuer_name(cert), &want, &want_len) == 1 &&
	       got_len == want_len && !memcmp(got, want, got_len);
}

/* Verify the signature itself. Return: whether it holds; *@ret the signer's certificate */
static bool signature_holds(CMS_ContentInfo *cms, struct span content, X509 **ret)
{
	XO_CLEANUP(bio_free_ptr) BIO *in = NULL;
	STACK_OF(X509) * signers;
	bool ok;

	in = BIO_new_mem_buf(content.p, (int)content.len_bytes);
	if (!in || CMS_verify(cms, NULL, NULL, in, NULL,
			      CMS_BINARY | CMS_DETACHED | CMS_NO_SIGNER_CERT_VERIFY) != 1)
		return false;
	signers = CMS_get0_signers(cms);
	ok = sk_X509_num(signers) == 1;
	if (ok)
		*ret = sk_X509_value(signers, 0);
	sk_X509_free(signers);
	return ok;
}

static int subject_text(const X509 *cert, char *out, size_t size)
{
	XO_CLEANUP(bio_free_ptr) BIO *mem = BIO_new(BIO_s_mem());
	char *text;
	long n;

	if (!mem || X509_NAME_print_ex(mem, X509_get_subject_name(cert), 0,
				       XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) < 0)
		return -ENOMEM;
	n = BIO_get_mem_data(mem, &text);
	xo_escape(SPAN(text, n > 0 ? (size_t)n : 0), out, size);
	return 0;
}

static int code_of(int x509_error)
{
	switch (x509_error) {
	case X509_V_ERR_CERT_NOT_YET_VALID:
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_CRL_NOT_YET_VALID:
	case X509_V_ERR_CRL_HAS_EXPIRED:
		return XO_EEXPIRED;
	case X509_V_ERR_INVALID_PURPOSE:
	case X509_V_ERR_KEYUSAGE_NO_CERTSIGN:
		return XO_EKEYUSAGE;
	default:
		return XO_EUNTRUSTED;
	}
}

/* Note each fault of a chain and go on, so that all are known. */
static int note_fault(int ok, X509_STORE_CTX *ctx)
{
	struct refusal *why = X509_STORE_CTX_get_app_data(ctx);
	int error = X509_STORE_CTX_get_error(ctx);
	char subject[256] = "?";
	const X509 *cert = X509_STORE_CTX_get_current_cert(ctx);

	if (ok)
		return 1;
	if (cert && subject_text(cert, subject, sizeof(subject)))
		snprintf(subject, sizeof(subject), "?");
	refusal_add(why, code_of(error), "certificate \"%s\": %s", subject,
		    X509_verify_cert_error_string(error));
	return 1;
}

static int check_chain(X509 *cert, STACK_OF(X509) * carried, const struct pkg_trust *trust,
		       time_t now, struct cms_verdict *v)
{
	XO_CLEANUP(store_ctx_free_ptr) X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	_cleanup_certs_ STACK_OF(X509) *untrusted = NULL;
	STACK_OF(X509) * chain;
	X509_VERIFY_PARAM *param;

	untrusted = X509_chain_up_ref(trust->intermediates);
	if (!ctx || !untrusted ||
	    X509_add_certs(untrusted, carried, X509_ADD_FLAG_UP_REF | X509_ADD_FLAG_NO_DUP) != 1 ||
	    X509_STORE_CTX_init(ctx, trust->store, cert, untrusted) != 1)
		return -ENOMEM;
	param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_time(param, now);
	X509_VERIFY_PARAM_set_auth_level(param, 2);
	X509_STORE_CTX_set_app_data(ctx, &v->distrust);
	X509_STORE_CTX_set_verify_cb(ctx, note_fault);
	if (X509_verify_cert(ctx) != 1 && !v->distrust.nr)
		refusal_add(&v->distrust, XO_EUNTRUSTED, "%s: the certificate cannot be verified",
			    v->signer.subject);
	chain = X509_STORE_CTX_get0_chain(ctx);
	for (int i = 0; !v->distrust.nr && i < sk_X509_num(carried); i++) {
		int at = 0;

		while (at < sk_X509_num(chain) &&
		       X509_cmp(sk_X509_value(chain, at), sk_X509_value(carried, i)))
			at++;
		if (at == sk_X509_num(chain))
			refusal_add(&v->broken, XO_ESIGNATURE,
				    "signature of %s for role %s: it carries a certificate that "
				    "is not part of the signer's chain",
				    v->signer.subject, v->signer.role);
	}
	return 0;
}

static void check_usage(X509 *cert, struct cms_verdict *v)
{
	uint32_t flags = X509_get_extension_flags(cert);

	if (!(flags & EXFLAG_XKUSAGE) || !(X509_get_extended_key_usage(cert) & XKU_CODE_SIGN))
		refusal_add(&v->distrust, XO_EKEYUSAGE,
			    "certificate \"%s\": it lacks the extended key usage codeSigning",
			    v->signer.subject);
	if ((flags & EXFLAG_KUSAGE) && !(X509_get_key_usage(cert) & KU_DIGITAL_SIGNATURE))
		refusal_add(&v->distrust, XO_EKEYUSAGE,
			    "certificate \"%s\": its key usage lacks digitalSignature",
			    v->signer.subject);
	if (flags & EXFLAG_CA)
		refusal_add(&v->distrust, XO_EKEYUSAGE,
			    "certificate \"%s\": it is a CA; a signer must not be one",
			    v->signer.subject);
}

static void check_role(const struct pkg_trust *trust, struct cms_verdict *v)
{
	const struct trust_role *role = trust_role_find(trust, v->signer.role);

	if (!role)
		refusal_add(&v->distrust, XO_EUNTRUSTED, "%s: the trust directory names no role %s",
			    v->signer.subject, v->signer.role);
	else if (!trust_role_has(role, v->signer.keyid))
		refusal_add(&v->distrust, XO_EUNTRUSTED, "%s, key %s: is not a signer for role %s",
			    v->signer.subject, v->signer.keyid, v->signer.role);
}

static void broken(struct cms_verdict *v, const char *what)
{
	refusal_add(&v->broken, XO_ESIGNATURE, "sig/%s.%s.p7s: %s", v->signer.role, v->signer.keyid,
		    what);
}

/* The signature itself: form, key, match, role. *@ret_cert only if nothing is broken. */
static int check_signature(CMS_ContentInfo *cms, const char *format, struct span content,
			   struct cms_verdict *v, X509 **ret_cert)
{
	char keyid[XO_SHA256_HEX_SIZE], kind[128], text[256];
	CMS_SignerInfo *si;
	X509 *cert = NULL;

	if (!signature_holds(cms, content, &cert)) {
		broken(v, "the signature does not match manifest.json");
		return 0;
	}
	if (subject_text(cert, v->signer.subject, sizeof(v->signer.subject)) ||
	    cms_keyid(cert, keyid))
		return -XO_EINTERNAL;
	if (strcmp(keyid, v->signer.keyid) != 0)
		broken(v, "the member's name tells another key than the one that signed");
	if (!cms_key_fits(X509_get0_pubkey(cert), kind, sizeof(kind))) {
		snprintf(text, sizeof(text), "the key is %s; only ECDSA on P-256 is accepted",
			 kind);
		broken(v, text);
	}
	si = sk_CMS_SignerInfo_value(CMS_get0_SignerInfos(cms), 0);
	if (!names_exactly(si, cert))
		broken(v, "it names its signer in other bytes than the certificate does");
	if (!role_matches(si, format, v->signer.role))
		broken(v, "it was not made for this format and role");
	if (!v->broken.nr)
		*ret_cert = cert;
	return 0;
}

int cms_check(struct cms_verdict *ret, const char *format, const struct container_sig *sig,
	      struct span content, const struct pkg_trust *trust, time_t now)
{
	XO_CLEANUP(cms_free_ptr) CMS_ContentInfo *cms = NULL;
	_cleanup_certs_ STACK_OF(X509) *carried = NULL;
	const uint8_t *p = sig->bytes.p;
	const char *fault;
	char room[160];
	X509 *cert = NULL;
	int rc;

	snprintf(ret->signer.role, sizeof(ret->signer.role), "%s", sig->role);
	snprintf(ret->signer.keyid, sizeof(ret->signer.keyid), "%s", sig->keyid);
	fault = form_fault(sig->bytes, room, sizeof(room));
	if (!fault) {
		cms = d2i_CMS_ContentInfo(NULL, &p, (long)sig->bytes.len_bytes);
		if (!cms || p != sig->bytes.p + sig->bytes.len_bytes)
			fault = "it is not a CMS structure";
	}
	if (fault) {
		broken(ret, fault);
		rc = 0;
	} else {
		rc = check_signature(cms, format, content, ret, &cert);
	}
	if (!rc && cert) {
		carried = CMS_get1_certs(cms);
		rc = check_chain(cert, carried, trust, now, ret);
		check_usage(cert, ret);
		check_role(trust, ret);
	}
	ERR_clear_error();
	return rc;
}

void cms_verdict_free(struct cms_verdict *v)
{
	refusal_free(&v->broken);
	refusal_free(&v->distrust);
}
