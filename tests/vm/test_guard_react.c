// SPDX-License-Identifier: Apache-2.0
/* What follows a violation: docs/guard.md, --on-violation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "base/util.h"
#include "tests/lib/guardrun.h"
#include "tests/lib/patching.h"

#define PATIENT_MS 60000
#define POLL_NS	   20000000
#define MANY	   8
#define QUIET_MS   1500 /* two audits */

static struct guest *g;
static struct guardrun *guard;

static void begin(const char *mode, const char *option)
{
	static const char *const resets[] = {"-action", "reboot=reset", NULL};

	assert_int_equal(guest_boot(&g, &(struct guest_opts){.package = GUEST_6_1,
							     .cpu = "qemu64,+smep,+smap,+umip",
							     .vcpus = 1,
							     .mem_mib = 256,
							     .extra = resets}),
			 0);
	guard = guardrun_start(g, mode, option);
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

/* The guest may stand still before its shell can answer. */
static void attack(const char *name)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "(sleep 0.3; /attacks/load %s) >/dev/null 2>&1 &",
		       name);
	assert_int_equal(guest_run(g, command, 0, NULL, NULL), 0);
}

static void expect(const char *kind)
{
	if (!guardrun_saw(guard, kind, PATIENT_MS))
		fail_msg("no %s", kind);
}

static bool stands_within(unsigned int ms)
{
	uint64_t end_ns = xo_now_ns() + ms * UINT64_C(1000000);

	while (guest_is_running(g) && xo_now_ns() < end_ns)
		xo_sleep_ns(POLL_NS);
	return !guest_is_running(g);
}

/*
 * It stands still, goes on when it is let go, and is not stopped for the same again. Under TCG each
 * byte of an attack is one write, and some leave two kinds of traces.
 */
static void paused_by(const char *name, const char *kind)
{
	unsigned int times = 0;

	attack(name);
	expect(kind);
	assert_true(stands_within(PATIENT_MS));
	do {
		assert_int_equal(guest_resume(g), 0);
		times++;
	} while (times <= MANY && stands_within(QUIET_MS));
	assert_in_range(times, 1, MANY);
	assert_int_equal(guest_run(g, "true", 0, NULL, NULL), 0);
}

static void pause_guest(void **state)
{
	(void)state;
	begin("enforce", "--on-violation=pause");
	assert_true(guest_is_running(g));
	paused_by("text_vmap_alias", "violation");
	paused_by("exec_vmalloc", "executable-page");
	paused_by("remap_shared", "page-table");
	paused_by("idt_lidt", "register");
	assert_int_equal(guardrun_stop(guard), 0);
	guard = NULL;
}

/* The next guard knows what was told, and what was there before anybody guarded. */
static void known_things_have_no_consequences(void **state)
{
	(void)state;
	begin("audit", NULL);
	attack("exec_pte");
	expect("writable-executable-page");
	assert_int_equal(guardrun_stop(guard), 0);
	guard = guardrun_start(g, "enforce", "--on-violation=pause");
	assert_non_null(guard);
	expect("writable-executable-page");
	assert_false(stands_within(QUIET_MS));
	paused_by("exec_vmalloc", "executable-page");
	assert_int_equal(kill((pid_t)guardrun_number(guard, "guard_pid"), SIGKILL), 0);
	expect("guard-restarted");
	assert_false(stands_within(QUIET_MS));
	assert_int_equal(guardrun_stop(guard), 0);
	guard = NULL;
}

/* Firmware and a new kernel write where the old one was; that is nobody's fault. */
static void a_reset_has_none(void **state)
{
	(void)state;
	begin("enforce", "--on-violation=kill");
	assert_int_equal(guest_qmp(g, "system_reset", NULL, NULL), 0);
	expect("guest-reset");
	expect("guard-on");
	assert_int_equal(guest_wait_boot(g), 0);
	attack("exec_vmalloc");
	expect("target-gone");
}

static void kill_guest(void **state)
{
	int status;

	(void)state;
	begin("enforce", "--on-violation=kill");
	attack("text_vmap_alias");
	expect("target-gone");
	status = guardrun_wait(guard, PATIENT_MS);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_not_equal(guest_qmp(g, "query-status", NULL, NULL), 0);
}

static void nmi_guest(void **state)
{
	(void)state;
	begin("enforce", "--on-violation=nmi");
	attack("exec_vmalloc");
	expect("executable-page");
	assert_int_equal(
		guest_run(g,
			  "for i in $(seq 50); do dmesg | grep -q 'NMI received' && exit 0;"
			  " sleep 0.1; done; exit 1",
			  0, NULL, NULL),
		0);
	assert_int_equal(guardrun_stop(guard), 0);
	guard = NULL;
}

/* Who only watches changes nothing, whatever was asked for. */
static void audit_only(void **state)
{
	(void)state;
	begin("audit", "--on-violation=kill");
	attack("exec_vmalloc");
	expect("executable-page");
	attack("text_vmap_alias");
	expect("violation");
	assert_false(stands_within(QUIET_MS));
	assert_int_equal(guardrun_stop(guard), 0);
	guard = NULL;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(pause_guest, end),
		cmocka_unit_test_teardown(known_things_have_no_consequences, end),
		cmocka_unit_test_teardown(a_reset_has_none, end),
		cmocka_unit_test_teardown(kill_guest, end),
		cmocka_unit_test_teardown(nmi_guest, end),
		cmocka_unit_test_teardown(audit_only, end),
	};
	int failed;

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	if (patching_setup())
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	patching_teardown();
	return failed;
}
