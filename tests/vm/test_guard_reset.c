// SPDX-License-Identifier: Apache-2.0
/*
 * What befalls a VM from outside while it is guarded: stop, reset, reboot, snapshots, migration.
 * docs/guard.md, "What ends it".
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
#include "tests/lib/guardrun.h"
#include "tests/lib/patching.h"
#include "tests/lib/reclog.h"

#define PATIENT_MS 60000 /* two looks at a kernel that is up, on a host that does much else */
#define ATTACK	   "/attacks/load text_vmap_alias; rmmod text_vmap_alias"
#define UNHARMED   "cat /proc/execdomains >/dev/null"

static struct guest *g;
static struct guardrun *guard;
static char disk[160], drive[256], cmdline[256], modules[256];

static void boot(void)
{
	const char *const extra[] = {"-action", "reboot=reset", "-drive", drive, NULL};

	assert_int_equal(guest_boot(&g, &(struct guest_opts){.package = GUEST_6_1,
							     .vcpus = 1,
							     .mem_mib = 256,
							     .extra = extra}),
			 0);
}

static void begin(void)
{
	boot();
	guard = guardrun_start(g, "enforce", NULL);
	assert_non_null(guard);
}

static int end(void **state)
{
	(void)state;
	guardrun_drop(guard);
	guard = NULL;
	guest_free(g);
	g = NULL;
	return 0;
}

static void stop(void)
{
	struct guardrun *r = guard;

	guard = NULL;
	assert_int_equal(guardrun_stop(r), 0);
}

static void finish(void)
{
	assert_int_equal(guardrun_missing(guard), 0);
	stop();
	assert_true(guest_dmesg_clean(g));
}

static void guards(void)
{
	assert_int_equal(guest_run(g, ATTACK, 0, NULL, NULL), 0);
	assert_true(guardrun_saw(guard, "violation", PATIENT_MS));
	assert_int_equal(guest_run(g, UNHARMED, 0, NULL, NULL), 0);
}

/* The next event that is of @kind; nothing is refused or found before it. */
static void quietly(const char *kind)
{
	uint64_t end_ns = xo_now_ns() + PATIENT_MS * UINT64_C(1000000);
	json_t *event;

	while ((event = guardrun_next(guard, end_ns))) {
		bool is = !strcmp(guardrun_says(event, "kind"), kind);
		const char *verdict = guardrun_says(event, "verdict");

		if (*verdict && strcmp(verdict, "kept") != 0)
			fail_msg("%s: %s", guardrun_says(event, "kind"),
				 guardrun_says(event, "reason"));
		json_decref(event);
		if (is)
			return;
	}
	fail_msg("no %s", kind);
}

static void stopped(void **state)
{
	(void)state;
	begin();
	assert_int_equal(guest_pause(g), 0);
	quietly("guest-stopped");
	xo_sleep_ns(1200000000); /* audits go on */
	assert_int_equal(guest_resume(g), 0);
	quietly("guest-running");
	guards();
	finish();
}

static double boots(void)
{
	uint64_t start_ns = xo_now_ns();

	assert_int_equal(guest_wait_boot(g), 0);
	return (double)(xo_now_ns() - start_ns) / 1e9;
}

/* The newest guard-on tells of a process, and of that many resets of it or more. */
static void recorded_resets(uint64_t want)
{
	static const uint8_t unknown[XO_SHA256_BYTES];
	char log_dir[200];
	int64_t nr;

	snprintf(log_dir, sizeof(log_dir), "%s/state/attest", patching_dir());
	nr = (int64_t)reclog_size(log_dir);
	for (int64_t i = nr - 1; i >= 0; i--) {
		_cleanup_free_ struct att_statement *s = reclog_statement(log_dir, i);

		if (s->action.act != ATT_GUARD_ON)
			continue;
		assert_true(s->resets >= want); /* firmware may well reset once more */
		assert_memory_not_equal(s->process, unknown, sizeof(unknown));
		return;
	}
	fail_msg("no guard-on among %lld statements", (long long)nr);
}

static void reset(void **state)
{
	double unguarded, guarded;

	(void)state;
	boot();
	assert_int_equal(guest_qmp(g, "system_reset", NULL, NULL), 0);
	unguarded = boots();
	guard = guardrun_start(g, "enforce", NULL);
	assert_non_null(guard);
	assert_int_equal(guest_qmp(g, "system_reset", NULL, NULL), 0);
	quietly("guest-reset");
	guarded = boots();
	print_message("reset: up after %.1f s without a guard, %.1f s with\n", unguarded, guarded);
	assert_true(guarded < 5 * unguarded + 10);
	quietly("guard-on");
	assert_int_equal(guardrun_number(guard, "violations"), 0);
	guards();
	finish();
	recorded_resets(1);
}

