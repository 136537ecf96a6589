// SPDX-License-Identifier: Apache-2.0
/* A table per rule, each with a case on either side of its edge. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/polfix.h"

#define NOON	"2026-03-04T12:00:00Z" /* a Wednesday */
#define PAYLOAD "1111111111111111111111111111111111111111111111111111111111111111"
#define OTHER	"2222222222222222222222222222222222222222222222222222222222222222"
#define EVER	POLFIX_HEAD "windows: [{name: ever, always: true}]\n"
#define ACTIVE(at)                                                                                 \
	"{\"id\":\"fix\",\"payload_sha256\":\"" PAYLOAD "\",\"serial\":5,\"state\":\"active\","    \
	"\"at\":\"" at "\""

/** struct row - one pair "vm" x "fix" (or the first of each), and its verdict */
struct row {
	const char *policy, *vms, *patches;
	const char *at; /* NULL: NOON */
	enum pol_state state;
	enum pol_kind by;
	const char *when; /* NULL: not looked at; "": never */
	const char *vm, *patch;
};

static void check_row(const struct row *r)
{
	_cleanup_pol_policy_ struct pol_policy *p = polfix_policy(r->policy);
	int64_t at = polfix_time(r->at ? r->at : NOON);
	_cleanup_pol_fleet_ struct pol_fleet *f = polfix_facts(at, r->vms, r->patches);
	_cleanup_pol_plan_ struct pol_plan *plan = NULL;
	long vm = pol_find_vm(f, r->vm ? r->vm : "vm");
	long patch = pol_find_patch(f, r->patch ? r->patch : "fix");
	const struct pol_verdict *v;

	assert_true(vm >= 0 && patch >= 0);
	assert_int_equal(pol_plan_new(p, f, at, &plan), 0);
	v = pol_plan_verdict(plan, (size_t)vm, (size_t)patch);
	if (v->state != r->state || v->by != r->by ||
	    (r->when && v->when != (r->when[0] ? polfix_time(r->when) : POL_NEVER))) {
		char when[POL_TIME_SIZE];
		json_t *o = pol_verdict_json(plan, v, true);

		print_error("%s\nvm %s patch %s at %s\nexpected %s by %s when %s, got %s\n",
			    r->policy, r->vms ? r->vms : "", r->patches ? r->patches : "",
			    r->at ? r->at : NOON, pol_state_key(r->state), pol_kind_key(r->by),
			    r->when ? r->when : "any", pol_format_time(v->when, when));
		json_dumpf(o, stderr, JSON_INDENT(1));
		json_decref(o);
		fail();
	}
}

#define CHECK(...)                                                                                 \
	do {                                                                                       \
		static const struct row rows_[] = {__VA_ARGS__};                                   \
		for (size_t i_ = 0; i_ < XO_ARRAY_SIZE(rows_); i_++)                               \
			check_row(&rows_[i_]);                                                     \
	} while (0)

#define ALLOWED	  .state = POL_ALLOWED, .by = POL_BY_NOTHING
#define WAITS(k)  .state = POL_WAITING, .by = (k)
#define DENIED(k) .state = POL_DENIED, .by = (k)
#define UNFIT(k)  .state = POL_INELIGIBLE, .by = (k)

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

static void deferral_ends_to_the_second(void **state)
{
#define DEFER POLFIX_OPEN "deferrals: [{name: d, days: 7}]\n"
	(void)state;
	CHECK({DEFER, .at = "2026-02-07T23:59:59Z", WAITS(POL_BY_DEFERRAL),
	       .when = "2026-02-08T00:00:00Z"},
	      {DEFER, .at = "2026-02-08T00:00:00Z", ALLOWED},
	      {POLFIX_OPEN "deferrals: [{name: d, days: 0}]\n", .at = "2026-02-01T00:00:00Z",
	       ALLOWED},
	      /* of several the longest counts */
	      {POLFIX_OPEN "deferrals: [{name: a, days: 3}, {name: b, days: 9}]\n",
	       .at = "2026-02-05T00:00:00Z", WAITS(POL_BY_DEFERRAL),
	       .when = "2026-02-10T00:00:00Z"},
	      {POLFIX_OPEN "deferrals: [{name: a, days: 30, patches: {severities: [low]}}]\n",
	       .at = "2026-02-02T00:00:00Z", ALLOWED});
}

