// SPDX-License-Identifier: Apache-2.0
/*
 * The command line: exit codes, one parseable document under --json whatever happens, and text
 * that is fit for a terminal whatever a guest is called.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/patching.h"

#define MAX_ARGS  16
#define EVIL_NAME "evil\033[2J\033]0;title\007\r"
#define TRUST	  "--trust=build/dev-keys/trust"
#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct guest *g;
static char state_dir[160], busy[256], garbage[160];

static int setup(void **state)
{
	const struct guest_opts opts = {.package = GUEST_6_1, .name = EVIL_NAME};
	FILE *f;

	(void)state;
	if (patching_setup() || guest_boot(&g, &opts))
		return -1;
	snprintf(state_dir, sizeof(state_dir), "--state=%s/state", patching_dir());
	snprintf(garbage, sizeof(garbage), "%s/garbage", patching_dir());
	f = fopen(garbage, "w");
	for (int i = 0; f && i < 1000; i++)
		fputs("not a package\n", f);
	if (!f || fclose(f))
		return -1;
	return patch_build(GUEST_6_1, "busy", "busy", NULL, busy, sizeof(busy));
}

static int teardown(void **state)
{
	(void)state;
	guest_free(g);
	patching_teardown();
	return 0;
}

struct said {
	char *out, *err;
	int rc;
};

static void said_free(struct said *s)
{
	free(s->out);
	free(s->err);
}
#define _cleanup_said_ XO_CLEANUP(said_free)

static void say(struct said *s, const char *const args[], const char *more)
{
	const char *argv[MAX_ARGS + 2] = {0};
	size_t n = 0;

	for (; args[n] && n < MAX_ARGS; n++)
		argv[n] = args[n];
	argv[n] = more;
	assert_int_equal(run_exopatch(argv, NULL, &s->out, &s->err, &s->rc), 0);
}

/* Nothing that a terminal would act upon. */
static void expect_plain(const char *text)
{
	for (const char *p = text; *p; p++)
		if (*p != '\n' && (*p < 0x20 || *p > 0x7e))
			fail_msg("byte %#x in: %s", (unsigned char)*p, text);
}

static void usage_errors(void **state)
{
	static const char *const lines[][MAX_ARGS] = {
		{NULL},
		{"frobnicate"},
		{"--qmp", "/x"},
		{"inspect"},
		{"inspect", "--qmp"},
		{"inspect", "--qmp", "/x", "--domain", "y"},
		{"inspect", "--qmp", "/x", "--connect", "qemu:///system"},
		{"inspect", "--qmp", "/x", "surplus"},
		{"inspect", "--qmp", "/x", "--frobnicate"},
		{"apply", "--qmp", "/x"},
		{"apply", "--qmp", "/x", "a", "b"},
		{"apply", "--qmp", "/x", "--home", "attic", "a"},
		{"apply", "--qmp", "/x", "--timeout", "soon", "a"},
		{"apply", "--qmp", "/x", "--timeout", "-1", "a"},
		{"apply", "--qmp", "/x", "--timeout", "nan", "a"},
		{"apply", "--qmp", "/x", "--timeout", "1e99", "a"},
		{"revert", "--qmp", "/x"},
		{"status", "--json"},
		{"recover", "--qmp", "/x", "surplus", "--json"},
	};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(lines); i++) {
		_cleanup_said_ struct said s = {0};

		say(&s, lines[i], NULL);
		if (s.rc != 2)
			fail_msg("line %zu: exit status %d", i, s.rc);
		assert_string_equal(s.out, "");
		assert_true(strlen(s.err) > 0);
	}
}

static void help(void **state)
{
	static const char *const commands[] = {"inspect", "apply", "revert", "status", "recover"};
	_cleanup_said_ struct said s = {0};

	(void)state;
	say(&s, ARGS("--help"), NULL);
	assert_int_equal(s.rc, 0);
	assert_string_equal(s.err, "");
	for (size_t i = 0; i < XO_ARRAY_SIZE(commands); i++) {
		_cleanup_said_ struct said one = {0};

		assert_non_null(strstr(s.out, commands[i]));
		say(&one, ARGS(commands[i], "--help"), NULL);
		assert_int_equal(one.rc, 0);
		assert_string_equal(one.err, "");
		assert_non_null(strstr(one.out, "--qmp"));
	}
}

