// SPDX-License-Identifier: Apache-2.0
/* Hold, release and injected calls, on a process of the test's own. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/util.h"
#include "tests/lib/fakevm.h"
#include "tests/lib/holding.h"
#include "tests/lib/patience.h"
#include "vmm-agent/monitor/inject.h"

static struct fakevm vm;
static struct hold hold;
static pid_t debugger;

/* As long as it is there the threads that it traces cannot be reaped. */
static void end_debugger(void)
{
	if (debugger > 0) {
		(void)kill(debugger, SIGKILL);
		(void)waitpid(debugger, NULL, 0);
	}
	debugger = 0;
}

static int setup(void **state)
{
	struct xerr err = {0};

	(void)state;
	if (fakevm_start(&vm) || hold_init())
		return -1;
	memset(&hold, 0, sizeof(hold));
	return hold_open(&hold, vm.pid, (const pid_t *)(uintptr_t)vm.shared->tid, FAKE_THREADS,
			 &err);
}

static int teardown(void **state)
{
	(void)state;
	end_debugger();
	fakevm_end(&vm, &hold);
	return 0;
}

static void hold_now(void)
{
	struct xerr err = {0};

	if (patient_hold_all(&hold, &err))
		fail_msg("%s", err.text);
	assert_true(hold.held);
}

static void test_held_means_still(void **state)
{
	struct mon_times times = {0};

	(void)state;
	for (int i = 0; i < 20; i++) {
		uint64_t spins;

		hold_now();
		spins = vm.shared->spins;
		xo_sleep_ns(2000000);
		assert_int_equal(vm.shared->spins, spins);
		assert_int_equal(hold_release(&hold, &times), 0);
		assert_true(times.held_ns >= 2000000);
		assert_true(times.blackout_ns >= times.stop_ns + times.held_ns);
		assert_true(fakevm_spins(&vm));
	}
	assert_int_equal(vm.shared->interrupted, 0);
}

static void wait_for(const volatile uint64_t *counter, uint64_t at_least)
{
	assert_true(fakevm_wait(counter, at_least));
}

static void test_system_calls_are_restarted(void **state)
{
	uint64_t before;

	(void)state;
	before = vm.shared->sleeps;
	for (int i = 0; i < 20; i++) {
		hold_now();
		assert_int_equal(hold_release(&hold, NULL), 0);
		xo_sleep_ns(3000000);
	}
	wait_for(&vm.shared->sleeps, before + 1);
	assert_int_equal(write(vm.pipe, "x", 1), 1);
	wait_for(&vm.shared->reads, 1);
	assert_int_equal(vm.shared->interrupted, 0);
}

/* One visit of every thread: its process id twice, an invalid call once. */
static void visit_all(void)
{
	const uint64_t none[6] = {0};
	struct xerr err = {0};
	struct hva insn;

	if (inject_find(vm.pid, &insn, &err))
		fail_msg("%s", err.text);
	hold_now();
	for (size_t i = 0; i < hold.nr; i++) {
		struct inject in = {.hold = &hold, .thread = &hold.thread[i], .insn = insn};
		int64_t result = 0;

		assert_int_equal(inject_begin(&in), 0);
		assert_int_equal(inject_call(&in, SYS_getpid, none, &result), 0);
		assert_int_equal(result, vm.pid);
		assert_int_equal(inject_call(&in, SYS_gettid, none, &result), 0);
		assert_int_equal(result, hold.thread[i].tid);
		assert_int_equal(inject_call(&in, SYS_close, (uint64_t[6]){9999}, &result), 0);
		assert_int_equal(result, -EBADF);
		assert_int_equal(inject_end(&in), 0);
		assert_false(hold.thread[i].injected);
	}
	assert_int_equal(hold_release(&hold, NULL), 0);
}

static void test_visits_leave_no_trace(void **state)
{
	uint64_t before;

	(void)state;
	before = vm.shared->sleeps;
	for (int i = 0; i < 20; i++)
		visit_all();
	assert_true(fakevm_spins(&vm));
	wait_for(&vm.shared->sleeps, before + 2);
	assert_int_equal(write(vm.pipe, "xy", 2), 2);
	wait_for(&vm.shared->reads, 2);
	assert_int_equal(vm.shared->interrupted, 0);
}

