// SPDX-License-Identifier: Apache-2.0
/*
 * What holds for every policy and all facts, tried on some hundreds that a
 * seeded generator makes up. EXOPATCH_SEED repeats one of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/plan.h"
#include "tests/lib/polfix.h"

#define ROUNDS	200
#define VMS	14
#define PATCHES 4
#define AT	"2026-03-04T12:00:00Z"
#define WATCH_S 600

static uint64_t seed;

static uint32_t pick(uint32_t n)
{
	seed ^= seed << 13; /* xorshift64 */
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)((seed >> 11) % n);
}

static bool one_in(uint32_t n)
{
	return !pick(n);
}

/* ---- made-up policies and facts; JSON is YAML ---- */

static json_t *rule(const char *kind, uint32_t i)
{
	json_t *r = json_object();

	json_object_set_new(r, "name", json_sprintf("%s-%u", kind, i));
	if (one_in(2))
		json_object_set_new(r, "groups", json_pack("[o]", json_sprintf("g%u", pick(4))));
	return r;
}

static void add_rule(json_t *policy, const char *kind, json_t *r)
{
	if (!json_object_get(policy, kind))
		json_object_set_new(policy, kind, json_array());
	json_array_append_new(json_object_get(policy, kind), r);
}

static void add_calendar(json_t *policy, const char *kind, uint32_t i)
{
	static const char *const rrules[] = {"FREQ=DAILY;UNTIL=20260601",
					     "FREQ=WEEKLY;BYDAY=WE,SA;UNTIL=20260601",
					     "FREQ=MONTHLY;BYMONTHDAY=4;UNTIL=20260601"};
	json_t *r = rule(kind, i);

	json_object_set_new(r, "start", json_sprintf("2026-01-0%uT%02u:00", 1 + pick(9), pick(24)));
	/* shorter than any window, which would never open otherwise */
	json_object_set_new(r, "duration",
			    strcmp(kind, "freezes") ? json_sprintf("%uh", 1 + pick(20))
						    : json_sprintf("%um", 1 + pick(59)));
	json_object_set_new(r, "rrule", json_string(rrules[pick(3)]));
	if (one_in(2))
		json_object_set_new(r, "zone", json_string("Europe/Berlin"));
	add_rule(policy, kind, r);
}

static void add_rings(json_t *policy)
{
	uint32_t nr = pick(4);

	for (uint32_t i = 0; i < nr; i++) {
		json_t *r = rule("ring", i);

		if (i)
			json_object_set_new(r, "after", json_sprintf("ring-%u", i - 1));
		if (one_in(2))
			json_object_set_new(r, "share", json_sprintf("%u%%", 1 + pick(60)));
		json_object_set_new(r, "bake", json_sprintf("%uh", pick(30)));
		json_object_set_new(r, "min_successes", json_integer(pick(3)));
		json_object_set_new(r, "max_failures", json_integer(pick(2)));
		add_rule(policy, "rings", r);
	}
}

static void add_limits(json_t *policy)
{
	static const char *const pers[] = {"all", "host", "group", "ring"};
	uint32_t nr = pick(4);

	for (uint32_t i = 0; i < nr; i++) {
		json_t *r = rule("limit", i);

		json_object_set_new(r, "per", json_string(pers[pick(4)]));
		json_object_set_new(r, "at_once", json_integer(1 + pick(4)));
		if (one_in(3))
			json_object_set_new(r, "spacing", json_sprintf("%um", 1 + pick(20)));
		add_rule(policy, "limits", r);
	}
}

