// SPDX-License-Identifier: Apache-2.0
/* The guard's monitor on TCG guests: the bare one, and Debian's kernel. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "tests/lib/bareplan.h"
#include "tests/lib/guarding_cases.h"
#include "tests/lib/holding.h"
#include "tests/lib/lens_guest.h"
#include "tests/lib/proc.h"

#define QUIET_MS 5000

static struct guarding bare;

static struct guarding *boot(void)
{
	const struct bare_opts opts = {.tcg = true, .nr_cpus = 2};

	if (!bare.guest)
		guarding_start(&bare, &opts);
	return &bare;
}

static int stop(void **state)
{
	(void)state;
	guarding_stop(&bare);
	return 0;
}

#define BARE(name)                                                                                 \
	static void test_##name(void **state)                                                      \
	{                                                                                          \
		(void)state;                                                                       \
		name(boot());                                                                      \
	}
BARE(case_put_back)
BARE(case_keep)
BARE(case_same_bytes)
BARE(case_across_pages)
BARE(case_two_writers)
BARE(case_storm)
BARE(case_device)
BARE(case_requests_while_judging)
BARE(case_release)
BARE(case_discarded_page)
BARE(case_killed_anywhere)
BARE(case_private)
BARE(case_close)
BARE(case_qemu_ends)

static void visit(struct guarding *g, const struct mon_write *w, size_t nr)
{
	struct xerr err = {0};
	int fd = -1;

	if (mon_plan(g->mon, w, nr, &err))
		fail_msg("%s", err.text);
	assert_int_equal(bare_gdb_open(g->guest, &fd), 0);
	if (mon_gdb(g->mon, fd, true, &err))
		fail_msg("%s", err.text);
	assert_int_equal(close(fd), 0);
	assert_int_equal(bare_gdb_attach(g->guest), 0);
	if (mon_run(g->mon, NULL, NULL, &err))
		fail_msg("%s", err.text);
	assert_int_equal(bare_gdb_close(g->guest), 0);
}

/* QEMU's stub writes through the protected mapping, on its main thread: no event, since it is us.
 */
static void test_commit(void **state)
{
	const struct mon_range text = {.gpa = {BARE_VICTIM}, .len_bytes = XO_PAGE_SIZE};
	struct guarding *g = boot();
	struct mon_write_event e;
	struct xerr err = {0};
	struct bareplan p;

	(void)state;
	assert_int_equal(mon_guard_protect(g->mon, &text, 1, &err), 0);
	bareplan_make(&p, 42, BARE_HOME_GPA);
	visit(g, p.apply, BAREPLAN_RECORDS);
	assert_true(bare_sees(g->guest, 42, GUARDING_WAIT_MS));
	guarding_none(g, 20);
	bare_store(g->guest, 0, BARE_STORE_32, BARE_VICTIM, 0);
	guarding_next(g, &e);
	assert_int_equal(e.before[0], 0xe9);
	(void)guarding_judge(g, false);
	assert_true(bare_stored(g->guest, 0, GUARDING_WAIT_MS, NULL));
	assert_true(bare_sees(g->guest, 42, GUARDING_WAIT_MS));
	visit(g, p.revert, 1);
	assert_true(bare_sees(g->guest, 1, GUARDING_WAIT_MS));
	visit(g, p.revert + 1, BAREPLAN_RECORDS - 1);
	guarding_none(g, 20);
	assert_int_equal(mon_guard_release(g->mon, &text, 1, &err), 0);
}

/* Somebody else writes through the stub: a thread of QEMU that is no vCPU. */
static void test_write_of_the_main_thread(void **state)
{
	static const char m[] = "$Qqemu.PhyMemMode:1#ec";
	struct guarding *g = boot();
	struct mon_write_event e;
	char packet[64];
	uint8_t sum = 0;
	int fd = -1;

	(void)state;
	guarding_protect(g, 1);
	assert_int_equal(bare_gdb_open(g->guest, &fd), 0);
	assert_int_equal(bare_gdb_attach(g->guest), 0);
	(void)snprintf(packet, sizeof(packet), "M%x,4:55667788", BARE_GUARDED);
	for (const char *c = packet; *c; c++)
		sum = (uint8_t)(sum + (uint8_t)*c);
	assert_int_equal(dprintf(fd, "%s$%s#%02x", m, packet, sum) > 0, 1);
	guarding_next(g, &e);
	assert_int_equal(e.gpa.v, BARE_GUARDED);
	assert_int_equal(e.vcpu, -1);
	assert_true(e.writer_tid > 0);
	assert_int_equal(e.after[0], 0x55);
	(void)guarding_judge(g, false);
	while (true) {
		struct xerr err = {0};

		if (patient_next(g->mon, 100, &e, &err))
			break;
		(void)guarding_judge(g, false);
	}
	assert_int_equal(close(fd), 0);
	assert_int_equal(bare_gdb_close(g->guest), 0);
	json_decref(bare_qmp(g->guest, "{\"execute\":\"cont\"}", -1));
	assert_int_equal(*bare_mem(g->guest, BARE_GUARDED), 0);
	assert_true(bare_runs(g->guest, GUARDING_WAIT_MS));
	guarding_release(g, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_case_put_back),
		cmocka_unit_test(test_case_keep),
		cmocka_unit_test(test_case_same_bytes),
		cmocka_unit_test(test_case_across_pages),
		cmocka_unit_test(test_case_two_writers),
		cmocka_unit_test(test_case_storm),
		cmocka_unit_test(test_case_device),
		cmocka_unit_test(test_case_requests_while_judging),
		cmocka_unit_test(test_case_release),
		cmocka_unit_test(test_case_discarded_page),
		cmocka_unit_test(test_commit),
		cmocka_unit_test(test_write_of_the_main_thread),
		cmocka_unit_test(test_case_killed_anywhere),
		cmocka_unit_test(test_case_private),
		cmocka_unit_test(test_case_close),
		cmocka_unit_test(test_case_qemu_ends),
	};

	use_built_programs();
	return cmocka_run_group_tests(tests, NULL, stop);
}
