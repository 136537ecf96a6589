/* SPDX-License-Identifier: Apache-2.0 */
/* Every supervisor-executable page of every address space, and whether somebody approved it. */
#ifndef EXOPATCH_LENS_AUDIT_H
#define EXOPATCH_LENS_AUDIT_H

#include "vmm-agent/lens/approved.h"
#include "vmm-agent/lens/findings.h"

/** struct gaudit - where the next audit goes on with user halves, and what does not change;
 *  zero-initialise */
struct gaudit {
	uint64_t cursor; /* the pgd of the first address space that was not reached; 0: all were */
	struct greal_mode real;
};

/**
 * gaudit_run - as lens_audit
 * What it did not get to, since there is too much of it, is a finding.
 * Return: 0, -XO_ETASKLIST, -XO_ELIMIT, -ENOMEM
 */
int gaudit_run(struct gaudit *g, const struct gjudge *j, const struct lens_approved *extra,
	       size_t nr_extra, struct gfound *ret, struct lens_audit_stats *stats,
	       struct xerr *err) XO_MUST_CHECK;

#endif
