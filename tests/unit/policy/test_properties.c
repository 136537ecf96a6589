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
#include "tests/lib/polgen.h"

#define ROUNDS	200
#define VMS	POLGEN_VMS
#define PATCHES POLGEN_PATCHES
#define AT	POLGEN_AT
#define WATCH_S POLGEN_WATCH_S

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
		polgen_seed(i);
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
	json_t *policy = polgen_policy(true), *facts = polgen_facts();
	char id[8];

	snprintf(id, sizeof(id), "p%u", polgen_pick(PATCHES));
	polgen_add_rule(policy, "deny",
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
	json_t *policy = polgen_policy(true), *facts = polgen_facts();
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
	json_t *policy = polgen_policy(polgen_one_in(2)), *facts = polgen_facts();
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
	json_t *policy = polgen_policy(false), *facts = polgen_facts(),
	       *more = json_deep_copy(policy);
	int64_t at = polfix_time(AT) + polgen_pick(7 * 86400);

	while (json_array_size(json_object_get(facts, "patches")) > 1)
		json_array_remove(json_object_get(facts, "patches"), 1);
	polgen_add_calendar(more, "windows", 100);
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

static struct trial plan_of_parts(char *const policy[2], char *const facts[2], bool swap)
{
	struct pol_text p[2], f[2];
	_cleanup_pol_errors_ struct pol_errors errors = {0};
	struct trial t = {.p = NULL};

	for (size_t i = 0; i < 2; i++) {
		const char *a = policy[i ^ swap], *b = facts[i ^ swap];

		p[i] = (struct pol_text){.name = "p", .text = SPAN(a, strlen(a))};
		f[i] = (struct pol_text){.name = "f", .text = SPAN(b, strlen(b))};
	}
	if (pol_policy_load(p, 2, &t.p, &errors) ||
	    pol_fleet_load(f, 2, polfix_time(AT), &t.f, &errors))
		fail_msg("%s", errors.error[0].text);
	assert_int_equal(pol_plan_new(t.p, t.f, polfix_time(AT), &t.plan), 0);
	return t;
}

/* @same_digests: else the same rules in other files, which are another policy by its digest. */
static void same_plans(const struct trial *t, const struct trial *u, bool same_digests)
{
	assert_memory_equal(pol_fleet_digest(t->f), pol_fleet_digest(u->f), XO_SHA256_BYTES);
	if (same_digests)
		assert_memory_equal(pol_policy_digest(t->p), pol_policy_digest(u->p),
				    XO_SHA256_BYTES);
	for (size_t i = 0; i < pol_plan_size(t->plan); i++) {
		const struct pol_verdict *a = pol_plan_item(t->plan, i);
		const struct pol_verdict *b = pol_plan_item(u->plan, i);
		uint8_t digest[2][XO_SHA256_BYTES];
		json_t *one, *two;

		assert_int_equal(a->vm, b->vm);
		assert_int_equal(a->patch, b->patch);
		assert_int_equal(a->state, b->state);
		assert_int_equal(a->by, b->by);
		assert_int_equal(a->rule, b->rule);
		assert_true(a->when == b->when && a->until == b->until);
		assert_int_equal(pol_statement(t->plan, a, &one, digest[0]), 0);
		assert_int_equal(pol_statement(u->plan, b, &two, digest[1]), 0);
		if (same_digests)
			assert_memory_equal(digest[0], digest[1], XO_SHA256_BYTES);
		json_decref(one);
		json_decref(two);
	}
}

static void check_order(void)
{
	json_t *policy = polgen_policy(true), *facts = polgen_facts();
	json_t *policy2 = polgen_shuffled(policy, true), *facts2 = json_copy(facts);
	char *p[2], *f[2];

	json_object_set_new(facts2, "vms", polgen_shuffled(json_object_get(facts, "vms"), true));
	json_object_set_new(facts2, "patches",
			    polgen_shuffled(json_object_get(facts, "patches"), true));
	polgen_split(policy, p);
	polgen_split(facts, f);
	{
		_cleanup_trial_ struct trial t = plan_of(policy, facts, polfix_time(AT));
		_cleanup_trial_ struct trial u = plan_of(policy2, facts2, polfix_time(AT));
		_cleanup_trial_ struct trial v = plan_of_parts(p, f, false);
		_cleanup_trial_ struct trial w = plan_of_parts(p, f, true);

		same_plans(&t, &u, true);
		same_plans(&v, &w, true);
		same_plans(&t, &v, false);
	}
	for (size_t i = 0; i < 2; i++) {
		free(p[i]);
		free(f[i]);
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
	json_t *policy = polgen_policy(true), *facts = polgen_facts();
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
	json_t *policy = polgen_policy(true), *facts = polgen_facts();
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
	json_t *policy = polgen_policy(false), *facts = polgen_facts(), *doc, *e, *later;
	int64_t at = polfix_time(AT);
	size_t i, k, limit = 1 + polgen_pick(3);

	polgen_add_rule(policy, "limits",
			json_pack("{s:s,s:s,s:I}", "name", "all", "per", "all", "at_once",
				  (json_int_t)limit));
	polgen_add_rule(policy, "deny",
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
