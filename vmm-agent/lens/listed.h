/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Code outside of vmlinux and modules that the kernel keeps lists of: ftrace
 * trampolines, BPF programs and trampolines, kprobe slots. The lists are data
 * that a guest's attacker can write; they tell honest code apart, they prove nothing.
 */
#ifndef EXOPATCH_LENS_LISTED_H
#define EXOPATCH_LENS_LISTED_H

#include "vmm-agent/lens/guard.h"
#include "vmm-agent/lens/guard_types.h"

#define GLISTED_MAX 16384

struct glisted_range {
	uint64_t start, end;
	enum lens_owner owner;
	bool is_program; /* BPF: nothing of the kernel's text calls it */
	uint64_t name;	 /* where its name is; 0: it has none */
};

/** struct glisted - all such ranges; zero-initialise, glisted_free it */
struct glisted {
	size_t nr;
	struct glisted_range *range; /* by start */
};

/** glisted_load - what there is now: of a running guest, so a list that breaks off just ends.
 *  Return: 0, -ENOMEM, -XO_ELIMIT; @ret is replaced on success */
int glisted_load(struct glisted *ret, const struct gkernel *k, const struct gguard_types *t,
		 struct xerr *err) XO_MUST_CHECK;

/** glisted_overlap - the first range that has a byte in [@start, @end), or NULL */
const struct glisted_range *glisted_overlap(const struct glisted *l, uint64_t start, uint64_t end);

void glisted_free(struct glisted *l);

#define GPROBE_BYTES 5 /* a breakpoint, or the jump of an optimised kprobe */

/** struct gprobe - a kprobe in the kernel's table */
struct gprobe {
	uint64_t self, addr; /* self: of its structure */
	uint64_t slot;	     /* where its jump leads once optimised; 0: it cannot be */
	uint8_t opcode;
	uint8_t tail[GPROBE_BYTES - 1]; /* behind it, what the jump replaces, if slot is not 0 */
};

/** gprobes_walk - call @fn with each that stands in [@first, @last], until it says false. Lists
 *  that break off just end */
void gprobes_walk(const struct gkernel *k, const struct gguard_types *t, uint64_t first,
		  uint64_t last, bool (*fn)(void *ctx, const struct gprobe *p), void *ctx);

#endif
