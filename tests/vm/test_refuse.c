// SPDX-License-Identifier: Apache-2.0
/*
 * What must be refused on a running guest, each with its own reason, and nothing changed by it:
 * the guest's text is compared byte for byte after every test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "tests/lib/patching.h"

static struct guest *g;
static char cmdline[256], other_kernel[256], second_qmp[192];
static uint8_t *text;
static size_t text_bytes;
static uint64_t base, physical_base;

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static int build(const char *source, const char *id, const char *const extra[], char *path)
{
	return patch_build(GUEST_6_1, source, id, extra, path, 256);
}

static int setup(void **state)
{
	char server[256];
	const char *const extra[] = {"-qmp", server, NULL};
	const struct guest_opts opts = {.package = GUEST_6_1, .extra = extra};
	_cleanup_exo_ struct exo e = {0};

	(void)state;
	if (patching_setup())
		return -1;
	snprintf(second_qmp, sizeof(second_qmp), "%s/qmp-two", patching_dir());
	snprintf(server, sizeof(server), "unix:%s,server=on,wait=off", second_qmp);
	if (guest_boot(&g, &opts))
		return -1;
	free(guest_sh(g, "cat /proc/cmdline; echo 0 > /proc/sys/kernel/printk_ratelimit"));
	text = guest_text(g, &text_bytes);
	if (!text || EXO(&e, g, "inspect") || e.rc)
		return -1;
	base = strtoull(exo_str(&e, "kernel", "base", NULL), NULL, 16);
	physical_base = strtoull(exo_str(&e, "kernel", "physical_base", NULL), NULL, 16);
	if (patch_build(GUEST_6_12, "cmdline", "other-kernel", NULL, other_kernel, 256))
		return -1;
	return build("cmdline", "cmdline", NULL, cmdline);
}

static int teardown(void **state)
{
	(void)state;
	guest_free(g);
	free(text);
	patching_teardown();
	return 0;
}

static int untouched(void **state)
{
	_cleanup_free_ uint8_t *now = NULL;
	size_t len = 0;

	(void)state;
	now = guest_text(g, &len);
	if (!now || len != text_bytes || memcmp(now, text, len) != 0) {
		fprintf(stderr, "the guest's text has changed\n");
		return -1;
	}
	return guest_dmesg_clean(g) ? 0 : -1;
}

static void expect_refused(const char *const args[], const char *const reasons[])
{
	_cleanup_exo_ struct exo e = {0};

	assert_int_equal(exo_run(&e, g, NULL, args), 0);
	assert_true(exo_refused(&e, reasons));
}

static void expect_done(const char *command, const char *operand)
{
	_cleanup_exo_ struct exo e = {0};

	assert_int_equal(EXO(&e, g, command, operand), 0);
	assert_int_equal(e.rc, 0);
}

static void another_kernels_package(void **state)
{
	(void)state;
	expect_refused(ARGS("apply", other_kernel), ARGS("other-build-id"));
}

static void a_tampered_package(void **state)
{
	char path[256], command[1024];
	const char *const argv[] = {"sh", "-c", command, NULL};
	_cleanup_run_ struct run_result r = {0};

	(void)state;
	snprintf(path, sizeof(path), "%s/tampered", patching_dir());
	snprintf(command, sizeof(command),
		 "cp %s %s && printf X | dd of=%s bs=1 seek=600 conv=notrunc status=none", cmdline,
		 path, path);
	assert_int_equal(run_program(argv, NULL, 10000, &r), 0);
	assert_int_equal(r.rc, 0);
	expect_refused(ARGS("apply", path), ARGS("bad-signature", "too-few-signers"));
}

static void applied_twice_and_taken_out_twice(void **state)
{
	(void)state;
	expect_done("apply", cmdline);
	expect_refused(ARGS("apply", cmdline), ARGS("already-applied"));
	expect_done("revert", "cmdline");
	expect_refused(ARGS("revert", "cmdline"), ARGS("not-applied"));
	expect_refused(ARGS("revert", "no-such-patch"), ARGS("not-applied"));
}

static void a_function_that_another_patch_holds(void **state)
{
	char path[256];

	(void)state;
	assert_int_equal(build("cmdline", "same-function", NULL, path), 0);
	expect_done("apply", cmdline);
	expect_refused(ARGS("apply", path), ARGS("in-use-by-patch"));
	expect_done("revert", "cmdline");
}

static void prerequisites_both_ways(void **state)
{
	char path[256];

	(void)state;
	assert_int_equal(build("two-targets", "needs-cmdline", ARGS("--requires", "cmdline"), path),
			 0);
	expect_refused(ARGS("apply", path), ARGS("missing-prerequisite"));
	expect_done("apply", cmdline);
	expect_done("apply", path);
	expect_refused(ARGS("revert", "cmdline"), ARGS("in-use-by-patch"));
	expect_done("revert", "needs-cmdline");
	expect_done("revert", "cmdline");
}

static void an_older_serial_or_epoch(void **state)
{
	char old[256], new[256], newer[256];

	(void)state;
	assert_int_equal(build("two-targets", "serial", ARGS("--serial", "4"), old), 0);
	snprintf(new, sizeof(new), "%s/serial-old", patching_dir());
	assert_int_equal(rename(old, new), 0);
	assert_int_equal(build("two-targets", "serial", ARGS("--serial", "5"), newer), 0);
	expect_done("apply", newer);
	expect_done("revert", "serial");
	expect_refused(ARGS("apply", new), ARGS("older-serial"));
}

static void symbols_that_are_missing_or_ambiguous(void **state)
{
	char path[256];

	(void)state;
	/* exopatch-build sees the same kernel and refuses first; both must. */
	assert_int_equal(build("refuse-missing-symbol", "missing", NULL, path), 3);
	assert_int_equal(build("refuse-ambiguous-symbol", "ambiguous", NULL, path), 3);
}

