/* SPDX-License-Identifier: Apache-2.0 */
/* Where supervisor-executable pages may be, for the audit. */
#ifndef EXOPATCH_LENS_APPROVED_H
#define EXOPATCH_LENS_APPROVED_H

#include "vmm-agent/lens/judge.h"

struct grange_approved {
	uint64_t start, end; /* end: the first byte behind */
	uint64_t max_end;    /* of all up to here */
	uint64_t gpa;	     /* of start, 0: any */
	bool only;	     /* mapped elsewhere, it says nothing */
};

/** struct gapproved - by ascending start; zero-initialise, gapproved_free it */
struct gapproved {
	size_t nr;
	struct grange_approved *range;
};

/**
 * gapproved_load - kernel text, modules' text that is protected, real mode's, and @extra
 * @real: what was there first; that counts. *@ret_moved: it is said to be elsewhere now
 * Return: 0, -XO_ELIMIT, -ENOMEM
 */
int gapproved_load(struct gapproved *ret, const struct gjudge *j, const struct lens_approved *extra,
		   size_t nr_extra, struct greal_mode *real, bool *ret_moved) XO_MUST_CHECK;

/** gapproved_at - the range that approves @gva mapped to @gpa, or NULL */
const struct grange_approved *gapproved_at(const struct gapproved *a, uint64_t gva, uint64_t gpa);

/** gapproved_next - where the first range behind @gva starts; UINT64_MAX: there is none */
uint64_t gapproved_next(const struct gapproved *a, uint64_t gva);

void gapproved_free(struct gapproved *a);

#endif
