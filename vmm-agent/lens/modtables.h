/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of a module that its struct module leads to. */
#ifndef EXOPATCH_LENS_MODTABLES_H
#define EXOPATCH_LENS_MODTABLES_H

#include "vmm-agent/lens/modgate.h"
#include "vmm-agent/lens/modules.h"

/** struct gmodtables - where struct module has them; zero-initialise */
struct gmodtables {
	bool loaded;
	struct gmember at[LENS_MODULE_TABLES], nr[LENS_MODULE_TABLES];
};

/** gmodtables_load - once for a kernel. Return: 0, -XO_EBTF, -ENOMEM. What it lacks stays unknown
 */
int gmodtables_load(struct gmodtables *t, const struct gkernel *k, struct xerr *err) XO_MUST_CHECK;

/** gmodtables_read - of the module whose structure is at @addr. Return: 0, or as gspace_u64 */
int gmodtables_read(const struct gmodtables *t, const struct gkernel *k, uint64_t addr,
		    struct lens_module_span ret[LENS_MODULE_TABLES]) XO_MUST_CHECK;

#endif
