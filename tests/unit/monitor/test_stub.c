// SPDX-License-Identifier: Apache-2.0
/* Visits by the stub, to threads of a process that plays QEMU: user mode, and two ways of being
 * inside a system call. Its memory file serves as the vCPU descriptor. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/util.h"
#include "tests/lib/fakevm.h"
#include "tests/lib/holding.h"
#include "tests/lib/patience.h"
#include "vmm-agent/monitor/inject.h"
#include "vmm-agent/monitor/stub.h"

#define NO_SUCH_IOCTL 0xdead
#define VISITS	      30

static struct fakevm fake;
static struct vm vm;
static struct hold hold;
static struct hva code;

static void must(int rc, const struct xerr *err)
{
	if (rc)
		fail_msg("%d: %s", rc, err->text);
}

static int setup(void **state)
{
	struct xerr err = {0};
	struct hva vdso, vdso_end;
	bool there = true;

	(void)state;
	if (fakevm_start(&fake) || hold_init())
		return -1;
	vm = (struct vm){.desc.pid = fake.pid, .pidfd = -1};
	must(hold_open(&hold, fake.pid, (const pid_t *)(uintptr_t)fake.shared->tid, FAKE_THREADS,
		       &err),
	     &err);
	assert_int_equal(inject_vdso(fake.pid, &vdso, &vdso_end), 0);
	must(stub_find(&hold.thread[0], &vm, vdso_end, &code, &there, &err), &err);
	assert_false(there);
	must(patient_hold_all(&hold, &err), &err);
	assert_int_equal(stub_bring(&hold.thread[0], code), 0);
	assert_int_equal(hold_release(&hold, NULL), 0);
	must(stub_find(&hold.thread[0], &vm, vdso_end, &code, &there, &err), &err);
	assert_true(there);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fakevm_end(&fake, &hold);
	return 0;
}

static struct stub_visit visit(size_t thread)
{
	return (struct stub_visit){
		.hold = &hold,
		.thread = &hold.thread[thread],
		.vm = &vm,
		.code = code,
		.fd = fake.ram,
		.nr = 4,
		.call = {{.request = FIONREAD, .in_data = true},
			 {.request = FIONREAD, .argument = 4, .in_data = true},
			 {.request = FIONREAD, .argument = 8, .in_data = true},
			 {.request = FIONREAD, .argument = 12, .in_data = true}},
		.data_bytes = 16,
	};
}

static void hold_now(void)
{
	struct xerr err = {0};

	must(patient_hold_all(&hold, &err), &err);
}

/* One hold and visit. A thread that has not left its handler of the signal before cannot be visited
 * yet. */
static void visit_now(struct stub_visit *v)
{
	const uint64_t until_ns = patience_ns();
	struct xerr err;
	int rc;

	do {
		hold_now();
		rc = stub_run(v);
		assert_int_equal(hold_release(&hold, NULL), 0);
	} while (patience_again(rc, until_ns, &err));
	assert_int_equal(rc, 0);
}

static void assert_reads_go_on(void)
{
	uint64_t before = fake.shared->reads;

	assert_int_equal(write(fake.pipe, "x", 1), 1);
	(void)fakevm_wait(&fake.shared->reads, before + 1);
	assert_int_equal(fake.shared->reads, before + 1);
}

static void test_calls_are_made(void **state)
{
	(void)state;
	for (size_t i = 0; i < (size_t)VISITS * FAKE_VFORK; i++) {
		struct stub_visit v = visit(i % FAKE_VFORK);
		int32_t size[4];

		visit_now(&v);
		memcpy(size, v.data, sizeof(size));
		for (int k = 0; k < 4; k++) {
			assert_int_equal(v.call[k].result, 0);
			assert_int_equal(size[k], FAKE_RAM_BYTES);
		}
	}
	assert_true(fakevm_spins(&fake));
	assert_reads_go_on();
}

/* What was done by the first is undone by the last, whatever comes between. */
static void test_after_a_failure_only_the_last(void **state)
{
	struct stub_visit v = visit(FAKE_SPIN);

	(void)state;
	v.call[1].request = NO_SUCH_IOCTL;
	visit_now(&v);
	assert_int_equal(v.call[0].result, 0);
	assert_int_equal(v.call[1].result, -ENOTTY);
	assert_int_equal(v.call[2].result, -ENOSYS);
	assert_int_equal(v.call[3].result, 0);
	assert_true(fakevm_spins(&fake));
}

