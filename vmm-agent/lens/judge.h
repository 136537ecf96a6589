/* SPDX-License-Identifier: Apache-2.0 */
/* What a write to protected memory means, and whether the bytes may stay. */
#ifndef EXOPATCH_LENS_JUDGE_H
#define EXOPATCH_LENS_JUDGE_H

#include "vmm-agent/lens/areas.h"
#include "vmm-agent/lens/listed.h"
#include "vmm-agent/lens/moved.h"
#include "vmm-agent/lens/sites_module.h"
#include "vmm-agent/lens/smplocks.h"

/** struct gcopied - code that is copied, and places in it; addresses in the kernel */
struct gcopied {
	uint64_t start, end, op, call, jump; /* jump: 0, it has none */
};

/** struct gdetour - likewise: arch/x86/kernel/kprobes/opt.c */
struct gdetour {
	uint64_t start, clac, val, call, end, callback;
};

/** struct gjudge - zero-initialise, gjudge_free it */
struct gjudge {
	const struct gkernel *k;
	struct gguard_types t;
	struct gareas areas;
	struct gsites sites;
	struct gsmplocks smplocks;
	struct gmodules modules; /* as of the request that needed them last */
	struct gmoved moved;
	struct gmodtexts texts;
	bool explains;	   /* what is before is the vendor's, and nothing is learnt */
	bool knows_probes; /* from its own looking on, or from the lens before */
	size_t nr_probes;
	struct lens_probe *probe; /* those that stand */
	/* Addresses in the kernel; 0 if it has none. */
	uint64_t ftrace_caller[2], ftrace_func[4], ftrace_func_now, graph[2];
	uint64_t return0, return_thunk, return_thunk_now, static_return;
	bool call_thunks;
	struct gcopied tracer[2]; /* what ftrace makes trampolines from */
	struct gdetour detour;	  /* what kprobes make their detours from */
	size_t nr_gdt;
	uint64_t gdt[GKERNEL_MAX_CPUS], gdt_gva[GKERNEL_MAX_CPUS]; /* gdt: guest-physical */
};

/** gjudge_prepare - read all lists. On failure what was there stays. Return: 0, or as gareas_load,
 *  gsites_load, gguard_types_load */
int gjudge_prepare(struct gjudge *j, const struct gkernel *k, struct xerr *err) XO_MUST_CHECK;

/** gjudge_follow - areas and all that hangs on them, from @j->modules. Return: as gareas_load */
int gjudge_follow(struct gjudge *j, struct xerr *err) XO_MUST_CHECK;

/** gjudge_vet - of what ftrace lists, only what it would have made is its own */
void gjudge_vet(const struct gjudge *j, struct glisted *l);

/** gprobes_set - as lens_probes_set. Return: 0, -ENOMEM */
int gprobes_set(struct gjudge *j, const struct lens_probe *p, size_t nr,
		struct xerr *err) XO_MUST_CHECK;

/** gprobes_follow - believe the kernel's table, the first time; forget probes whose text is gone.
 *  Return: 0, -ENOMEM */
int gprobes_follow(struct gjudge *j, struct xerr *err) XO_MUST_CHECK;

/** gjudge - as lens_judge; gjudge_prepare was called */
int gjudge(struct gjudge *j, struct gpa gpa, const uint8_t *before, const uint8_t *after,
	   size_t len_bytes, struct lens_judgement *ret, struct xerr *err) XO_MUST_CHECK;

/** gjudge_gdt_mask - bits of a GDT page's byte at @off, now @byte, that CPU and kernel write */
uint8_t gjudge_gdt_mask(size_t off, uint8_t byte);

void gjudge_free(struct gjudge *j);

#endif