static json_t *make_policy(bool limits)
{
	json_t *p = json_pack("{s:s,s:s}", "format", "policy/1", "zone", "America/New_York");

	for (uint32_t i = 0; i < 4; i++)
		add_rule(p, "groups",
			 json_pack("{s:o,s:[{s:[o]}]}", "name", json_sprintf("g%u", i), "include",
				   "labels", json_sprintf("l=%u*", i)));
	for (uint32_t i = 0; i <= pick(2); i++)
		add_rule(p, "allow", rule("allow", i));
	if (one_in(3))
		add_rule(p, "windows", json_pack("{s:s,s:b}", "name", "ever", "always", 1));
	for (uint32_t i = 0; i < 1 + pick(3); i++)
		add_calendar(p, "windows", i);
	if (one_in(2))
		add_calendar(p, "freezes", 0);
	if (one_in(3)) {
		json_t *r = rule("deferral", 0);

		json_object_set_new(r, "days", json_integer(pick(31)));
		add_rule(p, "deferrals", r);
	}
	if (one_in(3)) {
		json_t *r = rule("deadline", 0);

		json_object_set_new(r, "after", json_sprintf("%ud", 31 + pick(9)));
		add_rule(p, "deadlines", r);
	}
	if (one_in(4))
		add_rule(p, "expedite", rule("expedite", 0));
	if (one_in(3)) {
		json_t *r = rule("eligibility", 0);

		json_object_set_new(r, "max_baseline_months", json_integer(1 + pick(3)));
		add_rule(p, "eligibility", r);
	}
	if (one_in(4)) {
		json_t *r = rule("pause", 0);

		json_object_set_new(r, "until", json_sprintf("2026-03-0%uT00:00", 1 + pick(9)));
		add_rule(p, "pauses", r);
	}
	if (one_in(3))
		json_object_set_new(p, "facts_max_age", json_sprintf("%ud", 1 + pick(40)));
	add_rings(p);
	if (limits)
		add_limits(p);
	add_rule(p, "health",
		 json_pack("{s:s,s:[s,s],s:[s],s:s}", "name", "h", "signals", "oops", "panic",
			   "then", one_in(2) ? "revert" : "halt", "watch", "10m"));
	return p;
}

static json_t *make_applied(uint32_t patch)
{
	static const char *const states[] = {"active", "active", "applying", "reverted", "failed"};
	json_t *a = json_pack("{s:o,s:o,s:i,s:s,s:s}", "id", json_sprintf("p%u", patch),
			      "payload_sha256", json_sprintf("%064x", patch + 1), "serial", 1, "at",
			      one_in(2) ? "2026-03-04T11:55:00Z" : "2026-03-01T00:00:00Z", "state",
			      states[pick(5)]);

	if (one_in(2))
		json_object_set_new(a, "watched_until", json_string(AT));
	if (one_in(5))
		json_object_set_new(
			a, "signals",
			json_pack("[{s:s,s:s}]", "signal", "oops", "at", "2026-03-01T00:01:00Z"));
	return a;
}

static json_t *make_vm(uint32_t i)
{
	json_t *vm = json_pack("{s:o,s:o,s:{s:o},s:{s:s,s:s,s:s}}", "name", json_sprintf("vm%u", i),
			       "host", json_sprintf("h%u", pick(4)), "labels", "l",
			       json_sprintf("%u", pick(5)), "kernel", "release", "6.1", "build_id",
			       one_in(4) ? "aabbccddeeff0011" : "bbbbccddeeff0011", "arch", "x");

	json_object_set_new(json_object_get(vm, "kernel"), "baseline",
			    json_sprintf("2026-0%u", 1 + pick(3)));

	for (uint32_t k = 0; k < PATCHES; k++)
		if (one_in(5)) {
			if (!json_object_get(vm, "patches"))
				json_object_set_new(vm, "patches", json_array());
			json_array_append_new(json_object_get(vm, "patches"), make_applied(k));
		}
	return vm;
}

static json_t *make_facts(void)
{
	static const char *const severities[] = {"low", "moderate", "important", "critical"};
	json_t *f =
		json_pack("{s:s,s:s,s:[],s:[]}", "format", "facts/1", "at", AT, "vms", "patches");

	for (uint32_t i = 0; i < VMS; i++)
		json_array_append_new(json_object_get(f, "vms"), make_vm(i));
	for (uint32_t i = 0; i < PATCHES; i++) {
		json_t *p = json_pack("{s:o,s:s,s:o,s:i,s:o,s:s,s:s,s:[s,s]}", "id",
				      json_sprintf("p%u", i), "kind", "hotpatch", "payload_sha256",
				      json_sprintf("%064x", i + 1), "serial", 1, "released",
				      json_sprintf("2026-02-%02uT00:00:00Z", 1 + pick(28)),
				      "severity", severities[pick(4)], "arch", "x", "build_ids",
				      "aabbccddeeff0011", "bbbbccddeeff0011");

		if (i && one_in(3))
			json_object_set_new(p, "requires",
					    json_pack("[o]", json_sprintf("p%u", i - 1)));
		json_array_append_new(json_object_get(f, "patches"), p);
	}
	return f;
}

