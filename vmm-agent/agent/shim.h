/* SPDX-License-Identifier: Apache-2.0 */
/* The shim's patch table: what the tenant sees in /sys/kernel/exopatch. */
#ifndef EXOPATCH_AGENT_SHIM_H
#define EXOPATCH_AGENT_SHIM_H

#include "vmm-agent/agent/session.h"

/**
 * shim_add_records - enter the row's patch into the loaded shim's table, and keep the module from
 * being unloaded
 * @why: a full or lying table
 */
int shim_add_records(struct session *s, struct jrow *row, struct refusal *why,
		     struct xerr *err) XO_MUST_CHECK;

#endif
