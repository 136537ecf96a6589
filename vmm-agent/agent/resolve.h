/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fitting a verified package to a guest: every symbol found, every function
 * what the patch replaces, a place for every detour. Collects all the reasons
 * why not; writes nothing.
 */
#ifndef EXOPATCH_AGENT_RESOLVE_H
#define EXOPATCH_AGENT_RESOLVE_H

#include "package/package.h"
#include "vmm-agent/agent/home.h"

#define RESOLVE_MAX_DETOUR 32 /* bytes under a detour */

/** struct resolved - zero-initialise, resolved_free */
struct resolved {
	uint64_t *import_addr; /* in pkg_imports' order */
	size_t nr_targets;
	struct resolved_target {
		struct gva addr;
		struct lens_site site;
		uint8_t before[RESOLVE_MAX_DETOUR]; /* the bytes under the detour, site.len_bytes of
						       them */
		struct gva *extra; /* addresses of the further pieces, target.nr_extra of them */
	} * target;
};

/** resolve_package - fill @ret as far as the reasons in @why allow */
int resolve_package(struct session *s, const struct pkg *p, struct resolved *ret,
		    struct refusal *why, struct xerr *err) XO_MUST_CHECK;

/**
 * resolve_row - the row with all its records, in the order they are written
 * @home: surveyed
 * Return: 0 (look at @why), or a negative code
 */
int resolve_row(struct session *s, const struct pkg *p, const struct resolved *r,
		const struct home *home, struct jrow *row, struct refusal *why,
		struct xerr *err) XO_MUST_CHECK;

/** resolve_return_thunk - *@addr is the kernel's __x86_return_thunk: make it what the guest
 *  returns through instead, 0 for plain returns */
int resolve_return_thunk(struct session *s, uint64_t *addr, struct xerr *err) XO_MUST_CHECK;

/**
 * resolve_detour - add the records of a jump from @at to @to, and nops behind it
 * @symbol: for messages; @before: @len bytes of whole instructions that stand there now, at most
 * RESOLVE_MAX_DETOUR
 * Return: 0 (look at @why), or a negative code
 */
int resolve_detour(struct session *s, struct jrow *row, const char *symbol, struct gva at,
		   struct gva to, const uint8_t *before, size_t len, struct refusal *why,
		   struct xerr *err) XO_MUST_CHECK;

void resolved_free(struct resolved *r);

#define _cleanup_resolved_ XO_CLEANUP(resolved_free)

#endif
