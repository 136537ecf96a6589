/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the registers of sysregs.h, inside the monitor. */
#ifndef EXOPATCH_MONITOR_SYSREGS_CORE_H
#define EXOPATCH_MONITOR_SYSREGS_CORE_H

#include "vmm-agent/monitor/cpustate.h"
#include "vmm-agent/monitor/guard_core.h"

/** struct sysregs - zero-initialise */
struct sysregs {
	bool synced;	      /* KVM can leave a vCPU's registers in its struct kvm_run */
	struct cpustate *tcg; /* owned; NULL under KVM */
};

/** sysregs_prepare - what needs files, before the sandbox. Return: 0 or -errno */
int sysregs_prepare(struct sysregs *s, const struct vm *vm) XO_MUST_CHECK;

/** sysregs_find, sysregs_read, sysregs_set - as their namesakes in sysregs.h */
int sysregs_find(struct sysregs *s, const struct guard *g, const struct mon_sysregs *known,
		 uint32_t *ret_have, struct xerr *err) XO_MUST_CHECK;
int sysregs_read(struct sysregs *s, struct guard *g, bool msrs, struct mon_sysregs *ret,
		 struct xerr *err) XO_MUST_CHECK;

int sysregs_set(struct sysregs *s, struct guard *g, size_t vcpu, const struct mon_sysregs *to,
		struct xerr *err) XO_MUST_CHECK;

void sysregs_free(struct sysregs *s);

#endif
