/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM's MSR filter: writes to the system-call MSRs end in a general-protection
 * exception in the guest. There is one filter a VM and it cannot be read, only
 * set as a whole; QEMU, from 7.2 on, has one of its own, for reads of
 * MSR_CORE_THREAD_COUNT, has KVM report what it denies, and aborts when told of
 * any other MSR. So while ours is on, QEMU's is off, and that MSR is unknown.
 */
#ifndef EXOPATCH_MONITOR_MSRFILTER_H
#define EXOPATCH_MONITOR_MSRFILTER_H

#include <linux/kvm.h>

#include "vmm-agent/monitor/guard_core.h"

/** struct msrfilter - what KVM_X86_SET_MSR_FILTER is given, as it lies in QEMU's memory */
struct msrfilter {
	struct kvm_msr_filter filter;
	uint64_t denied; /* a bitmap of zeros: none of the range is allowed */
};

/** msrfilter_make - @deny: ours, else QEMU's; @at: where it will lie */
void msrfilter_make(struct msrfilter *ret, struct hva at, bool deny);

/** msrfilter_set - as mon_deny_msrs */
int msrfilter_set(struct guard *g, bool deny, struct xerr *err) XO_MUST_CHECK;

#endif
