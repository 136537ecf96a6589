// SPDX-License-Identifier: Apache-2.0
/* The guard's monitor on TCG guests: the bare one, and Debian's kernel. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/guarding.h"

static struct guarding guard;

static int boot(void **state)
{
	const struct bare_opts opts = {.tcg = true, .nr_cpus = 2};

	(void)state;
	guarding_start(&guard, &opts);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	guarding_stop(&guard);
	return 0;
}

static void test_put_back(void **state)
{
	struct mon_write_event e;
	uint64_t seen = 0;

	(void)state;
	guarding_protect(&guard, 1);
	bare_store(guard.guest, 0, BARE_STORE_32, BARE_GUARDED + 0x10, 0x11223344);
	guarding_next(&guard, &e);
	assert_int_equal(e.gpa.v, BARE_GUARDED + 0x10);
	assert_int_equal(e.len_bytes, 4);
	assert_in_range(e.vcpu, 0, 1); /* processors number themselves */
	assert_false(e.adopted);
	assert_false(bare_runs(guard.guest, 20));
	(void)guarding_judge(&guard, false);
	assert_true(bare_stored(guard.guest, 0, GUARDING_WAIT_MS, &seen));
	assert_int_equal(seen, 0);
	assert_true(bare_runs(guard.guest, GUARDING_WAIT_MS));
	guarding_release(&guard, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_back),
	};

	setenv("EXOPATCH_LIBEXEC", getenv("BUILD") ? getenv("BUILD") : "build", 0);
	return cmocka_run_group_tests(tests, boot, stop);
}
