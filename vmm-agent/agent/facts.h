/* SPDX-License-Identifier: Apache-2.0 */
/* What policy is told: the journal's active patches and serials, the guest's kernel. */
#ifndef EXOPATCH_AGENT_FACTS_H
#define EXOPATCH_AGENT_FACTS_H

#include "package/package.h"
#include "policy/admit.h"
#include "vmm-agent/agent/session.h"

/** struct facts - owns the arrays in @f; zero-initialise, facts_free */
struct facts {
	struct pol_facts f;
	struct pol_active *active;
	const char **function; /* of all active patches, back to back */
	struct pol_seen *seen;
};

/**
 * facts_gather - the facts about a session's VM; strings are borrowed from @s and @m
 * @m: whose serials to look up, or NULL
 */
int facts_gather(struct session *s, const struct pkg_manifest *m, struct facts *ret,
		 struct xerr *err) XO_MUST_CHECK;

/** facts_admit - pol_admit for a package's manifest */
void facts_admit(const struct facts *f, const struct pkg_manifest *m, struct refusal *why);

void facts_free(struct facts *f);

#define _cleanup_facts_ XO_CLEANUP(facts_free)

#endif
