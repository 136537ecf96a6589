// SPDX-License-Identifier: Apache-2.0
/* exopatch verify and exopatch log: exit codes, and what they print. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <jansson.h>

#include "tests/lib/attfix.h"
#include "tests/lib/proc.h"

#define PATH (ATTFIX_PATH + 32)
#define AT   "2024-01-01T00:00:30Z"

static struct world {
	char dir[ATTFIX_PATH];
	char rec[PATH], ev[PATH], later[PATH], trust[PATH], ref[PATH], nowhere[PATH];
} world;

static void name(char out[PATH], const char *what)
{
	(void)snprintf(out, PATH, "%s/%s", world.dir, what);
}

static int setup(void **state)
{
	_cleanup_xbuf_ struct xbuf ref = XBUF(65536);
	struct att_recorder *r;

	(void)state;
	attfix_dir(world.dir);
	name(world.rec, "rec");
	name(world.ev, "ev");
	name(world.later, "later");
	name(world.trust, "trust");
	name(world.ref, "ref.json");
	name(world.nowhere, "nowhere");
	r = attfix_open(world.rec, NULL);
	attfix_record(r, attfix_action(ATT_APPLY));
	attfix_appraise(r, world.ev, true, NULL);
	attfix_record(r, attfix_action(ATT_VIOLATION));
	attfix_appraise(r, world.later, true, NULL);
	att_recorder_close(r);
	if (mkdir(world.trust, 0755))
		return -1;
	attfix_trust(world.trust, world.ev);
	attfix_reference(&ref);
	attfix_write(world.dir, "ref.json", xbuf_span(&ref));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	attfix_remove(world.dir);
	return 0;
}

/* Run exopatch; its output, if wanted, in *@out. Return: its exit code */
static int run(const char *const args[], char **out)
{
	_cleanup_free_ char *o = NULL, *e = NULL;
	int rc = -1;

	assert_int_equal(run_exopatch(args, NULL, &o, &e, &rc), 0);
	if (out)
		*out = XO_TAKE_PTR(o);
	return rc;
}

#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL}, NULL)

static void test_exit_codes(void **state)
{
	const char *const t = world.trust, *const r = world.ref;

	(void)state;
	assert_int_equal(RUN("verify", world.ev, "--trust", t, "--reference", r, "--at", AT,
			     "--nonce", ATTFIX_NONCE, "--vm", ATTFIX_UUID),
			 0);
	assert_int_equal(RUN("verify", world.later, "--trust", t, "--reference", r, "--at", AT), 3);
	assert_int_equal(RUN("verify", world.ev, "--trust", t, "--reference", r, "--at", AT,
			     "--nonce", "00"),
			 4);
	assert_int_equal(RUN("verify", world.ev, "--trust", t, "--reference", r, "--at",
			     "2024-01-01T01:00:00Z"),
			 4);
	assert_int_equal(RUN("verify", world.ev, "--trust", t, "--reference", r, "--at",
			     "2024-01-01T01:00:00Z", "--max-age", "4000"),
			 0);
	assert_int_equal(RUN("verify", world.ev, "--trust", t, "--at", AT), 5);
	assert_int_equal(RUN("verify", world.ev, "--trust", t, "--reference", r, "--at", AT,
			     "--require-tpm"),
			 5);
	assert_int_equal(RUN("verify", world.nowhere, "--trust", t), 1);
	assert_int_equal(RUN("verify", world.ev, "--trust", t, "--reference", world.nowhere), 1);
	assert_int_equal(RUN("verify", world.ev), 2);
	assert_int_equal(RUN("verify", world.ev, "--trust", t, "--nonce", "0"), 2);
	assert_int_equal(RUN("verify", world.ev, "--trust", t, "--at", "yesterday"), 2);
}

