/* SPDX-License-Identifier: Apache-2.0 */
/* Holds as somebody makes them who is told "try again" on a busy host, and does (patience.h). */
#ifndef EXOPATCH_TESTS_LIB_HOLDING_H
#define EXOPATCH_TESTS_LIB_HOLDING_H

#include "vmm-agent/monitor/hold.h"

/* hold_all, mon_hold and mon_run, until they return anything but -XO_EHOLD */
int patient_hold_all(struct hold *h, struct xerr *err) XO_MUST_CHECK;
int patient_hold(struct mon *m, struct xerr *err) XO_MUST_CHECK;
int patient_run(struct mon *m, struct mon_times *times, size_t *ret_bad,
		struct xerr *err) XO_MUST_CHECK;

#endif
