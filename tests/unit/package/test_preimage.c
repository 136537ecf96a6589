// SPDX-License-Identifier: Apache-2.0
/* Preimage digests: masked bytes do not count, shifted fields are taken back, the rest counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "package/build/target.h"
#include "package/kernel/kimage.h"

static void test_digest(void **state)
{
	struct pkg_mask mask[] = {{2, 3, KSITE_RETURN},
				  {8, 4, KSITE_RELOC},
				  {12, 4, KSITE_RELOC_INVERSE},
				  {16, 8, KSITE_RELOC}};
	const struct pkg_target t = {
		.size_bytes = 32, .nr_masks = XO_ARRAY_SIZE(mask), .mask = mask};
	const uint64_t shift = 0x1f800000;
	uint8_t linked[32], running[32], want[XO_SHA256_BYTES], got[XO_SHA256_BYTES];
	uint32_t v32;
	uint64_t v64;

	(void)state;
	for (size_t i = 0; i < sizeof(linked); i++)
		linked[i] = (uint8_t)(i * 7 + 0x81);
	memcpy(running, linked, sizeof(linked));
	memset(running + 2, 0xcc, 3);
	memcpy(&v32, running + 8, 4);
	v32 += (uint32_t)shift;
	memcpy(running + 8, &v32, 4);
	memcpy(&v32, running + 12, 4);
	v32 -= (uint32_t)shift;
	memcpy(running + 12, &v32, 4);
	memcpy(&v64, running + 16, 8);
	v64 += shift;
	memcpy(running + 16, &v64, 8);

	assert_int_equal(pkg_preimage_digest(&t, linked, 0, want), 0);
	assert_int_equal(pkg_preimage_digest(&t, running, shift, got), 0);
	assert_memory_equal(want, got, sizeof(want));
	assert_int_equal(pkg_preimage_digest(&t, running, shift + 1, got), 0);
	assert_memory_not_equal(want, got, sizeof(want));
	for (size_t i = 0; i < sizeof(running); i++) {
		running[i] ^= 1;
		assert_int_equal(pkg_preimage_digest(&t, running, shift, got), 0);
		running[i] ^= 1;
		assert_true((memcmp(want, got, sizeof(want)) == 0) == (i >= 2 && i < 5));
	}
}

static void test_masks(void **state)
{
	struct ksite site[] = {
		{.addr = 0xff0,
		 .len_bytes = 16,
		 .kind = KSITE_ALTERNATIVE}, /* ends where the function starts */
		{.addr = 0xffe,
		 .len_bytes = 4,
		 .kind = KSITE_ALTERNATIVE}, /* reaches 2 bytes into it */
		{.addr = 0x1004, .len_bytes = 5, .kind = KSITE_FTRACE},
		{.addr = 0x1006, .len_bytes = 4, .kind = KSITE_RELOC}, /* wholly covered */
		{.addr = 0x1010, .len_bytes = 4, .kind = KSITE_RELOC},
		{.addr = 0x1014, .len_bytes = 4, .kind = KSITE_RELOC}, /* neighbours */
		{.addr = 0x1018, .len_bytes = 4, .kind = KSITE_RETURN},
		{.addr = 0x101a, .len_bytes = 4, .kind = KSITE_RELOC}, /* partly covered */
		{.addr = 0x1030, .len_bytes = 8, .kind = KSITE_RELOC_INVERSE},
		{.addr = 0x103e, .len_bytes = 5, .kind = KSITE_RETURN}, /* leaves it */
		{.addr = 0x1040, .len_bytes = 1, .kind = KSITE_SMP_LOCK},
	};
	static const struct pkg_mask want[] = {
		{0, 2, KSITE_ALTERNATIVE},  {4, 5, KSITE_FTRACE},	  {9, 1, KSITE_ALTERNATIVE},
		{16, 4, KSITE_RELOC},	    {20, 4, KSITE_RELOC},	  {24, 4, KSITE_RETURN},
		{28, 2, KSITE_ALTERNATIVE}, {48, 8, KSITE_RELOC_INVERSE}, {62, 2, KSITE_RETURN},
	};
	const struct ksites s = {.nr = XO_ARRAY_SIZE(site), .site = site};
	struct pkg_target t = {.symbol = "f", .size_bytes = 64};
	struct xerr err = {0};

	(void)state;
	assert_int_equal(target_masks(&t, &s, 0x1000, &err), 0);
	assert_int_equal(t.nr_masks, XO_ARRAY_SIZE(want));
	for (size_t i = 0; i < t.nr_masks; i++) {
		assert_int_equal(t.mask[i].off, want[i].off);
		assert_int_equal(t.mask[i].len_bytes, want[i].len_bytes);
		assert_int_equal(t.mask[i].kind, want[i].kind);
	}
	free(t.mask);
	t.size_bytes = 50; /* cuts the inverse relocation */
	assert_int_equal(target_masks(&t, &s, 0x1000, &err), -XO_EMALFORMED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_digest),
		cmocka_unit_test(test_masks),
	};

	return cmocka_run_group_tests_name("preimage", tests, NULL, NULL);
}