static void test_json(void **state)
{
	const char *const args[] = {"verify",  world.later, "--trust", world.trust, "--reference",
				    world.ref, "--at",	    AT,	       "--json",    NULL};
	_cleanup_free_ char *out = NULL;
	const char *result, *root, *reason, *uuid;
	json_int_t size;
	json_t *doc;

	(void)state;
	assert_int_equal(run(args, &out), 3);
	doc = json_loads(out, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(doc);
	assert_int_equal(json_unpack(doc, "{s:s,s:s,s:[{s:s}],s:{s:I},s:{s:s}}", "result", &result,
				     "root", &root, "reasons", "reason", &reason, "log", "size",
				     &size, "vm", "uuid", &uuid),
			 0);
	assert_string_equal(result, "untrusted");
	assert_string_equal(root, "software");
	assert_string_equal(reason, "violation");
	assert_string_equal(uuid, ATTFIX_UUID);
	assert_int_equal(size, 4);
	json_decref(doc);
}

/* What was trusted once is remembered: the log must go on from there, and later evidence may begin
 * there, with those who remember. */
static void test_remember(void **state)
{
	char trust[PATH], rec[PATH], first[PATH], full[PATH], since[PATH];
	const char *const r = world.ref;
	struct att_recorder *rc;

	(void)state;
	name(rec, "rec-2");
	name(trust, "trust-2");
	name(first, "first");
	name(full, "full");
	name(since, "since");
	rc = attfix_open(rec, NULL);
	attfix_record(rc, attfix_action(ATT_GUARD_ON));
	attfix_record(rc, attfix_action(ATT_APPLY));
	attfix_appraise(rc, first, true, NULL);
	assert_int_equal(mkdir(trust, 0755), 0);
	attfix_trust(trust, first);
	assert_int_equal(
		RUN("verify", first, "--trust", trust, "--reference", r, "--at", AT, "--remember"),
		0);
	attfix_record(rc, attfix_action(ATT_REFUSE));
	attfix_appraise(rc, full, true, NULL);
	attfix_appraise_since(rc, since, true, 3);
	att_recorder_close(rc);
	/* Without a proof that the log goes on it is incomplete; with it, and shorter, trusted. */
	assert_int_equal(RUN("verify", full, "--trust", trust, "--reference", r, "--at", AT), 5);
	assert_int_equal(
		RUN("verify", since, "--trust", trust, "--reference", r, "--at", AT, "--remember"),
		0);
	/* Now the first is of a log that was longer once. */
	assert_int_equal(RUN("verify", first, "--trust", trust, "--reference", r, "--at", AT), 3);
	/* Whoever has accepted nothing wants all of it. */
	attfix_remove(trust);
	assert_int_equal(mkdir(trust, 0755), 0);
	attfix_trust(trust, first);
	assert_int_equal(RUN("verify", since, "--trust", trust, "--reference", r, "--at", AT), 3);
	assert_int_equal(RUN("verify", full, "--trust", trust, "--reference", r, "--at", AT), 0);
}

static void test_log(void **state)
{
	const char *const show[] = {"log", "show", "--log", world.rec, NULL};
	const char *const one[] = {"log", "show", "0", "--log", world.rec, NULL};
	const char *const prove[] = {"log", "prove", "2", "--log", world.rec, NULL};
	const char *const state_of[] = {"log", "checkpoint", "--log", world.rec, NULL};
	const char *const since[] = {"log", "checkpoint", "--since", "2", "--log", world.rec, NULL};
	char *out;

	(void)state;
	assert_int_equal(run(show, &out), 0);
	assert_non_null(strstr(out, "apply done  demo-fix"));
	assert_non_null(strstr(out, "violation done"));
	free(out);
	assert_int_equal(run(one, &out), 0);
	assert_memory_equal(out, "{\"payload\":\"", 12);
	free(out);
	assert_int_equal(run(prove, &out), 0);
	assert_memory_equal(out, "c2sp.org/tlog-proof@v1\nindex 2\n", 31);
	free(out);
	assert_int_equal(run(state_of, &out), 0);
	assert_memory_equal(out, ATTFIX_ORIGIN "\n4\n", strlen(ATTFIX_ORIGIN) + 3);
	free(out);
	assert_int_equal(run(since, &out), 0);
	assert_memory_equal(out, "old 2\n", 6);
	free(out);
	assert_int_equal(RUN("log", "prove", "4", "--log", world.rec), 2);
	assert_int_equal(RUN("log", "prove", "--log", world.rec), 2);
	assert_int_equal(RUN("log", "nonsense", "--log", world.rec), 2);
	assert_int_equal(RUN("log", "show", "--log", world.nowhere), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exit_codes),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_remember),
		cmocka_unit_test(test_log),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
