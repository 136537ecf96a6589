// SPDX-License-Identifier: Apache-2.0
/* apply --policy on a running guest: refused with the rule's name, or done with its decision. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/patching.h"
#include "tests/lib/polfix.h"
#include "tests/lib/proc.h"

static struct guest *g;
static char package[256], policy[200], facts[200];

static int setup(void **state)
{
	const struct guest_opts opts = {.package = GUEST_6_1, .name = "policed"};
	static const char *const extra[] = {"--advisory", "CVE-2026-0001", NULL};

	(void)state;
	if (patching_setup() || guest_boot(&g, &opts))
		return -1;
	snprintf(policy, sizeof(policy), "%s/policy.yaml", patching_dir());
	snprintf(facts, sizeof(facts), "%s/facts.json", patching_dir());
	return patch_build(GUEST_6_1, "cmdline", "mark", extra, package, sizeof(package));
}

static int teardown(void **state)
{
	(void)state;
	guest_free(g);
	patching_teardown();
	return 0;
}

/* The first reason, "" if it was not refused. */
static void apply_by(const char *yaml, struct exo *ret)
{
	patching_write(policy, yaml);
	assert_int_equal(EXO(ret, g, "apply", package, "--policy", policy), 0);
	assert_non_null(ret->doc);
}

static void refused_with_rule_and_line(void **state)
{
	static const struct {
		const char *yaml, *detail;
	} rows[] = {
		{POLFIX_OPEN
		 "deny:\n  - name: not-that\n    patches: {advisories: [CVE-2026-0001]}\n",
		 "deny 'not-that' ("},
		{POLFIX_HEAD
		 "allow: [{name: all}]\nwindows: [{name: past, start: 2020-01-01T00:00, "
		 "duration: 1h}]\n",
		 "window: no maintenance window opens"},
		{POLFIX_OPEN "eligibility: [{name: guarded, require: [guard]}]\n",
		 "eligibility 'guarded' ("},
		{POLFIX_OPEN "deferrals: [{name: a-while, days: 30}]\n", "deferral 'a-while' ("},
		{POLFIX_HEAD, "allow: no allow rule names it"},
	};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(rows); i++) {
		_cleanup_exo_ struct exo e = {0};
		const char *detail;

		apply_by(rows[i].yaml, &e);
		assert_int_equal(e.rc, 3);
		assert_string_equal(exo_str(&e, "reasons", "0", "reason", NULL), "policy");
		detail = exo_str(&e, "reasons", "0", "detail", NULL);
		if (strncmp(detail, rows[i].detail, strlen(rows[i].detail)) != 0)
			fail_msg("%s", detail);
	}
	assert_true(exo_done(g, "status", NULL));
}

static void a_wrong_policy_applies_nothing(void **state)
{
	_cleanup_exo_ struct exo e = {0};

	(void)state;
	apply_by(POLFIX_OPEN "wat: 1\n", &e);
	assert_int_equal(e.rc, 1);
	assert_non_null(strstr(exo_str(&e, "error", "detail", NULL), ":4:1: "));
}

/* What inspect prints, as a facts file: of the guest itself, or as if it were another VM. */
static void write_facts(const char *name)
{
	_cleanup_exo_ struct exo e = {0};
	_cleanup_free_ char *text = NULL;
	char now[POL_TIME_SIZE];
	json_t *doc, *vm;

	assert_int_equal(EXO(&e, g, "inspect"), 0);
	assert_int_equal(e.rc, 0);
	vm = json_object_get(e.doc, "facts");
	assert_non_null(vm);
	if (name)
		json_object_set_new(vm, "name", json_string(name));
	doc = json_pack("{s:s,s:s,s:[O]}", "format", "facts/1", "at",
			pol_format_time((int64_t)time(NULL), now), "vms", vm);
	text = json_dumps(doc, 0);
	json_decref(doc);
	assert_non_null(text);
	patching_write(facts, text);
}

/* What inspect prints is a VM's part of the facts, and a plan can be made of it. */
static void inspect_gives_facts(void)
{
	_cleanup_free_ char *out = NULL, *err = NULL;
	int rc;

	write_facts(NULL);
	assert_int_equal(run_exopatch((const char *const[]){"policy", "plan", policy, "--facts",
							    facts, NULL},
				      NULL, &out, &err, &rc),
			 0);
	if (rc)
		fail_msg("%s", err);
}

/* The pilot that the facts know of comes first. Without it the guest is the whole fleet. */
static void a_fleet_has_its_order(void **state)
{
	_cleanup_exo_ struct exo e = {0};

	(void)state;
	patching_write(policy,
		       POLFIX_OPEN "groups: [{name: pilots, include: [{domains: [pilot-*]}]}]\n"
				   "rings: [{name: pilot, groups: [pilots], bake: 1h},"
				   " {name: rest, after: pilot}]\n");
	write_facts("pilot-1");
	assert_int_equal(EXO(&e, g, "apply", package, "--policy", policy, "--facts", facts), 0);
	assert_int_equal(e.rc, 3);
	assert_non_null(strstr(exo_str(&e, "reasons", "0", "detail", NULL), "'pilot'"));
}

static void wrong_facts_apply_nothing(void **state)
{
	static const struct {
		const char *text, *detail;
	} rows[] = {
		{"[1]", "must be an object"},
		{"{\"vms\": ", ":1:"},
		{"{\"format\": \"facts/1\", \"format\": 1}", "duplicate"},
		{"{\"format\": \"facts/1\", \"at\": \"2036-01-01T00:00:00Z\"}", "future"},
	};
	_cleanup_exo_ struct exo large = {0};

	(void)state;
	patching_write(policy, POLFIX_OPEN);
	for (size_t i = 0; i < XO_ARRAY_SIZE(rows); i++) {
		_cleanup_exo_ struct exo e = {0};
		const char *detail;

		patching_write(facts, rows[i].text);
		assert_int_equal(EXO(&e, g, "apply", package, "--policy", policy, "--facts", facts),
				 0);
		assert_int_equal(e.rc, 1);
		detail = exo_str(&e, "error", "detail", NULL);
		if (!strstr(detail, rows[i].detail))
			fail_msg("%s: %s", rows[i].text, detail);
	}
	assert_int_equal(truncate(facts, (off_t)POL_FACTS_MAX_BYTES + 1), 0);
	assert_int_equal(EXO(&large, g, "apply", package, "--policy", policy, "--facts", facts), 0);
	assert_int_equal(large.rc, 1);
	assert_true(exo_done(g, "status", NULL));
}

static void allowed_with_its_decision(void **state)
{
	_cleanup_exo_ struct exo e = {0}, again = {0};

	(void)state;
	apply_by(POLFIX_OPEN "limits: [{name: one, per: host, at_once: 1}]\n", &e);
	assert_int_equal(e.rc, 0);
	assert_int_equal(strlen(exo_str(&e, "decision", "sha256", NULL)), 64);
	assert_string_equal(exo_str(&e, "decision", "statement", "decision", "verdict", NULL),
			    "allowed");
	assert_string_equal(exo_str(&e, "decision", "statement", "decision", "vm", NULL),
			    "policed");
	inspect_gives_facts();
	assert_int_equal(EXO(&again, g, "apply", package, "--policy", policy), 0);
	assert_int_equal(again.rc, 3);
	assert_true(exo_done(g, "revert", "mark"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused_with_rule_and_line),
		cmocka_unit_test(a_wrong_policy_applies_nothing),
		cmocka_unit_test(a_fleet_has_its_order),
		cmocka_unit_test(wrong_facts_apply_nothing),
		cmocka_unit_test(allowed_with_its_decision),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
