// SPDX-License-Identifier: Apache-2.0
/* In what order and how many at once: a table per rule, each with a case on either side. */
#include "tests/lib/polrow.h"

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
	       WAITS(POL_BY_HALT), .when = ""},
	      {RINGS("min_successes: 1, max_failures: 1"), TWO(ON("a1", WATCHED), ON("a2", OOPS)),
	       ALLOWED},
	      {RINGS("min_successes: 1"),
	       TWO(ON("a1", WATCHED), "{\"name\":\"a2\",\"rolled_back\":[\"" PAYLOAD "\"]}"),
	       WAITS(POL_BY_HALT), .when = ""},
	      /* inconclusive health pauses, and never promotes */
	      {RINGS("min_successes: 1"), TWO(ON("a1", WATCHED), ON("a2", "")), WAITS(POL_BY_RING),
	       .when = ""},
	      /* a deadline may pass rings by */
	      {RINGS("max_failures: 0") "deadlines: [{name: d, after: 14d, skips: [rings]}]\n",
	       TWO("{\"name\":\"a1\"}", "{\"name\":\"a2\"}"), .at = "2026-02-14T23:59:59Z",
	       WAITS(POL_BY_RING), .when = "2026-02-15T00:00:00Z"},
	      {RINGS("max_failures: 0") "deadlines: [{name: d, after: 14d, skips: [rings]}]\n",
	       TWO("{\"name\":\"a1\"}", "{\"name\":\"a2\"}"), .at = "2026-02-15T00:00:00Z",
	       ALLOWED},
	      /* who is in no ring */
	      {POLFIX_OPEN "groups: [{name: g, include: [{domains: [x]}]}]\n"
			   "rings: [{name: r, groups: [g]}]\n",
	       WAITS(POL_BY_NO_RING), .when = ""},
	      {RINGS("max_failures: 0") "expedite: [{name: e, skips: [rings]}]\n",
	       TWO("{\"name\":\"a1\"}", "{\"name\":\"a2\"}"), ALLOWED});
}

static void rings_halt_and_take_their_share(void **state)
{
#define HALTING(then)                                                                              \
	POLFIX_OPEN                                                                                \
	"rings: [{name: r, max_failures: 1}]\nhealth: [{name: h, signals: [oops], "                \
	"watch: 1h, then: [" then "]}]\n"
#define ROLLED_BACK(name) "{\"name\":\"" name "\",\"rolled_back\":[\"" PAYLOAD "\"]}"
#define FOUR		  "[{},{\"name\":\"b\"},{\"name\":\"c\"},{\"name\":\"d\"}]"
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
	       TWO(ON("a1", OOPS), ON("a2", OOPS)), WAITS(POL_BY_HALT), .when = ""},
	      /* what was reverted for harm has halted the ring for good */
	      {HALTING("revert, halt"), TWO(ROLLED_BACK("a1"), ON("a2", WATCHED)),
	       WAITS(POL_BY_HALT), .when = ""},
	      {HALTING("revert"), TWO(ROLLED_BACK("a1"), ON("a2", WATCHED)), ALLOWED},
	      /* nobody hurries past a halt, however many rings later */
	      {RINGS("max_failures: 0") "expedite: [{name: e, skips: [rings]}]\n",
	       TWO(ROLLED_BACK("a1"), ON("a2", WATCHED)), WAITS(POL_BY_HALT), .when = ""},
	      {POLFIX_OPEN "groups: [{name: g, include: [{domains: [a*]}]}, "
			   "{name: h, include: [{domains: [b*]}]}]\n"
			   "rings: [{name: z, groups: [g]}, {name: y, groups: [h], after: z}, "
			   "{name: x, after: y}]\nexpedite: [{name: e, skips: [rings]}]\n",
	       TWO(ROLLED_BACK("a1"), "{\"name\":\"b1\"}"), WAITS(POL_BY_HALT), .when = ""});
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
	      {LIMIT("per: host, spacing: 301s"), "[{}," RECENT "]", WAITS(POL_BY_LIMIT),
	       .when = "2026-03-04T12:00:01Z"},
	      {LIMIT("per: host, spacing: 301s"), "[{\"host\":\"h2\"}," RECENT "]", ALLOWED},
	      /* another ring has room of its own */
	      {LIMIT("per: ring, at_once: 1") "groups: [{name: g, include: [{domains: [a1]}]}]\n"
					      "rings: [{name: r, groups: [g]}, {name: s}]\n",
	       "[{}," RECENT "]", ALLOWED},
	      /* one VM, one patch at a time */
	      {POLFIX_OPEN, .patches = "[{},{\"id\":\"a\",\"severity\":\"critical\"}]",
	       WAITS(POL_BY_BUSY), .when = "2026-03-04T12:10:00Z"});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rings_open_when_the_one_before_has_baked),
		cmocka_unit_test(rings_halt_and_take_their_share),
		cmocka_unit_test(health_counts_what_it_says_for_as_long),
		cmocka_unit_test(limits_at_their_edges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