/* The guest's own doing; the kernel comes back elsewhere. */
static void rebooted(void **state)
{
	_cleanup_exo_ struct exo before = {0}, after = {0};

	(void)state;
	begin();
	assert_int_equal(EXO(&before, g, "inspect"), 0);
	assert_int_equal(guest_run(g, "(sleep 0.2; reboot -f) >/dev/null 2>&1 &", 0, NULL, NULL),
			 0);
	quietly("guest-reset");
	(void)boots();
	quietly("guard-on");
	assert_int_equal(EXO(&after, g, "inspect"), 0);
	assert_int_equal(after.rc, 0);
	print_message("kernel at %s, then at %s\n", exo_str(&before, "kernel", "base", NULL),
		      exo_str(&after, "kernel", "base", NULL));
	guards();
	finish();
}

/* While no guard is there to see it, and the supervisor does not get to start one. */
static void reset_unseen(void **state)
{
	pid_t supervisor, one;

	(void)state;
	begin();
	supervisor = guardrun_pid(guard);
	one = (pid_t)guardrun_number(guard, "guard_pid");
	assert_true(one > 1);
	assert_int_equal(kill(supervisor, SIGSTOP), 0);
	assert_int_equal(kill(one, SIGKILL), 0);
	assert_int_equal(guest_qmp(g, "system_reset", NULL, NULL), 0);
	xo_sleep_ns(300000000);
	assert_int_equal(kill(supervisor, SIGCONT), 0);
	assert_true(guardrun_saw(guard, "guard-restarted", PATIENT_MS));
	quietly("guest-reset");
	(void)boots();
	quietly("guard-on");
	guards();
	finish();
}

/* A snapshot inside the disk image: the guest goes on from then, guarded. */
static void snapshot(void **state)
{
	_cleanup_free_ char *saved = NULL, *loaded = NULL;

	(void)state;
	begin();
	saved = guest_hmp(g, "savevm one");
	assert_non_null(saved);
	assert_string_equal(saved, "");
	assert_int_equal(guest_run(g, UNHARMED, 0, NULL, NULL), 0);
	guards();
	(void)guardrun_settle(guard, 1500);
	loaded = guest_hmp(g, "loadvm one");
	assert_non_null(loaded);
	assert_string_equal(loaded, "");
	quietly("guest-restored");
	guards();
	finish();
}

static bool patched(void)
{
	_cleanup_free_ char *line = guest_sh(g, "cat /proc/cmdline");

	assert_non_null(line);
	return strstr(line, "exopatch=live") != NULL;
}

static void hmp_quietly(const char *line)
{
	_cleanup_free_ char *said = guest_hmp(g, line);

	if (!said || said[0])
		fail_msg("%s: %s", line, said ? said : "no answer");
}

static void patch_is(const char *guest_has)
{
	_cleanup_exo_ struct exo e = {0};

	assert_int_equal(EXO(&e, g, "status"), 0);
	assert_string_equal(exo_str(&e, "patches", "0", "state", NULL), "active");
	assert_string_equal(exo_str(&e, "patches", "0", "guest", NULL), guest_has);
}

/* A snapshot of before a patch, and one with it: the guest is wholly what it was then, and nobody
 * is accused. */
static void snapshot_of_before_a_patch(void **state)
{
	(void)state;
	begin();
	hmp_quietly("savevm before");
	assert_true(exo_done(g, "apply", cmdline));
	assert_true(patched());
	hmp_quietly("savevm with");
	hmp_quietly("loadvm before");
	quietly("patch-absent");
	quietly("guest-restored");
	assert_false(patched());
	patch_is("old");
	assert_int_equal(guardrun_number(guard, "violations"), 0);
	hmp_quietly("loadvm with");
	quietly("guest-restored");
	assert_true(patched());
	patch_is("new");
	hmp_quietly("loadvm before");
	quietly("guest-restored");
	assert_true(exo_done(g, "revert", "cmdline"));
	assert_true(exo_done(g, "apply", cmdline));
	assert_true(patched());
	assert_true(exo_done(g, "revert", "cmdline"));
	assert_int_equal(guardrun_number(guard, "violations"), 0);
	guards();
	finish();
}

/* The gate is there again, whatever the snapshot has of it. */
static void snapshot_of_before_the_gate(void **state)
{
	const char *const gated[] = {"--modules", modules, NULL};

	(void)state;
	boot();
	hmp_quietly("savevm before");
	guard = guardrun_start_with(g, "enforce", gated, NULL);
	assert_non_null(guard);
	assert_true(guardrun_saw(guard, "module-gate-on", PATIENT_MS));
	hmp_quietly("loadvm before");
	quietly("guest-restored");
	quietly("module-gate-on");
	assert_int_equal(guardrun_number(guard, "violations"), 0);
	assert_int_not_equal(guest_run(g, "/attacks/load plain_module", 0, NULL, NULL), 0);
	assert_true(guardrun_saw(guard, "module-load", PATIENT_MS));
	finish();
}

