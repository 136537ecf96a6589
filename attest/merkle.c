// SPDX-License-Identifier: Apache-2.0
#include "attest/merkle.h"

#include <openssl/evp.h>

/* SHA-256 over a prefix byte and two parts. */
static int hash_parts(uint8_t prefix, struct span a, struct span b, uint8_t ret[MERKLE_BYTES])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool good = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
		    EVP_DigestUpdate(ctx, &prefix, 1) == 1 &&
		    EVP_DigestUpdate(ctx, a.p, a.len_bytes) == 1 &&
		    EVP_DigestUpdate(ctx, b.p, b.len_bytes) == 1 &&
		    EVP_DigestFinal_ex(ctx, ret, NULL) == 1;

	EVP_MD_CTX_free(ctx);
	return good ? 0 : -XO_EINTERNAL;
}

int merkle_leaf(struct span entry, uint8_t ret[MERKLE_BYTES])
{
	return hash_parts(0, entry, SPAN("", 0), ret);
}

int merkle_pair(const uint8_t left[MERKLE_BYTES], const uint8_t right[MERKLE_BYTES],
		uint8_t ret[MERKLE_BYTES])
{
	uint8_t both[1 + 2 * MERKLE_BYTES] = {1};

	memcpy(both + 1, left, MERKLE_BYTES);
	memcpy(both + 1 + MERKLE_BYTES, right, MERKLE_BYTES);
	return xo_sha256(SPAN(both, sizeof(both)), ret);
}

int merkle_fold(uint8_t (*hash)[MERKLE_BYTES], unsigned int height, uint8_t ret[MERKLE_BYTES])
{
	for (size_t n = (size_t)1 << height; n > 1; n /= 2) {
		for (size_t i = 0; i < n / 2; i++) {
			int rc = merkle_pair(hash[2 * i], hash[2 * i + 1], hash[i]);

			if (rc)
				return rc;
		}
	}
	memcpy(ret, hash[0], MERKLE_BYTES);
	return 0;
}

static unsigned int log2_floor(uint64_t n)
{
	return 63U - (unsigned int)__builtin_clzll(n);
}

/* Leaves of the left subtree of one with @n > 1: the largest power of two below @n. */
static uint64_t left_size(uint64_t n)
{
	return UINT64_C(1) << log2_floor(n - 1);
}

/* The hash over leaves [@lo, @lo + @n), n > 0, where @lo is a multiple of n's next power of two. */
static int range_hash(const struct merkle_tree *t, uint64_t lo, uint64_t n,
		      uint8_t ret[MERKLE_BYTES])
{
	uint8_t left[MERKLE_BYTES], right[MERKLE_BYTES];
	uint64_t k;
	int rc;

	if (!(n & (n - 1)))
		return t->node(t->arg, log2_floor(n), lo >> log2_floor(n), ret);
	k = left_size(n);
	rc = range_hash(t, lo, k, left);
	if (!rc)
		rc = range_hash(t, lo + k, n - k, right);
	return rc ? rc : merkle_pair(left, right, ret);
}

int merkle_root(const struct merkle_tree *t, uint64_t size, uint8_t ret[MERKLE_BYTES])
{
	if (size > MERKLE_MAX_SIZE)
		return -XO_ELIMIT;
	return size ? range_hash(t, 0, size, ret) : xo_sha256(SPAN("", 0), ret);
}

/* Both proofs are found from the root downwards, and given from the leaf upwards. */
static void reverse(struct merkle_proof *p)
{
	for (size_t i = 0; i < p->nr / 2; i++) {
		uint8_t tmp[MERKLE_BYTES];

		memcpy(tmp, p->hash[i], MERKLE_BYTES);
		memcpy(p->hash[i], p->hash[p->nr - 1 - i], MERKLE_BYTES);
		memcpy(p->hash[p->nr - 1 - i], tmp, MERKLE_BYTES);
	}
}

static int prove_range(const struct merkle_tree *t, uint64_t lo, uint64_t n, struct merkle_proof *p)
{
	if (p->nr == MERKLE_MAX_PROOF)
		return -XO_EINTERNAL;
	return range_hash(t, lo, n, p->hash[p->nr++]);
}

int merkle_prove_inclusion(const struct merkle_tree *t, uint64_t index, uint64_t size,
			   struct merkle_proof *ret)
{
	uint64_t lo = 0, n = size;
	int rc;