#define WINDOW(w)                                                                                  \
	POLFIX_HEAD "zone: Europe/Berlin\nallow: [{name: a}]\nwindows: [{name: w, " w "}]\n"

static void windows_open_and_close_to_the_second(void **state)
{
#define SUNDAYS WINDOW("start: 2026-01-04T02:00, rrule: FREQ=WEEKLY;BYDAY=SU, duration: 2h")
#define ONCE	WINDOW("start: 2026-03-04T12:00, end: 2026-03-04T14:00")
	(void)state;
	CHECK({SUNDAYS, .at = "2026-03-08T00:59:59Z", WAITS(POL_BY_WINDOW),
	       .when = "2026-03-08T01:00:00Z"},
	      {SUNDAYS, .at = "2026-03-08T01:00:00Z", ALLOWED},
	      {SUNDAYS, .at = "2026-03-08T02:59:59Z", ALLOWED},
	      {SUNDAYS, .at = "2026-03-08T03:00:00Z", WAITS(POL_BY_WINDOW),
	       .when = "2026-03-15T01:00:00Z"},
	      {ONCE, .at = "2026-03-04T10:59:59Z", WAITS(POL_BY_WINDOW),
	       .when = "2026-03-04T11:00:00Z"},
	      {ONCE, .at = "2026-03-04T12:59:59Z", ALLOWED},
	      {ONCE, .at = "2026-03-04T13:00:00Z", WAITS(POL_BY_WINDOW), .when = ""},
	      /* a window of other VMs is none */
	      {POLFIX_HEAD "allow: [{name: a}]\ngroups: [{name: g, include: [{domains: [x]}]}]\n"
			   "windows: [{name: w, groups: [g], always: true}]\n",
	       WAITS(POL_BY_WINDOW), .when = ""});
}

static void windows_across_clock_changes(void **state)
{
	/* Berlin: 29 March 2026 02:00 to 03:00 is skipped, 25 October 02:00 to 03:00 comes twice.
	 */
#define NIGHTS(start, d) WINDOW("start: 2026-01-01T" start ", rrule: FREQ=DAILY, duration: " d)
	(void)state;
	CHECK({NIGHTS("01:00", "3h"), .at = "2026-03-29T02:59:59Z", ALLOWED}, /* 3 h that pass */
	      {NIGHTS("01:00", "3h"), .at = "2026-03-29T03:00:00Z", WAITS(POL_BY_WINDOW),
	       .when = "2026-03-29T23:00:00Z"},
	      /* 02:30 does not exist: as if the clock had not changed yet, 01:30 UTC */
	      {NIGHTS("02:30", "1h"), .at = "2026-03-29T01:29:59Z", WAITS(POL_BY_WINDOW),
	       .when = "2026-03-29T01:30:00Z"},
	      {NIGHTS("02:30", "1h"), .at = "2026-03-29T02:29:59Z", ALLOWED},
	      {NIGHTS("02:30", "1h"), .at = "2026-03-29T02:30:00Z", WAITS(POL_BY_WINDOW),
	       .when = "2026-03-30T00:30:00Z"},
	      /* 02:30 comes twice: the first, 00:30 UTC, and once only */
	      {NIGHTS("02:30", "30m"), .at = "2026-10-25T00:29:59Z", WAITS(POL_BY_WINDOW),
	       .when = "2026-10-25T00:30:00Z"},
	      {NIGHTS("02:30", "30m"), .at = "2026-10-25T00:59:59Z", ALLOWED},
	      {NIGHTS("02:30", "30m"), .at = "2026-10-25T01:30:00Z", WAITS(POL_BY_WINDOW),
	       .when = "2026-10-26T01:30:00Z"});
}

static void windows_on_leap_days_and_at_year_ends(void **state)
{
#define LEAP                                                                                       \
	WINDOW("start: 2024-02-29T10:00, rrule: FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29, duration: "   \
	       "1h")
#define LAST WINDOW("start: 2025-12-31T23:00, rrule: FREQ=YEARLY, duration: 2h")
	(void)state;
	CHECK({LEAP, .at = "2026-02-28T09:30:00Z", WAITS(POL_BY_WINDOW),
	       .when = "2028-02-29T09:00:00Z"},
	      {LEAP, .at = "2028-02-29T09:30:00Z", ALLOWED},
	      {LEAP, .at = "2028-03-01T09:30:00Z", WAITS(POL_BY_WINDOW),
	       .when = "2032-02-29T09:00:00Z"},
	      {LAST, .at = "2026-12-31T21:59:59Z", WAITS(POL_BY_WINDOW),
	       .when = "2026-12-31T22:00:00Z"},
	      {LAST, .at = "2026-12-31T23:30:00Z", ALLOWED},
	      {LAST, .at = "2027-01-01T00:00:00Z", WAITS(POL_BY_WINDOW),
	       .when = "2027-12-31T22:00:00Z"});
}

