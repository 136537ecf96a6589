// SPDX-License-Identifier: Apache-2.0
/* From actions to a verdict, with a TPM and without. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/lib/attfix.h"

struct env {
	char dir[ATTFIX_PATH];
	char rec[ATTFIX_PATH + 16], ev[ATTFIX_PATH + 16], trust[ATTFIX_PATH + 16];
	struct attfix_tpm tpm;
};

static int setup(void **state)
{
	struct env *e = calloc(1, sizeof(*e));

	attfix_dir(e->dir);
	(void)snprintf(e->rec, sizeof(e->rec), "%s/rec", e->dir);
	(void)snprintf(e->ev, sizeof(e->ev), "%s/ev", e->dir);
	(void)snprintf(e->trust, sizeof(e->trust), "%s/trust", e->dir);
	*state = e;
	return 0;
}

static int teardown(void **state)
{
	struct env *e = *state;

	attfix_tpm_remove(&e->tpm);
	attfix_remove(e->dir);
	free(e);
	return 0;
}

/* Judge @e's evidence as of now. */
static void verify(const struct env *e, struct att_result *ret, struct refusal *why)
{
	_cleanup_xbuf_ struct xbuf ref = XBUF(65536);
	struct att_files evidence = {0}, trust = {0};
	struct att_expect x = {.now_s = ATTFIX_NOW_S + 10, .vm_uuid = ATTFIX_UUID};
	struct xerr err = {0};

	attfix_reference(&ref);
	x.reference = xbuf_span(&ref);
	assert_int_equal(att_files_load(&evidence, e->ev, &err), 0);
	assert_int_equal(att_files_load(&trust, e->trust, &err), 0);
	assert_int_equal(att_verify(ret, &evidence, &trust, &x, why, &err), 0);
	att_files_free(&evidence);
	att_files_free(&trust);
	for (size_t i = 0; i < why->nr; i++)
		print_message("%s: %s\n", xo_code_key(why->reason[i].code), why->reason[i].detail);
}

static void run(struct env *e, const char *tcti)
{
	_cleanup_refusal_ struct refusal why = {0};
	struct att_recorder *r = attfix_open(e->rec, tcti);
	struct att_result res;

	attfix_record(r, attfix_action(ATT_GUARD_ON));
	attfix_record(r, attfix_action(ATT_APPLY));
	att_recorder_close(r);
	r = attfix_open(e->rec, tcti);
	attfix_record(r, attfix_action(ATT_REFUSE));
	attfix_appraise(r, e->ev, true, NULL);
	att_recorder_close(r);
	assert_int_equal(mkdir(e->trust, 0755), 0);
	attfix_trust(e->trust, e->ev);
	verify(e, &res, &why);
	assert_int_equal(why.nr, 0);
	assert_int_equal(res.verdict, ATT_TRUSTED);
	assert_int_equal(res.tpm_rooted, tcti != NULL);
	assert_int_equal(res.nr_statements, 4);
	assert_int_equal(res.log_size, 4);
	assert_string_equal(res.patch[0].id, "demo-fix");
}

static void test_software(void **state)
{
	run(*state, NULL);
}

static void test_tpm(void **state)
{
	struct env *e = *state;

	if (!attfix_tpm_start(&e->tpm))
		skip();
	run(e, e->tpm.tcti);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_software, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tpm, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
