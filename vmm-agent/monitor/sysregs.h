/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers that a kernel sets once for each processor, client side: read
 * again and again while the guard is open. docs/guard.md, "Registers".
 */
#ifndef EXOPATCH_MONITOR_SYSREGS_H
#define EXOPATCH_MONITOR_SYSREGS_H

#include "vmm-agent/monitor/guard.h"

enum mon_reg {
	MON_REG_CR0,
	MON_REG_CR4,
	MON_REG_EFER,
	MON_REG_TR_BASE,
	MON_REG_IDT_BASE,
	MON_REG_GDT_BASE,
	MON_REG_GDT_LIMIT,
	MON_REG_STAR,
	MON_REG_LSTAR,
	MON_REG_CSTAR,
	MON_REG_SYSCALL_MASK,
	MON_REG_SYSENTER_CS,
	MON_REG_SYSENTER_ESP,
	MON_REG_SYSENTER_EIP,
	MON_REG_END,
};

#define MON_REG_BIT(r)	(1u << (r))
#define MON_REG_ALL	(MON_REG_BIT(MON_REG_END) - 1)
#define MON_REG_SYSCALL (MON_REG_ALL & ~(MON_REG_BIT(MON_REG_STAR) - 1))

/* What makes a vCPU's registers not its kernel's. */
#define MON_VCPU_SMM	1u /* system management mode */
#define MON_VCPU_NESTED 2u /* it runs a guest of its own; hosts before Linux 6.10 do not tell */

/** struct mon_sysregs - of one vCPU; hostile values */
struct mon_sysregs {
	uint32_t have;	/* MON_REG_BIT of each that is known */
	uint32_t state; /* MON_VCPU_... */
	uint64_t v[MON_REG_END];
};

/**
 * mon_sysregs_find - find out how they can be read
 * @known: of each vCPU. TCG: what it holds now, by which its state is found in QEMU's memory; a
 *         vCPU without a GDT base is left out. What was found by other values in an earlier call
 *         stays found. KVM: not looked at
 * @ret_have: what mon_sysregs will tell from now on; 0: nothing
 * Return: 0, -XO_ETARGETGONE, ...
 */
int mon_sysregs_find(struct mon *m, const struct mon_sysregs *known, uint32_t *ret_have,
		     struct xerr *err) XO_MUST_CHECK;

/**
 * mon_sysregs - registers of each vCPU now. TCG: read from QEMU's memory while it runs. KVM: under
 * a hold of its own
 * @msrs: KVM: MSRs too, which takes a call in each thread
 * @ret:  nr_vcpus entries; have is 0 for a vCPU that cannot be read just now
 * Return: 0, -EAGAIN (KVM: a write waits for its verdict), -XO_EHOLD, -XO_ETARGETGONE, ...
 */
int mon_sysregs(struct mon *m, bool msrs, struct mon_sysregs *ret, struct xerr *err) XO_MUST_CHECK;

/**
 * mon_sysregs_set - KVM: put registers of vCPU @vcpu right, under a hold
 * @to: values of those in have; of CR0, CR4 and EFER the bits to set, the others stay
 * Return: 0; -EPERM if they may be those of SMM or of a guest that the vCPU runs: nothing is set;
 * -EAGAIN, -XO_EHOLD, -XO_ETARGETGONE, ...
 */
int mon_sysregs_set(struct mon *m, size_t vcpu, const struct mon_sysregs *to,
		    struct xerr *err) XO_MUST_CHECK;

/**
 * mon_deny_msrs - KVM: let the guest no longer write MON_REG_SYSCALL; or let it again
 * Takes QEMU's own MSR filter (7.2 to 9.0: reads of MSR_CORE_THREAD_COUNT) away for that time.
 * What is denied stays denied when the monitor ends.
 */
int mon_deny_msrs(struct mon *m, bool deny, struct xerr *err) XO_MUST_CHECK;

#endif
