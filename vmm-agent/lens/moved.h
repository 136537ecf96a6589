/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of modules whose address has come to lead elsewhere. An honest guest does that only by
 * unloading the module and loading it again, which makes it another one of that name: the number of
 * its node in sysfs is new. (A guest can lie about that, too. Then it is a module that was loaded,
 * and as good as any.)
 */
#ifndef EXOPATCH_LENS_MOVED_H
#define EXOPATCH_LENS_MOVED_H

#include "vmm-agent/lens/areas.h"
#include "vmm-agent/lens/findings.h"

#define GMOVED_MAX 64

struct gjudge;

/** struct gmoved_load - one load of a module */
struct gmoved_load {
	char module[56]; /* as in struct lens_area */
	uint64_t node;	 /* 0: not there yet */
};

/** struct gmoved - zero-initialise, gmoved_free it */
struct gmoved {
	size_t nr_loads;
	struct gmoved_load *load; /* as of the areas */
	size_t nr;
	struct gmoved_page {
		enum lens_area_kind kind;
		uint64_t gva, was, now;
		struct gmoved_load of;
	} page[GMOVED_MAX];
};

/** gmoved_follow - gareas_load for @j, and find what moved since the last time. Return: as that */
int gmoved_follow(struct gjudge *j, struct xerr *err) XO_MUST_CHECK;

/** gmoved_is_same - whether module @m now is the one that had area @a when areas were read */
bool gmoved_is_same(const struct gjudge *j, const struct lens_area *a, const struct gmodule *m);

/** gmoved_report - add to @ret what is still as it was found */
void gmoved_report(const struct gjudge *j, struct gfound *ret);

void gmoved_free(struct gmoved *m);

#endif
