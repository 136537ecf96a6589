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

/** struct resolved - zero-initialise, resolved_free */
struct resolved {
	uint64_t *import_addr; /* in pkg_imports' order */
	size_t nr_targets;
	struct resolved_target {
		struct gva addr;
		struct lens_site site;
		uint8_t before[32]; /* the bytes under the detour, site.len_bytes of them */
		struct gva *extra;  /* addresses of the further pieces, target.nr_extra of them */
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

void resolved_free(struct resolved *r);

#define _cleanup_resolved_ XO_CLEANUP(resolved_free)

#endif
