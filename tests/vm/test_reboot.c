// SPDX-License-Identifier: Apache-2.0
/*
 * A VM that boots again with a patch in the journal: the patch is lost, nothing of it stands in the
 * way of the next one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/patching.h"

#define UUID "7d5f1c52-8f3a-4f0e-9a3b-7b8f0a1c2d3e"

static const char *const extra[] = {"-uuid", UUID, "-action", "reboot=reset", NULL};
static const struct guest_opts opts = {.package = GUEST_6_1, .extra = extra, .one_thread = true};
static char cmdline[256], dependent[256];

static int setup(void **state)
{
	(void)state;
	if (patching_setup() ||
	    patch_build(GUEST_6_1, "cmdline", "cmdline", NULL, cmdline, sizeof(cmdline)))
		return -1;
	return patch_build(GUEST_6_1, "two-targets", "dependent",
			   (const char *const[]){"--requires", "cmdline", NULL}, dependent,
			   sizeof(dependent));
}

static int teardown(void **state)
{
	(void)state;
	patching_teardown();
	return 0;
}

static bool patched(struct guest *g)
{
	_cleanup_free_ char *line = guest_sh(g, "cat /proc/cmdline");

	assert_non_null(line);
	return strstr(line, "exopatch=live") != NULL;
}

static json_int_t free_bytes(struct guest *g)
{
	_cleanup_exo_ struct exo e = {0};

	assert_int_equal(EXO(&e, g, "inspect"), 0);
	assert_int_equal(e.rc, 0);
	assert_true(json_is_true(json_object_get(e.doc, "eligible")));
	return json_integer_value(
		json_object_get(json_array_get(json_object_get(e.doc, "homes"), 0), "free_bytes"));
}

static void expect_lost(struct guest *g, size_t nr)
{
	_cleanup_exo_ struct exo e = {0};
	const json_t *patch;
	size_t i;

	assert_int_equal(EXO(&e, g, "status"), 0);
	assert_int_equal(e.rc, 0);
	assert_true(json_array_size(json_object_get(e.doc, "patches")) >= nr);
	json_array_foreach(json_object_get(e.doc, "patches"), i, patch)
	{
		if (i < nr)
			assert_string_equal(json_string_value(json_object_get(patch, "state")),
					    "lost");
	}
}

/* After a reboot under two patches, of which one needed the other. */
static void patched_again(struct guest *g)
{
	_cleanup_exo_ struct exo e = {0};

	assert_false(patched(g));
	assert_int_equal(EXO(&e, g, "apply", dependent), 0);
	assert_true(EXO_REFUSED(&e, "missing-prerequisite"));
	assert_true(exo_done(g, "apply", cmdline));
	assert_true(patched(g));
	/* The dependent of before is no more. */
	assert_true(exo_done(g, "revert", "cmdline"));
	assert_false(patched(g));
}

static void started_again(void **state)
{
	_cleanup_exo_ struct exo e = {0}, again = {0};
	struct guest *g = NULL;
	json_int_t room;

	(void)state;
	assert_int_equal(guest_boot(&g, &opts), 0);
	room = free_bytes(g);
	assert_true(exo_done(g, "apply", cmdline));
	assert_true(exo_done(g, "apply", dependent));
	guest_free(g);
	assert_int_equal(guest_boot(&g, &opts), 0);
	assert_int_equal(free_bytes(g), room);
	assert_int_equal(EXO(&e, g, "revert", "cmdline"), 0);
	assert_true(EXO_REFUSED(&e, "rebooted"));
	patched_again(g);
	assert_int_equal(EXO(&again, g, "revert", "dependent"), 0);
	assert_true(EXO_REFUSED(&again, "not-applied"));
	expect_lost(g, 2);
	guest_free(g);
}

/* A reset keeps RAM: the old code is still in the window. */
static void reset_in_place(void **state)
{
	struct guest *g = NULL;
	json_int_t room;

	(void)state;
	assert_int_equal(guest_boot(&g, &opts), 0);
	room = free_bytes(g);
	for (int i = 0; i < 2; i++) {
		assert_true(exo_done(g, "apply", cmdline));
		assert_true(patched(g));
		assert_int_equal(guest_qmp(g, "system_reset", NULL, NULL), 0);
		assert_int_equal(guest_wait_boot(g), 0);
		assert_false(patched(g));
	}
	print_message("window: %lld bytes free before, %lld after two resets\n", (long long)room,
		      (long long)free_bytes(g));
	assert_true(exo_done(g, "apply", cmdline));
	assert_true(patched(g));
	assert_true(exo_done(g, "apply", dependent));
	assert_true(exo_done(g, "revert", "dependent"));
	assert_true(exo_done(g, "revert", "cmdline"));
	assert_false(patched(g));
	assert_true(guest_dmesg_clean(g));
	guest_free(g);
}

/* Interrupted, then rebooted: recover says lost, and the way is free. */
static void reset_amid_a_change(void **state)
{
	const char *const env[] = {"EXOPATCH_FAULT=agent_committed=kill", NULL};
	const char *const args[] = {"apply", cmdline, NULL};
	_cleanup_exo_ struct exo died = {0}, status = {0}, barred = {0}, e = {0};
	struct guest *g = NULL;

	(void)state;
	assert_int_equal(guest_boot(&g, &opts), 0);
	assert_int_equal(exo_run(&died, g, env, args), 0);
	assert_int_equal(died.rc, 137);
	assert_true(patched(g));
	assert_int_equal(guest_qmp(g, "system_reset", NULL, NULL), 0);
	assert_int_equal(guest_wait_boot(g), 0);
	/* Looking at it does not forget it: the dead process left its gdb stub, too. */
	assert_int_equal(EXO(&status, g, "status"), 0);
	assert_int_equal(status.rc, 0);
	assert_int_equal(EXO(&barred, g, "apply", cmdline), 0);
	assert_true(EXO_REFUSED(&barred, "needs-recover"));
	assert_int_equal(EXO(&e, g, "recover"), 0);
	assert_int_equal(e.rc, 0);
	assert_string_equal(exo_str(&e, "recovered", "0", "state", NULL), "lost");
	assert_true(exo_done(g, "apply", cmdline));
	assert_true(patched(g));
	assert_true(exo_done(g, "revert", "cmdline"));
	guest_free(g);
}

/* The same kernel at the same address is another boot all the same. */
static void reset_without_kaslr(void **state)
{
	const struct guest_opts fixed = {
		.package = GUEST_6_1, .extra = extra, .append = "nokaslr", .one_thread = true};
	_cleanup_exo_ struct exo status = {0};
	struct guest *g = NULL;
	char last[24];

	(void)state;
	assert_int_equal(guest_boot(&g, &fixed), 0);
	assert_true(exo_done(g, "apply", cmdline));
	assert_int_equal(guest_qmp(g, "system_reset", NULL, NULL), 0);
	assert_int_equal(guest_wait_boot(g), 0);
	assert_false(patched(g));
	assert_int_equal(EXO(&status, g, "status"), 0);
	assert_int_equal(status.rc, 0);
	snprintf(last, sizeof(last), "%zu",
		 json_array_size(json_object_get(status.doc, "patches")) - 1);
	assert_string_equal(exo_str(&status, "patches", last, "state", NULL), "lost");
	assert_true(exo_done(g, "apply", cmdline));
	assert_true(patched(g));
	assert_true(exo_done(g, "revert", "cmdline"));
	assert_false(patched(g));
	guest_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(started_again),
		cmocka_unit_test(reset_in_place),
		cmocka_unit_test(reset_amid_a_change),
		cmocka_unit_test(reset_without_kaslr),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
