// SPDX-License-Identifier: Apache-2.0
#include "attest/tpm.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_tctildr.h>

/* TPM2_TRANSIENT_FIRST, which tss2_tpm2_types.h makes by shifting into an int's sign */
#define TRANSIENT_FIRST UINT32_C(0x80000000)

struct tpm {
	TSS2_TCTI_CONTEXT *tcti;
	ESYS_CONTEXT *esys;
	ESYS_TR ak;
	EVP_PKEY *ak_pub;
	uint32_t pcr;
};

static int refused(TSS2_RC rc, const char *what, struct xerr *err)
{
	return xerr_set(err, XO_ETPM, "TPM: %s failed with 0x%x (tpm2_rc_decode tells more)", what,
			rc);
}

static void esys_free_ptr(void *p)
{
	Esys_Free(*(void **)p);
}
#define _cleanup_esys_ XO_CLEANUP(esys_free_ptr)

/* A P-256 point as a public key. */
static EVP_PKEY *point_key(const TPMS_ECC_POINT *p)
{
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	OSSL_PARAM *params = NULL;
	EVP_PKEY *key = NULL;
	uint8_t point[65] = {4};

	/* The TPM may leave out leading zeroes. */
	if (p->x.size <= 32 && p->y.size <= 32 && bld && ctx) {
		memcpy(point + 1 + 32 - p->x.size, p->x.buffer, p->x.size);
		memcpy(point + 33 + 32 - p->y.size, p->y.buffer, p->y.size);
		if (OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1",
						    0) == 1 &&
		    OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point,
						     sizeof(point)) == 1 &&
		    (params = OSSL_PARAM_BLD_to_param(bld)) && EVP_PKEY_fromdata_init(ctx) == 1 &&
		    EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
			key = NULL;
	}
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(bld);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

/*
 * Flush the objects that dead processes left loaded. Only a TPM without a resource manager keeps
 * them, and such a one has one user at a time (/dev/tpm0 can be open once): us.
 */
static void flush_leftovers(struct tpm *t)
{
	_cleanup_esys_ TPMS_CAPABILITY_DATA *cap = NULL;
	TPMI_YES_NO more;

	if (Esys_GetCapability(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_HANDLES,
			       TRANSIENT_FIRST, TPM2_MAX_CAP_HANDLES, &more, &cap))
		return;
	for (UINT32 i = 0; i < cap->data.handles.count; i++) {
		ESYS_TR object;

		if (!Esys_TR_FromTPMPublic(t->esys, cap->data.handles.handle[i], ESYS_TR_NONE,
					   ESYS_TR_NONE, ESYS_TR_NONE, &object))
			Esys_FlushContext(t->esys, object);
	}
}

static int make_ak(struct tpm *t, struct xerr *err)
{
	static const TPM2B_SENSITIVE_CREATE sensitive;
	static const TPM2B_DATA outside;
	static const TPML_PCR_SELECTION creation;
	static const TPM2B_PUBLIC template = {
		.publicArea = {.type = TPM2_ALG_ECC,
			       .nameAlg = TPM2_ALG_SHA256,
			       .objectAttributes =
				       TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
				       TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH |
				       TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_SIGN_ENCRYPT,
			       .parameters.eccDetail = {
				       .symmetric.algorithm = TPM2_ALG_NULL,
				       .scheme = {.scheme = TPM2_ALG_ECDSA,
						  .details.ecdsa.hashAlg = TPM2_ALG_SHA256},
				       .curveID = TPM2_ECC_NIST_P256,
				       .kdf.scheme = TPM2_ALG_NULL}}};
	_cleanup_esys_ TPM2B_PUBLIC *pub = NULL;
	TSS2_RC rc = TPM2_RC_OBJECT_MEMORY;

	for (int try = 0; try < 2 && rc == TPM2_RC_OBJECT_MEMORY; try++) {
		if (try)
			flush_leftovers(t);
		rc = Esys_CreatePrimary(t->esys, ESYS_TR_RH_ENDORSEMENT, ESYS_TR_PASSWORD,
					ESYS_TR_NONE, ESYS_TR_NONE, &sensitive, &template, &outside,
					&creation, &t->ak, &pub, NULL, NULL, NULL);
	}
	if (rc)
		return refused(rc, "making the attestation key", err);
	t->ak_pub = point_key(&pub->publicArea.unique.ecc);
	return t->ak_pub ? 0 : xerr_set(err, XO_ETPM, "TPM: its attestation key is not P-256");
}

