/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The measured log: the Linux kernel's binary_runtime_measurements with the ima-buf template
 * (security/integrity/ima/ima_fs.c, ima_template.c: "d-ng|n-ng|buf"), little-endian. An entry:
 *   u32 PCR, SHA-1 of the template data (20 bytes), u32 length and "ima-buf",
 *   u32 length and the template data, which is three fields, each with a u32 length before it:
 *   d-ng "sha256:" NUL and the SHA-256 of buf; n-ng the event's name and NUL; buf.
 * The SHA-256 bank of the PCR is extended with the SHA-256 of the template data.
 */
#ifndef EXOPATCH_ATTEST_IMA_H
#define EXOPATCH_ATTEST_IMA_H

#include "attest/dsse.h"

#define IMA_NAME_SIZE  96
#define IMA_ENTRY_MAX  (DSSE_MAX_BYTES + 512)
#define IMA_SHA1_BYTES 20
#define IMA_LOG_MAX    (64U << 20)

/** struct ima_entry - borrowed parts of one entry */
struct ima_entry {
	uint32_t pcr;
	uint8_t sha1[IMA_SHA1_BYTES]; /* as stored */
	struct span template_data;
	uint8_t d_ng[XO_SHA256_BYTES];
	char name[IMA_NAME_SIZE];
	struct span buf;
	uint64_t leaf; /* of the name "exopatch:LEAF:VM-UUID" */
	char uuid[37];
};

/** ima_format - append the entry of statement @envelope, leaf @leaf of the log */
int ima_format(struct xbuf *out, uint32_t pcr, uint64_t leaf, const char *uuid,
	       struct span envelope) XO_MUST_CHECK;

/** ima_next - cut the first entry off *@log. Return: whether there was a well-formed one */
bool ima_next(struct span *log, struct ima_entry *ret) XO_MUST_CHECK;

/** ima_consistent - whether stored SHA-1 and d-ng match the entry's own content */
bool ima_consistent(const struct ima_entry *e) XO_MUST_CHECK;

/** ima_digest - what the PCR is extended with */
int ima_digest(const struct ima_entry *e, uint8_t ret[XO_SHA256_BYTES]) XO_MUST_CHECK;

/** ima_extend - the PCR's value after it is extended with @digest */
int ima_extend(uint8_t pcr[XO_SHA256_BYTES], const uint8_t digest[XO_SHA256_BYTES]) XO_MUST_CHECK;

#endif
