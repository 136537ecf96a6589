/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BPF programs and trampolines that were not there at the last audit. Most come to memory that was
 * executable before, so that no page-table entry tells of them.
 */
#ifndef EXOPATCH_LENS_LISTED_PROGRAMS_H
#define EXOPATCH_LENS_LISTED_PROGRAMS_H

#include "vmm-agent/lens/findings.h"
#include "vmm-agent/lens/judge.h"

struct gprogram {
	uint64_t start, end, name; /* name: a hash of it */
};

/** struct gprograms - those that were told; zero-initialise, gprograms_free it. By start */
struct gprograms {
	size_t nr;
	struct gprogram *told;
};

/** gprograms_tell - add some of the new ones to @ret, as code of BPF's; what there is no room for
 *  comes with the next audit. Return: 0, or as glisted_load */
int gprograms_tell(struct gprograms *p, const struct gjudge *j, struct gfound *ret,
		   struct xerr *err) XO_MUST_CHECK;

void gprograms_free(struct gprograms *p);

#endif
