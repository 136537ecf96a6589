/* SPDX-License-Identifier: Apache-2.0 */
/* Places in kernel text that the running guest may rewrite or jump to, from its own lists. */
#ifndef EXOPATCH_LENS_PLACES_H
#define EXOPATCH_LENS_PLACES_H

#include "vmm-agent/lens/kernel.h"

enum gplace_kind {
	GPLACE_JUMP_LABEL = 1,
	GPLACE_JUMP_TARGET, /* of a jump label, whether it jumps now or not */
	GPLACE_STATIC_CALL,
	GPLACE_FTRACE,
	GPLACE_KPROBE,
	GPLACE_FIXUP,	   /* where an exception-table entry continues */
	GPLACE_REDIRECTED, /* an ftrace entry that leads elsewhere: livepatch */
};

#define GPLACES_MAX 1024 /* in one function */

struct gplace {
	enum gplace_kind kind;
	uint64_t addr;
};

struct gplaces {
	size_t nr;
	struct gplace place[GPLACES_MAX];
};

/** gplaces_find - all of them in [@start, @end), in vmlinux. Return: 0, -XO_ELIMIT, ... */
int gplaces_find(struct gplaces *ret, const struct gkernel *k, uint64_t start, uint64_t end,
		 struct xerr *err) XO_MUST_CHECK;

/** gplaces_kprobes - only the kprobes in [@start, @end), armed or not */
int gplaces_kprobes(struct gplaces *ret, const struct gkernel *k, uint64_t start, uint64_t end,
		    struct xerr *err) XO_MUST_CHECK;

#endif
