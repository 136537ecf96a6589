/* SPDX-License-Identifier: Apache-2.0 */
/* Policies and facts for tests: a base of each, and what is to be different. */
#ifndef EXOPATCH_TESTS_POLFIX_H
#define EXOPATCH_TESTS_POLFIX_H

#include "base/buf.h"
#include "policy/policy.h"

/* What nearly every policy of a test starts with. */
#define POLFIX_HEAD "format: policy/1\n"
#define POLFIX_OPEN                                                                                \
	POLFIX_HEAD "allow: [{name: all}]\n"                                                       \
		    "windows: [{name: ever, always: true}]\n"

/** polfix_time - of YYYY-MM-DDTHH:MM:SSZ; aborts on another text */
int64_t polfix_time(const char *s);

/** polfix_policy - load @yaml; aborts with its errors if it is wrong */
struct pol_policy *polfix_policy(const char *yaml);

/** polfix_policy_wrong - load @yaml, which is wrong. @errors: why */
void polfix_policy_wrong(const char *yaml, struct pol_errors *errors);

/**
 * polfix_facts - facts of VM "vm" and patch "fix", which fits it, as of @at
 * @vms, @patches: JSON objects, merged over the base one by one; each may also name another.
 *                 NULL: only the base
 */
struct pol_fleet *polfix_facts(int64_t at, const char *vms, const char *patches);

/** polfix_facts_text - the same as JSON text; free() it */
char *polfix_facts_text(const char *at, const char *vms, const char *patches);

#endif
