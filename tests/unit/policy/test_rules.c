// SPDX-License-Identifier: Apache-2.0
/* Who may have what: a table per rule, each with a case on either side of its edge. */
#include "tests/lib/polrow.h"

static void nothing_is_allowed_by_itself(void **state)
{
	(void)state;
	CHECK({POLFIX_OPEN, ALLOWED}, {POLFIX_HEAD, DENIED(POL_BY_ALLOW)},
	      {EVER, DENIED(POL_BY_ALLOW)},
	      {POLFIX_HEAD "allow: [{name: a}]\n", WAITS(POL_BY_WINDOW), .when = ""});
}

static void groups_include_and_exclude(void **state)
{
#define GROUP(g) EVER "groups: [{name: g, " g "}]\nallow: [{name: a, groups: [g]}]\n"
	(void)state;
	CHECK({GROUP("include: [{domains: [v*]}]"), ALLOWED},
	      {GROUP("include: [{domains: [w*]}]"), DENIED(POL_BY_ALLOW)},
	      {GROUP("include: [{domains: [w*, '?m']}]"), ALLOWED},
	      {GROUP("exclude: [{domains: [vm]}]"), DENIED(POL_BY_ALLOW)},
	      {GROUP("exclude: [{domains: [vm2]}]"), ALLOWED},
	      {GROUP("include: [{domains: ['*']}], exclude: [{archs: [x86_64]}]"),
	       DENIED(POL_BY_ALLOW)},
	      {GROUP("include: [{kernels: [6.1.*]}]"), ALLOWED},
	      {GROUP("include: [{kernels: [6.12.*]}]"), DENIED(POL_BY_ALLOW)},
	      {GROUP("include: [{archs: [x86_64]}]"), ALLOWED},
	      {GROUP("include: [{archs: [aarch64]}]"), DENIED(POL_BY_ALLOW)},
	      {GROUP("include: [{labels: [a=1, b=2]}]"),
	       .vms = "{\"labels\":{\"a\":\"1\",\"b\":\"2\"}}", ALLOWED},
	      {GROUP("include: [{labels: [a=1, b=2]}]"), .vms = "{\"labels\":{\"a\":\"1\"}}",
	       DENIED(POL_BY_ALLOW)},
	      {GROUP("include: [{metadata: [t=x*]}]"), .vms = "{\"metadata\":{\"t\":\"xy\"}}",
	       ALLOWED},
	      {GROUP("include: [{metadata: [t=x*]}]"), .vms = "{\"labels\":{\"t\":\"xy\"}}",
	       DENIED(POL_BY_ALLOW)});
}

static void allow_and_deny_by_each_key(void **state)
{
#define DENY(m)	 POLFIX_OPEN "deny: [{name: d, patches: {" m "}}]\n"
#define ALLOW(m) EVER "allow: [{name: d, patches: {" m "}}]\n"
	(void)state;
	CHECK({DENY("advisories: [CVE-2026-1]"), DENIED(POL_BY_DENY)},
	      {DENY("advisories: [CVE-2026-2]"), ALLOWED},
	      {DENY("severities: [important]"), DENIED(POL_BY_DENY)},
	      {DENY("severities: [low, critical]"), ALLOWED},
	      {DENY("packages: [f?x]"), DENIED(POL_BY_DENY)}, {DENY("packages: [f?y]"), ALLOWED},
	      {DENY("payloads: ['" PAYLOAD "']"), DENIED(POL_BY_DENY)},
	      {DENY("payloads: ['" OTHER "']"), ALLOWED},
	      {DENY("signer_roles: [release]"), DENIED(POL_BY_DENY)},
	      {DENY("signer_roles: [vendor]"), ALLOWED},
	      {DENY("severities: [important], packages: [other]"), ALLOWED},
	      {ALLOW("severities: [important]"), ALLOWED},
	      {ALLOW("severities: [critical]"), DENIED(POL_BY_ALLOW)},
	      /* signed again by others and packed under another id, it is the same payload */
	      {DENY("payloads: ['" PAYLOAD "']"),
	       .patches = "{\"id\":\"other\",\"signer_roles\":[\"new\"],\"serial\":99}",
	       .patch = "other", DENIED(POL_BY_DENY)});
}

