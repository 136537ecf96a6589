/* SPDX-License-Identifier: Apache-2.0 */
/* What a recorder's log holds, for tests. Failures fail the test. */
#ifndef EXOPATCH_TESTS_LIB_RECLOG_H
#define EXOPATCH_TESTS_LIB_RECLOG_H

#include "attest/attest.h"

/** reclog_size - how many entries the log in recorder directory @dir has; 0 if there is none */
uint64_t reclog_size(const char *dir);

/** reclog_statement - statement @index, counted from the end if negative; free() it */
struct att_statement *reclog_statement(const char *dir, int64_t index);

/** reclog_expect - that it is this action with this verdict and first reason ("": none) */
void reclog_expect(const char *dir, int64_t index, enum att_act act, enum att_verdict verdict,
		   const char *reason);

/**
 * reclog_audit - others' tools check the whole log: openssl all signatures, sha256sum the chain
 * @tcti: also evmctl, that the measured log leads to PCR 13 of this TPM; or NULL
 */
void reclog_audit(const char *dir, const char *tcti);

#endif
