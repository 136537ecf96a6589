/* SPDX-License-Identifier: Apache-2.0 */
/* Holds as somebody makes them who is told "try again" on a busy host, and does (patience.h). */
#ifndef EXOPATCH_TESTS_LIB_HOLDING_H
#define EXOPATCH_TESTS_LIB_HOLDING_H

#include "vmm-agent/monitor/guard.h"
#include "vmm-agent/monitor/hold.h"

/* hold_all, mon_..., mon_guard_..., until they return anything but -XO_EHOLD */
int patient_hold_all(struct hold *h, struct xerr *err) XO_MUST_CHECK;
int patient_hold(struct mon *m, struct xerr *err) XO_MUST_CHECK;
int patient_run(struct mon *m, struct mon_times *times, size_t *ret_bad,
		struct xerr *err) XO_MUST_CHECK;
int patient_open(struct mon *m, int dev_fd, struct mon_guard_fds *fds,
		 struct xerr *err) XO_MUST_CHECK;
int patient_protect(struct mon *m, const struct mon_range *r, size_t nr,
		    struct xerr *err) XO_MUST_CHECK;

/** patient_next - mon_guard_next, past notices that a vCPU did not stop and its write waits */
int patient_next(struct mon *m, int timeout_ms, struct mon_write_event *ret,
		 struct xerr *err) XO_MUST_CHECK;

#endif
