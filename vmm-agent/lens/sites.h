/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The places that a running kernel rewrites in its own text, from its own lists:
 * those of vmlinux sorted in an index, those of modules looked up when asked for.
 */
#ifndef EXOPATCH_LENS_SITES_H
#define EXOPATCH_LENS_SITES_H

#include "vmm-agent/lens/guard_types.h"
#include "vmm-agent/lens/modules.h"

enum gsite_kind {
	GSITE_JUMP_LABEL = 1, /* ref: its target */
	GSITE_STATIC_CALL,    /* ref: its struct static_call_site */
	GSITE_TRAMPOLINE,     /* of a static call. ref: the struct static_call_key */
	GSITE_FTRACE,	      /* the entry of a function */
	GSITE_FTRACE_CALL,    /* where ftrace_caller calls the tracer */
};

#define GSITE_MAX_BYTES 6 /* the longest: a conditional jump of 32 bits, a tail static call */

struct gsite {
	uint64_t addr, ref;
	enum gsite_kind kind;
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

/** gsites_module_at - likewise in module @m, from its tables as they are now */
size_t gsites_module_at(const struct gkernel *k, const struct gguard_types *t,
			const struct gmodule *m, uint64_t addr, struct gsite *ret, size_t max);

/** gsite_key - the static call key of a GSITE_STATIC_CALL, and whether it is a tail call */
bool gsite_key(const struct gkernel *k, const struct gsite *s, uint64_t *ret_key, bool *ret_tail);

void gsites_free(struct gsites *s);

#endif
