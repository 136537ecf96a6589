/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Homes: where new code goes in a guest. Two providers, one shape: a run of
 * pages, each with the guest-virtual address at which the kernel can execute
 * it. The firmware window needs page-table entries made first; the shim's arena
 * is mapped already. docs/homes.md.
 */
#ifndef EXOPATCH_AGENT_HOME_H
#define EXOPATCH_AGENT_HOME_H

#include "vmm-agent/agent/session.h"

/* The PC's expansion-ROM and BIOS shadow range; 82441FX and Q35 PAM registers cover it. */
#define HOME_WINDOW_START UINT64_C(0xc0000)
#define HOME_WINDOW_END	  UINT64_C(0x100000)
#define HOME_MAX_PAGES	  64
#define HOME_ALIGN	  64 /* patches start at cache lines */

/** struct home_page - one page of a home */
struct home_page {
	struct gva gva;
	struct gpa gpa;
	struct gpa pte;	  /* 0 if it is mapped for good */
	uint64_t pte_new; /* what maps it */
};

/** struct home - zero-initialise, home_free */
struct home {
	const char *kind; /* "window" or "shim"; static */
	size_t nr_pages;
	struct home_page page[HOME_MAX_PAGES]; /* ascending gva */
	uint8_t *bytes;			       /* what the pages hold, nr_pages * XO_PAGE_SIZE */
	uint8_t fill;			       /* the value of a free byte */
	uint64_t free_bytes;
};

/**
 * home_survey - find one kind of home
 * @kind: AGENT_HOME_WINDOW or AGENT_HOME_SHIM
 * @why:  why there is none (XO_ENOHOME, XO_ESHIMABI); ret->nr_pages is 0 then
 */
int home_survey(struct session *s, enum agent_home kind, struct home *ret, struct refusal *why,
		struct xerr *err) XO_MUST_CHECK;

/**
 * home_find - find room
 * @size_bytes: of the code; @align_bytes: a power of two, at most a page
 * Return: 0, or -XO_EHOMEFULL with the reason added
 */
int home_find(const struct session *s, const struct home *h, uint64_t size_bytes,
	      uint64_t align_bytes, struct gva *ret, struct refusal *why) XO_MUST_CHECK;

/**
 * home_fill - add the J_MAP and J_CODE records that put @code at @at, and set the row's home
 * Return: 0 or -ENOMEM
 */
int home_fill(const struct home *h, struct gva at, struct span code,
	      struct jrow *row) XO_MUST_CHECK;

void home_free(struct home *h);

#define _cleanup_home_ XO_CLEANUP(home_free)

#endif
