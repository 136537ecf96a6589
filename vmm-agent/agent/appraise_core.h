/* SPDX-License-Identifier: Apache-2.0 */
/* What the appraisal's files share. */
#ifndef EXOPATCH_AGENT_APPRAISE_CORE_H
#define EXOPATCH_AGENT_APPRAISE_CORE_H

#include <sys/types.h>

#include "vmm-agent/agent/appraise.h"
#include "vmm-agent/agent/gate_core.h"

#define APPRAISE_CACHE 256 /* pages of kernel data */

#define APPRAISE_NOWHERE UINT64_MAX

/** struct appraised_page - of text or read-only data */
struct appraised_page {
	uint64_t gpa;  /* APPRAISE_NOWHERE: not mapped */
	uint64_t seen; /* the run in which a guard vouched for it last */
	bool vouched;  /* the guard protects it, and .have is what it protects */
	bool dirty;    /* to be judged */
	struct kernref_page found;
};

struct appraised_area {
	uint8_t *have; /* the guest's bytes */
	size_t nr_pages;
	struct appraised_page *page;
	uint64_t sum[KERNREF_WHYS];
};

/** struct appraised_where - a page by its guest-physical address */
struct appraised_where {
	uint64_t gpa;
	size_t k, i;
};

/** struct appraised_slot - one of the golden copies, as it was taken last */
struct appraised_slot {
	uint64_t version, gpa;
	const struct appraised_where *where; /* NULL: none of ours */
};

/** struct appraised_module - what was found of one, while the guard vouches for its pages */
struct appraised_module {
	struct lens_module module;
	uint64_t epoch;
	struct gate_verdict *verdict;
};

struct appraiser {
	struct vendor *vendor;
	struct gva base; /* of the boot that is remembered */
	uint64_t boot_token;
	bool mapped; /* .area[].page[].gpa is known */
	struct appraised_area area[KERNREF_AREAS];
	struct vmram *ram;
	struct {
		uint64_t tag; /* page number + 1 */
		uint8_t bytes[XO_PAGE_SIZE];
	} * cache;
	/* with a guard: */
	uint64_t run;
	struct golden_view view;
	dev_t view_dev; /* of the file that it is of */
	ino_t view_ino;
	struct appraised_slot *slot;
	size_t nr_slots;
	struct appraised_where *where; /* by gpa */
	size_t nr_where;
	uint64_t epoch; /* changes with any page of a module that does */
	struct appraised_module *module;
	size_t nr_modules;
};

/** appraise_row - does the row's patch count as active? One that was interrupted explains nothing
 */
bool appraise_row(const struct session *s, const struct jrow *row);

/** appraise_patches - adds area "patches", if there are any: what active patches wrote. @detail:
 * has "areas" and "unexplained" */
int appraise_patches(struct session *s, struct att_appraisal *ret, json_t *detail,
		     struct xerr *err) XO_MUST_CHECK;

/** appraise_pages - executable ones of all address spaces. @detail: gets "unapproved_pages" and
 *  "listed_pages" */
int appraise_pages(struct session *s, const struct appraise_guard *g, struct att_appraisal *ret,
		   json_t *detail, struct xerr *err) XO_MUST_CHECK;

/** appraise_golden - take the guard's copies that are others than those taken last */
int appraise_golden(struct appraiser *a, const struct appraise_guard *g,
		    struct xerr *err) XO_MUST_CHECK;

/** appraise_forget - what was remembered under a guard */
void appraise_forget(struct appraiser *a);

/** appraise_recall - what was found of the module, if its pages are as they were then; or NULL */
const struct gate_verdict *appraise_recall(const struct appraiser *a,
					   const struct appraise_guard *g,
					   const struct lens_module *m);

/** appraise_remember - for appraise_recall. When out of memory it is not */
void appraise_remember(struct appraiser *a, const struct lens_module *m,
		       const struct gate_verdict *v);

#endif