static void eligibility_by_each_key(void **state)
{
#define ELIGIBLE(e) POLFIX_OPEN "eligibility: [{name: e, " e "}]\n"
	(void)state;
	CHECK({ELIGIBLE("require: [guard, home]"), ALLOWED},
	      {ELIGIBLE("require: [guard]"), .vms = "{\"guard\":false}", UNFIT(POL_BY_ELIGIBILITY)},
	      {ELIGIBLE("require: [home]"), .vms = "{\"home\":false}", UNFIT(POL_BY_ELIGIBILITY)},
	      {ELIGIBLE("require: [not-confidential]"), .vms = "{\"confidential\":false}", ALLOWED},
	      {ELIGIBLE("require: [not-confidential]"), .vms = "{\"confidential\":true}",
	       UNFIT(POL_BY_ELIGIBILITY)},
	      {ELIGIBLE("require: [not-confidential]"), UNFIT(POL_BY_ELIGIBILITY)}, /* who knows? */
	      {ELIGIBLE("ram: [shared]"), ALLOWED},
	      {ELIGIBLE("ram: [private]"), UNFIT(POL_BY_ELIGIBILITY)},
	      {ELIGIBLE("archs: [x86_64]"), ALLOWED},
	      {ELIGIBLE("archs: [aarch64]"), UNFIT(POL_BY_ELIGIBILITY)},
	      {ELIGIBLE("build_ids: [aabbccddeeff0011]"), ALLOWED},
	      {ELIGIBLE("build_ids: [aabbccddeeff0012]"), UNFIT(POL_BY_ELIGIBILITY)},
	      {ELIGIBLE("signer_roles: [author, release]"), ALLOWED},
	      {ELIGIBLE("signer_roles: [author, auditor]"), UNFIT(POL_BY_ELIGIBILITY)},
	      {ELIGIBLE("min_serial: 5"), ALLOWED},
	      {ELIGIBLE("min_serial: 6"), UNFIT(POL_BY_ELIGIBILITY)},
	      {ELIGIBLE("min_security_epoch: 1"), ALLOWED},
	      {ELIGIBLE("min_security_epoch: 2"), UNFIT(POL_BY_ELIGIBILITY)},
	      {ELIGIBLE("max_baseline_months: 3"), .at = "2026-04-30T23:59:59Z", ALLOWED,
	       .until = "2026-05-01T00:00:00Z"},
	      {ELIGIBLE("max_baseline_months: 999999999"), ALLOWED, .until = ""},
	      {ELIGIBLE("max_baseline_months: 3"), .at = "2026-05-01T00:00:00Z",
	       UNFIT(POL_BY_ELIGIBILITY)});
}

#define BASE(state)                                                                                \
	"{\"patches\":[{\"id\":\"base\",\"payload_sha256\":\"" OTHER                               \
	"\",\"serial\":1,\"state\":\"" state "\",\"at\":\"2026-02-01T00:00:00Z\"}]}"