static void freezes_hold(void **state)
{
#define FREEZE                                                                                     \
	POLFIX_OPEN "freezes: [{name: f, start: 2026-03-04T12:00Z, end: 2026-03-05T12:00Z}]\n"
	(void)state;
	CHECK({FREEZE, .at = "2026-03-04T11:59:59Z", ALLOWED},
	      {FREEZE, .at = "2026-03-04T12:00:00Z", WAITS(POL_BY_FREEZE),
	       .when = "2026-03-05T12:00:00Z"},
	      {FREEZE, .at = "2026-03-05T12:00:00Z", ALLOWED},
	      /* the next window after the freeze */
	      {POLFIX_HEAD "allow: [{name: a}]\n"
			   "windows: [{name: w, start: 2026-01-01T12:00, rrule: FREQ=DAILY, "
			   "duration: 1h}]\n"
			   "freezes: [{name: f, start: 2026-03-04T12:00, end: 2026-03-06T12:30}]\n",
	       .at = "2026-03-04T12:30:00Z", WAITS(POL_BY_FREEZE), .when = "2026-03-06T12:30:00Z"});
}

static void pauses_hold(void **state)
{
#define PAUSE POLFIX_OPEN "pauses: [{name: p, until: 2026-03-04T12:00Z}]\n"
	(void)state;
	CHECK({PAUSE, .at = "2026-03-04T11:59:59Z", WAITS(POL_BY_PAUSE),
	       .when = "2026-03-04T12:00:00Z"},
	      {PAUSE, .at = "2026-03-04T12:00:00Z", ALLOWED},
	      {POLFIX_OPEN "pauses: [{name: p}]\n", WAITS(POL_BY_PAUSE), .when = ""},
	      {POLFIX_OPEN "pauses: [{name: p, patches: {packages: [x]}}]\n", ALLOWED});
}

#define LATE_WINDOW                                                                                \
	POLFIX_HEAD "allow: [{name: a}]\n"                                                         \
		    "windows: [{name: w, start: 2026-06-01T00:00, end: 2026-06-02T00:00}]\n"

static void deadlines_force_after_grace(void **state)
{
#define DEADLINE LATE_WINDOW "deadlines: [{name: d, after: 14d, grace: 2d}]\n"
	(void)state;
	CHECK({DEADLINE, .at = "2026-02-16T23:59:59Z", WAITS(POL_BY_WINDOW),
	       .when = "2026-02-17T00:00:00Z"}, /* nobody knows since when: grace after it is due */
	      {DEADLINE, .at = "2026-02-17T00:00:00Z", ALLOWED},
	      {DEADLINE, .vms = "{\"since\":\"2026-02-01T00:00:00Z\"}",
	       .at = "2026-02-15T00:00:00Z", ALLOWED},
	      {DEADLINE, .vms = "{\"since\":\"2026-02-01T00:00:00Z\"}",
	       .at = "2026-02-14T23:59:59Z", WAITS(POL_BY_WINDOW), .when = "2026-02-15T00:00:00Z"},
	      /* a VM that came up late has its grace */
	      {DEADLINE, .vms = "{\"since\":\"2026-02-20T00:00:00Z\"}",
	       .at = "2026-02-21T23:59:59Z", WAITS(POL_BY_WINDOW), .when = "2026-02-22T00:00:00Z"},
	      {DEADLINE, .vms = "{\"since\":\"2026-02-20T00:00:00Z\"}",
	       .at = "2026-02-22T00:00:00Z", ALLOWED},
	      /* a freeze holds all the same, unless it says otherwise */
	      {DEADLINE "freezes: [{name: f, start: 2026-02-01T00:00, end: 2026-03-01T00:00}]\n",
	       .at = "2026-02-20T00:00:00Z", WAITS(POL_BY_FREEZE), .when = "2026-03-01T00:00:00Z"},
	      {LATE_WINDOW "deadlines: [{name: d, after: 1d, skips: [windows, freezes]}]\n"
			   "freezes: [{name: f, start: 2026-02-01T00:00, end: 2026-03-01T00:00}]\n",
	       .at = "2026-02-20T00:00:00Z", ALLOWED});
}

