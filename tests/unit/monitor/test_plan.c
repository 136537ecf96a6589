// SPDX-License-Identifier: Apache-2.0
/* What a plan and a VM's description must be like. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "vmm-agent/monitor/plan.h"

static const uint8_t bytes[MON_MAX_WRITE_BYTES + 1];

static struct mon_vm vm(void)
{
	return (struct mon_vm){
		.pid = 100,
		.accel = MON_KVM,
		.nr_vcpus = 2,
		.tid = {101, 102},
		.nr_regions = 3,
		.region = {{.len_bytes = 0xa0000, .backend = 0},
			   {.gpa = {0xc0000},
			    .len_bytes = 0x20000,
			    .backend = -1,
			    .hva = {0x7f0000000000},
			    .rom = true},
			   {.gpa = {0x100000},
			    .len_bytes = 0x100000,
			    .backend = 0,
			    .backend_off = 0x100000}},
		.nr_backends = 1,
	};
}

static struct mon_write write_at(uint64_t gpa, uint32_t len)
{
	return (struct mon_write){
		.gpa = {gpa}, .len_bytes = len, .expected = bytes, .replacement = bytes};
}

/* Add and check @nr records. */
static int check(const struct mon_write *w, size_t nr, const struct mon_vm *v, size_t *bad)
{
	struct plan p = {0};
	struct xerr err = {0};
	int rc = 0;

	for (size_t i = 0; i < nr && !rc; i++) {
		*bad = i;
		rc = plan_add(&p, &w[i], &err);
	}
	if (!rc)
		rc = plan_check(&p, v, bad, &err);
	assert_int_equal(p.ready, rc == 0);
	assert_int_equal(rc, err.code);
	plan_clear(&p);
	return rc;
}

static void test_good_plans(void **state)
{
	const struct mon_vm v = vm();
	struct mon_write w[] = {write_at(0x1000, 4096), write_at(0x2ffb, 5), write_at(0x2ffa, 1),
				write_at(0xc0000, 8), write_at(0x1ffff8, 8)};
	size_t bad = 99;

	(void)state;
	assert_int_equal(check(w, 5, &v, &bad), 0);
	assert_int_equal(check(w, 0, &v, &bad), 0);
}

static void assert_bad(struct mon_write w, const struct mon_vm *v)
{
	struct mon_write two[] = {write_at(0x3000, 8), w};
	size_t bad = 99;

	assert_int_equal(check(two, 2, v, &bad), -XO_EPLAN);
	assert_int_equal(bad, 1);
}

static void test_bad_records(void **state)
{
	const struct mon_vm v = vm();

	(void)state;
	assert_bad(write_at(0x1000, 0), &v);
	assert_bad(write_at(0x1000, MON_MAX_WRITE_BYTES + 1), &v);
	assert_bad(write_at(0x1ffc, 5), &v);	     /* crosses a page */
	assert_bad(write_at(0xa0000, 4), &v);	     /* a hole */
	assert_bad(write_at(0x200000, 1), &v);	     /* past the end */
	assert_bad(write_at(UINT64_MAX - 3, 4), &v); /* nearly wraps */
	assert_bad(write_at(0x3004, 8), &v);	     /* overlaps, from above */
}

static void test_overlap_names_the_later_address(void **state)
{
	const struct mon_vm v = vm();
	struct mon_write w[] = {write_at(0x5000, 8), write_at(0x3000, 8), write_at(0x5007, 2)};
	size_t bad = 99;

	(void)state;
	assert_int_equal(check(w, 3, &v, &bad), -XO_EPLAN);
	assert_int_equal(bad, 2);
}

static void test_rom_under_tcg_needs_a_virtual_address(void **state)
{
	struct mon_write w = write_at(0xc1000, 16);
	struct mon_vm v = vm();
	size_t bad = 99;

	(void)state;
	assert_int_equal(check(&w, 1, &v, &bad), 0);
	v.accel = MON_TCG;
	assert_int_equal(check(&w, 1, &v, &bad), -XO_EPLAN);
	w.gva.v = 0xffffffffff601000;
	assert_int_equal(check(&w, 1, &v, &bad), 0);
	w.gva.v = 0xffffffffff601008; /* elsewhere in its page */
	assert_int_equal(check(&w, 1, &v, &bad), -XO_EPLAN);
}

static void test_limits(void **state)
{
	struct mon_write w = write_at(0, 1);
	struct plan p = {0};
	struct xerr err = {0};
	size_t nr = 0;

	(void)state;
	while (nr <= MON_MAX_WRITES && !plan_add(&p, &w, &err))
		nr++;
	assert_int_equal(nr, MON_MAX_WRITES);
	assert_int_equal(err.code, -XO_EPLAN);
	plan_clear(&p);
	w.len_bytes = MON_MAX_WRITE_BYTES;
	err = (struct xerr){0};
	for (nr = 0; nr <= MON_MAX_WRITES && !plan_add(&p, &w, &err); nr++)
		;
	assert_int_equal(nr, MON_MAX_PLAN_BYTES / (2 * MON_MAX_WRITE_BYTES));
	plan_clear(&p);
}

static void assert_bad_vm(const struct mon_vm *v)
{
	struct xerr err = {0};

	assert_int_equal(vm_check(v, &err), -XO_EPLAN);
	assert_true(err.text[0]);
}

static void test_vm(void **state)
{
	struct mon_vm v = vm();
	struct xerr err = {0};

	(void)state;
	assert_int_equal(vm_check(&v, &err), 0);
	v.pid = 1;
	assert_bad_vm(&v);
	v.pid = -1;
	assert_bad_vm(&v);
	v = vm();
	v.nr_vcpus = 0;
	assert_bad_vm(&v);
	v = vm();
	v.tid[1] = -1;
	assert_bad_vm(&v);
	v.tid[1] = v.tid[0];
	assert_bad_vm(&v);
	v.accel = MON_TCG; /* which may take turns in one thread */
	assert_int_equal(vm_check(&v, NULL), 0);
	v = vm();
	v.region[0].len_bytes = 0;
	assert_bad_vm(&v);
	v = vm();
	v.region[1].gpa.v = UINT64_MAX - 5;
	assert_bad_vm(&v);
	v = vm();
	v.region[1].backend = 1;
	assert_bad_vm(&v);
	v.region[1].backend = -2;
	assert_bad_vm(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_plans),
		cmocka_unit_test(test_bad_records),
		cmocka_unit_test(test_overlap_names_the_later_address),
		cmocka_unit_test(test_rom_under_tcg_needs_a_virtual_address),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_vm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
