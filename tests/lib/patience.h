/* SPDX-License-Identifier: Apache-2.0 */
/* How long tests wait for what has to come: by the clock, and longer than any host is busy. */
#ifndef EXOPATCH_TESTS_LIB_PATIENCE_H
#define EXOPATCH_TESTS_LIB_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define PATIENCE_MS 60000

/** patience_ns - when the patience that begins now is over, as xo_now_ns tells the time */
uint64_t patience_ns(void);

/** patience_left - sleep a millisecond. Return: whether it is before @until_ns still */
bool patience_left(uint64_t until_ns);

/** patience_again - whether to ask once more, after a millisecond and with @err cleared: a vCPU did
 *  not stop in time (-XO_EHOLD), as may be where others use the processors, and there is time */
bool patience_again(int rc, uint64_t until_ns, struct xerr *err);

/** worked_ns - processor time of this process: what others do on the host is no concern of a bound
 *  on work */
uint64_t worked_ns(void);

#endif
