/* SPDX-License-Identifier: Apache-2.0 */
/* The verifier's inside. Each pass adds its reasons and goes on where it can: all are wanted. */
#ifndef EXOPATCH_ATTEST_VERIFY_H
#define EXOPATCH_ATTEST_VERIFY_H

#include "attest/attest.h"
#include "attest/ima.h"
#include "attest/names.h"
#include "attest/note.h"
#include "attest/quote.h"
#include "attest/statement.h"

/** enum guard_change - what a statement says of a guard that enforces */
enum guard_change { GUARD_SAME, GUARD_BEGINS, GUARD_ENDS };

/** struct proven - one statement of the machine, as far as it was read */
struct proven {
	uint64_t leaf, sequence;
	uint8_t envelope[XO_SHA256_BYTES];
	struct boot_seen boot;
	size_t era;    /* another number for what certainly is another boot */
	bool measured; /* found in the measured log */
	bool violation;
	enum guard_change guard;
	int64_t finished_s;
	bool accepted; /* by an earlier judgement, says the trust directory */
};

struct verify {
	const struct att_files *evidence, *trust;
	const struct att_expect *expect;
	struct refusal *why;
	struct att_result *ret;
	int fatal; /* -ENOMEM and the like: judging itself failed */

	struct note note; /* the checkpoint */
	bool have_checkpoint;
	struct checkpoint checkpoint;
	EVP_PKEY *statement_key; /* NULL: none that is trusted */
	EVP_PKEY *ak;		 /* NULL: none, or not trusted */
	size_t nr;
	struct proven *proven;	    /* in the order of their leaves */
	struct att_statement *last; /* the appraisal; NULL until it is found */
	/* Patches that this boot's statements leave active, ... */
	struct patch_list {
		size_t nr;
		struct att_patch patch[ATT_MAX_PATCHES];
		bool too_many;
	} active, missed; /* ... and those of boots before it, whose end nobody saw */
};

/** verify_missing - note that file @name is not there */
void verify_missing(struct verify *v, const char *name);

/** verify_file - the file, noting its absence */
const struct att_file *verify_file(struct verify *v, const char *name);

void verify_checkpoint(struct verify *v); /* the log's signature, witnesses, earlier views */
void verify_keys(struct verify *v);	  /* who signs statements, and who vouches for that */
void verify_chain(struct verify *v);	  /* the statements, their proofs, their order */
void verify_measured(struct verify *v);	  /* the measured log and the quote over it */
void verify_appraisal(struct verify *v);  /* what the appraisal says, against what is expected */

#endif
