/* SPDX-License-Identifier: Apache-2.0 */
/* Loaded modules and their symbols. */
#ifndef EXOPATCH_LENS_MODULES_H
#define EXOPATCH_LENS_MODULES_H

#include "vmm-agent/lens/kernel.h"

#define GMODULE_MAX	4096
#define GMODULE_PARTS	7	   /* MOD_MEM_NUM_TYPES, include/linux/module.h; two before 6.4 */
#define GMODULE_SYMS	(1u << 16) /* of one module */
#define GMODULE_STRINGS (8u << 20)

/** struct gmodule - one module */
struct gmodule {
	uint64_t addr; /* of its struct module */
	char name[56]; /* NUL-terminated, otherwise as the guest has it */
	struct {
		uint64_t base, bytes;
	} part[GMODULE_PARTS];
};

/** struct gmodules - all of them */
struct gmodules {
	size_t nr;
	struct gmodule *module;
};

/** gmodules_load - Return: 0, -XO_EMODLIST (loops, leaves memory, too many), -ENOMEM */
int gmodules_load(struct gmodules *ret, const struct gkernel *k, struct xerr *err) XO_MUST_CHECK;

/** gmodules_at - the module that has @addr in one of its parts, or NULL */
const struct gmodule *gmodules_at(const struct gmodules *m, uint64_t addr);

/** gmodules_named - the module called so, or NULL */
const struct gmodule *gmodules_named(const struct gmodules *m, const char *name);

/** gmodule_syms - its symbol table, as of now; ksyms_free it. Return: 0, -XO_EMODLIST, -ENOMEM */
int gmodule_syms(struct ksyms *ret, const struct gmodule *m, const struct gkernel *k,
		 struct xerr *err) XO_MUST_CHECK;

void gmodules_free(struct gmodules *m);

#endif
