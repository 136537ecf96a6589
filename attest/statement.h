/* SPDX-License-Identifier: Apache-2.0 */
/* in-toto Statement v1: docs/formats/statement.md. */
#ifndef EXOPATCH_ATTEST_STATEMENT_H
#define EXOPATCH_ATTEST_STATEMENT_H

#include "attest/attest.h"
#include "attest/json.h"

#define STATEMENT_MAX_BYTES 44000 /* so that its envelope fits into DSSE_MAX_BYTES */
#define STATEMENT_MAX_SEQ   (UINT64_C(1) << 48)

/** statement_format - append the JSON of @s. Return: 0, -XO_EMALFORMED (a text that JSON or the
 *  reader would not take), -XO_ELIMIT, -ENOMEM */
int statement_format(struct xbuf *out, const struct att_statement *s) XO_MUST_CHECK;

/**
 * statement_parse - read a statement, past its signature or not
 * @name: for messages
 * @why: XO_ESTATEMENT, XO_EDUPKEY, XO_EUNKNOWNKEY, XO_ELIMIT
 * Return: whether it is one; *@ret is set only then
 */
bool statement_parse(struct att_statement *ret, struct span bytes, const char *name,
		     struct refusal *why) XO_MUST_CHECK;

/** struct boot_seen - the boot a statement is about; as in struct att_statement */
struct boot_seen {
	uint8_t boot[XO_SHA256_BYTES], process[XO_SHA256_BYTES];
	uint64_t resets;
};

struct boot_seen statement_boot(const struct att_statement *s);

/**
 * boot_is_new - did the guest certainly boot anew between two statements, the one after the other?
 * Going by what the host knows: a reset that was seen, or another process of the VMM with another
 * boot in it (a guest that was saved and restored goes on). What the guest tells is not enough.
 */
bool boot_is_new(const struct boot_seen *before, const struct boot_seen *now);

/** vex_format - append an OpenVEX document: the advisories of @s fixed in its kernel.
 *  @statement: the digest of @s's envelope, which names the document */
int vex_format(struct xbuf *out, const struct att_statement *const *fixes, size_t nr,
	       int64_t when_s) XO_MUST_CHECK;

#endif
