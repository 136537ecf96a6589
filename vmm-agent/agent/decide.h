/* SPDX-License-Identifier: Apache-2.0 */
/* What a policy says of one apply: facts are gathered here, the verdict comes from policy/. */
#ifndef EXOPATCH_AGENT_DECIDE_H
#define EXOPATCH_AGENT_DECIDE_H

#include "package/package.h"
#include "vmm-agent/agent/session.h"

/** decide_vm_facts - what this host knows of the VM, as docs/formats/facts.md has it. @home: there
 * is room for new code. NULL: not to be found out */
json_t *decide_vm_facts(const struct session *s, bool home, struct xerr *err) XO_MUST_CHECK;

/**
 * decide_apply - may this package be applied now, by the policy of s->opts?
 * @home: there is room for new code
 * @ret_decision: the statement and its digest; owned by the caller; NULL if there is no policy
 * @why: XO_EPOLICY for each thing that stands in the way, the deciding one first
 * Return: 0 (look at @why), or a negative code: a file that cannot be read, or is wrong
 */
int decide_apply(const struct session *s, const struct pkg *p, bool home, json_t **ret_decision,
		 struct refusal *why, struct xerr *err) XO_MUST_CHECK;

#endif
