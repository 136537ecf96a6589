// SPDX-License-Identifier: Apache-2.0
/* A facts file: wrong with at least one error, or good, and then a plan comes of it. */
#include <stdlib.h>
#include <string.h>

#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char yaml[] =
	"format: policy/1\nallow: [{name: a}]\nwindows: [{name: w, always: true}]\n"
	"groups: [{name: g, include: [{domains: ['v*'], labels: ['a=*']}]}]\n"
	"rings: [{name: r, share: 10%, bake: 1h}, {name: s, after: r}]\n"
	"eligibility: [{name: e, groups: [g], require: [guard, home], max_baseline_months: 4}]\n"
	"baselines: [{name: b}]\nlimits: [{name: l, per: host, at_once: 1, spacing: 1m}]\n"
	"health: [{name: h, signals: [panic, oops], watch: 10m, then: [revert, halt]}]\n";

static void use(const struct pol_policy *p, const struct pol_fleet *f, int64_t at)
{
	_cleanup_pol_plan_ struct pol_plan *plan = NULL;
	json_t *doc = NULL;

	if (pol_plan_new(p, f, at, &plan))
		abort();
	for (size_t i = 0; i < pol_plan_size(plan); i++)
		json_decref(pol_verdict_json(plan, pol_plan_item(plan, i), true));
	if (pol_plan_size(plan) <= 16 && pol_simulate(p, f, at, at + 86400, NULL, 0, &doc))
		abort();
	json_decref(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct pol_text policy = {.name = "p", .text = SPAN(yaml, sizeof(yaml) - 1)};
	const struct pol_text text = {.name = "f", .text = SPAN(data, size)};
	_cleanup_pol_errors_ struct pol_errors errors = {0}, none = {0};
	_cleanup_pol_policy_ struct pol_policy *p = NULL;
	_cleanup_pol_fleet_ struct pol_fleet *f = NULL;
	int64_t at;
	int rc;

	if (!pol_parse_time("2026-03-04T12:00:00Z", &at) || pol_policy_load(&policy, 1, &p, &none))
		abort();
	rc = pol_fleet_load(&text, 1, at, &f, &errors);
	if (!rc == !f || (rc == -XO_EMALFORMED) != (errors.nr != 0))
		abort();
	if (!rc)
		use(p, f, at);
	return 0;
}
