// SPDX-License-Identifier: Apache-2.0
/* A policy file: wrong with at least one error that has a place, or good and then fit for use. */
#include <stdlib.h>

#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char facts[] =
	"{\"format\":\"facts/"
	"1\",\"at\":\"2026-03-04T12:00:00Z\",\"vms\":[{\"name\":\"vm\",\"host\":"
	"\"h\",\"kernel\":{\"release\":\"6.1\",\"build_id\":\"aabbccddeeff0011\",\"arch\":\"x\"}}],"
	"\"patches\":[{\"id\":\"fix\",\"kind\":\"hotpatch\",\"payload_sha256\":"
	"\"1111111111111111111111111111111111111111111111111111111111111111\",\"serial\":1,"
	"\"released\":\"2026-03-01T00:00:00Z\",\"severity\":\"low\",\"arch\":\"x\",\"build_ids\":"
	"[\"aabbccddeeff0011\"]}]}";

static void use(const struct pol_policy *p)
{
	const struct pol_text text = {.name = "f", .text = SPAN(facts, sizeof(facts) - 1)};
	_cleanup_pol_errors_ struct pol_errors errors = {0};
	_cleanup_pol_fleet_ struct pol_fleet *f = NULL;
	_cleanup_pol_plan_ struct pol_plan *plan = NULL;
	int64_t at;

	if (!pol_parse_time("2026-03-04T12:00:00Z", &at) ||
	    pol_fleet_load(&text, 1, at, &f, &errors) || pol_plan_new(p, f, at, &plan))
		abort();
	json_decref(pol_verdict_json(plan, pol_plan_item(plan, 0), true));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct pol_text text = {.name = "p", .text = SPAN(data, size)};
	_cleanup_pol_errors_ struct pol_errors errors = {0};
	_cleanup_pol_policy_ struct pol_policy *p = NULL;
	int rc;

	/* The rules of a calendar may each take a third of a second to be found wrong. */
	if (size > 4096)
		return 0;
	rc = pol_policy_load(&text, 1, &p, &errors);
	if (rc == -XO_EINTERNAL || !rc == !p || (rc == -XO_EMALFORMED) != (errors.nr != 0))
		abort();
	if (!rc)
		use(p);
	return 0;
}
