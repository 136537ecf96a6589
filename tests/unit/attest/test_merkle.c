// SPDX-License-Identifier: Apache-2.0
/* The Merkle tree against the well-known eight-leaf vectors, and against itself for every size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "attest/merkle.h"

#define MAX_LEAVES 70

static uint8_t leaves[MAX_LEAVES][MERKLE_BYTES];

/* A slow tree, straight from the definition. */
static int node(void *arg, unsigned int level, uint64_t index, uint8_t ret[MERKLE_BYTES])
{
	uint8_t right[MERKLE_BYTES];
	int rc;

	if (!level) {
		if (index >= MAX_LEAVES)
			return -XO_EINTERNAL;
		memcpy(ret, leaves[index], MERKLE_BYTES);
		return 0;
	}
	rc = node(arg, level - 1, 2 * index, ret);
	if (!rc)
		rc = node(arg, level - 1, 2 * index + 1, right);
	return rc ? rc : merkle_pair(ret, right, ret);
}

static const struct merkle_tree tree = {.node = node};

static void assert_hex(const uint8_t *got, const char *want)
{
	char hex[XO_SHA256_HEX_SIZE];

	xo_hex(SPAN(got, MERKLE_BYTES), hex);
	assert_string_equal(hex, want);
}

/* The inputs and roots that Certificate Transparency's implementations test with. */
static void test_known_roots(void **state)
{
	static const struct {
		const char *data;
		size_t len;
	} in[8] = {{"", 0},
		   {"\x00", 1},
		   {"\x10", 1},
		   {"\x20\x21", 2},
		   {"\x30\x31", 2},
		   {"\x40\x41\x42\x43", 4},
		   {"\x50\x51\x52\x53\x54\x55\x56\x57", 8},
		   {"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f", 16}};
	static const char *const root[9] = {
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};
	uint8_t got[MERKLE_BYTES];

	(void)state;
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(merkle_leaf(SPAN(in[i].data, in[i].len), leaves[i]), 0);
	for (size_t n = 0; n <= 8; n++) {
		assert_int_equal(merkle_root(&tree, n, got), 0);
		assert_hex(got, root[n]);
	}
}

static void test_every_inclusion(void **state)
{
	uint8_t root[MERKLE_BYTES];
	struct merkle_proof p;

	(void)state;
	for (uint64_t n = 1; n <= MAX_LEAVES; n++) {
		assert_int_equal(merkle_root(&tree, n, root), 0);
		for (uint64_t i = 0; i < n; i++) {
			assert_int_equal(merkle_prove_inclusion(&tree, i, n, &p), 0);
			assert_true(merkle_check_inclusion(leaves[i], i, n, &p, root));
			assert_false(merkle_check_inclusion(leaves[i], i ^ 1, n, &p, root) &&
				     n > 1);
			assert_false(merkle_check_inclusion(leaves[i], i, n + n, &p, root));
			assert_false(merkle_check_inclusion(leaves[(i + 1) % MAX_LEAVES], i, n, &p,
							    root));
			if (!p.nr)
				continue;
			p.hash[p.nr / 2][3] ^= 1;
			assert_false(merkle_check_inclusion(leaves[i], i, n, &p, root));
			p.hash[p.nr / 2][3] ^= 1;
			p.nr--;
			assert_false(merkle_check_inclusion(leaves[i], i, n, &p, root));
		}
	}
}

static void test_every_consistency(void **state)
{
	uint8_t old_root[MERKLE_BYTES], root[MERKLE_BYTES];
	struct merkle_proof p;

	(void)state;
	for (uint64_t n = 0; n <= MAX_LEAVES; n++) {
		assert_int_equal(merkle_root(&tree, n, root), 0);
		for (uint64_t m = 0; m <= n; m++) {
			assert_int_equal(merkle_root(&tree, m, old_root), 0);
			assert_int_equal(merkle_prove_consistency(&tree, m, n, &p), 0);
			assert_true(merkle_check_consistency(m, old_root, n, root, &p));
			if (!m)
				continue;
			old_root[5] ^= 4;
			assert_false(merkle_check_consistency(m, old_root, n, root, &p));
			old_root[5] ^= 4;
			root[5] ^= 4;
			assert_false(merkle_check_consistency(m, old_root, n, root, &p));
			root[5] ^= 4;
			p.nr++;
			assert_false(merkle_check_consistency(m, old_root, n, root, &p));
		}
	}
}

static int setup(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < MAX_LEAVES; i++)
		if (merkle_leaf(SPAN(&i, sizeof(i)), leaves[i]))
			return -1;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_roots),
		cmocka_unit_test_setup(test_every_inclusion, setup),
		cmocka_unit_test_setup(test_every_consistency, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
