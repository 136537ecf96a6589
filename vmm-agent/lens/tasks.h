/* SPDX-License-Identifier: Apache-2.0 */
/* All tasks of the guest: every thread of every process, and the idle task of every CPU. */
#ifndef EXOPATCH_LENS_TASKS_H
#define EXOPATCH_LENS_TASKS_H

#include "vmm-agent/lens/kernel.h"

#define GTASK_MAX (1u << 18) /* threads; more are taken for a corrupt list */

/** gtask_fn - called with each task_struct's address. Return: 0 to go on, or a code to stop with */
typedef int (*gtask_fn)(void *ctx, uint64_t task, struct xerr *err);

/**
 * gtask_walk - call @fn for every thread, then for every idle task
 * @ret_nr: threads without idle tasks
 * Return: 0, -XO_ETASKLIST (the list loops, leaves memory, is too long, changed, or has fewer tasks
 * than the kernel counts), or what @fn returned
 * A guest that runs meanwhile may make a sound list look broken: try again then. What 0 is returned
 * for is never a part of the list only.
 */
int gtask_walk(const struct gkernel *k, gtask_fn fn, void *ctx, uint32_t *ret_nr,
	       struct xerr *err) XO_MUST_CHECK;

#endif
