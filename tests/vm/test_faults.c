// SPDX-License-Identifier: Apache-2.0
/*
 * kill -9 of agent and monitor at every numbered fault point of apply and revert: the guest runs
 * on, recover says on which side it is, and one more step brings it back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "base/util.h"
#include "tests/lib/patching.h"

static struct guest *g;
static char package[256];
static uint8_t *text;
static size_t text_bytes;

static int setup(void **state)
{
	(void)state;
	if (patching_setup() || guest_boot(&g, &(struct guest_opts){.package = GUEST_6_1}))
		return -1;
	free(guest_sh(g, "cat /proc/cmdline"));
	text = guest_text(g, &text_bytes);
	return text ? patch_build(GUEST_6_1, "cmdline", "cmdline", NULL, package, sizeof(package))
		    : -1;
}

static int teardown(void **state)
{
	(void)state;
	guest_free(g);
	free(text);
	patching_teardown();
	return 0;
}

static bool patched(void)
{
	_cleanup_free_ char *line = guest_sh(g, "cat /proc/cmdline");

	assert_non_null(line);
	return strstr(line, "exopatch=live") != NULL;
}

/* The state that the newest row is in, after the recovery that says so. */
static void recover(char *ret, size_t size)
{
	_cleanup_exo_ struct exo e = {0}, status = {0};
	char last[24];

	assert_int_equal(EXO(&e, g, "recover"), 0);
	assert_int_equal(e.rc, 0);
	assert_true(guest_is_running(g));
	assert_int_equal(EXO(&status, g, "status"), 0);
	assert_int_equal(status.rc, 0);
	snprintf(last, sizeof(last), "%zu",
		 json_array_size(json_object_get(status.doc, "patches")) - 1);
	snprintf(ret, size, "%s", exo_str(&status, "patches", last, "state", NULL));
	print_message("  recover: %s -> %s\n", exo_str(&e, "recovered", "0", "found", NULL), ret);
	if (!strcmp(ret, "active"))
		assert_string_equal(exo_str(&status, "patches", last, "guest", NULL), "new");
	else
		assert_string_equal(exo_str(&status, "patches", last, "guest", NULL), "old");
}

static void expect_untouched_text(void)
{
	_cleanup_free_ uint8_t *now = NULL;
	size_t len = 0;

	now = guest_text(g, &len);
	assert_non_null(now);
	assert_int_equal(len, text_bytes);
	assert_memory_equal(now, text, len);
}

static void run_ok(const char *command, const char *operand)
{
	_cleanup_exo_ struct exo e = {0};

	assert_int_equal(EXO(&e, g, command, operand), 0);
	assert_int_equal(e.rc, 0);
}

/* Run @command so that it dies at @f. Return: whether it got there */
static bool die_at(enum fault f, const char *command, const char *operand)
{
	_cleanup_exo_ struct exo e = {0};
	const char *const args[] = {command, operand, NULL};
	char env[64];
	const char *const envp[] = {env, NULL};

	snprintf(env, sizeof(env), "EXOPATCH_FAULT=%s=kill", fault_name(f));
	assert_int_equal(exo_run(&e, g, envp, args), 0);
	print_message("%s, %s: exit status %d\n", command, fault_name(f), e.rc);
	if (!strncmp(fault_name(f), "agent_", 6) && e.rc != 0)
		assert_int_equal(e.rc, 128 + SIGKILL);
	else if (e.rc != 0)
		assert_int_equal(e.rc, 1);
	/* Whoever died, the guest answers. */
	free(guest_sh(g, "true"));
	assert_true(guest_is_running(g));
	return e.rc != 0;
}

/* Those of the guard and of evidence are not on the way of an apply. */
static bool on_the_way(enum fault f)
{
	return !strncmp(fault_name(f), "agent_", 6) || !strncmp(fault_name(f), "monitor_", 8);
}

/* Only a KVM vCPU is held thread by thread and has calls injected; see test_faults_kvm. */
static bool kvm_only(enum fault f)
{
	return f == FAULT_monitor_hold_some || f == FAULT_monitor_injected ||
	       f == FAULT_monitor_release_some;
}

