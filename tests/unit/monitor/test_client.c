// SPDX-License-Identifier: Apache-2.0
/* Client and monitor together, on a process that is no QEMU but has threads and memory. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/msg.h"
#include "base/util.h"
#include "tests/lib/fakevm.h"
#include "tests/lib/holding.h"
#include "vmm-agent/monitor/wire.h"

static struct fakevm vm;
static struct mon *mon;

static int setup(void **state)
{
	struct xerr err = {0};
	struct mon_vm desc;

	(void)state;
	if (fakevm_start(&vm))
		return -1;
	fakevm_desc(&vm, 2, &desc);
	if (mon_start(&mon, &desc, &err)) {
		(void)fprintf(stderr, "%s\n", err.text);
		return -1;
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	mon_free(mon);
	mon = NULL;
	fakevm_stop(&vm);
	return 0;
}

static struct mon_write store(uint64_t gpa, const char *from, const char *to)
{
	return (struct mon_write){.gpa = {gpa},
				  .len_bytes = (uint32_t)strlen(from),
				  .expected = (const uint8_t *)from,
				  .replacement = (const uint8_t *)to};
}

static void test_run(void **state)
{
	struct mon_write w[] = {store(0x1000, "aaaaa", "bbbbb"), store(0x2ffb, "aaaaa", "ccccc")};
	struct mon_times times = {0};
	struct xerr err = {0};
	uint8_t seen[8];
	size_t bad = 99;

	(void)state;
	assert_int_equal(mon_run(mon, NULL, NULL, &err), -XO_EPLAN); /* none loaded */
	memcpy(vm.mem + 0x1000, "aaaaaZZZ", 8);
	memcpy(vm.mem + 0x2ff8, "ZZZaaaaX", 8);
	assert_int_equal(mon_plan(mon, w, 2, &err), 0);
	assert_int_equal(patient_run(mon, NULL, &bad, &err), -XO_EEXPECTED);
	assert_int_equal(bad, 1);
	assert_memory_equal(vm.mem + 0x1000, "aaaaaZZZ", 8);
	assert_true(fakevm_spins(&vm));
	memcpy(vm.mem + 0x2ff8, "ZZZaaaaa", 8);
	err = (struct xerr){0};
	assert_int_equal(patient_run(mon, &times, &bad, &err), 0);
	assert_memory_equal(vm.mem + 0x1000, "bbbbbZZZ", 8);
	assert_memory_equal(vm.mem + 0x2ff8, "ZZZccccc", 8);
	assert_true(times.blackout_ns > 0);
	assert_int_equal(mon_read(mon, (struct gpa){0x1000}, seen, 8, &err), 0);
	assert_memory_equal(seen, "bbbbbZZZ", 8);
	assert_int_equal(mon_read(mon, (struct gpa){FAKE_RAM_BYTES - 4}, seen, 8, &err), -XO_EPLAN);
	assert_true(fakevm_spins(&vm));
}

/* Two full messages' worth of records. */
static void test_large_plan(void **state)
{
	static uint8_t zero[4096], ones[4096];
	static struct mon_write w[40];
	struct xerr err = {0};

	(void)state;
	memset(ones, 1, sizeof(ones));
	for (size_t i = 0; i < 40; i++)
		w[i] = (struct mon_write){.gpa = {i * 4096},
					  .len_bytes = 4096,
					  .expected = zero,
					  .replacement = ones};
	assert_int_equal(mon_plan(mon, w, 40, &err), 0);
	assert_int_equal(patient_run(mon, NULL, NULL, &err), 0);
	for (size_t i = 0; i < 40; i++)
		assert_memory_equal(vm.mem + i * 4096, ones, 4096);
	assert_int_equal(mon_plan(mon, w, MON_MAX_WRITES + 1, &err), -XO_EPLAN);
}

static void test_plan_errors_name_the_record(void **state)
{
	struct mon_write w[] = {store(0x1000, "aa", "bb"), store(0x1fff, "aa", "bb")};
	struct xerr err = {0};

	(void)state;
	assert_int_equal(mon_plan(mon, w, 2, &err), -XO_EPLAN);
	assert_non_null(strstr(err.text, "record 1"));
	err = (struct xerr){0};
	assert_int_equal(mon_run(mon, NULL, NULL, &err), -XO_EPLAN);
}

static void test_steps(void **state)
{
	struct mon_write w = store(0x1000, "aaaa", "bbbb");
	struct mon_regs regs[2];
	struct xerr err = {0};
	uint64_t spins;

	(void)state;
	memcpy(vm.mem + 0x1000, "aaaa", 4);
	assert_int_equal(patient_hold(mon, &err), 0);
	spins = vm.shared->spins;
	assert_int_equal(mon_plan(mon, &w, 1, &err), 0);
	assert_int_equal(mon_commit(mon, NULL, &err), 0);
	assert_int_equal(mon_regs(mon, regs, &err), -XO_ECPUCOUNT); /* no KVM there */
	assert_int_equal(vm.shared->spins, spins);
	err = (struct xerr){0};
	assert_int_equal(mon_release(mon, NULL, &err), 0);
	assert_memory_equal(vm.mem + 0x1000, "bbbb", 4);
	assert_true(fakevm_spins(&vm));
}