static void expedited_patches_do_not_wait(void **state)
{
#define SLOW LATE_WINDOW "deferrals: [{name: d, days: 30}]\n"
	(void)state;
	CHECK({SLOW, .at = "2026-02-02T00:00:00Z", WAITS(POL_BY_DEFERRAL),
	       .when = "2026-06-01T00:00:00Z"},
	      {SLOW "expedite: [{name: e}]\n", .at = "2026-02-02T00:00:00Z", ALLOWED},
	      {SLOW "expedite: [{name: e, skips: [windows]}]\n", .at = "2026-02-02T00:00:00Z",
	       WAITS(POL_BY_DEFERRAL), .when = "2026-03-03T00:00:00Z"},
	      {SLOW "expedite: [{name: e, patches: {severities: [critical]}}]\n",
	       .at = "2026-02-02T00:00:00Z", WAITS(POL_BY_DEFERRAL)},
	      {SLOW "expedite: [{name: e, skips: [windows, deferrals, freezes, rings]}]\n"
		    "pauses: [{name: p}]\n",
	       .at = "2026-02-02T00:00:00Z", WAITS(POL_BY_PAUSE)});
}

static void eligibility_by_each_key(void **state)
{
#define ELIGIBLE(e) POLFIX_OPEN "eligibility: [{name: e, " e "}]\n"
	(void)state;
	CHECK({ELIGIBLE("require: [guard, home, not-confidential]"), ALLOWED},
	      {ELIGIBLE("require: [guard]"), .vms = "{\"guard\":false}", UNFIT(POL_BY_ELIGIBILITY)},
	      {ELIGIBLE("require: [home]"), .vms = "{\"home\":false}", UNFIT(POL_BY_ELIGIBILITY)},
	      {ELIGIBLE("require: [not-confidential]"), .vms = "{\"confidential\":true}",
	       UNFIT(POL_BY_ELIGIBILITY)},
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
	      {ELIGIBLE("max_baseline_months: 3"), .at = "2026-04-30T23:59:59Z", ALLOWED},
	      {ELIGIBLE("max_baseline_months: 3"), .at = "2026-05-01T00:00:00Z",
	       UNFIT(POL_BY_ELIGIBILITY)});
}

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

#define RINGS(pilot)                                                                               \
	POLFIX_OPEN "groups: [{name: g, include: [{domains: [a*]}]}]\n"                            \
		    "rings: [{name: pilot, groups: [g], bake: 24h, " pilot "}, "                   \
		    "{name: rest, after: pilot}]\n"                                                \
		    "health: [{name: h, signals: [oops], then: [revert], watch: 1h}]\n"
#define ON(name, more)                                                                             \
	"{\"name\":\"" name "\",\"patches\":[" ACTIVE("2026-03-02T12:00:00Z") more "}]}"
#define WATCHED	  ",\"watched_until\":\"2026-03-02T13:00:00Z\""
#define OOPS	  WATCHED ",\"signals\":[{\"signal\":\"oops\",\"at\":\"2026-03-02T12:30:00Z\"}]"
#define TWO(a, b) "[{}," a "," b "]"