int tpm_open(struct tpm **ret, const char *tcti, uint32_t pcr, struct xerr *err)
{
	_cleanup_tpm_ struct tpm *t = calloc(1, sizeof(*t));
	TSS2_RC rc;
	int r;

	if (!t)
		return -ENOMEM;
	t->ak = ESYS_TR_NONE;
	t->pcr = pcr;
	rc = Tss2_TctiLdr_Initialize(tcti, &t->tcti);
	if (rc)
		return xerr_set(err, XO_ETPM, "TPM: '%s' cannot be opened (0x%x)", tcti, rc);
	rc = Esys_Initialize(&t->esys, t->tcti, NULL);
	if (rc)
		return refused(rc, "starting to talk", err);
	r = make_ak(t, err);
	if (r)
		return r;
	*ret = XO_TAKE_PTR(t);
	return 0;
}

void tpm_close(struct tpm *t)
{
	if (!t)
		return;
	if (t->ak != ESYS_TR_NONE)
		Esys_FlushContext(t->esys, t->ak);
	EVP_PKEY_free(t->ak_pub);
	if (t->esys)
		Esys_Finalize(&t->esys);
	if (t->tcti)
		Tss2_TctiLdr_Finalize(&t->tcti);
	free(t);
}

EVP_PKEY *tpm_ak(const struct tpm *t)
{
	return t->ak_pub;
}

/* The PCR in the SHA-256 bank. */
static TPML_PCR_SELECTION selection(const struct tpm *t)
{
	TPML_PCR_SELECTION s = {.count = 1,
				.pcrSelections[0] = {.hash = TPM2_ALG_SHA256, .sizeofSelect = 3}};

	s.pcrSelections[0].pcrSelect[t->pcr / 8] = (BYTE)(1U << (t->pcr % 8));
	return s;
}

int tpm_read_pcr(struct tpm *t, uint8_t ret[XO_SHA256_BYTES], struct xerr *err)
{
	TPML_PCR_SELECTION want = selection(t);
	_cleanup_esys_ TPML_DIGEST *values = NULL;
	TSS2_RC rc = Esys_PCR_Read(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &want, NULL,
				   NULL, &values);

	if (rc)
		return refused(rc, "reading the PCR", err);
	if (values->count != 1 || values->digests[0].size != XO_SHA256_BYTES)
		return xerr_set(err, XO_ETPM, "TPM: PCR %u has no SHA-256 bank", t->pcr);
	memcpy(ret, values->digests[0].buffer, XO_SHA256_BYTES);
	return 0;
}

int tpm_extend(struct tpm *t, const uint8_t digest[XO_SHA256_BYTES], struct xerr *err)
{
	TPML_DIGEST_VALUES v = {.count = 1, .digests[0].hashAlg = TPM2_ALG_SHA256};
	TSS2_RC rc;

	memcpy(v.digests[0].digest.sha256, digest, XO_SHA256_BYTES);
	rc = Esys_PCR_Extend(t->esys, ESYS_TR_PCR0 + t->pcr, ESYS_TR_PASSWORD, ESYS_TR_NONE,
			     ESYS_TR_NONE, &v);
	return rc ? refused(rc, "extending the PCR", err) : 0;
}

static int marshal_signature(struct xbuf *out, const TPMT_SIGNATURE *sig)
{
	uint8_t *room;
	size_t n = 0;
	int rc;

	*out = XBUF(sizeof(*sig));
	rc = xbuf_reserve(out, sizeof(*sig), &room);
	if (rc)
		return rc;
	if (Tss2_MU_TPMT_SIGNATURE_Marshal(sig, room, sizeof(*sig), &n))
		return -XO_EINTERNAL;
	out->len_bytes = n;
	return 0;
}

int tpm_quote_pcr(struct tpm *t, const uint8_t extra[XO_SHA256_BYTES], struct tpm_quote *ret,
		  struct xerr *err)
{
	const TPMT_SIG_SCHEME scheme = {.scheme = TPM2_ALG_NULL}; /* the key's own */
	TPML_PCR_SELECTION want = selection(t);
	_cleanup_esys_ TPMT_SIGNATURE *sig = NULL;
	_cleanup_esys_ TPM2B_ATTEST *msg = NULL;
	TPM2B_DATA data = {.size = XO_SHA256_BYTES};
	TSS2_RC rc;
	int r;

	memcpy(data.buffer, extra, XO_SHA256_BYTES);
	rc = Esys_Quote(t->esys, t->ak, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &data,
			&scheme, &want, &msg, &sig);
	if (rc)
		return refused(rc, "the quote", err);
	ret->msg = XBUF(sizeof(msg->attestationData));
	r = xbuf_add(&ret->msg, msg->attestationData, msg->size);
	if (!r)
		r = marshal_signature(&ret->sig, sig);
	return r ? xerr_set(err, -r, "TPM: the quote cannot be kept") : 0;
}

void tpm_quote_free(struct tpm_quote *q)
{
	xbuf_free(&q->msg);
	xbuf_free(&q->sig);
}
