// SPDX-License-Identifier: Apache-2.0
/*
 * The guard's monitor on KVM. Ring 3 of the bare guest stores directly; ring 0 does too where
 * there is hardware beneath, and is emulated where there is not: both ways a store can be made.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/guarding.h"

static struct guarding direct, emulated;

static struct guarding *boot(bool ring0)
{
	const struct bare_opts opts = {.ring0 = ring0, .nr_cpus = 2};
	struct guarding *g = ring0 ? &emulated : &direct;

	if (!bare_kvm_usable())
		skip();
	if (!g->guest)
		guarding_start(g, &opts);
	return g;
}

static int stop(void **state)
{
	(void)state;
	guarding_stop(&direct);
	guarding_stop(&emulated);
	return 0;
}

static void put_back(struct guarding *g)
{
	struct mon_write_event e;
	uint64_t seen = 0;

	guarding_protect(g, 1);
	bare_store(g->guest, 0, BARE_STORE_32, BARE_GUARDED + 0x10, 0x11223344);
	guarding_next(g, &e);
	assert_int_equal(e.gpa.v, BARE_GUARDED + 0x10);
	assert_int_equal(e.len_bytes, 4);
	assert_in_range(e.vcpu, 0, 1); /* processors number themselves */
	assert_false(e.adopted);
	assert_false(bare_runs(g->guest, 20));
	print_message("held until the event: %llu ns\n", (unsigned long long)e.held_ns);
	(void)guarding_judge(g, false);
	assert_true(bare_stored(g->guest, 0, GUARDING_WAIT_MS, &seen));
	assert_int_equal(seen, 0);
	assert_true(bare_runs(g->guest, GUARDING_WAIT_MS));
	guarding_release(g, 1);
}

static void test_put_back_direct(void **state)
{
	(void)state;
	put_back(boot(false));
}

static void test_put_back_emulated(void **state)
{
	(void)state;
	put_back(boot(true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_back_direct),
		cmocka_unit_test(test_put_back_emulated),
	};

	setenv("EXOPATCH_LIBEXEC", getenv("BUILD") ? getenv("BUILD") : "build", 0);
	return cmocka_run_group_tests(tests, NULL, stop);
}
