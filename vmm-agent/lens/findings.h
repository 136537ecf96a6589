/* SPDX-License-Identifier: Apache-2.0 */
/* A list of findings that joins neighbours; when it is full, entries that are new in a page table
 * make way for those that were changed. */
#ifndef EXOPATCH_LENS_FINDINGS_H
#define EXOPATCH_LENS_FINDINGS_H

#include "vmm-agent/lens/guard.h"

struct gfound {
	size_t nr;
	struct lens_finding f[LENS_MAX_FINDINGS];
};

/** gfound_add - @f is copied; joined with the last one if it goes on where that ends */
void gfound_add(struct gfound *all, const struct lens_finding *f);

#endif
