/* SPDX-License-Identifier: Apache-2.0 */
/* The Merkle tree of RFC 6962 section 2 (the same in RFC 9162), SHA-256. Pure but for @node. */
#ifndef EXOPATCH_ATTEST_MERKLE_H
#define EXOPATCH_ATTEST_MERKLE_H

#include "base/err.h"
#include "base/util.h"

#define MERKLE_BYTES	 XO_SHA256_BYTES
#define MERKLE_MAX_PROOF 64
#define MERKLE_MAX_SIZE	 (UINT64_C(1) << 48) /* leaves */

/** struct merkle_proof - hashes in the order of RFC 6962 */
struct merkle_proof {
	size_t nr;
	uint8_t hash[MERKLE_MAX_PROOF][MERKLE_BYTES];
};

/**
 * struct merkle_tree - where the hashes of complete subtrees come from
 * @node: the hash over leaves [@index << @level, (@index + 1) << @level), all of them in the tree.
 *        Return: 0 or a negative code
 */
struct merkle_tree {
	int (*node)(void *arg, unsigned int level, uint64_t index, uint8_t ret[MERKLE_BYTES]);
	void *arg;
};

/** merkle_leaf - the hash of an entry */
int merkle_leaf(struct span entry, uint8_t ret[MERKLE_BYTES]) XO_MUST_CHECK;

/** merkle_pair - the hash over two subtrees */
int merkle_pair(const uint8_t left[MERKLE_BYTES], const uint8_t right[MERKLE_BYTES],
		uint8_t ret[MERKLE_BYTES]) XO_MUST_CHECK;

/** merkle_fold - the hash over 2^@height hashes of subtrees of one size; @hash is overwritten */
int merkle_fold(uint8_t (*hash)[MERKLE_BYTES], unsigned int height,
		uint8_t ret[MERKLE_BYTES]) XO_MUST_CHECK;

/** merkle_root - the root over the first @size leaves; of none, the hash of nothing */
int merkle_root(const struct merkle_tree *t, uint64_t size,
		uint8_t ret[MERKLE_BYTES]) XO_MUST_CHECK;

/** merkle_prove_inclusion - that leaf @index < @size is in the tree of @size */
int merkle_prove_inclusion(const struct merkle_tree *t, uint64_t index, uint64_t size,
			   struct merkle_proof *ret) XO_MUST_CHECK;

/** merkle_prove_consistency - that the tree of @old <= @size is a prefix of that of @size */
int merkle_prove_consistency(const struct merkle_tree *t, uint64_t old, uint64_t size,
			     struct merkle_proof *ret) XO_MUST_CHECK;

/** merkle_check_inclusion - RFC 9162 section 2.1.3.2. Return: whether @proof holds */
bool merkle_check_inclusion(const uint8_t leaf[MERKLE_BYTES], uint64_t index, uint64_t size,
			    const struct merkle_proof *proof,
			    const uint8_t root[MERKLE_BYTES]) XO_MUST_CHECK;

/** merkle_check_consistency - RFC 9162 section 2.1.4.2; the empty tree precedes every tree */
bool merkle_check_consistency(uint64_t old, const uint8_t old_root[MERKLE_BYTES], uint64_t size,
			      const uint8_t root[MERKLE_BYTES],
			      const struct merkle_proof *proof) XO_MUST_CHECK;

#endif