static void kernels_and_serials(void **state)
{
	(void)state;
	CHECK({POLFIX_OPEN, .patches = "{\"build_ids\":[\"00bbccddeeff0011\"]}",
	       UNFIT(POL_BY_KERNEL)},
	      {POLFIX_OPEN, .patches = "{\"arch\":\"aarch64\"}", UNFIT(POL_BY_KERNEL)},
	      {POLFIX_OPEN,
	       .vms = "{\"patches\":[{\"id\":\"fix\",\"payload_sha256\":\"" OTHER
		      "\",\"serial\":6,\"state\":\"reverted\",\"at\":\"2026-02-01T00:00:00Z\"}]}",
	       UNFIT(POL_BY_SERIAL)},
	      {POLFIX_OPEN,
	       .vms = "{\"patches\":[{\"id\":\"fix\",\"payload_sha256\":\"" OTHER
		      "\",\"serial\":5,\"state\":\"reverted\",\"at\":\"2026-02-01T00:00:00Z\"}]}",
	       ALLOWED},
	      {POLFIX_OPEN,
	       .vms = "{\"patches\":[{\"id\":\"fix\",\"payload_sha256\":\"" OTHER
		      "\",\"serial\":4,\"state\":\"active\",\"at\":\"2026-02-01T00:00:00Z\"}]}",
	       UNFIT(POL_BY_VERSION)},
	      {POLFIX_OPEN, .vms = "{\"patches\":[" ACTIVE("2026-02-01T00:00:00Z") "}]}",
	       .state = POL_ACTIVE, .by = POL_BY_ACTIVE},
	      {POLFIX_OPEN, .vms = "{\"rolled_back\":[\"" PAYLOAD "\"]}",
	       DENIED(POL_BY_ROLLED_BACK)},
	      {POLFIX_OPEN, .vms = "{\"rolled_back\":[\"" OTHER "\"]}", ALLOWED},
	      /* it is remembered of the VM, and of the payload whatever it is called */
	      {POLFIX_OPEN, .vms = "[{},{\"name\":\"b\",\"rolled_back\":[\"" PAYLOAD "\"]}]",
	       ALLOWED},
	      {POLFIX_OPEN, .vms = "{\"rolled_back\":[\"" PAYLOAD "\"]}",
	       .patches = "{\"id\":\"anew\",\"serial\":99,\"signer_roles\":[\"other\"]}",
	       .patch = "anew", DENIED(POL_BY_ROLLED_BACK)},
	      {POLFIX_OPEN, .patches = "{\"requires\":[\"base\"]}", .vms = BASE("applying"),
	       WAITS(POL_BY_PREREQUISITE), .when = ""},
	      {POLFIX_OPEN, .patches = "{\"requires\":[\"base\"]}", .vms = BASE("reverted"),
	       WAITS(POL_BY_PREREQUISITE), .when = ""},
	      {POLFIX_OPEN, .patches = "{\"requires\":[\"base\"]}", .vms = BASE("failed"),
	       WAITS(POL_BY_PREREQUISITE), .when = ""},
	      {POLFIX_OPEN, .patches = "{\"requires\":[\"base\"]}", WAITS(POL_BY_PREREQUISITE),
	       .when = ""},
	      {POLFIX_OPEN, .patches = "{\"requires\":[\"base\"]}",
	       .vms = "{\"patches\":[{\"id\":\"base\",\"payload_sha256\":\"" OTHER
		      "\",\"serial\":1,\"state\":\"active\",\"at\":\"2026-02-01T00:00:00Z\","
		      "\"watched_until\":\"2026-02-02T00:00:00Z\"}]}",
	       ALLOWED});
}