/* ---- one case ---- */

struct trial {
	struct pol_policy *p;
	struct pol_fleet *f;
	struct pol_plan *plan;
};

static struct trial plan_of(const json_t *policy, const json_t *facts, int64_t at)
{
	_cleanup_free_ char *yaml = json_dumps(policy, 0);
	_cleanup_free_ char *json = json_dumps(facts, 0);
	const struct pol_text text = {.name = "f", .text = SPAN(json, strlen(json))};
	_cleanup_pol_errors_ struct pol_errors errors = {0};
	struct trial t = {.p = polfix_policy(yaml)};

	if (pol_fleet_load(&text, 1, at, &t.f, &errors))
		fail_msg("%s", errors.error[0].text);
	assert_int_equal(pol_plan_new(t.p, t.f, at, &t.plan), 0);
	return t;
}

static void trial_free(struct trial *t)
{
	pol_plan_free(t->plan);
	pol_fleet_free(t->f);
	pol_policy_free(t->p);
}

#define _cleanup_trial_ XO_CLEANUP(trial_free)

static void for_each_round(void (*check)(void))
{
	const char *one = getenv("EXOPATCH_SEED");
	uint64_t start = one ? strtoull(one, NULL, 10) : 1;

	for (uint64_t i = start; i < start + (one ? 1 : ROUNDS); i++) {
		seed = i * UINT64_C(0x9e3779b97f4a7c15);
		(void)fprintf(stderr, "# seed %llu\n", (unsigned long long)i);
		check();
	}
}

static bool starts(const struct pol_verdict *v)
{
	return v->state == POL_ALLOWED && v->action != POL_REVERT;
}

static void check_deny(void)
{
	json_t *policy = make_policy(true), *facts = make_facts();
	char id[8];

	snprintf(id, sizeof(id), "p%u", pick(PATCHES));
	add_rule(policy, "deny",
		 json_pack("{s:s,s:{s:[s]}}", "name", "never", "patches", "packages", id));
	{
		_cleanup_trial_ struct trial t = plan_of(policy, facts, polfix_time(AT));
		long patch = pol_find_patch(t.f, id);

		for (size_t v = 0; v < VMS; v++)
			assert_false(starts(pol_plan_verdict(t.plan, v, (size_t)patch)));
	}
	json_decref(policy);
	json_decref(facts);
}

static void deny_always_wins(void **state)
{
	(void)state;
	for_each_round(check_deny);
}

/* Counted anew, from facts and verdicts alone. */
static void count_limit(const struct trial *t, const struct limit *l, size_t key)
{
	const struct world *w = t->plan->w;
	uint32_t in_hand = 0, new = 0;
	int64_t at = polfix_time(AT);

	for (size_t v = 0; v < VMS; v++) {
		const struct groupset *g = &w->class[w->class_of[v]].groups;
		bool busy = false, started = false;

		if (!rule_covers(&l->rule, g) || (l->per == POL_PER_HOST && w->host_of[v] != key) ||
		    (l->per == POL_PER_RING && w->ring_of[v] != key) ||
		    (l->per == POL_PER_GROUP &&
		     (!groupset_has(g, key) ||
		      (!l->rule.everyone && !groupset_has(&l->rule.groups, key)))))
			continue;
		for (size_t i = 0; i < w->vm[v].nr_applied; i++) {
			const struct applied *a = &w->vm[v].applied[i];

			busy = busy || a->state == APPLIED_APPLYING ||
			       (a->state == APPLIED_ACTIVE && a->at + WATCH_S > at);
		}
		for (size_t k = 0; k < PATCHES; k++)
			started = started || starts(pol_plan_verdict(t->plan, v, k));
		in_hand += busy || started;
		new += started;
	}
	assert_true(!new || in_hand <= l->at_once);
	assert_true(!l->spacing || new <= 1);
}

static void check_limits(void)
{
	json_t *policy = make_policy(true), *facts = make_facts();
	{
		_cleanup_trial_ struct trial t = plan_of(policy, facts, polfix_time(AT));

		for (size_t i = 0; i < t.p->nr_limits; i++)
			for (size_t key = 0; key < VMS; key++)
				count_limit(&t, &t.p->limits[i], key);
	}
	json_decref(policy);
	json_decref(facts);
}

static void a_plan_never_exceeds_a_limit(void **state)
{
	(void)state;
	for_each_round(check_limits);
}

