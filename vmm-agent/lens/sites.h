/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The places that a running kernel rewrites in its own text, from its own lists, as they were when
 * they were read: these lists are read-only by then (vmlinux's) or believed once (ftrace's records,
 * which must lie where functions begin; sites_module.h for modules').
 */
#ifndef EXOPATCH_LENS_SITES_H
#define EXOPATCH_LENS_SITES_H

#include "vmm-agent/lens/kernel.h"

enum gsite_kind {
	GSITE_JUMP_LABEL = 1, /* ref: its target */
	GSITE_STATIC_CALL,    /* ref: the struct static_call_key */
	GSITE_TRAMPOLINE,     /* of a static call. ref: the struct static_call_key */
	GSITE_FTRACE,	      /* the entry of a function */
	GSITE_FTRACE_CALL,    /* where ftrace_caller calls the tracer */
};

#define GSITE_MAX_BYTES 6 /* the longest: a conditional jump of 32 bits, a tail static call */

struct gsite {
	uint64_t addr, ref;
	enum gsite_kind kind;
	bool tail; /* GSITE_STATIC_CALL: a tail call */
};

/** struct gsites - the index; zero-initialise, gsites_free it */
struct gsites {
	size_t nr;
	struct gsite *site; /* by address */
};

/** gsites_load - of vmlinux; @ret is replaced on success. Return: 0, -XO_ELIMIT, -ENOMEM, ... */
int gsites_load(struct gsites *ret, const struct gkernel *k, struct xerr *err) XO_MUST_CHECK;

/** gsites_at - sites of vmlinux that may cover @addr, nearest first. Return: how many */
size_t gsites_at(const struct gsites *s, uint64_t addr, struct gsite *ret, size_t max);

/** gsites_in - as gsites_at, in any array that is sorted by address */
size_t gsites_in(const struct gsite *sites, size_t nr, uint64_t addr, struct gsite *ret,
		 size_t max);

/** gsites_trampoline - the key of the static call whose trampoline starts at @addr, or 0 */
uint64_t gsites_trampoline(const struct gsite *sites, size_t nr, uint64_t addr);

/** gsites_starts - whether a text symbol is at @addr */
bool gsites_starts(const struct ksyms *k, uint64_t addr);

/** struct gsite_table - a table of struct jump_entry, struct static_call_site, or of addresses */
struct gsite_table {
	enum gsite_kind kind;
	uint64_t at; /* where it stands */
	const uint8_t *bytes;
	uint32_t nr;
};

/** gsite_unit - bytes of an entry. gsite_parse - entry @i of it */
size_t gsite_unit(enum gsite_kind kind);
struct gsite gsite_parse(const struct gsite_table *t, uint32_t i);

/** gsite_by_addr - for qsort(3) */
int gsite_by_addr(const void *a, const void *b);

#define GSITE_TRAMPOLINE_PREFIX                                                                    \
	"__SCT__" /* STATIC_CALL_TRAMP_PREFIX, include/linux/static_call_types.h */
#define GSITE_KEY_PREFIX "__SCK__"

void gsites_free(struct gsites *s);

#endif