static void baselines_by_their_calendar(void **state)
{
#define KERNEL                                                                                     \
	"{\"kind\":\"baseline\",\"kernel\":\"6.1.0-31-amd64\",\"kernels\":[\"6.1.*\"],"            \
	"\"build_ids\":[],\"baseline\":\"2026-04\"}"
#define QUARTERS POLFIX_OPEN "baselines: [{name: q, zone: Europe/Berlin}]\n"
	(void)state;
	CHECK({QUARTERS, .at = "2026-05-01T00:00:00Z",
	       .patches = "{\"released\":\"2026-03-31T21:59:59Z\"}", ALLOWED},
	      /* it is April in Berlin */
	      {QUARTERS, .at = "2026-05-01T00:00:00Z",
	       .patches = "{\"released\":\"2026-03-31T22:00:00Z\"}", UNFIT(POL_BY_BASELINE)},
	      {QUARTERS, .at = "2026-05-01T00:00:00Z",
	       .vms = "{\"kernel\":{\"baseline\":\"2026-04\"}}",
	       .patches = "{\"released\":\"2026-03-31T22:00:00Z\"}", ALLOWED},
	      /* December's hotpatch builds on October's baseline, January's on January's */
	      {QUARTERS, .at = "2026-01-02T00:00:00Z",
	       .vms = "{\"kernel\":{\"baseline\":\"2025-10\"}}",
	       .patches = "{\"released\":\"2025-12-31T22:59:59Z\"}", ALLOWED},
	      {QUARTERS, .at = "2026-01-02T00:00:00Z",
	       .vms = "{\"kernel\":{\"baseline\":\"2025-10\"}}",
	       .patches = "{\"released\":\"2025-12-31T23:00:00Z\"}", UNFIT(POL_BY_BASELINE)},
	      {POLFIX_OPEN "baselines: [{name: q, months: [2, 8]}]\n", UNFIT(POL_BY_BASELINE)},
	      {POLFIX_OPEN, .patches = "{\"baseline\":\"2026-04\"}", UNFIT(POL_BY_BASELINE)},
	      /* a kernel released between baseline months waits for the next */
	      {QUARTERS, .patches = KERNEL, WAITS(POL_BY_MONTH), .when = "2026-03-31T22:00:00Z"},
	      {QUARTERS, .at = "2026-03-31T22:00:00Z", .patches = KERNEL, ALLOWED},
	      {QUARTERS, .at = "2026-04-02T00:00:00Z",
	       .vms = "{\"kernel\":{\"baseline\":\"2026-04\"}}", .patches = KERNEL,
	       .state = POL_ACTIVE, .by = POL_BY_ACTIVE});
}

/* Packed anew under another id, a payload that is there is not wanted a second time. */
static void a_payload_is_there_under_any_id(void **state)
{
#define AS(id, state)                                                                              \
	"{\"patches\":[{\"id\":\"" id "\",\"payload_sha256\":\"" PAYLOAD                           \
	"\",\"serial\":9,\"state\":\"" state "\",\"at\":\"2026-02-01T00:00:00Z\"}]}"
	(void)state;
	CHECK({POLFIX_OPEN, .vms = AS("old-name", "active"), .state = POL_ACTIVE,
	       .by = POL_BY_ACTIVE},
	      {POLFIX_OPEN, .vms = AS("old-name", "reverted"), ALLOWED},
	      {POLFIX_OPEN "deny: [{name: d, patches: {payloads: ['" PAYLOAD "']}}]\n",
	       .vms = AS("old-name", "reverted"), DENIED(POL_BY_DENY)});
}

/* The first reason's text. */
static void check_text(const char *policy, const char *vms, const char *patches, const char *text)
{
	_cleanup_pol_policy_ struct pol_policy *p = polfix_policy(policy);
	_cleanup_pol_fleet_ struct pol_fleet *f = polfix_facts(polfix_time(NOON), vms, patches);
	_cleanup_pol_plan_ struct pol_plan *plan = NULL;
	json_t *o;

	assert_int_equal(pol_plan_new(p, f, polfix_time(NOON), &plan), 0);
	o = pol_verdict_json(plan, pol_plan_verdict(plan, 0, 0), true);
	assert_string_equal(json_string_value(json_object_get(
				    json_array_get(json_object_get(o, "reasons"), 0), "text")),
			    text);
	json_decref(o);
}