static void migrate(const char *uri)
{
	assert_int_equal(guest_qmp(g, "migrate", json_pack("{s:s}", "uri", uri), NULL), 0);
}

/* Wait for the end of it. Return: whether it was completed */
static bool migrated(void)
{
	for (int i = 0; i < PATIENT_MS / 50; i++) {
		_cleanup_free_ char *status = NULL;
		json_t *answer = NULL;
		const char *text;

		assert_int_equal(guest_qmp(g, "query-migrate", NULL, &answer), 0);
		text = json_string_value(json_object_get(answer, "status"));
		status = strdup(text ? text : "");
		json_decref(answer);
		if (!strcmp(status, "completed") || !strcmp(status, "failed") ||
		    !strcmp(status, "cancelled"))
			return !strcmp(status, "completed");
		xo_sleep_ns(50000000);
	}
	return false;
}

/* Wait until that much of the guest's memory is on its way. */
static void has_sent(json_int_t bytes)
{
	json_int_t sent = 0;

	for (int i = 0; i < PATIENT_MS / 50 && sent < bytes; i++) {
		json_t *answer = NULL;

		xo_sleep_ns(50000000);
		assert_int_equal(guest_qmp(g, "query-migrate", NULL, &answer), 0);
		sent = json_integer_value(
			json_object_get(json_object_get(answer, "ram"), "transferred"));
		json_decref(answer);
	}
	assert_true(sent >= bytes);
}

/* The guest runs elsewhere: there is nothing to guard here any more. */
static void migrated_away(void **state)
{
	json_t *event;
	int status;

	(void)state;
	begin();
	migrate("exec:cat >/dev/null");
	assert_true(migrated());
	event = guardrun_find(guard, "guard-off", PATIENT_MS);
	assert_non_null(event);
	assert_non_null(strstr(guardrun_says(event, "reason"), "moved to another host"));
	json_decref(event);
	status = guardrun_wait(guard, PATIENT_MS);
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
}

static int capability(const char *name, bool on)
{
	return guest_qmp(
		g, "migrate-set-capabilities",
		json_pack("{s:[{s:s,s:b}]}", "capabilities", "capability", name, "state", (int)on),
		NULL);
}

/*
 * QEMU wants a userfaultfd of its own. It tries when it is told that it may, so under a guard it
 * may not; told before, it fails later, and the guard says why. Nor can we beside its.
 */
static void background_snapshot(void **state)
{
	_cleanup_exo_ struct exo e = {0};

	(void)state;
	begin();
	assert_int_not_equal(capability("background-snapshot", true), 0);
	stop();
	assert_int_equal(capability("background-snapshot", true), 0);
	guard = guardrun_start(g, "enforce", NULL);
	assert_non_null(guard);
	migrate("exec:cat >/dev/null");
	assert_false(migrated());
	assert_true(guardrun_saw(guard, "userfaultfd-wanted", PATIENT_MS));
	assert_int_equal(guest_resume(g), 0); /* QEMU 7.2 leaves it stopped */
	guards();
	stop();
	/* So slowly that it goes on while we try. */
	migrate("exec:while [ $(head -c 65536 | wc -c) -gt 0 ]; do sleep 0.02; done");
	has_sent(1 << 20);
	assert_int_equal(EXO(&e, g, "guard"), 0);
	assert_int_equal(e.rc, 1);
	print_message("guard beside a background snapshot: %s\n",
		      exo_str(&e, "error", "detail", NULL));
	assert_non_null(strstr(exo_str(&e, "error", "detail", NULL), "try again"));
}

static int setup(void **state)
{
	_cleanup_run_ struct run_result r = {0};
	const char *const make[] = {"qemu-img", "create", "-q", "-f", "qcow2", disk, "1G", NULL};

	(void)state;
	if (patching_setup())
		return -1;
	snprintf(disk, sizeof(disk), "%s/disk", patching_dir());
	snprintf(drive, sizeof(drive), "if=none,format=qcow2,file=%s", disk);
	return run_program(make, NULL, PATIENT_MS, &r) || r.rc ||
	       patch_build(GUEST_6_1, "cmdline", "cmdline", NULL, cmdline, sizeof(cmdline)) ||
	       modules_allow(GUEST_6_1, modules, sizeof(modules));
}

static int teardown(void **state)
{
	(void)state;
	patching_teardown();
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(stopped, end),
		cmocka_unit_test_teardown(reset, end),
		cmocka_unit_test_teardown(rebooted, end),
		cmocka_unit_test_teardown(reset_unseen, end),
		cmocka_unit_test_teardown(snapshot, end),
		cmocka_unit_test_teardown(snapshot_of_before_a_patch, end),
		cmocka_unit_test_teardown(snapshot_of_before_the_gate, end),
		cmocka_unit_test_teardown(migrated_away, end),
		cmocka_unit_test_teardown(background_snapshot, end),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, setup, teardown);
}
