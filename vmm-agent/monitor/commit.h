/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one algorithm that carries out a plan, for whatever way memory is
 * reached: compare all, write all, read all back; put back on failure.
 */
#ifndef EXOPATCH_MONITOR_COMMIT_H
#define EXOPATCH_MONITOR_COMMIT_H

#include "vmm-agent/monitor/plan.h"

enum commit_bytes { COMMIT_EXPECTED, COMMIT_REPLACEMENT };

/** struct commit_io - a way to guest memory; calls return 0 or a negative code */
struct commit_io {
	void *ctx;
	/* Copy what memory holds at @r to @buf, r->len_bytes of it. */
	int (*read)(void *ctx, const struct plan_rec *r, uint8_t *buf, struct xerr *err);
	/* Store the expected or replacement bytes of @nr records, in order. */
	int (*write)(void *ctx, const struct plan_rec *r, size_t nr, enum commit_bytes what,
		     struct xerr *err);
};

/**
 * commit_run - carry out @p, which is ready, while everybody is held
 * @ret_bad: the record on -XO_EEXPECTED and -XO_EREADBACK
 * Return: 0; -XO_EEXPECTED (nothing written); -XO_EREADBACK or the error of a write (all put
 * back); -XO_EMIXED (could not be put back)
 */
int commit_run(const struct commit_io *io, const struct plan *p, size_t *ret_bad,
	       struct xerr *err) XO_MUST_CHECK;

#endif
