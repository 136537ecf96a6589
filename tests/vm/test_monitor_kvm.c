// SPDX-License-Identifier: Apache-2.0
/* The monitor on a KVM guest: hold and release, a plan, death at every fault point. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/util.h"
#include "tests/lib/bareplan.h"
#include "tests/lib/holding.h"
#include "tests/lib/patience.h"

#define NEW_VALUE 42
#define WAIT_MS	  PATIENCE_MS

static bool as_private; /* the monitor is told of no file: it writes QEMU's memory */

static struct mon *start(const struct bare *b)
{
	struct mon_vm vm = *bare_vm(b);
	struct xerr err = {0};
	struct mon *m = NULL;

	for (size_t i = 0; i < vm.nr_regions && as_private; i++)
		vm.region[i].backend = -1;
	if (as_private)
		vm.nr_backends = 0;
	if (mon_start(&m, &vm, &err))
		fail_msg("mon_start: %s", err.text);
	return m;
}

static struct bare *boot(bool ring0, unsigned int nr_cpus)
{
	const struct bare_opts opts = {.ring0 = ring0, .nr_cpus = nr_cpus};
	struct xerr err = {0};
	struct bare *b = NULL;

	bare_need_kvm();
	if (bare_start(&b, &opts, &err))
		fail_msg("%s", err.text);
	return b;
}

/* One guest with two vCPUs for all tests that leave it as they found it. */
static struct bare *shared_guest;

static struct bare *shared(void)
{
	if (!shared_guest)
		shared_guest = boot(false, 2);
	return shared_guest;
}

static int stop_shared(void **state)
{
	(void)state;
	bare_stop(shared_guest);
	return 0;
}

static void run_plan(struct mon *m, const struct mon_write *w, struct mon_times *times)
{
	struct xerr err = {0};

	if (mon_plan(m, w, BAREPLAN_RECORDS, &err) || patient_run(m, times, NULL, &err))
		fail_msg("%s", err.text);
}

static void undo(struct bare *b, struct mon *m, const struct bareplan *p)
{
	struct xerr err = {0};

	if (bareplan_undo(p, b, m, &err))
		fail_msg("undo: %s", err.text);
	assert_true(bare_sees(b, 1, WAIT_MS));
	for (size_t i = 0; i < BAREPLAN_RECORDS; i++)
		assert_int_equal(bareplan_state(p, b, i), 0);
}

static void apply_and_revert(struct bare *b)
{
	struct mon_times times = {0};
	struct bareplan p;
	struct mon *m = start(b);

	bareplan_make(&p, NEW_VALUE, BARE_HOME_GPA);
	assert_true(bare_sees(b, 1, WAIT_MS));
	run_plan(m, p.apply, &times);
	assert_true(times.blackout_ns > 0);
	assert_true(times.blackout_ns >= times.stop_ns + times.held_ns);
	assert_true(bare_sees(b, NEW_VALUE, WAIT_MS));
	undo(b, m, &p);
	mon_free(m);
	assert_true(bare_runs(b, WAIT_MS));
}

static void test_ring3(void **state)
{
	struct bare *b = shared();

	(void)state;
	assert_int_equal(bare_shared(b)->ring, 3);
	apply_and_revert(b);
}

static void test_ring0(void **state)
{
	struct bare *b = boot(true, 1);

	(void)state;
	assert_int_equal(bare_shared(b)->ring, 0);
	apply_and_revert(b);
	bare_stop(b);
}

