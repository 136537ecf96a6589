// SPDX-License-Identifier: Apache-2.0
/*
 * The guard's monitor on KVM. Ring 3 of the bare guest stores directly; ring 0 does too where
 * there is hardware beneath, and is emulated where there is not: both ways a store can be made.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/bareplan.h"
#include "tests/lib/guarding_cases.h"
#include "tests/lib/holding.h"
#include "tests/lib/proc.h"

static struct guarding ring3, ring0;

static struct guarding *boot(struct guarding *g)
{
	const struct bare_opts opts = {.ring0 = g == &ring0, .nr_cpus = 2};

	bare_need_kvm();
	if (!g->guest)
		guarding_start(g, &opts);
	return g;
}

static int stop(void **state)
{
	(void)state;
	guarding_stop(&ring3);
	guarding_stop(&ring0);
	return 0;
}

#define BOTH(name)                                                                                 \
	static void name##_directly(void **state)                                                  \
	{                                                                                          \
		(void)state;                                                                       \
		name(boot(&ring3));                                                                \
	}                                                                                          \
	static void name##_emulated(void **state)                                                  \
	{                                                                                          \
		(void)state;                                                                       \
		name(boot(&ring0));                                                                \
	}
BOTH(case_put_back)
BOTH(case_keep)
BOTH(case_same_bytes)
BOTH(case_across_pages)
BOTH(case_two_writers)
BOTH(case_storm)
BOTH(case_device)
BOTH(case_requests_while_judging)
BOTH(case_release)
BOTH(case_discarded_page)
BOTH(case_killed_anywhere)
BOTH(case_killed_any_moment)
static void case_silent_client_directly(void **state)
{
	(void)state;
	case_silent_client(boot(&ring3));
}
BOTH(case_private)
BOTH(case_put_back_raced)
BOTH(case_close)
BOTH(case_qemu_ends)

/* A patch goes in under the guard: our own mapping is not protected, and its bytes are golden. */
static void commit(struct guarding *g)
{
	const struct mon_range text = {.gpa = {BARE_VICTIM}, .len_bytes = XO_PAGE_SIZE};
	struct mon_write_event e;
	struct xerr err = {0};
	struct bareplan p;

	assert_int_equal(mon_guard_protect(g->mon, &text, 1, &err), 0);
	bareplan_make(&p, 42, BARE_HOME_GPA);
	assert_int_equal(mon_plan(g->mon, p.apply, BAREPLAN_RECORDS, &err), 0);
	assert_int_equal(patient_run(g->mon, NULL, NULL, &err), 0);
	assert_true(bare_sees(g->guest, 42, GUARDING_WAIT_MS));
	guarding_none(g, 20);
	bare_store(g->guest, 0, BARE_STORE_32, BARE_VICTIM, 0);
	guarding_next(g, &e);
	assert_int_equal(e.before[BARE_VICTIM & XO_PAGE_MASK], 0xe9);
	(void)guarding_judge(g, false);
	assert_true(bare_stored(g->guest, 0, GUARDING_WAIT_MS, NULL));
	assert_int_equal(bareplan_undo(&p, g->guest, g->mon, &err), 0);
	guarding_none(g, 20);
	assert_int_equal(mon_guard_release(g->mon, &text, 1, &err), 0);
}
BOTH(commit)

static void test_registers_of_the_writer(void **state)
{
	struct guarding *g = boot(&ring3);
	struct mon_regs regs[2];
	struct mon_write_event e;
	struct xerr err = {0};

	(void)state;
	guarding_protect(g, 1);
	bare_store(g->guest, 0, BARE_STORE_32, BARE_GUARDED, 1);
	guarding_next(g, &e);
	assert_int_equal(mon_regs(g->mon, regs, &err), 0);
	assert_int_equal(regs[e.vcpu].cr3, BARE_PML4);
	assert_in_range(regs[e.vcpu].rip, BARE_IMAGE, BARE_MAX_LOADED);
	(void)guarding_judge(g, false);
	assert_true(bare_stored(g->guest, 0, GUARDING_WAIT_MS, NULL));
	guarding_release(g, 1);
}

#define TESTS(name) cmocka_unit_test(name##_directly), cmocka_unit_test(name##_emulated)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TESTS(case_put_back),
		TESTS(case_keep),
		TESTS(case_same_bytes),
		TESTS(case_across_pages),
		TESTS(case_two_writers),
		TESTS(case_storm),
		TESTS(case_device),
		TESTS(case_requests_while_judging),
		TESTS(case_release),
		TESTS(case_discarded_page),
		TESTS(commit),
		cmocka_unit_test(test_registers_of_the_writer),
		TESTS(case_killed_anywhere),
		TESTS(case_killed_any_moment),
		cmocka_unit_test(case_silent_client_directly),
		TESTS(case_private),
		TESTS(case_put_back_raced),
		TESTS(case_close),
		TESTS(case_qemu_ends),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	use_built_programs();
	return cmocka_run_group_tests(tests, NULL, stop);
}
