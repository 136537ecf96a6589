// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/polrow.h"

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