static void killed_in_apply(void **state)
{
	char now[32];

	(void)state;
	for (enum fault f = 0; f < FAULT_COUNT; f++) {
		if (!on_the_way(f))
			continue;
		assert_true(die_at(f, "apply", package) || kvm_only(f));
		recover(now, sizeof(now));
		assert_int_equal(patched(), !strcmp(now, "active"));
		if (!strcmp(now, "active"))
			run_ok("revert", "cmdline");
		assert_false(patched());
		expect_untouched_text();
	}
	assert_true(guest_dmesg_clean(g));
}

static void killed_in_revert(void **state)
{
	char now[32];

	(void)state;
	for (enum fault f = 0; f < FAULT_COUNT; f++) {
		if (!on_the_way(f))
			continue;
		run_ok("apply", package);
		assert_true(die_at(f, "revert", "cmdline") || kvm_only(f));
		recover(now, sizeof(now));
		assert_int_equal(patched(), !strcmp(now, "active"));
		if (!strcmp(now, "active"))
			run_ok("revert", "cmdline");
		expect_untouched_text();
	}
	assert_true(guest_dmesg_clean(g));
}

static void an_interrupted_patch_bars_others(void **state)
{
	_cleanup_exo_ struct exo e = {0};
	char now[32];

	(void)state;
	assert_true(die_at(FAULT_agent_intent, "apply", package));
	assert_int_equal(EXO(&e, g, "apply", package), 0);
	assert_true(EXO_REFUSED(&e, "needs-recover"));
	recover(now, sizeof(now));
	assert_string_equal(now, "aborted");
	expect_untouched_text();
}

/* The first child of @pid called @name. */
static pid_t child_called(pid_t pid, const char *name)
{
	char path[64], comm[64], line[256];
	struct dirent *d;
	pid_t found = -1;
	DIR *proc = opendir("/proc");

	while (proc && (d = readdir(proc))) {
		FILE *f;
		int ppid = 0;

		snprintf(path, sizeof(path), "/proc/%.20s/stat", d->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fgets(line, sizeof(line), f) &&
		    sscanf(line, "%*d (%63[^)]) %*c %d", comm, &ppid) == 2 && ppid == pid &&
		    !strncmp(comm, name, 15))
			found = (pid_t)strtol(d->d_name, NULL, 10);
		fclose(f);
	}
	if (proc)
		closedir(proc);
	return found;
}

static void both_killed_while_held(void **state)
{
	char exopatch[256], state_dir[160], now[32];
	const char *const argv[] = {run_build_path("exopatch", exopatch, sizeof(exopatch)),
				    "apply",
				    "--qmp",
				    guest_qmp_path(g),
				    state_dir,
				    "--trust=build/dev-keys/trust",
				    package,
				    NULL};
	struct meeting at;
	const char *const env[] = {at.env, NULL};
	pid_t agent, monitor = -1;

	(void)state;
	snprintf(state_dir, sizeof(state_dir), "--state=%s/state", patching_dir());
	meeting_plan(&at, "agent_held");
	agent = proc_spawn(argv, env, -1, -1, NULL);
	assert_true(agent > 0);
	meeting_reached(&at);
	assert_false(guest_is_running(g));
	monitor = child_called(agent, "exopatch-monito");
	assert_true(monitor > 0);
	/* Stop both first, so that neither sees the other's end. */
	assert_int_equal(kill(monitor, SIGSTOP), 0);
	assert_int_equal(kill(agent, SIGKILL), 0);
	assert_int_equal(kill(monitor, SIGKILL), 0);
	proc_reap(agent, 5000);
	recover(now, sizeof(now));
	assert_string_equal(now, "aborted");
	assert_false(patched());
	expect_untouched_text();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_interrupted_patch_bars_others),
		cmocka_unit_test(killed_in_apply),
		cmocka_unit_test(killed_in_revert),
		cmocka_unit_test(both_killed_while_held),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
