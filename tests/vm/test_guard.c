// SPDX-License-Identifier: Apache-2.0
/*
 * The guard on stock Debian guests: silent while they idle and load modules, apply and revert go on
 * through it, and when it stops, nothing of it is left. Guests that rewrite their text all the time
 * are not for TCG: docs/guard.md, "TCG".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/util.h"
#include "tests/lib/patching.h"

#define START_MS 20000

static struct guest *g;
static char cmdline[256], events[192];
static pid_t guard = -1;

/* "guard status", or rc 3 if there is none. */
static int ask(struct exo *e, const char *what)
{
	return EXO(e, g, "guard", what);
}

static bool is_on(void)
{
	_cleanup_exo_ struct exo e = {0};

	return !ask(&e, "status") && e.rc == 0;
}

static int guard_start(const char *package, const char *mode)
{
	char exopatch[256], state_dir[160];
	const char *const argv[] = {run_build_path("exopatch", exopatch, sizeof(exopatch)),
				    "guard",
				    "--qmp",
				    NULL,
				    state_dir,
				    "--events",
				    events,
				    "--mode",
				    mode,
				    NULL};
	const char *with_qmp[XO_ARRAY_SIZE(argv)];

	if (guest_boot(&g, &(struct guest_opts){.package = package}))
		return -1;
	memcpy(with_qmp, argv, sizeof(argv));
	with_qmp[3] = guest_qmp_path(g);
	snprintf(state_dir, sizeof(state_dir), "--state=%s/state", patching_dir());
	snprintf(events, sizeof(events), "%s/events", patching_dir());
	unlink(events);
	guard = proc_spawn(with_qmp, NULL, -1, -1, NULL);
	for (int i = 0; i < START_MS / 100 && guard > 0; i++) {
		if (is_on())
			return 0;
		xo_sleep_ns(100000000);
	}
	return -1;
}

static int end(void **state)
{
	(void)state;
	if (guard > 0)
		(void)proc_reap(guard, 0);
	guard = -1;
	guest_free(g);
	g = NULL;
	return 0;
}

static json_int_t count(const char *key)
{
	_cleanup_exo_ struct exo e = {0};

	assert_int_equal(ask(&e, "status"), 0);
	assert_int_equal(e.rc, 0);
	return json_integer_value(json_object_get(json_object_get(e.doc, "guard"), key));
}

/* What the guard had to say besides writes it let through. */
static void show_events(void)
{
	_cleanup_fclose_ FILE *f = fopen(events, "re");
	char line[4096];

	while (f && fgets(line, sizeof(line), f))
		if (!strstr(line, "\"verdict\":\"kept\""))
			fputs(line, stderr);
}

static void stop(void)
{
	_cleanup_exo_ struct exo e = {0};
	int status;

	assert_int_equal(ask(&e, "stop"), 0);
	assert_int_equal(e.rc, 0);
	status = proc_reap(guard, 10000);
	guard = -1;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void quiet(const char *package)
{
	assert_int_equal(guard_start(package, "enforce"), 0);
	free(guest_sh(g, "insmod /modules/dummy.ko; sleep 2; rmmod dummy; sleep 1"));
	xo_sleep_ns(1500000000);
	show_events();
	assert_int_equal(count("violations"), 0);
	assert_int_equal(count("findings"), 0);
	assert_true(count("audits") > 0);
	assert_true(guest_dmesg_clean(g));
	stop();
	assert_true(guest_is_running(g));
	assert_false(is_on());
}

static void quiet_6_1(void **state)
{
	(void)state;
	quiet(GUEST_6_1);
}

static void quiet_6_12(void **state)
{
	(void)state;
	quiet(GUEST_6_12);
}

static void patches_go_through_the_guard(void **state)
{
	(void)state;
	assert_int_equal(guard_start(GUEST_6_1, "enforce"), 0);
	for (int i = 0; i < 3; i++) {
		_cleanup_exo_ struct exo on = {0}, off = {0};
		_cleanup_free_ char *line = NULL;

		assert_int_equal(EXO(&on, g, "apply", cmdline), 0);
		assert_int_equal(on.rc, 0);
		line = guest_sh(g, "cat /proc/cmdline");
		assert_non_null(line);
		assert_non_null(strstr(line, "exopatch=live"));
		assert_int_equal(EXO(&off, g, "revert", "cmdline"), 0);
		assert_int_equal(off.rc, 0);
	}
	xo_sleep_ns(1200000000);
	show_events();
	assert_int_equal(count("violations"), 0);
	assert_int_equal(count("findings"), 0);
	stop();
	assert_true(guest_dmesg_clean(g));
}

static void a_vm_that_ends_ends_its_guard(void **state)
{
	int status;

	(void)state;
	assert_int_equal(guard_start(GUEST_6_1, "audit"), 0);
	assert_int_equal(kill(guest_pid(g), SIGKILL), 0);
	status = proc_reap(guard, 10000);
	guard = -1;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int setup(void **state)
{
	(void)state;
	if (patching_setup())
		return -1;
	return patch_build(GUEST_6_1, "cmdline", "cmdline", NULL, cmdline, sizeof(cmdline));
}

static int teardown(void **state)
{
	(void)state;
	patching_teardown();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(quiet_6_1, end),
		cmocka_unit_test_teardown(quiet_6_12, end),
		cmocka_unit_test_teardown(patches_go_through_the_guard, end),
		cmocka_unit_test_teardown(a_vm_that_ends_ends_its_guard, end),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