static void rings_open_when_the_one_before_has_baked(void **state)
{
	(void)state;
	CHECK({RINGS("min_successes: 2"), TWO(ON("a1", WATCHED), ON("a2", WATCHED)), ALLOWED},
	      {RINGS("min_successes: 2"), TWO(ON("a1", WATCHED), "{\"name\":\"a2\"}"),
	       WAITS(POL_BY_RING), .when = ""},
	      {RINGS("min_successes: 1"), TWO(ON("a1", WATCHED), "{\"name\":\"a2\"}"), ALLOWED},
	      {RINGS("max_failures: 0"), TWO(ON("a1", WATCHED), ON("a2", WATCHED)), ALLOWED},
	      /* bake time, to the second */
	      {RINGS("max_failures: 0"), TWO(ON("a1", WATCHED), ON("a2", WATCHED)),
	       .at = "2026-03-03T11:59:59Z", WAITS(POL_BY_RING), .when = "2026-03-03T12:00:00Z"},
	      {RINGS("max_failures: 0"), TWO(ON("a1", WATCHED), ON("a2", WATCHED)),
	       .at = "2026-03-03T12:00:00Z", ALLOWED},
	      /* failures */
	      {RINGS("min_successes: 1, max_failures: 0"), TWO(ON("a1", WATCHED), ON("a2", OOPS)),
	       WAITS(POL_BY_RING), .when = ""},
	      {RINGS("min_successes: 1, max_failures: 1"), TWO(ON("a1", WATCHED), ON("a2", OOPS)),
	       ALLOWED},
	      {RINGS("min_successes: 1"),
	       TWO(ON("a1", WATCHED), "{\"name\":\"a2\",\"rolled_back\":[\"" PAYLOAD "\"]}"),
	       WAITS(POL_BY_RING), .when = ""},
	      /* inconclusive health pauses, and never promotes */
	      {RINGS("min_successes: 1"), TWO(ON("a1", WATCHED), ON("a2", "")), WAITS(POL_BY_RING),
	       .when = ""},
	      /* who is in no ring */
	      {POLFIX_OPEN "groups: [{name: g, include: [{domains: [x]}]}]\n"
			   "rings: [{name: r, groups: [g]}]\n",
	       WAITS(POL_BY_NO_RING), .when = ""},
	      {RINGS("max_failures: 0") "expedite: [{name: e, skips: [rings]}]\n",
	       TWO("{\"name\":\"a1\"}", "{\"name\":\"a2\"}"), ALLOWED});
}

static void rings_halt_and_take_their_share(void **state)
{
#define FOUR "[{},{\"name\":\"b\"},{\"name\":\"c\"},{\"name\":\"d\"}]"
	_cleanup_pol_policy_ struct pol_policy *p = polfix_policy(
		POLFIX_OPEN "rings: [{name: one, share: 26%}, {name: two, after: one}]\n");
	_cleanup_pol_fleet_ struct pol_fleet *f = polfix_facts(polfix_time(NOON), FOUR, NULL);
	_cleanup_pol_plan_ struct pol_plan *plan = NULL;
	size_t allowed = 0;

	(void)state;
	assert_int_equal(pol_plan_new(p, f, polfix_time(NOON), &plan), 0);
	for (size_t i = 0; i < 4; i++)
		allowed += pol_plan_item(plan, i)->state == POL_ALLOWED;
	assert_int_equal(allowed, 2); /* a quarter and a bit of four, rounded up */
	CHECK({POLFIX_OPEN "rings: [{name: r}]\nhealth: [{name: h, signals: [oops], watch: 1h, "
			   "then: [halt]}]\n",
	       TWO(ON("a1", OOPS), ON("a2", WATCHED)), WAITS(POL_BY_HALT), .when = ""},
	      {POLFIX_OPEN
	       "rings: [{name: r, max_failures: 1}]\nhealth: [{name: h, signals: [oops], "
	       "watch: 1h, then: [revert]}]\n",
	       TWO(ON("a1", OOPS), ON("a2", WATCHED)), ALLOWED},
	      {POLFIX_OPEN
	       "rings: [{name: r, max_failures: 1}]\nhealth: [{name: h, signals: [oops], "
	       "watch: 1h, then: [revert]}]\n",
	       TWO(ON("a1", OOPS), ON("a2", OOPS)), WAITS(POL_BY_HALT), .when = ""});
}

static void health_counts_what_it_says_for_as_long(void **state)
{
#define HEALTH(h) POLFIX_OPEN "health: [{name: h, watch: 1h, " h "}]\n"
#define AFTER(t)                                                                                   \
	"{\"patches\":[" ACTIVE("2026-03-02T12:00:00Z") WATCHED                                    \
		",\"signals\":[{\"signal\":\"oops\",\"at\":\"" t "\"}]}]}"
	(void)state;
	CHECK({HEALTH("signals: [oops], then: [revert]"), AFTER("2026-03-02T12:59:59Z"),
	       .state = POL_ALLOWED, .by = POL_BY_HEALTH, .when = NOON},
	      {HEALTH("signals: [oops], then: [revert]"), AFTER("2026-03-02T13:00:00Z"),
	       .state = POL_ACTIVE, .by = POL_BY_ACTIVE},
	      {HEALTH("signals: [oops], then: [revert]"), AFTER("2026-03-02T11:59:59Z"),
	       .state = POL_ACTIVE, .by = POL_BY_ACTIVE},
	      {HEALTH("signals: [panic], then: [revert]"), AFTER("2026-03-02T12:30:00Z"),
	       .state = POL_ACTIVE, .by = POL_BY_ACTIVE},
	      {HEALTH("signals: [oops], then: [halt]"), AFTER("2026-03-02T12:30:00Z"),
	       .state = POL_ACTIVE, .by = POL_BY_ACTIVE});
}