/* Where the visit before left it, in this way and the other. */
static void test_visited_again_in_one_hold(void **state)
{
	struct stub_visit v = visit(FAKE_SPIN);
	struct inject in = {.hold = &hold, .thread = &hold.thread[FAKE_SPIN]};
	const uint64_t none[6] = {0};
	struct xerr err = {0};
	int64_t result = 0;

	(void)state;
	must(inject_find(fake.pid, &in.insn, &err), &err);
	v.nr = 1;
	hold_now();
	for (int i = 0; i < 3; i++) {
		assert_int_equal(stub_run(&v), 0);
		assert_int_equal(v.call[0].result, 0);
	}
	assert_int_equal(inject_begin(&in), 0);
	assert_int_equal(inject_call(&in, SYS_getpid, none, &result), 0);
	assert_int_equal(inject_end(&in), 0);
	assert_int_equal(result, fake.pid);
	assert_int_equal(hold_release(&hold, NULL), 0);
	assert_true(fakevm_spins(&fake));
}

/* Whether SIGUSR1 waits for held @t, or @t has not left its handler (fs/proc/array.c). */
static bool has_usr1(const struct thread *t)
{
	static const char *const masks[] = {"SigPnd:", "ShdPnd:", "SigBlk:"};
	char text[4096];
	ssize_t n = pread(t->status_fd, text, sizeof(text) - 1, 0);
	uint64_t set = 0;

	assert_true(n > 0);
	text[n] = '\0';
	for (size_t i = 0; i < XO_ARRAY_SIZE(masks); i++) {
		const char *at = strstr(text, masks[i]);

		assert_non_null(at);
		set |= strtoull(at + strlen(masks[i]), NULL, 16);
	}
	return t->signal == SIGUSR1 || set & UINT64_C(1) << (SIGUSR1 - 1);
}

/* Until every visit before has had its signal. */
static void handlers_end(void)
{
	const uint64_t until_ns = patience_ns();
	bool any;

	do {
		any = false;
		hold_now();
		for (size_t i = 0; i < hold.nr; i++)
			any = has_usr1(&hold.thread[i]) || any;
		assert_int_equal(hold_release(&hold, NULL), 0);
	} while (any && patience_left(until_ns));
	assert_false(any);
}

/* A program of somebody else's holds the threads and is killed with the stub about to run. */
static void test_a_dead_tracer_leaves_no_trace(void **state)
{
	(void)state;
	for (size_t i = 0; i < FAKE_VFORK; i++) {
		uint64_t usr1;
		int status = 0;
		pid_t pid;

		handlers_end();
		usr1 = fake.shared->usr1;
		pid = fork();

		if (pid == 0) {
			struct stub_visit v = visit(i);
			struct xerr err = {0};

			if (patient_hold_all(&hold, &err) || stub_begin(&v))
				_exit(1);
			(void)raise(SIGKILL);
		}

		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		(void)fakevm_wait(&fake.shared->usr1, usr1 + 1);
		assert_int_equal(fake.shared->usr1, usr1 + 1);
		assert_true(fakevm_spins(&fake));
	}
	assert_reads_go_on();
}

static void test_limits(void **state)
{
	struct stub_visit v = visit(FAKE_SPIN);

	(void)state;
	hold_now();
	v.nr = STUB_MAX_CALLS + 1;
	assert_int_equal(stub_run(&v), -XO_EHOLD);
	v.nr = 0;
	assert_int_equal(stub_run(&v), -XO_EHOLD);
	v.nr = 1;
	v.data_bytes = STUB_DATA_BYTES + 1;
	assert_int_equal(stub_run(&v), -XO_EHOLD);
	assert_int_equal(hold_release(&hold, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls_are_made),
		cmocka_unit_test(test_after_a_failure_only_the_last),
		cmocka_unit_test(test_visited_again_in_one_hold),
		cmocka_unit_test(test_a_dead_tracer_leaves_no_trace),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
