/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A witness of transparency logs: C2SP tlog-witness, with Ed25519 cosignatures (tlog-cosignature).
 * It cosigns a checkpoint only if it is consistent with the one it cosigned before. Its directory:
 *   witness.key       Ed25519, made when absent
 *   witness.vkey      its verifier key, for those who trust it
 *   log/NAME.vkey     the logs it knows, one line each; put there by the operator
 *   state/DIGEST      the latest checkpoint cosigned for a log, by the digest of the log's name
 */
#ifndef EXOPATCH_ATTEST_WITNESS_H
#define EXOPATCH_ATTEST_WITNESS_H

#include "attest/note.h"

#define WITNESS_MAX_REQUEST ((size_t)32768)

struct witness;

/** struct witness_answer - of one request; zero-initialise, xbuf_free its body */
struct witness_answer {
	unsigned int status; /* of HTTP */
	const char *type;    /* Content-Type */
	struct xbuf body;
};

/**
 * witness_open - open, or make, the witness in @dir; one process at a time
 * @name: in its signature lines, a URL without its scheme; NULL: the one it has
 * Return: 0, -XO_ELOCKED, -XO_ESTATE, -XO_EUSAGE, -errno
 */
int witness_open(struct witness **ret, const char *dir, const char *name,
		 struct xerr *err) XO_MUST_CHECK;

/**
 * witness_add_checkpoint - answer an add-checkpoint request
 * @body: of the request, hostile
 * @now_s: for the cosignature
 * The new checkpoint is durable before it is cosigned. Not to be called by two threads at once.
 */
void witness_add_checkpoint(struct witness *w, struct span body, int64_t now_s,
			    struct witness_answer *ret);

void witness_close(struct witness *w);

#endif
