/* SPDX-License-Identifier: Apache-2.0 */
/* Finding the kernel under KASLR from vCPU control registers. */
#ifndef EXOPATCH_LENS_FIND_H
#define EXOPATCH_LENS_FIND_H

#include "vmm-agent/lens/kernel.h"

/**
 * gfind_kernel - try the page tables of every vCPU until one leads to a Linux kernel
 * @space: its mem is set; root and levels are filled in
 * @vcpu:  @nr hints
 * Return: 0, -XO_ENOKERNEL with the reason, -XO_EKALLSYMS, -XO_EBTF, ...
 */
int gfind_kernel(struct gkernel *ret, struct gspace *space, const struct lens_vcpu_hint *vcpu,
		 size_t nr, struct xerr *err) XO_MUST_CHECK;

#endif