/* The main RAM file, opened behind everybody's back. */
static int open_ram(void)
{
	char path[64], link[128];

	for (int fd = 0; fd < 256; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)guest_pid(g), fd);
		n = readlink(path, link, sizeof(link) - 1);
		if (n <= 0)
			continue;
		link[n] = '\0';
		if (strstr(link, "memfd:"))
			return open(path, O_RDWR | O_CLOEXEC);
	}
	return -1;
}

static void code_that_is_not_what_it_should_be(void **state)
{
	_cleanup_close_ int ram = open_ram();
	_cleanup_exo_ struct exo e = {0};
	uint64_t at;
	uint8_t was, flipped;

	(void)state;
	assert_true(ram >= 0);
	assert_int_equal(EXO(&e, g, "status"), 0);
	at = strtoull(exo_str(&e, "patches", "0", "functions", "0", "address", NULL), NULL, 16);
	assert_true(at > base);
	at = at - base + physical_base + 20;
	assert_int_equal(pread(ram, &was, 1, (off_t)at), 1);
	flipped = was ^ 1;
	assert_int_equal(pwrite(ram, &flipped, 1, (off_t)at), 1);
	expect_refused(ARGS("apply", cmdline), ARGS("preimage-differs"));
	assert_int_equal(pwrite(ram, &was, 1, (off_t)at), 1);
}

static void a_function_that_tasks_sleep_in(void **state)
{
	_cleanup_exo_ struct exo e = {0};
	const char *detail;
	char path[256];

	(void)state;
	assert_int_equal(build("busy", "busy", NULL, path), 0);
	free(guest_sh(g, "sleep 1000 & echo $! > /tmp/sleeper; "
			 "until grep -q nanosleep /proc/$!/wchan; do usleep 10000; done"));
	assert_int_equal(EXO(&e, g, "apply", path, "--timeout=1"), 0);
	assert_true(EXO_REFUSED(&e, "function-busy"));
	detail = exo_str(&e, "reasons", "0", "detail", NULL);
	assert_non_null(strstr(detail, "task"));
	assert_non_null(strstr(detail, "(sleep)"));
	assert_non_null(strstr(detail, "do_nanosleep"));
	free(guest_sh(g, "p=$(cat /tmp/sleeper); kill $p; "
			 "while [ -e /proc/$p ]; do usleep 10000; done"));
}

