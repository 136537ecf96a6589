// SPDX-License-Identifier: Apache-2.0
/* The example policies through the command line, against golden plans; and its exit codes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "tests/lib/proc.h"

#define FACTS "policy/examples/facts.json"
#define AT    "2026-02-20T12:05:00Z"

static const char *const examples[] = {"lab", "bank", "cloud"};

static char *run(const char *const args[], int expected_rc, char **ret_err)
{
	char *out, *err;
	int rc;

	assert_int_equal(run_exopatch(args, NULL, &out, &err, &rc), 0);
	if (rc != expected_rc)
		fail_msg("exit code %d: %s", rc, err);
	if (ret_err)
		*ret_err = err;
	else
		free(err);
	return out;
}

static void same_as_golden(const char *out, const char *name, const char *what)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(1U << 20);
	char path[128];

	snprintf(path, sizeof(path), "tests/golden/policy/%s.%s.json", name, what);
	assert_int_equal(xbuf_read_file(&b, path), 0);
	if (strlen(out) != b.len_bytes || memcmp(out, b.data, b.len_bytes) != 0)
		fail_msg("%s differs; tests/golden/policy/refresh, and look at what changed", path);
}

static void plans_are_the_golden_ones(void **state)
{
	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(examples); i++) {
		_cleanup_free_ char *out = NULL, *again = NULL;
		char path[128];

		snprintf(path, sizeof(path), "policy/examples/%s.yaml", examples[i]);
		out = run((const char *const[]){"policy", "plan", path, "--facts", FACTS, "--at",
						AT, "--json", NULL},
			  0, NULL);
		same_as_golden(out, examples[i], "plan");
		again = run((const char *const[]){"policy", "plan", path, "--facts", FACTS, "--at",
						  AT, NULL},
			    0, NULL);
		assert_non_null(strstr(again, "allowed now"));
	}
}

static void time_lines_are_the_golden_ones(void **state)
{
	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(examples); i++) {
		_cleanup_free_ char *out = NULL;
		char path[128];

		snprintf(path, sizeof(path), "policy/examples/%s.yaml", examples[i]);
		out = run((const char *const[]){"policy", "simulate", path, "--facts", FACTS,
						"--from", AT, "--to", "2026-05-20T00:00:00Z",
						"--fail", "test-2:fix-fs", "--json", NULL},
			  0, NULL);
		same_as_golden(out, examples[i], "timeline");
	}
}

/* Without --at it is the clock that counts. */
static void now_is_now(void **state)
{
	_cleanup_run_ struct run_result r = {0};
	/* The sanitizer wants to be the first library loaded; the fake clock comes before it. */
	const char *const env[] = {"TZ=UTC", "ASAN_OPTIONS=verify_asan_link_order=0", NULL};
	char program[256];
	const char *const argv[] = {"faketime",
				    "2026-02-20 12:05:00",
				    run_build_path("exopatch", program, sizeof(program)),
				    "policy",
				    "explain",
				    "policy/examples/bank.yaml",
				    "--facts",
				    FACTS,
				    "--vm",
				    "web-4",
				    "--patch",
				    "fix-net",
				    NULL};

	(void)state;
	assert_int_equal(run_program(argv, env, 60000, &r), 0);
	assert_int_equal(r.rc, 3);
	assert_non_null(strstr(r.out, "fix-net on web-4: waiting"));
	assert_non_null(strstr(r.out, "ring 'test'"));
	assert_non_null(strstr(r.out, "policy/examples/bank.yaml:"));
	assert_non_null(strstr(r.out, "the next opens at 2026-02-21T00:00:00Z"));
}

static void explanations_name_rules_lines_and_times(void **state)
{
	static const struct {
		const char *vm;
		int rc;
		const char *said[4];
	} rows[] = {
		{"test-1",
		 0,
		 {"fix-net on test-1: allowed", "allowed 'security-fixes'", "bank.yaml:24)",
		  "as it stands until"}},
		{"web-4",
		 3,
		 {"fix-net on web-4: waiting", "ring 'test'", "bank.yaml:35)",
		  "not by the passing of time alone"}},
		{"web-2",
		 3,
		 {"fix-net on web-2: ineligible", "eligibility 'hardened'", "no guard is on",
		  "decision_sha256"}},
	};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(rows); i++) {
		_cleanup_free_ char *out =
			run((const char *const[]){"policy", "explain", "policy/examples/bank.yaml",
						  "--facts", FACTS, "--at", AT, "--vm", rows[i].vm,
						  "--patch", "fix-net", NULL},
			    rows[i].rc, NULL);

		for (size_t k = 0; k < XO_ARRAY_SIZE(rows[i].said); k++)
			if (!strstr(out, rows[i].said[k]))
				fail_msg("'%s' is not in: %s", rows[i].said[k], out);
	}
}

static void exit_codes(void **state)
{
	static const struct {
		const char *args[12];
		int rc;
		const char *err;
	} rows[] = {
		{{"policy", "check", "policy/examples/bank.yaml"}, 0, ""},
		{{"policy", "check", "policy/examples/bank.yaml", "policy/examples/cloud.yaml"},
		 1,
		 "two rules have the name 'quarters'"},
		{{"policy", "check", "tests/policy/meaning/unknown-zone.yaml"},
		 1,
		 "unknown-zone.yaml:2:7: "},
		{{"policy", "check", "no-such-file"}, 1, "no-such-file: "},
		{{"policy", "check"}, 2, "file is missing"},
		{{"policy", "guess", "x"}, 2, "say what to do"},
		{{"policy", "plan", "policy/examples/bank.yaml"}, 2, "--facts FILE is missing"},
		{{"policy", "plan", "policy/examples/bank.yaml", "--facts", FACTS, "--at", "noon"},
		 2,
		 "'noon' is not"},
		{{"policy", "plan", "policy/examples/bank.yaml", "--facts", FACTS, "--at",
		  "2026-02-20T11:59:59Z"},
		 1,
		 "comes from the future"},
		{{"policy", "simulate", "policy/examples/bank.yaml", "--facts", FACTS, "--from", AT,
		  "--to", "2026-03-01T00:00:00Z", "--fail", "web-4:nothing"},
		 1,
		 "no patch 'nothing'"},
		{{"policy", "explain", "policy/examples/bank.yaml", "--facts", FACTS, "--at", AT,
		  "--vm", "test-1", "--patch", "fix-net"},
		 0,
		 ""},
		{{"policy", "explain", "policy/examples/bank.yaml", "--facts", FACTS, "--at", AT,
		  "--vm", "test-1", "--patch", "fix-ledger"},
		 3,
		 ""},
		{{"policy", "explain", "policy/examples/bank.yaml", "--facts", FACTS, "--at", AT,
		  "--vm", "nobody", "--patch", "fix-net"},
		 1,
		 "no VM 'nobody'"},
	};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(rows); i++) {
		_cleanup_free_ char *err = NULL;

		free(run(rows[i].args, rows[i].rc, &err));
		if (!strstr(err, rows[i].err))
			fail_msg("row %zu: %s", i, err);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plans_are_the_golden_ones),
		cmocka_unit_test(time_lines_are_the_golden_ones),
		cmocka_unit_test(now_is_now),
		cmocka_unit_test(explanations_name_rules_lines_and_times),
		cmocka_unit_test(exit_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
