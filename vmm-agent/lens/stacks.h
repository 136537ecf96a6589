/* SPDX-License-Identifier: Apache-2.0 */
/* Looking for addresses inside given ranges on kernel stacks, conservatively: every word counts. */
#ifndef EXOPATCH_LENS_STACKS_H
#define EXOPATCH_LENS_STACKS_H

#include "vmm-agent/lens/kernel.h"

/** struct granges - ranges sorted by start */
struct granges {
	size_t nr;
	struct grange {
		uint64_t start, end;
		uint64_t max_end; /* the highest end of this and all before */
		uint64_t safe[2]; /* addresses that are harmless */
		uint32_t index;	  /* as the caller numbers them */
	} r[LENS_MAX_RANGES];
};

/** granges_set - those of @kind among @r. Return: 0, -XO_ELIMIT (too many), -XO_EMALFORMED (empty,
 *  wraps, of no kind) */
int granges_set(struct granges *g, const struct lens_range *r, size_t nr,
		enum lens_range_kind kind) XO_MUST_CHECK;

/** granges_hit - the range that @addr is inside of, unless it is harmless there; or NULL */
const struct grange *granges_hit(const struct granges *g, uint64_t addr);

/** granges_cover - the range that @addr is inside of, harmless or not; or NULL */
const struct grange *granges_cover(const struct granges *g, uint64_t addr);

/** struct gfindings - what was found; more than LENS_MAX_BUSY are counted only */
struct gfindings {
	struct lens_busy *busy;
	size_t nr, dropped;
	uint64_t stack_bytes; /* scanned */
};

/** struct gowner - on whose account a finding goes */
struct gowner {
	enum lens_busy_kind kind;
	int32_t pid, cpu;
	const char *comm; /* LENS_COMM_SIZE bytes, as the guest has them; NULL for none */
};

void gfindings_add(struct gfindings *f, const struct gowner *o, const struct grange *r,
		   uint64_t addr, uint64_t where);

/** struct gstack - a task's kernel stack and how much of it matters */
struct gstack {
	uint64_t low, high; /* all of it */
	uint64_t from;	    /* lowest word seen to be in use; starts as @high */
	uint64_t mark;	    /* for the caller */
};

/**
 * gstack_scan - look at every word of [@from, @to), which must be mapped
 * Return: 0 (also with findings), -XO_ENOTMAPPED, -XO_EPAGETABLE
 */
int gstack_scan(struct gspace *s, const struct granges *g, uint64_t from, uint64_t to,
		const struct gowner *o, struct gfindings *f) XO_MUST_CHECK;

/**
 * gstack_scan_unknown - look at every word from @from to the end of the mapping (at most 64 KiB):
 * an interrupt, exception or entry stack. Words that point into one of @stacks lower its @from.
 */
void gstack_scan_unknown(struct gspace *s, const struct granges *g, uint64_t from,
			 const struct gowner *o, struct gstack *stacks, size_t nr,
			 struct gfindings *f);

#endif
