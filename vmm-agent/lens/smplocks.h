/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lock prefixes. A kernel that began with one processor has others in their
 * place, and puts them in when a second one comes: alternatives_enable_smp(),
 * arch/x86/kernel/alternative.c. One byte at each place, 0x3e to 0xf0.
 */
#ifndef EXOPATCH_LENS_SMPLOCKS_H
#define EXOPATCH_LENS_SMPLOCKS_H

#include "vmm-agent/lens/kernel.h"

struct gwrite;

/** struct gsmplocks - places in vmlinux; zero-initialise, gsmplocks_free it */
struct gsmplocks {
	bool loaded;
	size_t nr;
	uint64_t *at; /* ascending */
};

/**
 * gsmplocks_load - read the list, the first time only: it is in memory that the kernel may write
 * Nothing is listed in a kernel that has its lock prefixes. Return: 0, -ENOMEM
 */
int gsmplocks_load(struct gsmplocks *l, const struct gkernel *k) XO_MUST_CHECK;

/** gsmplocks_fit - whether the byte at @off of @w is such a prefix that comes back */
bool gsmplocks_fit(const struct gwrite *w, size_t off);

void gsmplocks_free(struct gsmplocks *l);

#endif
