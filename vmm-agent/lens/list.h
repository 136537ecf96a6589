/* SPDX-License-Identifier: Apache-2.0 */
/* Walking struct list_head and struct hlist_node in hostile memory: bounded, loops are noticed. */
#ifndef EXOPATCH_LENS_LIST_H
#define EXOPATCH_LENS_LIST_H

#include "vmm-agent/lens/paging.h"

/** struct glist - a walk; zero-initialise but for @at and @left */
struct glist {
	uint64_t at;	/* the node reached */
	uint32_t *left; /* steps still allowed, over all walks that share it */
	uint64_t mark;	/* Brent's algorithm: a node passed before */
	uint32_t steps, lap;
};

/**
 * glist_next - go to the node whose address stands at @w->at (its `next` is its first member)
 * Return: 0, -XO_ELIMIT (no steps left, or the list came back to a node), or as gspace_u64
 */
static inline XO_MUST_CHECK int glist_next(struct gspace *s, struct glist *w)
{
	uint64_t next;
	int rc;

	if (*w->left == 0)
		return -XO_ELIMIT;
	--*w->left;
	rc = gspace_u64(s, (struct gva){w->at}, &next);
	if (rc)
		return rc;
	if (w->steps && next == w->mark)
		return -XO_ELIMIT;
	if (w->steps++ == w->lap) {
		w->mark = next;
		w->lap = w->lap * 2 + 1;
	}
	w->at = next;
	return 0;
}

#endif
