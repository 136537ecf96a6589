/* SPDX-License-Identifier: Apache-2.0 */
/* What the monitor gives up once it has its VM. */
#ifndef EXOPATCH_MONITOR_SANDBOX_H
#define EXOPATCH_MONITOR_SANDBOX_H

#include "base/err.h"

/** sandbox_enter - drop everything but tracing. Return: 0, or -errno with the step named */
int sandbox_enter(struct xerr *err) XO_MUST_CHECK;

#endif
