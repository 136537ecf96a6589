/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of modules whose address has come to lead elsewhere. An honest guest does that only by
 * unloading the module and loading it again, which gives it the same code.
 */
#ifndef EXOPATCH_LENS_MOVED_H
#define EXOPATCH_LENS_MOVED_H

#include "vmm-agent/lens/areas.h"
#include "vmm-agent/lens/findings.h"

#define GMOVED_MAX	  64
#define GMOVED_MAX_FORGET 256

struct gjudge;

/** struct gmoved - zero-initialise */
struct gmoved {
	size_t nr;
	struct gmoved_page {
		enum lens_area_kind kind;
		uint64_t gva, was, now;
		char module[56];
	} page[GMOVED_MAX];
	/* Pages that were a module's and were written to since: there is nothing to compare with */
	size_t nr_forgotten;
	uint64_t forgotten[GMOVED_MAX_FORGET];
};

/** gmoved_follow - gareas_load for @j, and find what moved since the last time. Return: as that */
int gmoved_follow(struct gjudge *j, struct xerr *err) XO_MUST_CHECK;

/** gmoved_is_reload - whether the page at @now can be what a new load of @m made of @before
 *  @a, @gva: where it was. @before: XO_PAGE_SIZE bytes */
bool gmoved_is_reload(struct gjudge *j, const struct gmodule *m, const struct lens_area *a,
		      uint64_t gva, const uint8_t *before, struct gpa now);

/** gmoved_forget - the page at @gpa is somebody else's now */
void gmoved_forget(struct gmoved *m, struct gpa gpa);

/** gmoved_report - add to @ret what is still as it was found */
void gmoved_report(const struct gjudge *j, struct gfound *ret);

#endif