static void limits_at_their_edges(void **state)
{
#define LIMIT(l) POLFIX_OPEN "limits: [{name: l, " l "}]\n"
#define RECENT	 "{\"name\":\"a1\",\"patches\":[" ACTIVE("2026-03-04T11:55:00Z") "}]}"
	(void)state;
	CHECK({LIMIT("per: host, at_once: 1"), "[{}," RECENT "]", WAITS(POL_BY_LIMIT),
	       .when = "2026-03-04T12:05:00Z"}, /* 10 minutes of watching by default */
	      {LIMIT("per: host, at_once: 2"), "[{}," RECENT "]", ALLOWED},
	      {LIMIT("per: host, at_once: 1"), "[{\"host\":\"h2\"}," RECENT "]", ALLOWED},
	      {LIMIT("per: all, at_once: 1"), "[{\"host\":\"h2\"}," RECENT "]",
	       WAITS(POL_BY_LIMIT)},
	      {LIMIT("per: all, spacing: 5m"), "[{}," RECENT "]", ALLOWED},
	      {LIMIT("per: all, spacing: 301s"), "[{}," RECENT "]", WAITS(POL_BY_LIMIT),
	       .when = "2026-03-04T12:00:01Z"},
	      {LIMIT("per: ring, at_once: 1") "rings: [{name: r}]\n", "[{}," RECENT "]",
	       WAITS(POL_BY_LIMIT)},
	      {LIMIT("per: group, at_once: 1") "groups: [{name: g, include: [{domains: [a1]}]}]\n",
	       "[{}," RECENT "]", ALLOWED},
	      {LIMIT("per: group, at_once: 1") "groups: [{name: g, include: [{domains: ['*']}]}]\n",
	       "[{}," RECENT "]", WAITS(POL_BY_LIMIT)},
	      /* one VM, one patch at a time */
	      {POLFIX_OPEN, .patches = "[{},{\"id\":\"a\",\"severity\":\"critical\"}]",
	       WAITS(POL_BY_BUSY), .when = "2026-03-04T12:10:00Z"});
}

static void stale_facts_are_not_acted_on(void **state)
{
	_cleanup_pol_policy_ struct pol_policy *p =
		polfix_policy(POLFIX_OPEN "facts_max_age: 15m\n");
	_cleanup_pol_fleet_ struct pol_fleet *f = polfix_facts(polfix_time(NOON), NULL, NULL);
	static const struct {
		int64_t age;
		enum pol_state state;
	} rows[] = {{0, POL_ALLOWED}, {900, POL_ALLOWED}, {901, POL_WAITING}};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(rows); i++) {
		_cleanup_pol_plan_ struct pol_plan *plan = NULL;

		assert_int_equal(pol_plan_new(p, f, polfix_time(NOON) + rows[i].age, &plan), 0);
		assert_int_equal(pol_plan_verdict(plan, 0, 0)->state, rows[i].state);
	}
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
		cmocka_unit_test(deferral_ends_to_the_second),
		cmocka_unit_test(windows_open_and_close_to_the_second),
		cmocka_unit_test(windows_across_clock_changes),
		cmocka_unit_test(windows_on_leap_days_and_at_year_ends),
		cmocka_unit_test(freezes_hold),
		cmocka_unit_test(pauses_hold),
		cmocka_unit_test(deadlines_force_after_grace),
		cmocka_unit_test(expedited_patches_do_not_wait),
		cmocka_unit_test(eligibility_by_each_key),
		cmocka_unit_test(kernels_and_serials),
		cmocka_unit_test(baselines_by_their_calendar),
		cmocka_unit_test(rings_open_when_the_one_before_has_baked),
		cmocka_unit_test(rings_halt_and_take_their_share),
		cmocka_unit_test(health_counts_what_it_says_for_as_long),
		cmocka_unit_test(limits_at_their_edges),
		cmocka_unit_test(stale_facts_are_not_acted_on),
		cmocka_unit_test(every_reason_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
