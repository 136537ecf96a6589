// SPDX-License-Identifier: Apache-2.0
/*
 * Mutants of good documents, judged by the JSON Schemas and by the code. What
 * the schema refuses the code refuses; what only the code refuses is of a kind
 * that no schema can say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/polfix.h"
#include "tests/lib/proc.h"

#define MUTANTS "600"

/* How errors begin or go on that a schema cannot see. */
static const char *const beyond_schemas[] = {
	/* policies */
	"there is no group", "there is no ring", "two rules have the name", "comes after itself",
	"is not a zone of", "from 2000 to 2037", "is not a duration", "an empty group",
	"exclude each other", "cannot come from a ring", "is needed", "'start' is missing",
	"always excludes", "rrule", "never opens", "must be from 1m to 31d", "Z, which is UTC",
	"both end in Z", "denies everything", "contradicts allow", "before deferral",
	"limits nothing", "zone goes with", "asks for nothing", "does not count", "a share from 1%",
	/* facts */
	"from the future", "must be the time of the facts", "is there twice", "is active twice",
	"was watched before", "need each other", "a hotpatch needs", "a baseline needs",
	"are for a baseline", "are for a hotpatch", "kernel and kernels", "must be a month",
	"must be a time"};

static bool is_beyond_schemas(const char *text)
{
	for (size_t i = 0; i < XO_ARRAY_SIZE(beyond_schemas); i++)
		if (strstr(text, beyond_schemas[i]))
			return true;
	return false;
}

static int load(const char *doc, bool facts, struct pol_errors *errors)
{
	const struct pol_text text = {.name = "mutant", .text = SPAN(doc, strlen(doc))};
	_cleanup_pol_policy_ struct pol_policy *p = NULL;
	_cleanup_pol_fleet_ struct pol_fleet *f = NULL;

	if (facts)
		return pol_fleet_load(&text, 1, polfix_time("2026-03-04T12:00:00Z"), &f, errors);
	return pol_policy_load(&text, 1, &p, errors);
}

static void judge(char *line, bool facts)
{
	_cleanup_pol_errors_ struct pol_errors errors = {0};
	bool good = !strncmp(line, "good ", 5);
	const char *doc = line + (good ? 5 : 4);
	int rc = load(doc, facts, &errors);

	if (rc && rc != -XO_EMALFORMED)
		fail_msg("%d: %.2000s", rc, doc);
	if (!good && !rc)
		fail_msg("only the schema refuses %.2000s", doc);
	for (size_t i = 0; good && i < errors.nr; i++)
		if (!is_beyond_schemas(errors.error[i].text))
			fail_msg("only the code refuses, '%s': %.2000s", errors.error[i].text, doc);
}

static void judge_mutants(const char *schema, const char *seed, bool facts)
{
	const char *const argv[] = {"python3", "-B", "tests/lib/mutants.py", schema, seed,
				    MUTANTS,   NULL};
	_cleanup_run_ struct run_result r = {0};
	size_t nr = 0;

	assert_int_equal(run_program(argv, NULL, 120000, &r), 0);
	if (r.rc)
		fail_msg("%s", r.err);
	for (char *line = r.out, *end; (end = strchr(line, '\n')); line = end + 1, nr++) {
		*end = '\0';
		judge(line, facts);
	}
	assert_int_equal(nr, atoi(MUTANTS));
}

static void policies(void **state)
{
	(void)state;
	judge_mutants("policy/schema/policy.schema.json", "tests/policy/good/every-key.yaml",
		      false);
}

static void facts(void **state)
{
	(void)state;
	judge_mutants("policy/schema/facts.schema.json", "tests/policy/facts-good/every-key.json",
		      true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(policies), cmocka_unit_test(facts)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
