// SPDX-License-Identifier: Apache-2.0
/* The guests that all other tests stand on: they boot, and do what they are told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/lib/guest.h"

static int boot(void **state)
{
	return guest_boot((struct guest **)state, &(struct guest_opts){0});
}

static int end(void **state)
{
	guest_free(*state);
	return 0;
}

static void channel_returns_output_and_status(void **state)
{
	_cleanup_free_ char *out = NULL;
	int rc = -1;

	assert_int_equal(guest_run(*state, "echo out; echo err >&2; exit 7", 0, &out, &rc), 0);
	assert_string_equal(out, "out\nerr\n");
	assert_int_equal(rc, 7);
}

static void channel_keeps_bytes_as_they_are(void **state)
{
	_cleanup_free_ char *out = NULL;
	int rc = -1;

	assert_int_equal(guest_run(*state, "printf 'a\\\\n\\r\\tb  <<x 1>>'", 0, &out, &rc), 0);
	assert_string_equal(out, "a\\n\r\tb  <<x 1>>");
	assert_int_equal(rc, 0);
}

static void channel_carries_much_output(void **state)
{
	_cleanup_free_ char *out = NULL;

	assert_int_equal(guest_run(*state, "seq 1 30000", 0, &out, NULL), 0);
	assert_int_equal(strlen(out), 168894);
	assert_string_equal(out + strlen(out) - 12, "29999\n30000\n");
}

static void channel_survives_many_commands(void **state)
{
	for (int i = 0; i < 100; i++) {
		_cleanup_free_ char *out = NULL;
		char command[32];
		char expected[32];

		snprintf(command, sizeof(command), "echo %d", i);
		snprintf(expected, sizeof(expected), "%d\n", i);
		assert_int_equal(guest_run(*state, command, 0, &out, NULL), 0);
		assert_string_equal(out, expected);
	}
}

static void channel_allows_background_jobs(void **state)
{
	_cleanup_free_ char *out = guest_sh(*state, "sleep 60 & echo started");
	_cleanup_free_ char *job = NULL;

	assert_non_null(out);
	assert_string_equal(out, "started");
	job = guest_sh(*state, "until pidof sleep; do usleep 10000; done");
	assert_non_null(job);
}

static void threads_are_made(void **state)
{
	_cleanup_free_ char *out =
		guest_sh(*state, "spawn-threads 200 >/tmp/threads & "
				 "while ! grep -qs ready /tmp/threads; do usleep 10000; done; "
				 "ls /proc/$(pidof spawn-threads)/task | wc -l");

	assert_non_null(out);
	assert_string_equal(out, "201");
}

static void pauses_and_resumes(void **state)
{
	_cleanup_free_ char *registers = NULL;

	assert_true(guest_is_running(*state));
	assert_int_equal(guest_pause(*state), 0);
	assert_false(guest_is_running(*state));
	registers = guest_hmp(*state, "info registers");
	assert_non_null(registers);
	assert_non_null(strstr(registers, "RIP="));
	assert_int_equal(guest_resume(*state), 0);
	assert_true(guest_is_running(*state));
}

static void log_is_clean_and_clock_runs(void **state)
{
	_cleanup_free_ char *id = guest_boot_id(*state);
	_cleanup_free_ char *again = guest_boot_id(*state);

	assert_true(guest_dmesg_clean(*state));
	assert_true(guest_uptime(*state) > 0);
	assert_non_null(id);
	assert_non_null(again);
	assert_int_equal(strlen(id), 36);
	assert_string_equal(id, again);
}

static void warning_is_noticed(void **state)
{
	assert_int_equal(guest_run(*state, "echo 'WARNING: test' >/dev/kmsg", 0, NULL, NULL), 0);
	assert_false(guest_dmesg_clean(*state));
}

static void nothing_stays_behind(void **state)
{
	struct guest *g = NULL;
	_cleanup_free_ char *dir = NULL;
	struct stat st;
	pid_t pid;

	(void)state;
	assert_int_equal(guest_start(&g, &(struct guest_opts){.paused = true}), 0);
	assert_int_equal(stat(guest_qmp_path(g), &st), 0);
	pid = guest_pid(g);
	dir = strdup(guest_dir(g));
	assert_non_null(dir);
	guest_free(g);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(errno, ESRCH);
	assert_int_equal(stat(dir, &st), -1);
}

static void missing_image_is_an_error(void **state)
{
	struct guest *g = NULL;

	(void)state;
	assert_int_equal(guest_start(&g, &(struct guest_opts){.package = "linux-image-none"}),
			 -ENOENT);
	assert_null(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(channel_returns_output_and_status),
		cmocka_unit_test(channel_keeps_bytes_as_they_are),
		cmocka_unit_test(channel_carries_much_output),
		cmocka_unit_test(channel_survives_many_commands),
		cmocka_unit_test(channel_allows_background_jobs),
		cmocka_unit_test(threads_are_made),
		cmocka_unit_test(pauses_and_resumes),
		cmocka_unit_test(log_is_clean_and_clock_runs),
		cmocka_unit_test(warning_is_noticed),
		cmocka_unit_test(nothing_stays_behind),
		cmocka_unit_test(missing_image_is_an_error),
	};

	return cmocka_run_group_tests(tests, boot, end);
}
