// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/guest_clock.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"

/* A thread that is another one's successor has waited less than that had. */
static uint64_t longest_wait(struct guest_clock *c, const uint64_t *waited_ns, size_t nr)
{
	uint64_t longest = 0;

	for (size_t i = 0; i < nr && i < MON_MAX_VCPUS; i++) {
		uint64_t now = waited_ns[i], before = c->waited_ns[i];

		if (now > before && now - before > longest)
			longest = now - before;
		c->waited_ns[i] = now;
	}
	return longest;
}

uint64_t guest_clock_advance(struct guest_clock *c, uint64_t wall_ns, const uint64_t *waited_ns,
			     size_t nr)
{
	uint64_t waited = longest_wait(c, waited_ns, nr);
	uint64_t gone = wall_ns - c->wall_ns;
	uint64_t least;

	if (gone > GUEST_CLOCK_STEP_NS)
		gone = GUEST_CLOCK_STEP_NS;
	least = gone / 10;
	gone = gone > waited ? gone - waited : 0;
	c->now_ns += gone > least ? gone : least;
	c->wall_ns = wall_ns;
	return c->now_ns;
}

/* Documentation/scheduler/sched-stats.rst: time on a processor, time waiting for one, turns */
uint64_t guest_clock_waited(pid_t pid, pid_t tid)
{
	_cleanup_fclose_ FILE *f = NULL;
	uint64_t waited = 0;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", (int)pid, (int)tid);
	f = fopen(path, "re");
	return f && fscanf(f, "%*u %" SCNu64, &waited) == 1 ? waited : 0;
}