/* Signals sent before, during and after a stop all arrive, through visits too. */
static void test_signals_arrive(void **state)
{
	uint64_t sent = 0;

	(void)state;
	for (int i = 0; i < 50; i++) {
		pid_t tid = vm.shared->tid[i % 3];

		assert_int_equal(syscall(SYS_tgkill, vm.pid, tid, SIGUSR1), 0);
		sent++;
		if (i & 1) {
			visit_all();
		} else {
			hold_now();
			assert_int_equal(hold_release(&hold, NULL), 0);
		}
		wait_for(&vm.shared->usr1, sent);
		hold_now();
		assert_int_equal(syscall(SYS_tgkill, vm.pid, tid, SIGUSR1), 0);
		sent++;
		assert_int_equal(hold_release(&hold, NULL), 0);
		wait_for(&vm.shared->usr1, sent);
	}
	assert_int_equal(vm.shared->usr1, sent);
	assert_true(fakevm_spins(&vm));
}

static void test_deaf_thread(void **state)
{
	struct xerr err = {0};
	uint64_t until_ns = patience_ns();
	uint64_t start_ns;

	(void)state;
	vm.shared->vfork = 1;
	while (!vm.shared->vforked)
		assert_true(patience_left(until_ns));
	start_ns = xo_now_ns();
	assert_int_equal(hold_all(&hold, &err), -XO_EHOLD);
	assert_true(xo_now_ns() - start_ns >= MON_HOLD_TIMEOUT_MS * UINT64_C(1000000));
	assert_false(hold.held);
	/* The others run on, and the deaf one as soon as it hears. */
	assert_int_equal(fakevm_settled(&hold, 1), 1);
	assert_true(fakevm_spins(&vm));
	err = (struct xerr){0};
	assert_int_equal(hold_all(&hold, &err), -XO_EHOLD);
	vm.shared->vfork = 0;
	assert_int_equal(fakevm_settled(&hold, 0), 0);
	hold_now();
	assert_int_equal(hold_release(&hold, NULL), 0);
	until_ns = patience_ns();
	while (vm.shared->vforked)
		assert_true(patience_left(until_ns));
}

static void test_debugger(void **state)
{
	struct hold other = {0};
	struct xerr err = {0};
	int ready[2];
	char c;

	(void)state;
	assert_int_equal(pipe(ready), 0);
	debugger = fork();
	assert_true(debugger >= 0);
	if (debugger == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		c = ptrace(PTRACE_SEIZE, vm.shared->tid[FAKE_SLEEP], NULL, NULL) ? 'n' : 'y';
		(void)!write(ready[1], &c, 1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_int_equal(c, 'y');
	assert_int_equal(hold_all(&hold, &err), -XO_EDEBUGGER);
	assert_non_null(strstr(err.text, "traces it"));
	assert_int_equal(fakevm_settled(&hold, 0), 0);
	assert_true(fakevm_spins(&vm));
	err = (struct xerr){0};
	assert_int_equal(hold_open(&other, vm.pid, (const pid_t *)(uintptr_t)vm.shared->tid,
				   FAKE_THREADS, &err),
			 -XO_EDEBUGGER);
	hold_close(&other);
	end_debugger();
	hold_now();
	(void)close(ready[0]);
	(void)close(ready[1]);
}

static void test_killed_while_held(void **state)
{
	struct xerr err = {0};

	(void)state;
	hold_now();
	fakevm_kill(&vm);
	assert_int_equal(hold_release(&hold, NULL), -XO_ETARGETGONE);
	/* Its threads take a moment to die. */
	assert_int_equal(patient_hold_all(&hold, &err), -XO_ETARGETGONE);
	assert_int_equal(waitpid(vm.pid, NULL, 0), vm.pid);
	vm.pid = 0; /* reaped */
}

static void test_stopped_process_stays_stopped(void **state)
{
	uint64_t spins;

	(void)state;
	assert_true(vm.pid > 1);
	assert_int_equal(kill(vm.pid, SIGSTOP), 0);
	assert_int_equal(waitpid(vm.pid, NULL, WUNTRACED), vm.pid);
	visit_all();
	spins = vm.shared->spins;
	xo_sleep_ns(20000000);
	assert_int_equal(vm.shared->spins, spins);
	assert_int_equal(kill(vm.pid, SIGCONT), 0);
	assert_true(fakevm_spins(&vm));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_held_means_still, setup, teardown),
		cmocka_unit_test_setup_teardown(test_system_calls_are_restarted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_visits_leave_no_trace, setup, teardown),
		cmocka_unit_test_setup_teardown(test_signals_arrive, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deaf_thread, setup, teardown),
		cmocka_unit_test_setup_teardown(test_debugger, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed_while_held, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stopped_process_stays_stopped, setup,
						teardown),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
