// SPDX-License-Identifier: Apache-2.0
/* Room for new code: never where something is, never half outside, records that fill it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmm-agent/agent/home.h"

#define VA UINT64_C(0xffffffffff610000)

/* Three pages, of which the last stands apart. */
static void make_home(struct home *h, uint8_t fill)
{
	memset(h, 0, sizeof(*h));
	h->kind = "window";
	h->fill = fill;
	h->nr_pages = 3;
	h->bytes = malloc(3 * XO_PAGE_SIZE);
	assert_non_null(h->bytes);
	memset(h->bytes, fill, 3 * XO_PAGE_SIZE);
	for (uint64_t i = 0; i < 3; i++) {
		uint64_t at = (i < 2 ? i : 5) * XO_PAGE_SIZE;

		h->page[i] = (struct home_page){.gva = {VA + at},
						.gpa = {0xd0000 + at},
						.pte = {0x2000 + i * 8},
						.pte_new = 0x123 + at};
	}
}

static void the_first_free_run_is_taken(void **state)
{
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_home_ struct home h;
	struct session s = {0};
	struct gva at = {0};

	(void)state;
	make_home(&h, 0);
	assert_int_equal(home_find(&s, &h, 100, 16, &at, &why), 0);
	assert_true(at.v == VA);
	h.bytes[100] = 1;
	assert_int_equal(home_find(&s, &h, 100, 16, &at, &why), 0);
	assert_true(at.v == VA + 128);
	/* one byte more than fits: the byte after a patch belongs to it */
	h.bytes[64] = 1;
	memset(h.bytes + 128, 1, 64);
	assert_int_equal(home_find(&s, &h, 64, 16, &at, &why), 0);
	assert_true(at.v == VA + 192);
	/* a page's alignment */
	h.bytes[5] = 1;
	assert_int_equal(home_find(&s, &h, 10, 4096, &at, &why), 0);
	assert_true(at.v == VA + 4096);
}

static void a_run_crosses_only_neighbouring_pages(void **state)
{
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_home_ struct home h;
	struct session s = {0};
	struct gva at = {0};

	(void)state;
	make_home(&h, 0);
	assert_int_equal(home_find(&s, &h, 8191, 16, &at, &why), 0);
	assert_true(at.v == VA);
	assert_int_equal(home_find(&s, &h, 8192, 16, &at, &why), -XO_EHOMEFULL);
	assert_int_equal(why.nr, 1);
	assert_int_equal(why.reason[0].code, XO_EHOMEFULL);
	assert_int_equal(home_find(&s, &h, UINT64_MAX, 16, &at, &why), -XO_EHOMEFULL);
}

static void the_journal_keeps_bytes_that_look_free(void **state)
{
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_home_ struct home h;
	struct jrow rows[2] = {{.state = J_ACTIVE, .home = {VA}, .home_bytes = 300},
			       {.state = J_REVERTED, .home = {VA + 320}, .home_bytes = 300}};
	struct session s = {.row = rows, .nr_rows = 2};
	struct gva at = {0};

	(void)state;
	make_home(&h, 0);
	assert_int_equal(home_find(&s, &h, 10, 16, &at, &why), 0);
	assert_true(at.v == VA + 320);
}

/* After a reboot the home is as empty as it looks. */
static void an_earlier_boots_patch_takes_no_room(void **state)
{
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_home_ struct home h;
	struct jrow row = {.state = J_ACTIVE, .kernel_base = {1}, .home = {VA}, .home_bytes = 300};
	struct session s = {.row = &row, .nr_rows = 1};
	struct gva at = {0};

	(void)state;
	make_home(&h, 0);
	assert_int_equal(home_find(&s, &h, 10, 16, &at, &why), 0);
	assert_true(at.v == VA);
}

static void an_address_at_the_end_does_not_wrap(void **state)
{
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_home_ struct home h;
	struct jrow row = {
		.state = J_ACTIVE, .home = {0 - XO_PAGE_SIZE}, .home_bytes = XO_PAGE_SIZE};
	struct session s = {.row = &row, .nr_rows = 1};
	struct gva at = {0};

	(void)state;
	make_home(&h, 0);
	h.nr_pages = 1;
	h.page[0].gva.v = 0 - XO_PAGE_SIZE;
	assert_int_equal(home_find(&s, &h, 10, 16, &at, &why), -XO_EHOMEFULL);
}

static void records_fill_the_place_page_by_page(void **state)
{
	_cleanup_jrow_ struct jrow row = {0};
	_cleanup_home_ struct home h;
	uint8_t code[200];

	(void)state;
	memset(code, 0x90, sizeof(code));
	make_home(&h, 0xcc);
	h.page[1].pte.v = 0; /* mapped for good */
	assert_int_equal(
		home_fill(&h, (struct gva){VA + 4096 - 64}, SPAN(code, sizeof(code)), &row), 0);
	assert_int_equal(row.nr_writes, 3);
	assert_int_equal(row.write[0].kind, J_MAP);
	assert_true(row.write[0].gpa.v == 0x2000);
	assert_int_equal(row.write[0].len_bytes, 8);
	assert_int_equal(row.write[0].after[0], 0x23);
	assert_int_equal(row.write[0].before[0], 0);
	assert_int_equal(row.write[1].kind, J_CODE);
	assert_int_equal(row.write[1].len_bytes, 64);
	assert_true(row.write[1].gpa.v == 0xd0000 + 4096 - 64);
	assert_int_equal(row.write[2].len_bytes, 200 - 64 + 1);
	assert_true(row.write[2].gva.v == VA + 4096);
	assert_int_equal(row.write[2].before[0], 0xcc);
	assert_int_equal(row.write[2].after[135], 0x90);
	/* the end mark is not the fill byte */
	assert_int_equal(row.write[2].after[136], 0x33);
	assert_int_equal(row.home_bytes, 201);
	assert_string_equal(row.home_kind, "window");
}

static void places_outside_are_a_bug_of_ours(void **state)
{
	_cleanup_jrow_ struct jrow row = {0};
	_cleanup_home_ struct home h;
	uint8_t code[100] = {0};

	(void)state;
	make_home(&h, 0);
	assert_int_equal(home_fill(&h, (struct gva){VA + 8192 - 64}, SPAN(code, 100), &row),
			 -XO_EINTERNAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_free_run_is_taken),
		cmocka_unit_test(a_run_crosses_only_neighbouring_pages),
		cmocka_unit_test(the_journal_keeps_bytes_that_look_free),
		cmocka_unit_test(an_earlier_boots_patch_takes_no_room),
		cmocka_unit_test(an_address_at_the_end_does_not_wrap),
		cmocka_unit_test(records_fill_the_place_page_by_page),
		cmocka_unit_test(places_outside_are_a_bug_of_ours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