struct outcome {
	const char *args[MAX_ARGS];
	const char *key; /* of the error or of the first reason; NULL: done */
	int rc;
};

/* The same command as text and as JSON: the same verdict in both. */
static void expect_outcome(const struct outcome *o)
{
	static const char *const results[] = {"done", "error", NULL, "refused"};
	_cleanup_said_ struct said text = {0}, json = {0};
	const char *key;
	json_t *doc;

	say(&text, o->args, NULL);
	say(&json, o->args, "--json");
	print_message("%s: %d\n", o->args[0], text.rc);
	assert_int_equal(text.rc, o->rc);
	assert_int_equal(json.rc, o->rc);
	expect_plain(text.out);
	expect_plain(text.err);
	expect_plain(json.out);
	assert_string_equal(json.err, "");
	doc = json_loads(json.out, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(doc);
	assert_string_equal(json_string_value(json_object_get(doc, "operation")), o->args[0]);
	assert_string_equal(json_string_value(json_object_get(doc, "result")), results[o->rc]);
	if (o->key) {
		key = json_string_value(
			o->rc == 1 ? json_object_get(json_object_get(doc, "error"), "code")
				   : json_object_get(
					     json_array_get(json_object_get(doc, "reasons"), 0),
					     "reason"));
		assert_non_null(key);
		assert_string_equal(key, o->key);
		assert_non_null(strstr(text.err, o->key));
		assert_string_equal(text.out, "");
	} else {
		assert_true(strlen(text.out) > 0);
		assert_string_equal(text.err, "");
	}
	json_decref(doc);
}

static void outcomes(void **state)
{
	const char *qmp = guest_qmp_path(g);
	const struct outcome all[] = {
		{{"inspect", "--qmp", qmp}, NULL, 0},
		{{"status", "--qmp", qmp, state_dir}, NULL, 0},
		{{"recover", "--qmp", qmp, state_dir}, NULL, 0},
		{{"inspect", "--qmp", "/nonexistent"}, "no-such-target", 1},
		{{"status", "--qmp", "/dev/null", state_dir}, "not-qemu", 1},
		{{"apply", "--qmp", qmp, state_dir, TRUST, "/nonexistent"}, "ENOENT", 1},
		{{"apply", "--qmp", qmp, state_dir, "--trust=/nonexistent", busy}, "ENOENT", 1},
		{{"apply", "--qmp", qmp, state_dir, TRUST, garbage}, "not-a-package", 3},
		{{"apply", "--qmp", qmp, state_dir, TRUST, "--home=shim", busy}, "no-home", 3},
		{{"revert", "--qmp", qmp, state_dir, "no-such"}, "not-applied", 3},
	};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(all); i++)
		expect_outcome(&all[i]);
}

static void a_vm_named_to_deceive(void **state)
{
	_cleanup_said_ struct said s = {0};

	(void)state;
	say(&s, ARGS("inspect", "--qmp", guest_qmp_path(g)), NULL);
	assert_int_equal(s.rc, 0);
	expect_plain(s.out);
	assert_non_null(strstr(s.out, "evil\\x1b[2J\\x1b]0;title\\x07\\x0d"));
}

/* A task in the way whose name is an escape sequence. */
static void a_task_named_to_deceive(void **state)
{
	const struct outcome refused = {
		{"apply", "--qmp", guest_qmp_path(g), state_dir, TRUST, "--timeout=0.2", busy},
		"function-busy",
		3};
	_cleanup_said_ struct said s = {0};

	(void)state;
	assert_int_equal(guest_run(g,
				   "n=$(printf '/tmp/busybox\\033[2J'); ln -s /bin/busybox \"$n\"; "
				   "\"$n\" sleep 1000 & echo $! >/tmp/sleeper; "
				   "until grep -q nanosleep /proc/$!/wchan; do usleep 10000; done",
				   0, NULL, NULL),
			 0);
	expect_outcome(&refused);
	say(&s, refused.args, NULL);
	assert_non_null(strstr(s.err, "(busybox\\x1b[2J)"));
	assert_int_equal(guest_run(g, "kill $(cat /tmp/sleeper)", 0, NULL, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(usage_errors),
		cmocka_unit_test(help),
		cmocka_unit_test(outcomes),
		cmocka_unit_test(a_vm_named_to_deceive),
		cmocka_unit_test(a_task_named_to_deceive),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