	if (size > MERKLE_MAX_SIZE || index >= size)
		return -XO_ELIMIT;
	ret->nr = 0;
	while (n > 1) {
		uint64_t k = left_size(n);

		if (index < lo + k) {
			rc = prove_range(t, lo + k, n - k, ret);
			n = k;
		} else {
			rc = prove_range(t, lo, k, ret);
			lo += k;
			n -= k;
		}
		if (rc)
			return rc;
	}
	reverse(ret);
	return 0;
}

int merkle_prove_consistency(const struct merkle_tree *t, uint64_t old, uint64_t size,
			     struct merkle_proof *ret)
{
	uint64_t lo = 0, n = size, m = old;
	bool whole = true; /* the old tree itself is still a subtree: its root is known */
	int rc;

	if (size > MERKLE_MAX_SIZE || old > size)
		return -XO_ELIMIT;
	ret->nr = 0;
	if (!old || old == size)
		return 0;
	while (m < n) {
		uint64_t k = left_size(n);

		if (m <= k) {
			rc = prove_range(t, lo + k, n - k, ret);
			n = k;
		} else {
			rc = prove_range(t, lo, k, ret);
			lo += k;
			m -= k;
			n -= k;
			whole = false;
		}
		if (rc)
			return rc;
	}
	if (!whole) {
		rc = prove_range(t, lo, n, ret);
		if (rc)
			return rc;
	}
	reverse(ret);
	return 0;
}

bool merkle_check_inclusion(const uint8_t leaf[MERKLE_BYTES], uint64_t index, uint64_t size,
			    const struct merkle_proof *proof, const uint8_t root[MERKLE_BYTES])
{
	uint8_t r[MERKLE_BYTES];
	uint64_t fn = index, sn;

	if (index >= size || proof->nr > MERKLE_MAX_PROOF)
		return false;
	sn = size - 1;
	memcpy(r, leaf, MERKLE_BYTES);
	for (size_t i = 0; i < proof->nr; i++) {
		if (!sn)
			return false;
		if ((fn & 1) || fn == sn) {
			if (merkle_pair(proof->hash[i], r, r))
				return false;
			while (!(fn & 1) && fn) {
				fn >>= 1;
				sn >>= 1;
			}
		} else if (merkle_pair(r, proof->hash[i], r)) {
			return false;
		}
		fn >>= 1;
		sn >>= 1;
	}
	return !sn && !memcmp(r, root, MERKLE_BYTES);
}

/* Walk both paths at once from the first hash: @fr leads to the old root, @sr to the new one. */
static bool walk_consistency(uint64_t old, uint64_t size, const uint8_t first[MERKLE_BYTES],
			     const struct merkle_proof *p, size_t from, uint8_t fr[MERKLE_BYTES],
			     uint8_t sr[MERKLE_BYTES])
{
	uint64_t fn = old - 1, sn = size - 1;

	while (fn & 1) {
		fn >>= 1;
		sn >>= 1;
	}
	memcpy(fr, first, MERKLE_BYTES);
	memcpy(sr, first, MERKLE_BYTES);
	for (size_t i = from; i < p->nr; i++) {
		const uint8_t *c = p->hash[i];

		if (!sn)
			return false;
		if ((fn & 1) || fn == sn) {
			if (merkle_pair(c, fr, fr) || merkle_pair(c, sr, sr))
				return false;
			while (!(fn & 1) && fn) {
				fn >>= 1;
				sn >>= 1;
			}
		} else if (merkle_pair(sr, c, sr)) {
			return false;
		}
		fn >>= 1;
		sn >>= 1;
	}
	return !sn;
}

bool merkle_check_consistency(uint64_t old, const uint8_t old_root[MERKLE_BYTES], uint64_t size,
			      const uint8_t root[MERKLE_BYTES], const struct merkle_proof *proof)
{
	uint8_t fr[MERKLE_BYTES], sr[MERKLE_BYTES];
	bool power;

	if (old > size || proof->nr > MERKLE_MAX_PROOF)
		return false;
	if (!old)
		return !proof->nr;
	if (old == size)
		return !proof->nr && !memcmp(old_root, root, MERKLE_BYTES);
	power = !(old & (old - 1));
	if (!power && !proof->nr)
		return false;
	if (!walk_consistency(old, size, power ? old_root : proof->hash[0], proof, power ? 0 : 1,
			      fr, sr))
		return false;
	return !memcmp(fr, old_root, MERKLE_BYTES) && !memcmp(sr, root, MERKLE_BYTES);
}
