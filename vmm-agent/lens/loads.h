/* SPDX-License-Identifier: Apache-2.0 */
/* The loads of modules (struct gload), followed from one look to the next. */
#ifndef EXOPATCH_LENS_LOADS_H
#define EXOPATCH_LENS_LOADS_H

#include "vmm-agent/lens/areas.h"

/** gloads_follow - @a->load becomes what is listed now. Return: 0, -XO_EBTF, -ENOMEM */
int gloads_follow(struct gareas *a, const struct gkernel *k, const struct gguard_types *t,
		  const struct gmodules *m) XO_MUST_CHECK;

#endif
