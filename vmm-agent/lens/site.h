/* SPDX-License-Identifier: Apache-2.0 */
/* Where a detour fits into a function. */
#ifndef EXOPATCH_LENS_SITE_H
#define EXOPATCH_LENS_SITE_H

#include "vmm-agent/lens/kernel.h"

#define GSITE_MAX_FUNCTION (1u << 20)

/** gsite_choose - as lens_site */
int gsite_choose(const struct gkernel *k, uint64_t addr, uint64_t size_bytes,
		 const struct lens_avoid *avoid, size_t nr_avoid, struct lens_site *ret,
		 struct refusal *why, struct xerr *err) XO_MUST_CHECK;

#endif
