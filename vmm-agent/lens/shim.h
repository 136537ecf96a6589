/* SPDX-License-Identifier: Apache-2.0 */
/* The shim module's arena, from its ABI page: docs/formats/shim-abi.md. Nothing in it is trusted.
 */
#ifndef EXOPATCH_LENS_SHIM_H
#define EXOPATCH_LENS_SHIM_H

#include "vmm-agent/lens/modules.h"

#define GSHIM_MODULE "exopatch_shim"

/** gshim_find - as lens_shim */
int gshim_find(const struct gkernel *k, const struct gmodules *mods, struct lens_shim *ret,
	       struct xerr *err) XO_MUST_CHECK;

#endif
