// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/polrow.h"

static bool is_time(int64_t t, const char *expected)
{
	return !expected || t == (expected[0] ? polfix_time(expected) : POL_NEVER);
}

static void complain(const struct polrow *r, const struct pol_plan *plan,
		     const struct pol_verdict *v)
{
	json_t *o = pol_verdict_json(plan, v, true);

	print_error("%s\nvm %s patch %s at %s\nexpected %s by %s when %s until %s, got\n",
		    r->policy, r->vms ? r->vms : "", r->patches ? r->patches : "",
		    r->at ? r->at : NOON, pol_state_key(r->state), pol_kind_key(r->by),
		    r->when ? r->when : "any", r->until ? r->until : "any");
	json_dumpf(o, stderr, JSON_INDENT(1));
	json_decref(o);
	fail();
}

void polrow_check(const struct polrow *r)
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
	if (v->state != r->state || v->by != r->by || !is_time(v->when, r->when) ||
	    !is_time(v->until, r->until))
		complain(r, plan, v);
}
