/* SPDX-License-Identifier: Apache-2.0 */
/* A list of findings that joins neighbours. When it is full, what the kernel's lists explain and
 * what is new in a page table among modules make way, as long as one like it is left; what gets no
 * place all the same is told as one finding more. */
#ifndef EXOPATCH_LENS_FINDINGS_H
#define EXOPATCH_LENS_FINDINGS_H

#include "vmm-agent/lens/guard.h"

/** struct gfound - zero-initialise */
struct gfound {
	size_t nr, nr_lost;
	struct lens_finding f[LENS_MAX_FINDINGS];
};

/** gfound_add - @f is copied; joined with the last one if it goes on where that ends */
void gfound_add(struct gfound *all, const struct lens_finding *f);

/** gfound_join - all of @more's */
void gfound_join(struct gfound *all, const struct gfound *more);

/** gfound_close - say what had no place; nothing is added after that */
void gfound_close(struct gfound *all);

#endif