static void check_once(void)
{
	json_t *policy = make_policy(one_in(2)), *facts = make_facts();
	{
		_cleanup_trial_ struct trial t = plan_of(policy, facts, polfix_time(AT));

		for (size_t v = 0; v < VMS; v++) {
			size_t nr = 0;

			for (size_t k = 0; k < PATCHES; k++)
				nr += pol_plan_verdict(t.plan, v, k)->state == POL_ALLOWED;
			assert_true(nr <= 1);
		}
	}
	json_decref(policy);
	json_decref(facts);
}

static void no_vm_is_there_twice(void **state)
{
	(void)state;
	for_each_round(check_once);
}

/* Without limits and with one patch: nobody is in anybody's way. */
static void check_window(void)
{
	json_t *policy = make_policy(false), *facts = make_facts(), *more = json_deep_copy(policy);
	int64_t at = polfix_time(AT) + pick(7 * 86400);

	while (json_array_size(json_object_get(facts, "patches")) > 1)
		json_array_remove(json_object_get(facts, "patches"), 1);
	add_calendar(more, "windows", 100);
	{
		_cleanup_trial_ struct trial t = plan_of(policy, facts, at);
		_cleanup_trial_ struct trial u = plan_of(more, facts, at);

		for (size_t v = 0; v < VMS; v++) {
			const struct pol_verdict *a = pol_plan_verdict(t.plan, v, 0);
			const struct pol_verdict *b = pol_plan_verdict(u.plan, v, 0);

			assert_true(a->state != POL_ALLOWED || b->state == POL_ALLOWED);
			assert_true(b->when <= a->when);
		}
	}
	json_decref(policy);
	json_decref(more);
	json_decref(facts);
}

static void another_window_forbids_nothing(void **state)
{
	(void)state;
	for_each_round(check_window);
}

/* Keys and items in another order; what lists hold is the same. */
// NOLINTNEXTLINE(misc-no-recursion)
static json_t *shuffled(const json_t *o, bool items)
{
	json_t *ret, *v;
	const char *key;
	size_t nr, i;

	if (json_is_object(o)) {
		const char *keys[32];

		nr = 0;
		json_object_foreach((json_t *)o, key, v) keys[nr++] = key;
		ret = json_object();
		for (; nr; nr--) {
			i = pick((uint32_t)nr);
			json_object_set_new(ret, keys[i],
					    shuffled(json_object_get(o, keys[i]), true));
			keys[i] = keys[nr - 1];
		}
		return ret;
	}
	if (!json_is_array(o))
		return json_deep_copy(o);
	ret = json_array();
	json_array_foreach(o, i, v)
		json_array_insert_new(ret, items ? pick((uint32_t)i + 1) : i, shuffled(v, items));
	return ret;
}

static void check_order(void)
{
	json_t *policy = make_policy(true), *facts = make_facts();
	json_t *policy2 = shuffled(policy, true), *facts2 = json_copy(facts);

	json_object_set_new(facts2, "vms", shuffled(json_object_get(facts, "vms"), true));
	json_object_set_new(facts2, "patches", shuffled(json_object_get(facts, "patches"), true));
	{
		_cleanup_trial_ struct trial t = plan_of(policy, facts, polfix_time(AT));
		_cleanup_trial_ struct trial u = plan_of(policy2, facts2, polfix_time(AT));

		assert_memory_equal(pol_policy_digest(t.p), pol_policy_digest(u.p),
				    XO_SHA256_BYTES);
		for (size_t i = 0; i < pol_plan_size(t.plan); i++) {
			const struct pol_verdict *a = pol_plan_item(t.plan, i);
			const struct pol_verdict *b = pol_plan_item(u.plan, i);

			assert_int_equal(a->vm, b->vm);
			assert_int_equal(a->patch, b->patch);
			assert_int_equal(a->state, b->state);
			assert_int_equal(a->by, b->by);
			assert_int_equal(a->rule, b->rule);
			assert_true(a->when == b->when && a->until == b->until);
		}
	}
	json_decref(policy);
	json_decref(policy2);
	json_decref(facts);
	json_decref(facts2);
}

static void order_is_irrelevant(void **state)
{
	(void)state;
	for_each_round(check_order);
}

/* Until the time a verdict names, it does not change by itself; and it is allowed no sooner than
 * it says. */
