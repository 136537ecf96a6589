/* SPDX-License-Identifier: Apache-2.0 */
/* What there is to protect: pages that the kernel itself mapped read-only, and where they are. */
#ifndef EXOPATCH_LENS_AREAS_H
#define EXOPATCH_LENS_AREAS_H

#include "base/buf.h"
#include "vmm-agent/lens/findings.h"
#include "vmm-agent/lens/guard_types.h"
#include "vmm-agent/lens/modules.h"

/** struct gload_part - what a module's load says that it has; kind 0: nothing */
struct gload_part {
	enum lens_area_kind kind;
	uint64_t start, stop;
};

#define GLOAD_PARTS 4
#define GLOAD_INIT  3 /* the part that is only there while it starts */

/**
 * struct gload - one load of a module as it was when it was first seen. What its struct module says
 * later can only be a lie: the loader fills it before it is listed
 */
struct gload {
	uint64_t addr, node; /* node: of its directory in sysfs, 0: not there yet */
	char name[56];
	bool live;    /* it was seen to have started */
	bool changed; /* it says something else by now */
	bool other;   /* than the lens before knew, from the first look on */
	struct gload_part part[GLOAD_PARTS];
};

/** struct greal_mode - where CPUs start in real mode: code below 1 MiB, mapped read-only */
struct greal_mode {
	bool known;
	uint64_t start, bytes, gpa;
};

/** greal_mode_find - as the kernel's header says now. Return: whether it makes sense */
bool greal_mode_find(struct greal_mode *ret, const struct gkernel *k,
		     const struct gguard_types *t) XO_MUST_CHECK;

/** struct gareas - zero-initialise, gareas_free it; by ascending guest-physical address */
struct gareas {
	size_t nr, nr_left_out, nr_kernel, nr_kernel_left_out;
	struct lens_area *area;
	struct lens_area *left_out;
	/* Those of the kernel image: found once, they stay. */
	struct lens_area *kernel, *kernel_left_out;
	struct greal_mode real; /* by the lens before, or as the first look found it */
	size_t nr_loads;
	struct gload *load; /* of the modules that are listed */
};

/**
 * gareas_load - find them; those of modules anew, where @ret has some already
 * Return: 0, -XO_ELIMIT, -ENOMEM, -XO_EKALLSYMS; @ret is replaced on success
 */
int gareas_load(struct gareas *ret, const struct gkernel *k, const struct gguard_types *t,
		const struct gmodules *m, struct xerr *err) XO_MUST_CHECK;

/** gareas_seed - one area, hostile, that was found by another lens; before gareas_load. Return: 0,
 *  -XO_EMALFORMED, -XO_ELIMIT, -ENOMEM */
int gareas_seed(struct gareas *a, const struct gkernel *k,
		const struct lens_area *one) XO_MUST_CHECK;

/** gareas_at - the area that has @gpa, or NULL */
const struct lens_area *gareas_at(const struct gareas *a, uint64_t gpa);

/** gareas_at_gva - the area that is mapped at @gva, or NULL */
const struct lens_area *gareas_at_gva(const struct gareas *a, uint64_t gva);

/** gareas_report - add to @ret the modules that say other things of themselves than they did */
void gareas_report(const struct gareas *a, struct gfound *ret);

/** gareas_is_of - whether a module's area is @m's, as far as its name tells */
bool gareas_is_of(const struct lens_area *a, const struct gmodule *m);

void gareas_free(struct gareas *a);

#endif