static void test_out_of_turn_is_fatal(void **state)
{
	struct xerr err = {0};

	(void)state;
	assert_int_equal(mon_release(mon, NULL, &err), -XO_EPEERDIED);
	err = (struct xerr){0};
	assert_int_equal(mon_hold(mon, &err), -XO_EPEERDIED);
	assert_true(fakevm_spins(&vm));
}

static void test_monitor_killed_while_held(void **state)
{
	struct xerr err = {0};

	(void)state;
	assert_int_equal(patient_hold(mon, &err), 0);
	assert_true(mon_pid(mon) > 1);
	assert_int_equal(kill(mon_pid(mon), SIGKILL), 0);
	assert_int_equal(mon_commit(mon, NULL, &err), -XO_EPEERDIED);
	assert_true(fakevm_spins(&vm));
}

static void test_free_lets_go(void **state)
{
	struct xerr err = {0};

	(void)state;
	assert_int_equal(patient_hold(mon, &err), 0);
	mon_free(mon);
	mon = NULL;
	assert_true(fakevm_spins(&vm));
}

static void test_target_gone(void **state)
{
	struct xerr err = {0};
	struct mon_vm desc;
	struct mon *m = NULL;

	(void)state;
	fakevm_desc(&vm, 2, &desc);
	fakevm_kill(&vm);
	assert_int_equal(waitpid(vm.pid, NULL, 0), vm.pid);
	vm.pid = 0;
	assert_int_equal(mon_hold(mon, &err), -XO_ETARGETGONE);
	err = (struct xerr){0};
	assert_int_equal(mon_start(&m, &desc, &err), -XO_ETARGETGONE);
	assert_null(m);
}

static void test_bad_descriptions(void **state)
{
	struct mon *m = NULL;
	struct mon_vm desc;
	struct xerr err = {0};

	(void)state;
	fakevm_desc(&vm, 2, &desc);
	desc.region[0].len_bytes = FAKE_RAM_BYTES + 1;
	assert_int_equal(mon_start(&m, &desc, &err), -XO_EPLAN);
	assert_non_null(strstr(err.text, "past the end"));
	fakevm_desc(&vm, 2, &desc);
	desc.tid[1] = 0x3fffff;
	err = (struct xerr){0};
	assert_int_equal(mon_start(&m, &desc, &err), -XO_ETARGETGONE);
	fakevm_desc(&vm, 2, &desc);
	desc.backend_fd[0] = vm.pipe;
	err = (struct xerr){0};
	assert_int_equal(mon_start(&m, &desc, &err), -XO_EPLAN);
	assert_null(m);
}

static void test_program_missing(void **state)
{
	struct mon *m = NULL;
	struct mon_vm desc;
	struct xerr err = {0};
	const char *now = getenv("EXOPATCH_LIBEXEC");
	char *dir = strdup(now ? now : "build");

	(void)state;
	fakevm_desc(&vm, 1, &desc);
	assert_int_equal(setenv("EXOPATCH_LIBEXEC", "/nonexistent", 1), 0);
	assert_true(mon_start(&m, &desc, &err) < 0);
	assert_non_null(strstr(err.text, "/nonexistent/exopatch-monitor"));
	assert_int_equal(setenv("EXOPATCH_LIBEXEC", dir, 1), 0);
	free(dir);
}

/* A helper that holds our memory must not be asked to do anything else. */
static void test_sandbox(void **state)
{
	char path[64], line[128];
	FILE *f;
	int seen = 0;

	(void)state;
	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)mon_pid(mon));
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "NoNewPrivs:", 11))
			seen += strtol(line + 11, NULL, 10) == 1;
		if (!strncmp(line, "Seccomp:", 8))
			seen += strtol(line + 8, NULL, 10) == 2;
		if (!strncmp(line, "CapEff:", 7)) /* CAP_SYS_PTRACE, CAP_KILL */
			seen += (strtoull(line + 7, NULL, 16) & ~0x80020ull) == 0;
	}
	(void)fclose(f);
	assert_int_equal(seen, 3);
}

int main(void)
{
	const char *build = getenv("BUILD");
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_run),
		T(test_large_plan),
		T(test_plan_errors_name_the_record),
		T(test_steps),
		T(test_out_of_turn_is_fatal),
		T(test_monitor_killed_while_held),
		T(test_free_lets_go),
		T(test_target_gone),
		T(test_bad_descriptions),
		T(test_program_missing),
		T(test_sandbox),
	};

	setenv("EXOPATCH_LIBEXEC", build ? build : "build", 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