static void test_two_vcpus_held_with_registers(void **state)
{
	struct bare *b = shared();
	struct mon_regs regs[2];
	struct mon_times times;
	struct xerr err = {0};
	struct mon *m = start(b);
	uint64_t before[2];

	(void)state;
	for (int round = 0; round < 5; round++) {
		assert_int_equal(patient_hold(m, &err), 0);
		for (int i = 0; i < 2; i++)
			before[i] = bare_shared(b)->cpu[i].iterations;
		if (mon_regs(m, regs, &err))
			fail_msg("%s", err.text);
		for (int i = 0; i < 2; i++) {
			assert_int_equal(regs[i].cr3, BARE_PML4);
			assert_int_equal(regs[i].cpl, 3);
			assert_in_range(regs[i].rip, BARE_IMAGE, BARE_MAX_LOADED);
			assert_in_range(regs[i].rsp, BARE_STACKS, BARE_STACKS + 4 * 4096);
			assert_true(regs[i].cr0 & UINT32_C(0x80000000));
			assert_int_equal(regs[i].cr4 & 0x20, 0x20);
		}
		xo_sleep_ns(20000000);
		for (int i = 0; i < 2; i++)
			assert_int_equal(bare_shared(b)->cpu[i].iterations, before[i]);
		assert_int_equal(mon_release(m, &times, &err), 0);
		assert_true(times.held_ns >= 20000000);
		assert_true(bare_runs(b, WAIT_MS));
	}
	apply_and_revert(b);
	mon_free(m);
}

static void test_paused_vm_stays_paused(void **state)
{
	struct bare *b = shared();
	struct mon_regs regs[2];
	struct xerr err = {0};
	struct bareplan p;
	struct mon *m = start(b);

	(void)state;
	json_decref(bare_qmp(b, "{\"execute\":\"stop\"}", -1));
	assert_false(bare_running(b));
	bareplan_make(&p, NEW_VALUE, BARE_HOME_GPA);
	run_plan(m, p.apply, NULL);
	/* A paused vCPU thread sleeps in QEMU; it must go back to sleep after a visit. */
	assert_int_equal(patient_hold(m, &err), 0);
	if (mon_regs(m, regs, &err))
		fail_msg("%s", err.text);
	assert_int_equal(regs[0].cr3, BARE_PML4);
	assert_int_equal(mon_release(m, NULL, &err), 0);
	assert_false(bare_running(b));
	assert_false(bare_runs(b, 50));
	json_decref(bare_qmp(b, "{\"execute\":\"cont\"}", -1));
	assert_true(bare_sees(b, NEW_VALUE, WAIT_MS));
	assert_true(bare_running(b));
	undo(b, m, &p);
	mon_free(m);
}

static void test_expected_differs(void **state)
{
	struct bare *b = shared();
	struct mon *m = start(b);
	struct xerr err = {0};
	struct bareplan p;
	size_t bad = 99;

	(void)state;
	bareplan_make(&p, NEW_VALUE, BARE_HOME_GPA);
	p.detour_old[4] ^= 1;
	assert_int_equal(mon_plan(m, p.apply, BAREPLAN_RECORDS, &err), 0);
	assert_int_equal(patient_run(m, NULL, &bad, &err), -XO_EEXPECTED);
	assert_int_equal(bad, BAREPLAN_DETOUR);
	p.detour_old[4] ^= 1;
	for (size_t i = 0; i < BAREPLAN_RECORDS; i++)
		assert_int_equal(bareplan_state(&p, b, i), 0);
	assert_true(bare_runs(b, WAIT_MS));
	mon_free(m);
}

static void test_qemu_killed_while_held(void **state)
{
	struct bare *b = boot(false, 2);
	struct mon *m = start(b);
	struct xerr err = {0};

	(void)state;
	assert_int_equal(patient_hold(m, &err), 0);
	bare_kill(b);
	assert_int_equal(mon_release(m, NULL, &err), -XO_ETARGETGONE);
	/* Its threads take a moment to die. */
	err = (struct xerr){0};
	assert_int_equal(patient_hold(m, &err), -XO_ETARGETGONE);
	bare_stop(b); /* waits: hangs if the monitor did not let the dead threads go */
	mon_free(m);
}

