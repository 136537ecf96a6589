/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is anybody inside code that is about to change? All tasks are looked at
 * beforehand, and while the guest is held only those again that ran since.
 */
#ifndef EXOPATCH_LENS_CHECK_H
#define EXOPATCH_LENS_CHECK_H

#include "base/buf.h"
#include "vmm-agent/lens/kernel.h"
#include "vmm-agent/lens/stacks.h"

/** struct gcheck - what is remembered; zero-initialise, gcheck_free it */
struct gcheck {
	struct granges ranges;	/* nobody may be inside */
	struct granges written; /* no kprobe may stand there */
	bool prepared;
	size_t nr; /* tasks, in the order of the walk */
	struct gcheck_task *task;
	size_t nr_buckets; /* by address: 0, or 1 + index */
	uint32_t *bucket;
};

/** gcheck_prepare - look at every task while the guest runs */
int gcheck_prepare(struct gcheck *c, const struct gkernel *k, const struct lens_range *r, size_t nr,
		   struct xerr *err) XO_MUST_CHECK;

/** gcheck_run - as lens_check; the guest must be held */
int gcheck_run(struct gcheck *c, const struct gkernel *k, const struct lens_check_regs *regs,
	       size_t nr_regs, struct lens_busy *busy, size_t *ret_nr,
	       struct lens_check_stats *stats, struct xerr *err) XO_MUST_CHECK;

void gcheck_free(struct gcheck *c);

#endif