static void no_room_in_the_home(void **state)
{
	char path[256];

	(void)state;
	/* More constants than the whole window has bytes. */
	assert_int_equal(build("large", "large", NULL, path), 0);
	expect_refused(ARGS("apply", path), ARGS("home-full"));
}

/* ---- targets ---- */

static void expect_error(const char *const vm[], const char *key)
{
	_cleanup_exo_ struct exo e = {0};

	assert_int_equal(exo_run_on(&e, vm, NULL, ARGS("status")), 0);
	assert_int_equal(e.rc, 1);
	assert_string_equal(exo_str(&e, "error", "code", NULL), key);
}

static void no_such_target(void **state)
{
	(void)state;
	expect_error(ARGS("--qmp", "/nonexistent/qmp"), "no-such-target");
	expect_error(ARGS("--qmp", "/dev/null"), "not-qemu");
}

static void a_second_exopatch_on_the_same_vm(void **state)
{
	char exopatch[256], state_dir[160];
	const char *const argv[] = {run_build_path("exopatch", exopatch, sizeof(exopatch)),
				    "apply",
				    "--qmp",
				    guest_qmp_path(g),
				    state_dir,
				    "--trust=build/dev-keys/trust",
				    cmdline,
				    NULL};
	const char *const vm[] = {"--qmp", second_qmp, NULL};
	_cleanup_exo_ struct exo e = {0};
	struct meeting at;
	const char *const env[] = {at.env, NULL};
	pid_t first;

	(void)state;
	snprintf(state_dir, sizeof(state_dir), "--state=%s/state", patching_dir());
	meeting_plan(&at, "agent_planned");
	first = proc_spawn(argv, env, -1, -1, NULL);
	assert_true(first > 0);
	meeting_reached(&at);
	assert_int_equal(exo_run_on(&e, vm, NULL, ARGS("apply", cmdline)), 0);
	assert_true(EXO_REFUSED(&e, "in-use"));
	meeting_over(&at);
	assert_int_equal(proc_reap(first, 20000), 0);
	expect_done("revert", "cmdline");
}

static void a_paused_vm_is_patched_and_stays_paused(void **state)
{
	_cleanup_free_ char *line = NULL;

	(void)state;
	assert_int_equal(guest_pause(g), 0);
	expect_done("apply", cmdline);
	assert_false(guest_is_running(g));
	assert_int_equal(guest_resume(g), 0);
	line = guest_sh(g, "cat /proc/cmdline");
	assert_non_null(line);
	assert_non_null(strstr(line, "exopatch=live"));
	assert_int_equal(guest_pause(g), 0);
	expect_done("revert", "cmdline");
	assert_false(guest_is_running(g));
	assert_int_equal(guest_resume(g), 0);
}

static void a_guest_without_a_kernel(void **state)
{
	_cleanup_guest_ struct guest *other = NULL;
	_cleanup_exo_ struct exo e = {0};

	(void)state;
	assert_int_equal(guest_start(&other, &(struct guest_opts){.paused = true}), 0);
	assert_int_equal(EXO(&e, other, "apply", cmdline), 0);
	assert_true(EXO_REFUSED(&e, "no-kernel"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_teardown(f, untouched)
		T(another_kernels_package),
		T(a_tampered_package),
		T(applied_twice_and_taken_out_twice),
		T(a_function_that_another_patch_holds),
		T(prerequisites_both_ways),
		T(an_older_serial_or_epoch),
		T(symbols_that_are_missing_or_ambiguous),
		T(code_that_is_not_what_it_should_be),
		T(a_function_that_tasks_sleep_in),
		T(no_room_in_the_home),
		T(no_such_target),
		T(a_second_exopatch_on_the_same_vm),
		T(a_paused_vm_is_patched_and_stays_paused),
		T(a_guest_without_a_kernel),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
