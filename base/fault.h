/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbered fault points: named places where a test can make a process die, fail
 * or pause. Armed by the environment variable EXOPATCH_FAULT, a comma-separated
 * list of NAME=ACTION with ACTION one of
 *   kill        raise SIGKILL
 *   fail        fault_point() returns -XO_EFAULTPOINT
 *   pause:MS    sleep that many milliseconds
 *   meet:FILE   create FILE and go on when it is gone, or after a minute: not
 *               in the monitor or the lens, whose sandbox opens no files
 * All points stand in fault.def, so that tests can go through them all.
 */
#ifndef EXOPATCH_BASE_FAULT_H
#define EXOPATCH_BASE_FAULT_H

#include "base/cleanup.h"

enum fault {
#define XO_FAULT(name, text) FAULT_##name,
#include "base/fault.def"
#undef XO_FAULT
	FAULT_COUNT,
};

/** fault_name - the name of point @f in EXOPATCH_FAULT, or NULL past the last */
const char *fault_name(enum fault f);

/** fault_point - act if @f is armed. Return: 0, or -XO_EFAULTPOINT where told to fail */
int fault_point(enum fault f) XO_MUST_CHECK;

/** fault_pass - as fault_point where the code cannot fail: all but "fail" act */
void fault_pass(enum fault f);

#endif
