// SPDX-License-Identifier: Apache-2.0
/* Each rule on either side of its edge. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "policy/admit.h"

static const char *const f_one[] = {"do_one"}, *const f_two[] = {"do_two", "do_one"};
static const char *const needs[] = {"base", "other"};

static const struct pol_package package = {
	.id = "fix",
	.arch = "x86_64",
	.build_id = "aa",
	.release = "6.1",
	.serial = 5,
	.security_epoch = 1,
	.nr_functions = 1,
	.function = f_one,
};

static const struct pol_facts facts = {
	.guest_arch = "x86_64", .guest_build_id = "aa", .guest_release = "6.1"};

static void expect(const struct pol_facts *f, const struct pol_package *p, const int *codes,
		   size_t nr)
{
	_cleanup_refusal_ struct refusal why = {0};

	pol_admit(f, p, &why);
	assert_int_equal(why.nr, nr);
	for (size_t i = 0; i < nr; i++)
		assert_int_equal(why.reason[i].code, codes[i]);
}

#define EXPECT(f, p, ...)                                                                          \
	expect(f, p, (const int[]){0, ##__VA_ARGS__} + 1,                                          \
	       sizeof((const int[]){0, ##__VA_ARGS__}) / sizeof(int) - 1)

static void the_kernel_must_be_the_one(void **state)
{
	struct pol_facts f = facts;

	(void)state;
	EXPECT(&f, &package);
	f.guest_build_id = "ab";
	EXPECT(&f, &package, XO_EBUILDID);
	f.guest_arch = "aarch64";
	EXPECT(&f, &package, XO_EARCH);
}

static void once_only_and_in_order(void **state)
{
	const struct pol_active base = {.id = "base", .version = "1", .requires_ids = ""};
	struct pol_active same = {.id = "fix", .version = "3", .requires_ids = ""};
	struct pol_package p = package;
	struct pol_facts f = facts;

	(void)state;
	f.nr_active = 1;
	f.active = &same;
	EXPECT(&f, &p, XO_EAPPLIED);
	f.active = &base;
	p.nr_requires = 1;
	p.requires_id = needs;
	EXPECT(&f, &p);
	p.nr_requires = 2;
	EXPECT(&f, &p, XO_EPREREQ);
}

static void serials_at_their_edges(void **state)
{
	struct pol_seen seen = {.subject = "fix", .serial = 5, .security_epoch = 1};
	struct pol_facts f = facts;

	(void)state;
	f.nr_seen = 1;
	f.seen = &seen;
	EXPECT(&f, &package); /* the same again */
	seen.serial = 6;
	EXPECT(&f, &package, XO_ESERIAL);
	seen.security_epoch = 0; /* serials go on growing in a newer epoch */
	EXPECT(&f, &package, XO_ESERIAL);
	seen.security_epoch = 2;
	seen.serial = 1;
	EXPECT(&f, &package, XO_ESERIAL);
}

static void a_function_has_one_owner(void **state)
{
	const struct pol_active holder = {.id = "holder",
					  .version = "1",
					  .nr_functions = 2,
					  .function = f_two,
					  .requires_ids = ""};
	struct pol_facts f = facts;

	(void)state;
	f.nr_active = 1;
	f.active = &holder;
	EXPECT(&f, &package, XO_EINUSE);
}

static void what_others_need_stays(void **state)
{
	const struct pol_active active[] = {
		{.id = "base", .requires_ids = ""},
		{.id = "top", .requires_ids = "xbase base2 base"},
		{.id = "aside", .requires_ids = "base2 xbase"},
	};
	_cleanup_refusal_ struct refusal why = {0}, fine = {0}, none = {0};
	struct pol_facts f = facts;

	(void)state;
	f.nr_active = 3;
	f.active = active;
	pol_retire(&f, "base", &why);
	assert_int_equal(why.nr, 1);
	assert_int_equal(why.reason[0].code, XO_EINUSE);
	pol_retire(&f, "top", &fine);
	assert_int_equal(fine.nr, 0);
	pol_retire(&f, "nobody", &none);
	pol_retire(&f, "", &none);
	assert_int_equal(none.nr, 2);
	assert_int_equal(none.reason[0].code, XO_ENOTAPPLIED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_kernel_must_be_the_one),
		cmocka_unit_test(once_only_and_in_order),
		cmocka_unit_test(serials_at_their_edges),
		cmocka_unit_test(a_function_has_one_owner),
		cmocka_unit_test(what_others_need_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
