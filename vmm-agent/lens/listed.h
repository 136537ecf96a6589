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

/** struct gprobe - a kprobe in the kernel's table */
struct gprobe {
	uint64_t addr;
	uint64_t slot; /* where its jump leads once optimised; 0: it cannot be */
	uint8_t opcode;
	uint8_t tail[4]; /* the bytes behind it that the jump replaces, if slot is not 0 */
};

/** gprobe_at - the kprobe that stands on [@addr - 4, @addr]. Return: whether there is one */
bool gprobe_at(const struct gkernel *k, const struct gguard_types *t, uint64_t addr,
	       struct gprobe *ret);

#endif
