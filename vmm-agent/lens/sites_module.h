/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a module's text the kernel rewrites, and where functions begin in it: read once from the
 * module's own tables, when its text was seen first. struct module and all it leads to can be
 * written by the guest; what is done to it later changes nothing here.
 */
#ifndef EXOPATCH_LENS_SITES_MODULE_H
#define EXOPATCH_LENS_SITES_MODULE_H

#include "vmm-agent/lens/areas.h"
#include "vmm-agent/lens/sites.h"

#define GMODTEXT_MAX_ITEMS (1u << 20) /* sites and functions of all modules */

/** struct gmodtext - text of one load of a module; its start's is one more */
struct gmodtext {
	char module[56];     /* as in struct lens_area */
	uint64_t start, end; /* whole pages */
	uint64_t gpa;	     /* of the first */
	size_t nr_sites, nr_functions;
	struct gsite *site;
	uint64_t *function; /* both by address */
};

/** struct gmodtexts - zero-initialise, gmodtexts_free it; by start */
struct gmodtexts {
	size_t nr, nr_items;
	struct gmodtext *text;
};

/**
 * gmodtexts_follow - forget text that is in no area any more, read the tables of what is new
 * @own: sites of vmlinux, whose static calls modules may use
 * Return: 0, -ENOMEM. Tables that lead nowhere, or are outside of their module, are none
 */
int gmodtexts_follow(struct gmodtexts *t, const struct gkernel *k, const struct gguard_types *types,
		     const struct gareas *areas, const struct gmodules *m,
		     const struct gsites *own) XO_MUST_CHECK;

/** gmodtexts_at - the text that has @addr, or NULL */
const struct gmodtext *gmodtexts_at(const struct gmodtexts *t, uint64_t addr);

/** gmodtext_starts - whether a function begins at @addr */
bool gmodtext_starts(const struct gmodtext *t, uint64_t addr);

/** gmodtext_function - where the function begins that has @addr, or 0 */
uint64_t gmodtext_function(const struct gmodtext *t, uint64_t addr);

void gmodtexts_free(struct gmodtexts *t);

#endif
