// SPDX-License-Identifier: Apache-2.0
/* When: a table per rule, each with a case on either side of its edge. */
#include "tests/lib/polrow.h"

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

static void a_closed_window_names_the_one_that_opens_next(void **state)
{
	_cleanup_pol_policy_ struct pol_policy *p =
		polfix_policy(POLFIX_HEAD "allow: [{name: a}]\nwindows:\n"
					  "  - {name: z, start: 2026-03-04T13:00, duration: 1h}\n"
					  "  - {name: y, start: 2026-03-04T14:00, duration: 1h}\n");
	static const struct {
		const char *at, *rule;
		int line;
	} rows[] = {{NOON, "z", 4},
		    {"2026-03-04T14:00:00Z", NULL, 0},
		    {"2026-03-04T15:00:00Z", NULL, 0}};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(rows); i++) {
		int64_t at = polfix_time(rows[i].at);
		_cleanup_pol_fleet_ struct pol_fleet *f = polfix_facts(at, NULL, NULL);
		_cleanup_pol_plan_ struct pol_plan *plan = NULL;
		json_t *o, *r;

		assert_int_equal(pol_plan_new(p, f, at, &plan), 0);
		o = pol_verdict_json(plan, pol_plan_verdict(plan, 0, 0), true);
		r = json_array_get(json_object_get(o, "reasons"), 0);
		if (rows[i].rule)
			assert_string_equal(json_string_value(json_object_get(r, "rule")),
					    rows[i].rule);
		else
			assert_false(json_is_string(json_object_get(r, "rule")));
		assert_int_equal(json_integer_value(json_object_get(r, "line")), rows[i].line);
		json_decref(o);
	}
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

/* Midnight skipped and twice, half hours, and ends by the clock instead of durations. */
static void windows_across_other_clock_changes(void **state)
{
#define IN(zone, w) POLFIX_HEAD "zone: " zone "\nallow: [{name: a}]\nwindows: [{name: w, " w "}]\n"
#define MIDNIGHTS   IN("America/Santiago", "start: 2026-01-01T00:00, rrule: FREQ=DAILY, duration: 1h")
#define HALF	    IN("Australia/Lord_Howe", "start: 2026-01-01T02:15, rrule: FREQ=DAILY, duration: 30m")
#define SPRING	    IN("Europe/Berlin", "start: 2026-03-29T01:00, end: 2026-03-29T04:00")
#define AUTUMN	    IN("Europe/Berlin", "start: 2026-10-25T01:00, end: 2026-10-25T04:00")
	(void)state;
	CHECK({MIDNIGHTS, .at = "2026-09-06T03:59:59Z", WAITS(POL_BY_WINDOW),
	       .when = "2026-09-06T04:00:00Z"},
	      {MIDNIGHTS, .at = "2026-09-06T04:59:59Z", ALLOWED, .until = "2026-09-06T05:00:00Z"},
	      {MIDNIGHTS, .at = "2026-09-06T05:00:00Z", WAITS(POL_BY_WINDOW),
	       .when = "2026-09-07T03:00:00Z"},
	      {MIDNIGHTS, .at = "2026-04-05T03:59:59Z", WAITS(POL_BY_WINDOW),
	       .when = "2026-04-05T04:00:00Z"},
	      {MIDNIGHTS, .at = "2026-04-05T04:00:00Z", ALLOWED},
	      {HALF, .at = "2026-10-03T15:44:59Z", WAITS(POL_BY_WINDOW),
	       .when = "2026-10-03T15:45:00Z"},
	      {HALF, .at = "2026-10-03T16:15:00Z", WAITS(POL_BY_WINDOW),
	       .when = "2026-10-04T15:15:00Z"},
	      {SPRING, .at = "2026-03-29T00:00:00Z", ALLOWED, .until = "2026-03-29T02:00:00Z"},
	      {SPRING, .at = "2026-03-29T02:00:00Z", WAITS(POL_BY_WINDOW), .when = ""},
	      {AUTUMN, .at = "2026-10-25T02:59:59Z", ALLOWED},
	      {AUTUMN, .at = "2026-10-25T03:00:00Z", WAITS(POL_BY_WINDOW), .when = ""});
}

static void freezes_and_pauses_across_clock_changes(void **state)
{
#define FROZEN(f) POLFIX_OPEN "zone: Europe/Berlin\nfreezes: [{name: f, " f "}]\n"
#define PAUSED	  POLFIX_OPEN "pauses: [{name: p, zone: Europe/Berlin, until: 2026-10-25T02:30}]\n"
	(void)state;
	CHECK({FROZEN("start: 2026-03-28T12:00, end: 2026-03-29T12:00"),
	       .at = "2026-03-29T09:59:59Z", WAITS(POL_BY_FREEZE), .when = "2026-03-29T10:00:00Z"},
	      {FROZEN("start: 2026-03-28T12:00, end: 2026-03-29T12:00"),
	       .at = "2026-03-29T10:00:00Z", ALLOWED},
	      {FROZEN("start: 2026-03-28T12:00, duration: 24h"), .at = "2026-03-29T10:59:59Z",
	       WAITS(POL_BY_FREEZE), .when = "2026-03-29T11:00:00Z"},
	      {FROZEN("start: 2026-10-24T12:00, duration: 24h"), .at = "2026-10-25T10:00:00Z",
	       ALLOWED},
	      {PAUSED, .at = "2026-10-25T00:29:59Z", WAITS(POL_BY_PAUSE),
	       .when = "2026-10-25T00:30:00Z"},
	      {PAUSED, .at = "2026-10-25T00:30:00Z", ALLOWED});
}

