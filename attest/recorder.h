/* SPDX-License-Identifier: Apache-2.0 */
/* The recorder's inside: docs/attest.md, "What is on the disk". */
#ifndef EXOPATCH_ATTEST_RECORDER_H
#define EXOPATCH_ATTEST_RECORDER_H

#include <sys/types.h>

#include "attest/attest.h"
#include "attest/measured.h"
#include "attest/tlog.h"
#include "attest/tpm.h"

#define REC_KEY_STATEMENT  "statement.key"
#define REC_KEY_LOG	   "log.key"
#define REC_LOG_VKEY	   "log.vkey"
#define REC_CERT_STATEMENT "statement.crt" /* optional, put there by the operator */
#define REC_CERT_AK	   "ak.crt"	   /* likewise */
#define REC_LOG_DIR	   "log"

struct att_recorder {
	int dirfd;
	EVP_PKEY *statement_key, *log_key;
	struct note_key signer;
	struct tlog *log;
	struct tpm *tpm; /* NULL: none */
	struct measured measured;
	uint64_t chained; /* leaves that stand in their machine's chain */
};

/** struct rec_link - one statement of a machine; file "vm/UUID" is an array of these by sequence */
struct rec_link {
	uint64_t leaf;
	uint8_t envelope[XO_SHA256_BYTES]; /* digest */
};

/** rec_read_leaf - read our own leaf back: its envelope, and the statement in it */
int rec_read_leaf(struct att_recorder *r, uint64_t leaf, struct xbuf *envelope,
		  struct att_statement *s, struct xerr *err) XO_MUST_CHECK;

/** rec_chain_length - how many statements there are of machine @uuid */
int rec_chain_length(struct att_recorder *r, const char *uuid, uint64_t *ret) XO_MUST_CHECK;

/** rec_chain_get - the statement with sequence number @sequence */
int rec_chain_get(struct att_recorder *r, const char *uuid, uint64_t sequence,
		  struct rec_link *ret) XO_MUST_CHECK;

/** rec_chain_put - say where statement @sequence is; durable; saying it again is fine */
int rec_chain_put(struct att_recorder *r, const char *uuid, uint64_t sequence,
		  const struct rec_link *link) XO_MUST_CHECK;

#endif
