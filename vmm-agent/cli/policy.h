/* SPDX-License-Identifier: Apache-2.0 */
/* What policy plan, explain and simulate print. */
#ifndef EXOPATCH_CLI_POLICY_H
#define EXOPATCH_CLI_POLICY_H

#include "policy/policy.h"

/** policy_print_plan - a table of the verdicts of @now; VMs that get the same one share a row
 *  @all: also what is active already or for another kernel. Return: 0, -ENOMEM */
int policy_print_plan(const struct pol_plan *plan, int64_t now, bool all) XO_MUST_CHECK;

/** policy_print_plan_json - the same as docs/formats/policy.md has it */
int policy_print_plan_json(const struct pol_plan *plan, const struct pol_policy *p,
			   const struct pol_fleet *f, int64_t now, bool all) XO_MUST_CHECK;

/** policy_print_explanation - a verdict with all its reasons (pol_verdict_json) */
void policy_print_explanation(const json_t *decision, const char *digest);

/** policy_print_timeline - of pol_simulate */
void policy_print_timeline(const json_t *doc);

#endif