static void check_until(void)
{
	json_t *policy = make_policy(true), *facts = make_facts();
	int64_t at = polfix_time(AT), until;
	{
		_cleanup_trial_ struct trial t = plan_of(policy, facts, at);

		until = pol_plan_until(t.plan);
		if (until != POL_NEVER) {
			_cleanup_trial_ struct trial u = plan_of(policy, facts, until - 1);

			for (size_t i = 0; i < pol_plan_size(t.plan); i++) {
				const struct pol_verdict *a = pol_plan_item(t.plan, i);
				const struct pol_verdict *b =
					pol_plan_verdict(u.plan, a->vm, a->patch);

				assert_int_equal(a->state, b->state);
				assert_int_equal(a->by, b->by);
			}
		}
	}
	json_decref(policy);
	json_decref(facts);
}

static void verdicts_hold_until_they_say(void **state)
{
	(void)state;
	for_each_round(check_until);
}

/* The first reason given is the one that decides. */
static void check_reasons(void)
{
	json_t *policy = make_policy(true), *facts = make_facts();
	{
		_cleanup_trial_ struct trial t = plan_of(policy, facts, polfix_time(AT));

		for (size_t i = 0; i < pol_plan_size(t.plan); i++) {
			const struct pol_verdict *v = pol_plan_item(t.plan, i);
			json_t *o = pol_verdict_json(t.plan, v, true);
			const json_t *first = json_array_get(json_object_get(o, "reasons"), 0);

			if (v->by == POL_BY_NOTHING)
				assert_null(first);
			else
				assert_string_equal(json_string_value(json_object_get(first, "by")),
						    pol_kind_key(v->by));
			json_decref(o);
		}
	}
	json_decref(policy);
	json_decref(facts);
}

static void the_first_reason_decides(void **state)
{
	(void)state;
	for_each_round(check_reasons);
}

/* Over weeks of a simulation: never more in hand than the limit, no VM twice, nothing denied. */
static void check_simulation(void)
{
	json_t *policy = make_policy(false), *facts = make_facts(), *doc, *e, *later;
	int64_t at = polfix_time(AT);
	size_t i, k, limit = 1 + pick(3);

	add_rule(policy, "limits",
		 json_pack("{s:s,s:s,s:I}", "name", "all", "per", "all", "at_once",
			   (json_int_t)limit));
	add_rule(policy, "deny",
		 json_pack("{s:s,s:{s:[s]}}", "name", "never", "patches", "packages", "p0"));
	{
		_cleanup_trial_ struct trial t = plan_of(policy, facts, at);

		assert_int_equal(
			pol_simulate(t.p, t.f, at, at + INT64_C(21 * 86400), NULL, 0, &doc), 0);
	}
	json_array_foreach(json_object_get(doc, "events"), i, e)
	{
		const char *vm = json_string_value(json_object_get(e, "vm"));
		int64_t start = polfix_time(json_string_value(json_object_get(e, "at")));
		size_t nr = 0;

		if (strcmp(json_string_value(json_object_get(e, "event")), "apply") != 0)
			continue;
		assert_string_not_equal(json_string_value(json_object_get(e, "patch")), "p0");
		for (k = i; (later = json_array_get(json_object_get(doc, "events"), k)); k++) {
			if (strcmp(json_string_value(json_object_get(later, "event")), "apply") !=
			    0)
				continue;
			if (polfix_time(json_string_value(json_object_get(later, "at"))) >=
			    start + WATCH_S)
				break;
			assert_true(k == i ||
				    strcmp(json_string_value(json_object_get(later, "vm")), vm) !=
					    0);
			nr++;
		}
		assert_true(nr <= limit);
	}
	json_decref(doc);
	json_decref(policy);
	json_decref(facts);
}

static void a_simulation_never_exceeds_a_limit(void **state)
{
	(void)state;
	for_each_round(check_simulation);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(deny_always_wins),
		cmocka_unit_test(a_plan_never_exceeds_a_limit),
		cmocka_unit_test(no_vm_is_there_twice),
		cmocka_unit_test(another_window_forbids_nothing),
		cmocka_unit_test(order_is_irrelevant),
		cmocka_unit_test(verdicts_hold_until_they_say),
		cmocka_unit_test(the_first_reason_decides),
		cmocka_unit_test(a_simulation_never_exceeds_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
