/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer of a transparency log: docs/formats/log.md. One per directory, held by a lock. An
 * entry is durable when tlog_append returns, and stands for ever where it was put; tiles and a
 * signed checkpoint appear when one is asked for.
 */
#ifndef EXOPATCH_ATTEST_TLOG_H
#define EXOPATCH_ATTEST_TLOG_H

#include "attest/note.h"
#include "attest/tiles.h"

#define TLOG_ENTRY_MAX 65535

struct tlog;

/**
 * tlog_open - open, or make, the log in directory @dirfd (borrowed); finish what was interrupted
 * @key: the log's Ed25519 key; @signer: its public half and the log's name. Borrowed until close
 * Return: 0, -XO_ELOCKED, -XO_ELOG (what is there is not what a checkpoint of ours says), -errno
 */
int tlog_open(struct tlog **ret, int dirfd, EVP_PKEY *key, const struct note_key *signer,
	      struct xerr *err) XO_MUST_CHECK;

/** tlog_size - entries in the log */
uint64_t tlog_size(const struct tlog *t);

/**
 * tlog_append - add @entry, 1 to TLOG_ENTRY_MAX bytes
 * @ret_index: its place
 * Return: 0; -errno (nothing was added, as on a full disk); -XO_ELOG if it is unknown what is on
 * the disk: then the log takes nothing more until it is opened again
 */
int tlog_append(struct tlog *t, struct span entry, uint64_t *ret_index,
		struct xerr *err) XO_MUST_CHECK;

/** tlog_entry - append entry @index to @out, published or not */
int tlog_entry(struct tlog *t, uint64_t index, struct xbuf *out) XO_MUST_CHECK;

/** tlog_checkpoint - publish all entries; append the signed note to @out */
int tlog_checkpoint(struct tlog *t, struct xbuf *out, struct xerr *err) XO_MUST_CHECK;

/** tlog_tree - the tree, for proofs; borrowed from @t */
struct merkle_tree tlog_tree(struct tlog *t);

void tlog_close(struct tlog *t);

static inline void tlog_close_ptr(struct tlog **t)
{
	tlog_close(*t);
}
#define _cleanup_tlog_ XO_CLEANUP(tlog_close_ptr)

#endif
