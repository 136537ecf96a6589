// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/patience.h"
#include "tests/unit/lens/fake_guest.h"

#define LIMIT	  (FAKE_BASE + (1u << 30))
#define MAX_BYTES (1u << 20)

/* 600 symbols: three markers; names of up to 200 characters, so that lengths take two bytes. */
static size_t make_table(uint8_t *out, bool modern)
{
	struct ksyms_builder b = KSYMS_BUILDER;
	struct ksyms k;
	char name[256];
	size_t n;

	assert_int_equal(ksyms_add(&b, 0x1000, 'A', "percpu_thing"), 0);
	assert_int_equal(ksyms_add(&b, FAKE_BASE, 'T', "_text"), 0);
	for (unsigned int i = 0; i < 600; i++) {
		snprintf(name, sizeof(name), "%0*u_fn", i % 200 + 1, i % 150);
		assert_int_equal(ksyms_add(&b, FAKE_BASE + 16 + i / 2 * 32ul, 't', name), 0);
	}
	assert_int_equal(ksyms_build(&k, &b), 0);
	memset(out, 0x55, 64);
	n = 64 + fake_kallsyms(&k, out + 64, modern);
	ksyms_free(&k);
	return n;
}

static void check_table(const struct ksyms *k)
{
	size_t i[8];

	assert_int_equal(k->nr, 602);
	assert_int_equal(ksyms_lookup(k, "percpu_thing", i, 8), 1);
	assert_int_equal(k->sym[i[0]].addr, 0x1000);
	assert_int_equal(k->sym[i[0]].type, 'A');
	assert_int_equal(ksyms_lookup(k, "nothing", i, 8), 0);
	/* "0_fn" is symbol 0: no other has that width and number. */
	assert_int_equal(ksyms_lookup(k, "0_fn", i, 8), 1);
	assert_int_equal(k->sym[i[0]].addr, FAKE_BASE + 16);
	assert_int_equal(ksyms_size(k, i[0]), 32);
	assert_int_equal(ksyms_at(k, FAKE_BASE + 15), 1);
	assert_int_equal(ksyms_at(k, 0xfff), -1);
	assert_int_equal(ksyms_at(k, UINT64_MAX), 601);
	assert_int_equal(ksyms_size(k, 601), 0);
}

static void test_layouts(void **state)
{
	_cleanup_free_ uint8_t *image = calloc(1, MAX_BYTES);
	struct ksyms k;

	(void)state;
	for (int modern = 0; modern < 2; modern++) {
		size_t n = make_table(image, modern);
		struct xerr err = {0};

		if (ksyms_find(&k, SPAN(image, n), FAKE_BASE, LIMIT, &err))
			fail_msg("%s", err.text);
		check_table(&k);
		ksyms_free(&k);
		/* Another base: not this kernel's table. */
		assert_int_equal(ksyms_find(&k, SPAN(image, n), FAKE_BASE + 4096, LIMIT, NULL),
				 -XO_EKALLSYMS);
		/* Addresses past the image. */
		assert_int_equal(ksyms_find(&k, SPAN(image, n), FAKE_BASE, FAKE_BASE, NULL),
				 -XO_EKALLSYMS);
	}
}

static void test_same_name(void **state)
{
	struct ksyms_builder b = KSYMS_BUILDER;
	struct ksyms k;
	size_t i[2];

	(void)state;
	for (uint64_t addr = 50; addr > 0; addr -= 10)
		assert_int_equal(ksyms_add(&b, addr, 't', "same"), 0);
	assert_int_equal(ksyms_build(&k, &b), 0);
	assert_int_equal(ksyms_lookup(&k, "same", i, 2), 5);
	assert_int_equal(k.sym[i[0]].addr, 10);
	assert_int_equal(k.sym[i[1]].addr, 20);
	ksyms_free(&k);
	/* And an empty table. */
	b = KSYMS_BUILDER;
	assert_int_equal(ksyms_build(&k, &b), 0);
	assert_int_equal(ksyms_lookup(&k, "same", i, 2), 0);
	assert_int_equal(ksyms_at(&k, 5), -1);
	ksyms_free(&k);
}

/* Each byte flipped, and the end cut off everywhere: found or not, never worse, and in time. */
static void test_mutations(void **state)
{
	_cleanup_free_ uint8_t *image = calloc(1, MAX_BYTES);
	size_t n = make_table(image, true);
	uint64_t start = worked_ns();
	struct ksyms k;

	(void)state;
	for (size_t i = 0; i < n; i += 11) {
		image[i] ^= 0xff;
		if (!ksyms_find(&k, SPAN(image, n), FAKE_BASE, LIMIT, NULL))
			ksyms_free(&k);
		image[i] ^= 0xff;
	}
	for (size_t cut = 1; cut < n; cut += 97) {
		_cleanup_free_ uint8_t *part = malloc(n - cut);

		memcpy(part, image, n - cut);
		if (!ksyms_find(&k, SPAN(part, n - cut), FAKE_BASE, LIMIT, NULL))
			ksyms_free(&k);
	}
	assert_true(worked_ns() - start < UINT64_C(20000000000));
}

/* Many places that look like a table, and one that makes every count plausible. */
static void test_hostile(void **state)
{
	_cleanup_free_ uint8_t *image = calloc(1, MAX_BYTES);
	uint64_t start = worked_ns();
	struct ksyms k;
	size_t n = 0;

	(void)state;
	while (n + 20 < MAX_BYTES) {
		memcpy(image + n, "0\0001\0002\0003\0004\0005\0006\0007\0008\0009", 20);
		n += 20;
	}
	assert_int_equal(ksyms_find(&k, SPAN(image, n), FAKE_BASE, LIMIT, NULL), -XO_EKALLSYMS);
	memset(image, 0, MAX_BYTES);
	for (size_t i = 0; i + 8 < MAX_BYTES / 2; i += 8)
		image[i + 1] = 1;
	n = MAX_BYTES / 2;
	n = fake_tokens(image, n);
	assert_int_equal(ksyms_find(&k, SPAN(image, n), FAKE_BASE, LIMIT, NULL), -XO_EKALLSYMS);
	assert_true(worked_ns() - start < UINT64_C(10000000000));
}

static void test_build_id(void **state)
{
	static const uint8_t notes[] = {
		4, 0, 0, 0, 4, 0, 0, 0, 6, 0, 0, 0, 'X', 'e', 'n', 0, 1, 2, 3, 4,
		4, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0, 'G', 'N', 'U', 0, 9, 8, 7, 0,
	};
	uint8_t id[20];

	(void)state;
	assert_int_equal(kimage_build_id(SPAN(notes, sizeof(notes)), id), 3);
	assert_int_equal(id[2], 7);
	for (size_t n = 0; n < sizeof(notes) - 1; n++)
		assert_int_equal(kimage_build_id(SPAN(notes, n), id), -XO_EMALFORMED);
}

static void test_kind_names(void **state)
{
	(void)state;
	for (int i = KSITE_ALTERNATIVE; i <= KSITE_RELOC; i++)
		assert_string_not_equal(ksite_kind_name((enum ksite_kind)i), "unknown");
	assert_string_equal(ksite_kind_name((enum ksite_kind)0), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layouts),	  cmocka_unit_test(test_same_name),
		cmocka_unit_test(test_mutations), cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_build_id),  cmocka_unit_test(test_kind_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
