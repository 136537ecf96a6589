/* SPDX-License-Identifier: Apache-2.0 */
/* What the appraisal's files share. */
#ifndef EXOPATCH_AGENT_APPRAISE_CORE_H
#define EXOPATCH_AGENT_APPRAISE_CORE_H

#include "vmm-agent/agent/appraise.h"

#define APPRAISE_CACHE 256 /* pages of kernel data */

#define APPRAISE_NOWHERE UINT64_MAX

/** struct appraised_page - of text or read-only data */
struct appraised_page {
	uint64_t gpa; /* APPRAISE_NOWHERE: not mapped */
	bool vouched; /* the guard protects it, and .have is what it protects */
	bool dirty;   /* to be judged */
	struct kernref_page found;
};

struct appraised_area {
	uint8_t *have; /* the guest's bytes */
	size_t nr_pages;
	struct appraised_page *page;
	uint64_t sum[KERNREF_WHYS];
};

struct appraiser {
	struct vendor *vendor;
	struct gva base; /* of the boot that is remembered */
	uint64_t boot_token;
	bool mapped; /* .area[].page[].gpa is known */
	struct appraised_area area[KERNREF_AREAS];
	struct ram *ram;
	/* by slot of the golden copies: which page it is, and which version of it was taken */
	struct appraised_slot {
		uint64_t version, gpa;
		struct appraised_page *page; /* NULL: none of ours */
		uint8_t *have;
	} * slot;
	size_t nr_slots;
	struct {
		uint64_t tag; /* page number + 1 */
		uint8_t bytes[XO_PAGE_SIZE];
	} * cache;
};

#endif