#define LATE_WINDOW                                                                                \
	POLFIX_HEAD "allow: [{name: a}]\n"                                                         \
		    "windows: [{name: w, start: 2026-06-01T00:00, end: 2026-06-02T00:00}]\n"

static void days_count_over_leap_days_and_year_ends(void **state)
{
#define LATER	    POLFIX_OPEN "deferrals: [{name: d, days: 2}]\n"
#define DUE	    LATE_WINDOW "deadlines: [{name: d, after: 14d}]\n"
#define RELEASED(t) .patches = "{\"released\":\"" t "\"}"
	(void)state;
	CHECK({LATER, RELEASED("2028-02-28T12:00:00Z"), .at = "2028-03-01T11:59:59Z",
	       WAITS(POL_BY_DEFERRAL), .when = "2028-03-01T12:00:00Z"},
	      {LATER, RELEASED("2028-02-28T12:00:00Z"), .at = "2028-03-01T12:00:00Z", ALLOWED},
	      {LATER, RELEASED("2027-02-28T12:00:00Z"), .at = "2027-03-02T12:00:00Z", ALLOWED},
	      {LATER, RELEASED("2026-12-30T12:00:00Z"), .at = "2027-01-01T11:59:59Z",
	       WAITS(POL_BY_DEFERRAL), .when = "2027-01-01T12:00:00Z"},
	      {DUE, RELEASED("2028-02-20T00:00:00Z"), .at = "2028-03-04T23:59:59Z",
	       WAITS(POL_BY_WINDOW), .when = "2028-03-05T00:00:00Z"},
	      {DUE, RELEASED("2028-02-20T00:00:00Z"), .at = "2028-03-05T00:00:00Z", ALLOWED},
	      {DUE, RELEASED("2026-12-20T00:00:00Z"), .at = "2027-01-02T23:59:59Z",
	       WAITS(POL_BY_WINDOW), .when = "2027-01-03T00:00:00Z"});
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
	       .at = "2026-02-02T00:00:00Z", WAITS(POL_BY_PAUSE)},
	      {FREEZE "expedite: [{name: e}]\n", .at = "2026-03-04T12:00:00Z", WAITS(POL_BY_FREEZE),
	       .when = "2026-03-05T12:00:00Z"},
	      {FREEZE "expedite: [{name: e, skips: [freezes]}]\n", .at = "2026-03-04T12:00:00Z",
	       ALLOWED});
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
	/* a revert is acting on facts too */
	_cleanup_pol_fleet_ struct pol_fleet *harm =
		polfix_facts(polfix_time(NOON),
			     "{\"patches\":[" ACTIVE(
				     "2026-03-04T11:00:00Z") ",\"signals\":[{\"signal\":\"oops\","
							     "\"at\":\"2026-03-04T11:01:00Z\"}]}]}",
			     NULL);

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(rows); i++) {
		_cleanup_pol_plan_ struct pol_plan *plan = NULL;

		assert_int_equal(pol_plan_new(p, f, polfix_time(NOON) + rows[i].age, &plan), 0);
		assert_int_equal(pol_plan_verdict(plan, 0, 0)->state, rows[i].state);
	}
	for (size_t i = 0; i < XO_ARRAY_SIZE(rows); i++) {
		_cleanup_pol_plan_ struct pol_plan *plan = NULL;
		const struct pol_verdict *v;

		assert_int_equal(pol_plan_new(p, harm, polfix_time(NOON) + rows[i].age, &plan), 0);
		v = pol_plan_verdict(plan, 0, 0);
		assert_int_equal(v->action, POL_REVERT);
		assert_int_equal(v->state, rows[i].state);
		assert_int_equal(v->by,
				 rows[i].state == POL_ALLOWED ? POL_BY_HEALTH : POL_BY_STALE);
		assert_true(v->until ==
			    (rows[i].state == POL_ALLOWED ? polfix_time(NOON) + 901 : POL_NEVER));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(deferral_ends_to_the_second),
		cmocka_unit_test(windows_open_and_close_to_the_second),
		cmocka_unit_test(a_closed_window_names_the_one_that_opens_next),
		cmocka_unit_test(windows_across_clock_changes),
		cmocka_unit_test(windows_across_other_clock_changes),
		cmocka_unit_test(freezes_and_pauses_across_clock_changes),
		cmocka_unit_test(days_count_over_leap_days_and_year_ends),
		cmocka_unit_test(windows_on_leap_days_and_at_year_ends),
		cmocka_unit_test(freezes_hold),
		cmocka_unit_test(pauses_hold),
		cmocka_unit_test(deadlines_force_after_grace),
		cmocka_unit_test(expedited_patches_do_not_wait),
		cmocka_unit_test(stale_facts_are_not_acted_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
