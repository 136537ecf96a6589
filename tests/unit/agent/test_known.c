// SPDX-License-Identifier: Apache-2.0
/* What stays from one audit to the next, and from one round of them to the next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vmm-agent/agent/known.h"

#define KERNEL UINT64_C(0xffffffffc0123000)
#define USER   UINT64_C(0x7f0000001000)

static struct lens_finding page(uint64_t gva, uint64_t len)
{
	return (struct lens_finding){
		.kind = LENS_FOUND_EXEC, .gva = {gva}, .gpa = {0x1000}, .len_bytes = len};
}

/* One audit that finds the page at @gva, or nothing if that is 0. */
static void audit(struct known *k, uint64_t gva, bool round_over)
{
	struct lens_finding f = page(gva, 0x1000);

	known_take(k, &f, gva != 0, 5, false, round_over);
}

static void found_twice(void **state)
{
	struct known k = {0};

	(void)state;
	audit(&k, KERNEL, true);
	assert_int_equal(k.nr, 1);
	assert_false(k.item[0].again);
	audit(&k, KERNEL, true);
	assert_true(k.item[0].again);
	assert_int_equal(k.item[0].since_ns, 5);
	audit(&k, 0, true);
	assert_int_equal(k.nr, 0);
	audit(&k, KERNEL, true);
	assert_false(k.item[0].again);
}

/* A module that comes and goes is there at every other audit, be they of one round or not. */
static void the_kernels_half_is_looked_at_each_time(void **state)
{
	struct known k = {0};

	(void)state;
	audit(&k, KERNEL, false);
	audit(&k, 0, false);
	audit(&k, KERNEL, false);
	assert_false(k.item[0].again);
}

/* It takes three audits to look at every process. */
static void found_in_two_rounds(void **state)
{
	struct known k = {0};

	(void)state;
	audit(&k, USER, false);
	audit(&k, 0, false);
	audit(&k, 0, true);
	assert_int_equal(k.nr, 1);
	audit(&k, USER, false);
	assert_true(k.item[0].again);
	audit(&k, 0, false);
	audit(&k, 0, true);
	assert_int_equal(k.nr, 1);
	/* A whole round does not find it any more. */
	audit(&k, 0, false);
	audit(&k, 0, false);
	assert_int_equal(k.nr, 1);
	audit(&k, 0, true);
	assert_int_equal(k.nr, 0);
}

static void what_grows_is_told_again(void **state)
{
	struct lens_finding f = page(KERNEL, 0x1000);
	struct known k = {0};

	(void)state;
	known_take(&k, &f, 1, 5, true, true);
	k.item[0].said = true;
	known_take(&k, &f, 1, 6, false, true);
	assert_true(k.item[0].said);
	assert_true(k.item[0].was_there);
	f.len_bytes = 0x2000;
	known_take(&k, &f, 1, 7, false, true);
	assert_false(k.item[0].said);
}

static void unsaid_is_forgotten(void **state)
{
	struct lens_finding f[2] = {page(KERNEL, 0x1000), page(KERNEL + 0x4000, 0x1000)};
	struct known k = {0};

	(void)state;
	known_take(&k, f, 2, 5, false, true);
	k.item[1].said = true;
	known_forget_unsaid(&k);
	assert_int_equal(k.nr, 1);
	assert_int_equal(k.item[0].finding.gva.v, KERNEL + 0x4000);
	k.nr = SIZE_MAX;
	known_forget_unsaid(&k);
	assert_int_equal(k.nr, 0);
}

/* New findings come first: they are what there is to tell. */
static void there_is_room_for_so_many(void **state)
{
	static struct lens_finding f[LENS_MAX_FINDINGS];
	struct known k = {0};

	(void)state;
	audit(&k, USER, false);
	for (size_t i = 0; i < LENS_MAX_FINDINGS; i++)
		f[i] = page(KERNEL + i * 0x4000, 0x1000);
	known_take(&k, f, LENS_MAX_FINDINGS, 6, false, false);
	assert_int_equal(k.nr, LENS_MAX_FINDINGS);
	assert_int_equal(k.item[LENS_MAX_FINDINGS - 1].finding.gva.v,
			 KERNEL + (LENS_MAX_FINDINGS - UINT64_C(1)) * 0x4000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_twice),
		cmocka_unit_test(the_kernels_half_is_looked_at_each_time),
		cmocka_unit_test(found_in_two_rounds),
		cmocka_unit_test(what_grows_is_told_again),
		cmocka_unit_test(unsaid_is_forgotten),
		cmocka_unit_test(there_is_room_for_so_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