static void texts_say_what_there_is(void **state)
{
#define SEEN(more)                                                                                 \
	"{\"patches\":[{\"id\":\"fix\",\"payload_sha256\":\"" OTHER                                \
	"\",\"state\":\"reverted\",\"at\":\"2026-02-01T00:00:00Z\"," more "}]}"
	(void)state;
	check_text(POLFIX_OPEN, AS("old-name", "active"), NULL,
		   "the same payload is active as old-name");
	check_text(POLFIX_OPEN, AS("fix", "active"), NULL, "fix is active");
	check_text(POLFIX_OPEN, SEEN("\"serial\":6"), NULL,
		   "serial 6 was on this VM before; this one has 5");
	check_text(POLFIX_OPEN, SEEN("\"serial\":1,\"security_epoch\":2"), NULL,
		   "security epoch 2 was on this VM before; this one has 1");
	check_text(POLFIX_OPEN,
		   "{\"patches\":[{\"id\":\"fix\",\"payload_sha256\":\"" PAYLOAD
		   "\",\"serial\":9223372036854775807,\"state\":\"active\","
		   "\"at\":\"2026-02-01T00:00:00Z\"}]}",
		   NULL, "fix is active");
}

static void what_is_allowed_names_the_rule(void **state)
{
	_cleanup_pol_policy_ struct pol_policy *p = polfix_policy(
		EVER "allow:\n  - name: no\n    patches: {packages: [x]}\n  - name: yes-too\n"
		     "  - name: yes-first\n");
	_cleanup_pol_fleet_ struct pol_fleet *f = polfix_facts(polfix_time(NOON), NULL, NULL);
	_cleanup_pol_plan_ struct pol_plan *plan = NULL;
	json_t *o;

	(void)state;
	assert_int_equal(pol_plan_new(p, f, polfix_time(NOON), &plan), 0);
	o = pol_verdict_json(plan, pol_plan_verdict(plan, 0, 0), true);
	assert_string_equal(json_string_value(json_object_get(o, "rule")), "yes-first");
	assert_int_equal(json_integer_value(json_object_get(o, "line")), 7);
	json_decref(o);
}

/* What stands in the way is said in full, the deciding reason first, with its line. */
static void every_reason_is_said(void **state)
{
	_cleanup_pol_policy_ struct pol_policy *p =
		polfix_policy(POLFIX_OPEN "deny:\n  - name: bad\n    patches: {packages: [fix]}\n"
					  "pauses: [{name: hold}]\n");
	_cleanup_pol_fleet_ struct pol_fleet *f = polfix_facts(polfix_time(NOON), NULL, NULL);
	_cleanup_pol_plan_ struct pol_plan *plan = NULL;
	uint8_t one[XO_SHA256_BYTES], two[XO_SHA256_BYTES];
	json_t *o, *reasons, *statement;

	(void)state;
	assert_int_equal(pol_plan_new(p, f, polfix_time(NOON), &plan), 0);
	o = pol_verdict_json(plan, pol_plan_verdict(plan, 0, 0), true);
	reasons = json_object_get(o, "reasons");
	assert_int_equal(json_array_size(reasons), 2);
	assert_string_equal(json_string_value(json_object_get(json_array_get(reasons, 0), "rule")),
			    "bad");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(reasons, 0), "line")),
			 5);
	assert_string_equal(json_string_value(json_object_get(json_array_get(reasons, 1), "by")),
			    "pause");
	json_decref(o);
	assert_int_equal(pol_statement(plan, pol_plan_verdict(plan, 0, 0), &statement, one), 0);
	json_decref(statement);
	assert_int_equal(pol_statement(plan, pol_plan_verdict(plan, 0, 0), &statement, two), 0);
	json_decref(statement);
	assert_memory_equal(one, two, sizeof(one));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_allowed_by_itself),
		cmocka_unit_test(groups_include_and_exclude),
		cmocka_unit_test(allow_and_deny_by_each_key),
		cmocka_unit_test(eligibility_by_each_key),
		cmocka_unit_test(kernels_and_serials),
		cmocka_unit_test(baselines_by_their_calendar),
		cmocka_unit_test(a_payload_is_there_under_any_id),
		cmocka_unit_test(texts_say_what_there_is),
		cmocka_unit_test(what_is_allowed_names_the_rule),
		cmocka_unit_test(every_reason_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
