/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What we ask of a TPM 2.0, through tpm2-tss: extend and read one PCR of the SHA-256 bank, make an
 * attestation key, quote. The key is a primary key of the endorsement hierarchy: restricted to
 * signing what the TPM itself says, P-256, made anew from the TPM's seed each time, so always the
 * same and never on a disk.
 */
#ifndef EXOPATCH_ATTEST_TPM_H
#define EXOPATCH_ATTEST_TPM_H

#include "attest/key.h"

struct tpm;

/** struct tpm_quote - as the TPM gave it */
struct tpm_quote {
	struct xbuf msg; /* TPMS_ATTEST */
	struct xbuf sig; /* TPMT_SIGNATURE */
};

/** tpm_open - connect through TCTI @tcti and make the key. Return: 0, -XO_ETPM, -ENOMEM */
int tpm_open(struct tpm **ret, const char *tcti, uint32_t pcr, struct xerr *err) XO_MUST_CHECK;

/** tpm_ak - the attestation key's public part, owned by @t */
EVP_PKEY *tpm_ak(const struct tpm *t);

int tpm_read_pcr(struct tpm *t, uint8_t ret[XO_SHA256_BYTES], struct xerr *err) XO_MUST_CHECK;

/** tpm_extend - the TPM hashes @digest onto the PCR */
int tpm_extend(struct tpm *t, const uint8_t digest[XO_SHA256_BYTES],
	       struct xerr *err) XO_MUST_CHECK;

/** tpm_quote_pcr - quote the PCR with qualifying data @extra; @ret zero-initialised */
int tpm_quote_pcr(struct tpm *t, const uint8_t extra[XO_SHA256_BYTES], struct tpm_quote *ret,
		  struct xerr *err) XO_MUST_CHECK;

void tpm_quote_free(struct tpm_quote *q);
void tpm_close(struct tpm *t);

static inline void tpm_close_ptr(struct tpm **t)
{
	tpm_close(*t);
}
#define _cleanup_tpm_ XO_CLEANUP(tpm_close_ptr)

#endif
