// SPDX-License-Identifier: Apache-2.0
/*
 * RAM that is private to QEMU, the default of QEMU and libvirt: no file is mapped by anybody else,
 * so the lens reads it through QEMU's memory and the monitor writes it there. Everything that works
 * with a shared file works here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "tests/lib/patching.h"

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct guest *g;
static char cmdline[256], second_qmp[192];

static int boot(struct guest_opts opts)
{
	opts.private_ram = true;
	opts.one_thread = true;
	return guest_boot(&g, &opts);
}

static int setup(void **state)
{
	char server[256];

	(void)state;
	if (patching_setup())
		return -1;
	snprintf(second_qmp, sizeof(second_qmp), "%s/qmp-two", patching_dir());
	snprintf(server, sizeof(server), "unix:%s,server=on,wait=off", second_qmp);
	if (boot((struct guest_opts){.extra = ARGS("-qmp", server)}))
		return -1;
	return patch_build(GUEST_6_1, "cmdline", "cmdline", NULL, cmdline, sizeof(cmdline));
}

static int teardown(void **state)
{
	(void)state;
	guest_free(g);
	patching_teardown();
	return 0;
}

static bool patched(void)
{
	_cleanup_free_ char *line = guest_sh(g, "cat /proc/cmdline");

	assert_non_null(line);
	return strstr(line, "exopatch=live") != NULL;
}

/* "Rss:  123 kB" of QEMU, in bytes */
static uint64_t resident_bytes(void)
{
	_cleanup_fclose_ FILE *f = NULL;
	unsigned long long kib = 0;
	char path[64], line[256];

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)guest_pid(g));
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Rss: %llu kB", &kib) == 1)
			break;
	return kib * 1024;
}

static void inspected(void **state)
{
	uint64_t before = resident_bytes();
	_cleanup_exo_ struct exo e = {0};
	const json_t *ram;

	(void)state;
	assert_int_equal(EXO(&e, g, "inspect"), 0);
	assert_int_equal(e.rc, 0);
	assert_true(json_is_true(json_object_get(e.doc, "eligible")));
	ram = json_object_get(json_object_get(e.doc, "vm"), "ram_backends");
	assert_int_equal(json_array_size(ram), 1);
	assert_true(json_is_true(json_object_get(json_array_get(ram, 0), "private")));
	assert_string_equal(exo_str(&e, "vm", "ram_backends", "0", "name", NULL), "pc.ram");
	assert_non_null(exo_str(&e, "homes", "0", "address", NULL));
	print_message("inspect: %.1f ms\n", json_real_value(json_object_get(e.doc, "time_ms")));
	/* Memory that the guest never touched is not made resident. */
	assert_true(before > 0);
	assert_true(resident_bytes() < before + (UINT64_C(16) << 20));
}

static void patched_and_reverted(void **state)
{
	_cleanup_exo_ struct exo e = {0};

	(void)state;
	assert_false(patched());
	assert_true(exo_done(g, "apply", cmdline));
	assert_true(patched());
	assert_int_equal(EXO(&e, g, "status"), 0);
	assert_string_equal(exo_str(&e, "patches", "0", "guest", NULL), "new");
	assert_true(exo_done(g, "revert", "cmdline"));
	assert_false(patched());
	assert_true(guest_dmesg_clean(g));
}

static void recovered_after_a_kill(void **state)
{
	static const char *const points[] = {"agent_held", "monitor_write_some", "agent_committed"};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(points); i++) {
		_cleanup_exo_ struct exo died = {0}, e = {0};
		char fault[64];

		snprintf(fault, sizeof(fault), "EXOPATCH_FAULT=%s=kill", points[i]);
		assert_int_equal(exo_run(&died, g, ARGS(fault), ARGS("apply", cmdline)), 0);
		assert_int_not_equal(died.rc, 0);
		assert_int_equal(EXO(&e, g, "recover"), 0);
		assert_int_equal(e.rc, 0);
		assert_true(guest_is_running(g));
		assert_int_equal(patched(),
				 !strcmp(exo_str(&e, "recovered", "0", "state", NULL), "active"));
		if (patched())
			assert_true(exo_done(g, "revert", "cmdline"));
	}
	assert_true(guest_dmesg_clean(g));
}

static void one_exopatch_at_a_time(void **state)
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
	assert_true(exo_done(g, "revert", "cmdline"));
}

/* QEMU dies between two looks at it: nothing is made of memory that is no more. */
static void a_vm_that_ends_is_gone(void **state)
{
	char exopatch[256], state_dir[160];
	const char *const argv[] = {run_build_path("exopatch", exopatch, sizeof(exopatch)),
				    "apply",
				    "--json",
				    "--qmp",
				    guest_qmp_path(g),
				    state_dir,
				    "--trust=build/dev-keys/trust",
				    cmdline,
				    NULL};
	_cleanup_close_ int from = -1;
	struct meeting at;
	const char *const env[] = {at.env, NULL};
	json_t *doc;
	char path[256];
	pid_t apply;
	int status;

	(void)state;
	snprintf(path, sizeof(path), "%s/answer", patching_dir());
	from = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(from >= 0);
	snprintf(state_dir, sizeof(state_dir), "--state=%s/state", patching_dir());
	meeting_plan(&at, "agent_planned");
	apply = proc_spawn(argv, env, from, -1, NULL);
	assert_true(apply > 0);
	meeting_reached(&at);
	assert_int_equal(kill(guest_pid(g), SIGKILL), 0);
	meeting_over(&at);
	status = proc_reap(apply, 20000);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
	doc = json_load_file(path, 0, NULL);
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(doc, "error"), "code")),
		"target-gone");
	json_decref(doc);
	guest_free(g);
	g = NULL;
}

static void end_guest(void)
{
	assert_true(guest_dmesg_clean(g));
	guest_free(g);
	g = NULL;
}

/* The home of the patch is in pc.rom there, which has no file even where RAM has one. */
static void uefi_on_the_other_machine(void **state)
{
	char path[256];

	(void)state;
	assert_int_equal(
		boot((struct guest_opts){
			.package = GUEST_6_12, .machine = "pc", .ovmf = true, .la57 = true}),
		0);
	assert_int_equal(patch_build(GUEST_6_12, "cmdline", "uefi", NULL, path, sizeof(path)), 0);
	assert_true(exo_done(g, "apply", path));
	assert_true(patched());
	assert_true(exo_done(g, "revert", "uefi"));
	assert_false(patched());
	end_guest();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inspected),
		cmocka_unit_test(patched_and_reverted),
		cmocka_unit_test(recovered_after_a_kill),
		cmocka_unit_test(one_exopatch_at_a_time),
		cmocka_unit_test(a_vm_that_ends_is_gone),
		cmocka_unit_test(uefi_on_the_other_machine),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
