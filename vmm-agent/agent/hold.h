/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hold of the guest, alike for KVM and TCG: the monitor stops KVM vCPU
 * threads by itself; for TCG, QEMU's gdb stub must be started on the monitor's
 * socket first, and that is the target's business.
 */
#ifndef EXOPATCH_AGENT_HOLD_H
#define EXOPATCH_AGENT_HOLD_H

#include "vmm-agent/agent/session.h"

/** hold_begin - hold every vCPU. On failure the guest is as it was. *@ret_start: when it began */
int hold_begin(struct session *s, uint64_t *ret_start_ns, struct xerr *err) XO_MUST_CHECK;

/**
 * hold_end - let the guest go, whatever happened since
 * @start_ns: from hold_begin
 * @times:    blackout as the monitor saw it (KVM), or from here (TCG: with QEMU's own stop)
 * Return: 0; on failure the guest runs all the same if it did before and can be reached
 */
int hold_end(struct session *s, uint64_t start_ns, struct mon_times *times,
	     struct xerr *err) XO_MUST_CHECK;

#endif
