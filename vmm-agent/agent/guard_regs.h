/* SPDX-License-Identifier: Apache-2.0 */
/* Registers that the kernel sets once, looked at while the guard is on: docs/guard.md, "Registers".
 */
#ifndef EXOPATCH_AGENT_GUARD_REGS_H
#define EXOPATCH_AGENT_GUARD_REGS_H

#include <jansson.h>

#include "vmm-agent/agent/pins.h"
#include "vmm-agent/lens/lens.h"

struct guard;

/** struct guard_regs - part of the guard's state; zero-initialise */
struct guard_regs {
	uint32_t have; /* of all vCPUs but the missed ones */
	bool lost;     /* the monitor that knew where they are is gone: guard_regs_again */
	bool denied;   /* MSRs, to the guest */
	bool by_qemu;  /* TCG, and QEMU has to be asked */
	bool vcpu_missed[MON_MAX_VCPUS];
	uint64_t looked_ns, msrs_ns, found_ns, again_ns, events_seen;
	struct pins_kernel kernel;
	struct pins pins;
	struct gpa idt;
	size_t nr_gdts;
	struct {
		struct gva gva; /* where the kernel writes it */
		struct gpa gpa;
	} gdt[MON_MAX_VCPUS];
	int broken; /* code of a lens that failed amid a look */
	struct {
		uint64_t looks, look_ns, findings, put_back;
	} count;
};

/** guard_regs_find - how they can be read; QEMU is asked */
int guard_regs_find(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_regs_pin - what they have to be from now on; the areas are known */
int guard_regs_pin(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/**
 * guard_regs_resume - go on with what the guard @before pinned; QEMU is not asked
 * @found: the monitor knows where they are; otherwise, and where nothing was pinned yet, they are
 *	   looked at again when guard_regs_check has found them, which asks QEMU
 */
int guard_regs_resume(struct guard *g, const struct guard_regs *before, bool found,
		      struct xerr *err) XO_MUST_CHECK;

/** guard_regs_release - before the guard closes, and before another kernel starts: the guest may
 *  write all MSRs again. Return: 0; -EAGAIN: a write waits for its verdict; -XO_EHOLD, ... */
int guard_regs_release(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_regs_check - look at them if it is time, report what differs */
int guard_regs_check(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_regs_json - which are pinned, which are not watched, how often, what a look takes */
json_t *guard_regs_json(const struct guard *g);

#endif
