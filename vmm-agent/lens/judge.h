/* SPDX-License-Identifier: Apache-2.0 */
/* What a write to protected memory means, and whether the bytes may stay. */
#ifndef EXOPATCH_LENS_JUDGE_H
#define EXOPATCH_LENS_JUDGE_H

#include "vmm-agent/lens/areas.h"
#include "vmm-agent/lens/listed.h"
#include "vmm-agent/lens/moved.h"
#include "vmm-agent/lens/sites.h"

#define GJUDGE_MAX_KEPT 4096
#define GPROBE_BYTES	5 /* a breakpoint, or the jump of an optimised kprobe */

/** struct gkept - what stood where a kprobe was put since the guard looks */
struct gkept {
	uint64_t addr;
	uint8_t byte[GPROBE_BYTES];
};

/** struct gjudge - zero-initialise, gjudge_free it */
struct gjudge {
	const struct gkernel *k;
	struct gguard_types t;
	struct gareas areas;
	struct gsites sites;
	struct gmodules modules; /* as of the request that needed them last */
	struct gmoved moved;
	bool learn; /* remember what stood where a kprobe is put */
	size_t nr_kept;
	struct gkept *kept;
	/* Addresses in the kernel; 0 if it has none. */
	uint64_t ftrace_caller[2], ftrace_func[4], ftrace_func_now, graph[2];
	uint64_t return0, return_thunk, return_thunk_now, static_return;
	bool call_thunks;
	size_t nr_gdt;
	uint64_t gdt[GKERNEL_MAX_CPUS]; /* guest-physical */
};

/** gjudge_prepare - read all lists. On failure what was there stays. Return: 0, or as gareas_load,
 *  gsites_load, gguard_types_load */
int gjudge_prepare(struct gjudge *j, const struct gkernel *k, struct xerr *err) XO_MUST_CHECK;

/** gjudge - as lens_judge; gjudge_prepare was called */
int gjudge(struct gjudge *j, struct gpa gpa, const uint8_t *before, const uint8_t *after,
	   size_t len_bytes, struct lens_judgement *ret, struct xerr *err) XO_MUST_CHECK;

/** gjudge_gdt_mask - bits of a GDT page's byte at @off, now @byte, that CPU and kernel write */
uint8_t gjudge_gdt_mask(size_t off, uint8_t byte);

void gjudge_free(struct gjudge *j);

#endif