static void test_client_gone_while_held(void **state)
{
	struct bare *b = shared();
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0) {
		struct xerr err = {0};
		struct mon *m = NULL;

		_exit(mon_start(&m, bare_vm(b), &err) || patient_hold(m, &err) ? 1 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_true(bare_runs(b, WAIT_MS));
}

/* Dies with the monitor at fault point @f; each record must be old or new, and the guest run. */
static void die_at(struct bare *b, enum fault f)
{
	struct mon_regs regs[BARE_MAX_CPUS];
	struct xerr err = {0};
	struct bareplan p;
	struct mon *m;
	char fault[64];
	int order = 1;
	int rc;

	(void)snprintf(fault, sizeof(fault), "%s=kill", fault_name(f));
	assert_int_equal(setenv("EXOPATCH_FAULT", fault, 1), 0);
	m = start(b);
	assert_int_equal(unsetenv("EXOPATCH_FAULT"), 0);
	bareplan_make(&p, NEW_VALUE, BARE_HOME_GPA);
	rc = mon_plan(m, p.apply, BAREPLAN_RECORDS, &err);
	if (!rc)
		rc = patient_hold(m, &err);
	if (!rc)
		rc = mon_regs(m, regs, &err);
	if (!rc)
		rc = mon_commit(m, NULL, &err);
	if (!rc)
		rc = mon_release(m, NULL, &err);
	if (rc != -XO_EPEERDIED)
		fail_msg("%s: %d %s", fault, rc, err.text);
	mon_free(m);
	/* Records are written in order: once one is old, all after it are. */
	for (size_t i = 0; i < BAREPLAN_RECORDS; i++) {
		int now = bareplan_state(&p, b, i);

		assert_int_not_equal(now, -1);
		assert_true(now <= order);
		order = now;
	}
	assert_true(bare_runs(b, WAIT_MS));
	assert_true(bare_sees(b, order ? NEW_VALUE : 1, WAIT_MS));
	m = start(b);
	undo(b, m, &p);
	mon_free(m);
	assert_true(bare_sees(b, 1, WAIT_MS));
}

static void test_monitor_killed_anywhere(void **state)
{
	struct bare *b = shared();

	(void)state;
	for (enum fault f = FAULT_monitor_hold_some; f <= FAULT_monitor_released; f++)
		die_at(b, f);
}

static void test_read_back_failure_is_put_back(void **state)
{
	struct bare *b = shared();
	struct xerr err = {0};
	struct bareplan p;
	struct mon *m;

	(void)state;
	assert_int_equal(setenv("EXOPATCH_FAULT", "monitor_read_back=fail", 1), 0);
	m = start(b);
	assert_int_equal(unsetenv("EXOPATCH_FAULT"), 0);
	bareplan_make(&p, NEW_VALUE, BARE_HOME_GPA);
	assert_int_equal(mon_plan(m, p.apply, BAREPLAN_RECORDS, &err), 0);
	assert_int_equal(patient_run(m, NULL, NULL, &err), -XO_EFAULTPOINT);
	for (size_t i = 0; i < BAREPLAN_RECORDS; i++)
		assert_int_equal(bareplan_state(&p, b, i), 0);
	assert_true(bare_runs(b, WAIT_MS));
	mon_free(m);
}

static void test_private_ram(void **state)
{
	(void)state;
	as_private = true;
	apply_and_revert(shared());
	test_expected_differs(state);
	test_monitor_killed_anywhere(state);
	test_read_back_failure_is_put_back(state);
}

static int forget_private(void **state)
{
	(void)state;
	as_private = false;
	return 0;
}

int main(void)
{
	const char *build = getenv("BUILD");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ring3),
		cmocka_unit_test(test_ring0),
		cmocka_unit_test(test_two_vcpus_held_with_registers),
		cmocka_unit_test(test_paused_vm_stays_paused),
		cmocka_unit_test(test_expected_differs),
		cmocka_unit_test(test_qemu_killed_while_held),
		cmocka_unit_test(test_client_gone_while_held),
		cmocka_unit_test(test_monitor_killed_anywhere),
		cmocka_unit_test(test_read_back_failure_is_put_back),
		cmocka_unit_test_teardown(test_private_ram, forget_private),
	};

	setenv("EXOPATCH_LIBEXEC", build ? build : "build", 0);
	return cmocka_run_group_tests(tests, NULL, stop_shared);
}
