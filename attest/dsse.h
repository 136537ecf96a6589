/* SPDX-License-Identifier: Apache-2.0 */
/* DSSE envelopes (Dead Simple Signing Envelope, version 1.0.2) with one ECDSA P-256 signature. */
#ifndef EXOPATCH_ATTEST_DSSE_H
#define EXOPATCH_ATTEST_DSSE_H

#include "attest/key.h"

#define DSSE_TYPE      "application/vnd.in-toto+json"
#define DSSE_MAX_BYTES ((size_t)60000) /* an entry of the log holds at most 65,535 */

/** struct dsse - an envelope taken apart; nothing of it is verified. dsse_free it */
struct dsse {
	struct xbuf payload;
	uint8_t keyid[XO_SHA256_BYTES];
	uint8_t sig[KEY_P256_SIG_MAX];
	size_t sig_len;
};

/** dsse_pae - append what is signed: "DSSEv1" SP LEN(type) SP type SP LEN(payload) SP payload */
int dsse_pae(struct xbuf *out, struct span payload) XO_MUST_CHECK;

/** dsse_seal - append the envelope of @payload, signed with @key. Return: 0, -XO_ELIMIT, ... */
int dsse_seal(struct xbuf *out, struct span payload, EVP_PKEY *key) XO_MUST_CHECK;

/**
 * dsse_parse - take an envelope apart
 * @name: of the envelope, for messages
 * @ret: zero-initialised; dsse_free it whatever comes back
 * @why: XO_EENVELOPE, XO_EDUPKEY, XO_EUNKNOWNKEY, XO_ELIMIT
 * Return: whether it is one
 */
bool dsse_parse(struct dsse *ret, struct span bytes, const char *name,
		struct refusal *why) XO_MUST_CHECK;

/** dsse_verify - whether @key signed it */
bool dsse_verify(const struct dsse *e, EVP_PKEY *key) XO_MUST_CHECK;

void dsse_free(struct dsse *e);
#define _cleanup_dsse_ XO_CLEANUP(dsse_free)

#endif
