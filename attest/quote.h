/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TPM quotes, read without a TPM: TPMS_ATTEST and TPMT_SIGNATURE as TPM 2.0 Library, Part 2
 * (sections 10.12.12 and 11.3.4) lays them out, big-endian.
 */
#ifndef EXOPATCH_ATTEST_QUOTE_H
#define EXOPATCH_ATTEST_QUOTE_H

#include "attest/key.h"

#define QUOTE_MAX_BYTES 1024
#define QUOTE_PCRS	24

/** struct quote - what a quote says */
struct quote {
	uint8_t extra[64]; /* qualifying data */
	size_t extra_len;
	uint64_t clock_ms;
	uint32_t reset_count, restart_count;
	uint32_t pcr_mask; /* of the SHA-256 bank, the only one selected */
	uint8_t pcr_digest[XO_SHA256_BYTES];
};

/** quote_parse - read a TPMS_ATTEST that is a quote over SHA-256 PCRs. Return: whether it is */
bool quote_parse(struct quote *ret, struct span msg) XO_MUST_CHECK;

/** quote_signed_by - whether the TPMT_SIGNATURE @sig (ECDSA, SHA-256) over @msg is of @ak */
bool quote_signed_by(struct span msg, struct span sig, EVP_PKEY *ak) XO_MUST_CHECK;

/** quote_over_checkpoint - the qualifying data that binds @nonce and a checkpoint: the SHA-256 of
 *  the text "exopatch-quote/1\nnonce HEX\ncheckpoint HEX\n", the last the SHA-256 of @note's text
 */
int quote_over_checkpoint(struct span nonce, struct span note_text,
			  uint8_t ret[XO_SHA256_BYTES]) XO_MUST_CHECK;

/** quote_over_key - the qualifying data by which an attestation key vouches for a statement key:
 *  the SHA-256 of the text "exopatch-key/1\nstatement HEX\n", HEX being key_digest */
int quote_over_key(EVP_PKEY *statement_key, uint8_t ret[XO_SHA256_BYTES]) XO_MUST_CHECK;

#endif
