/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What audits have found, from one to the next: what is there for a moment is
 * nobody's misdeed, and what stays is told once. An audit of a large guest looks
 * at some of its address spaces, and the next ones at the rest: a round.
 */
#ifndef EXOPATCH_AGENT_KNOWN_H
#define EXOPATCH_AGENT_KNOWN_H

#include "vmm-agent/lens/guard.h"

/** struct known_finding - since when it is known, and whether it was said */
struct known_finding {
	struct lens_finding finding;
	uint64_t since_ns; /* of the guest's time: struct guest_clock */
	uint64_t round;	   /* that found it last */
	bool again;	   /* it was found before, too */
	bool said;
	bool was_there; /* before the guard was */
};

/** struct known - zero-initialise; plain data */
struct known {
	uint64_t round;
	size_t nr;
	struct known_finding item[LENS_MAX_FINDINGS];
};

/**
 * known_take - the findings of one more audit
 * @f: @nr of them, at most LENS_MAX_FINDINGS; item[0..nr) are these, what follows is what this
 *     audit did not look at
 * @now_ns:     of the guest's time
 * @was_there:  new ones were there before the guard was
 * @round_over: with this audit all address spaces were looked at
 */
void known_take(struct known *k, const struct lens_finding *f, size_t nr, uint64_t now_ns,
		bool was_there, bool round_over);

/** known_forget_unsaid - the guest's time did not go on, or it is not known how far: what was not
 *  said yet has to be found twice from now on */
void known_forget_unsaid(struct known *k);

#endif
