/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What runs in a guest, held against what its vendor ships: docs/appraisal.md.
 * An appraiser remembers what it has seen, so that the next time, where a guard
 * vouches for the rest, only what has changed is looked at.
 */
#ifndef EXOPATCH_AGENT_APPRAISE_H
#define EXOPATCH_AGENT_APPRAISE_H

#include "attest/attest.h"
#include "vmm-agent/agent/session.h"
#include "vmm-agent/agent/vendor.h"
#include "vmm-agent/lens/guard.h"
#include "vmm-agent/monitor/golden.h"

#define APPRAISE_MAX_FOUND 64

/** struct appraise_finding - an executable page, or something wrong, that stayed */
struct appraise_finding {
	struct lens_finding finding;
	bool approved; /* by the kernel's lists, and the guard's options */
};

/** struct appraise_guard - what the guard adds; NULL: there is none */
struct appraise_guard {
	enum att_guard mode;
	uint64_t violations;
	uint64_t registers, registers_changed;
	bool saw_all; /* its last audit had all address spaces: what follows is what it found */
	uint64_t exec_pages;
	const struct appraise_finding *finding;
	size_t nr_findings;
	const struct lens_area *area; /* what it protects, by gpa */
	size_t nr_areas;
	int golden_fd; /* what that holds */
	/* between pieces of work, each of some milliseconds: writers wait. Its failure ends the
	 * appraisal */
	int (*step)(void *arg, struct xerr *err);
	void *arg;
};

struct appraiser;

/** appraiser_new - @v becomes the appraiser's. NULL when out of memory: then it does not */
struct appraiser *appraiser_new(struct vendor *v);
void appraiser_free(struct appraiser *a);

/** appraiser_fits - whether it is for the kernel, and the boot of it, that the session has found */
bool appraiser_fits(const struct appraiser *a, const struct session *s);

/** struct appraise_stats - what it took */
struct appraise_stats {
	uint64_t text_ns, modules_ns;
	uint64_t pages, pages_judged; /* of text and read-only data */
};

/**
 * appraise_text - kernel text and read-only data
 * @s:    its journal is loaded, the lens' lists were read (lens_areas, lens_guard_prepare)
 * @ret:  areas are added
 * @detail: gets "areas", what explains how much, and "unexplained", where
 */
int appraise_text(struct appraiser *a, struct session *s, const struct appraise_guard *g,
		  struct att_appraisal *ret, json_t *detail, struct appraise_stats *stats,
		  struct xerr *err) XO_MUST_CHECK;

/** appraise_modules - modules on the kernel's list, against their files. @detail: gets "modules" */
int appraise_modules(struct appraiser *a, struct session *s, const struct appraise_guard *g,
		     struct att_appraisal *ret, json_t *detail, struct xerr *err) XO_MUST_CHECK;

/**
 * appraise - all of it
 * @ret: .nonce stays as it is
 * @ret_detail: what appraisal.json says
 */
int appraise(struct appraiser *a, struct session *s, const struct appraise_guard *g,
	     struct att_appraisal *ret, json_t **ret_detail, struct appraise_stats *stats,
	     struct xerr *err) XO_MUST_CHECK;

#endif
