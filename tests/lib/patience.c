// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/patience.h"

#include <time.h>

#include "base/util.h"

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

uint64_t patience_ns(void)
{
	return xo_now_ns() + PATIENCE_MS * NS_PER_MS;
}

bool patience_left(uint64_t until_ns)
{
	xo_sleep_ns(NS_PER_MS);
	return xo_now_ns() < until_ns;
}

bool patience_again(int rc, uint64_t until_ns, struct xerr *err)
{
	if (rc != -XO_EHOLD || !patience_left(until_ns))
		return false;
	*err = (struct xerr){0};
	return true;
}

uint64_t worked_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}
