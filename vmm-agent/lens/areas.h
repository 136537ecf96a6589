/* SPDX-License-Identifier: Apache-2.0 */
/* What there is to protect: pages that the kernel itself mapped read-only, and where they are. */
#ifndef EXOPATCH_LENS_AREAS_H
#define EXOPATCH_LENS_AREAS_H

#include "base/buf.h"
#include "vmm-agent/lens/guard.h"
#include "vmm-agent/lens/guard_types.h"
#include "vmm-agent/lens/modules.h"

/** struct gareas - zero-initialise, gareas_free it; by ascending guest-physical address */
struct gareas {
	size_t nr, nr_left_out, nr_kernel, nr_kernel_left_out;
	struct lens_area *area;
	struct lens_area *left_out;
	/* Those of the kernel image: found once, they stay. */
	struct lens_area *kernel, *kernel_left_out;
	/* Those of it that a lens before this one found (gareas_were). */
	size_t nr_were;
	struct lens_area *were;
};

/**
 * gareas_were - what was found before; @ret was not loaded yet. Several calls add up
 * Return: 0, -XO_ELIMIT, -ENOMEM
 */
int gareas_were(struct gareas *ret, const struct lens_area *a, size_t nr,
		struct xerr *err) XO_MUST_CHECK;

/**
 * gareas_load - find them; those of modules anew, where @ret has some already
 * Return: 0, -XO_ELIMIT, -ENOMEM, -XO_EKALLSYMS; @ret is replaced on success
 */
int gareas_load(struct gareas *ret, const struct gkernel *k, const struct gguard_types *t,
		const struct gmodules *m, struct xerr *err) XO_MUST_CHECK;

/** gareas_at - the area that has @gpa, or NULL */
const struct lens_area *gareas_at(const struct gareas *a, uint64_t gpa);

/** gareas_at_gva - the area that is mapped at @gva, or NULL */
const struct lens_area *gareas_at_gva(const struct gareas *a, uint64_t gva);

/** gareas_is_of - whether a module's area is @m's, as far as its name tells */
bool gareas_is_of(const struct lens_area *a, const struct gmodule *m);

void gareas_free(struct gareas *a);

#endif
