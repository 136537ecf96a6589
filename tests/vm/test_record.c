// SPDX-License-Identifier: Apache-2.0
/* Each action on a guest is recorded: once, with what it did, whoever dies in between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "attest/dsse.h"
#include "attest/statement.h"
#include "tests/lib/patching.h"

#define ENTRY_MAX 65536

static struct guest *g;
static char package[256], log_dir[200];

static int setup(void **state)
{
	(void)state;
	if (patching_setup() || guest_boot(&g, &(struct guest_opts){.package = GUEST_6_1}))
		return -1;
	snprintf(log_dir, sizeof(log_dir), "%s/state/attest", patching_dir());
	return patch_build(GUEST_6_1, "cmdline", "cmdline", NULL, package, sizeof(package));
}

static int teardown(void **state)
{
	(void)state;
	guest_free(g);
	patching_teardown();
	return 0;
}

/* Statement @index of the log, from the end if negative; free() it. NULL if there is none. */
static struct att_statement *statement(int64_t index)
{
	_cleanup_xbuf_ struct xbuf entry = XBUF(ENTRY_MAX);
	struct att_statement *s = calloc(1, sizeof(*s));
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_dsse_ struct dsse e = {0};
	struct xerr err = {0};
	uint64_t size = 0;

	assert_int_equal(att_log_size(log_dir, &size, &err), 0);
	assert_int_equal(
		att_log_entry(log_dir, (uint64_t)(index < 0 ? (int64_t)size + index : index),
			      &entry, &err),
		0);
	assert_true(dsse_parse(&e, xbuf_span(&entry), "entry", &why));
	assert_true(statement_parse(s, xbuf_span(&e.payload), "entry", &why));
	return s;
}

static uint64_t log_size(void)
{
	struct xerr err = {0};
	uint64_t size = 0;

	return att_log_size(log_dir, &size, &err) ? 0 : size;
}

static void an_apply_and_its_revert(void **state)
{
	_cleanup_free_ struct att_statement *a = NULL, *r = NULL;

	(void)state;
	assert_true(exo_done(g, "apply", package));
	assert_int_equal(log_size(), 1);
	assert_true(exo_done(g, "revert", "cmdline"));
	assert_int_equal(log_size(), 2);
	a = statement(0);
	r = statement(1);
	assert_int_equal(a->action.act, ATT_APPLY);
	assert_int_equal(a->action.verdict, ATT_DONE);
	assert_string_equal(a->action.package.id, "cmdline");
	assert_int_equal(a->nr_patches, 1);
	assert_string_equal(a->patch[0].id, "cmdline");
	assert_true(a->action.held_us > 0);
	assert_int_equal(r->action.act, ATT_REVERT);
	assert_int_equal(r->action.verdict, ATT_DONE);
	assert_int_equal(r->nr_patches, 0);
	assert_int_equal(r->sequence, 1);
	assert_memory_equal(a->boot, r->boot, sizeof(a->boot));
	assert_memory_equal(a->action.before, r->action.after, XO_SHA256_BYTES);
	assert_memory_equal(a->action.after, r->action.before, XO_SHA256_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_apply_and_its_revert),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
