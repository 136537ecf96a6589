/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A clock that goes on while the guest does: what a guest's kernel has to get
 * done in so many milliseconds takes longer while its vCPUs wait for a processor
 * of the host, or are held.
 */
#ifndef EXOPATCH_AGENT_GUEST_CLOCK_H
#define EXOPATCH_AGENT_GUEST_CLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "vmm-agent/monitor/monitor.h"

/* Between two looks at it at most so much goes by: a longer time is one in which nobody looked. */
#define GUEST_CLOCK_STEP_NS UINT64_C(200000000)

/** struct guest_clock - zero-initialise */
struct guest_clock {
	uint64_t now_ns;
	uint64_t wall_ns; /* at the last look */
	uint64_t waited_ns[MON_MAX_VCPUS];
};

/**
 * guest_clock_advance - look at it
 * @wall_ns:   xo_now_ns()
 * @waited_ns: how long each of @nr vCPUs, at most MON_MAX_VCPUS, has waited for a processor so far
 * What the one that waited most since the last look has waited does not count: it may be the one
 * that has something to get done. A guest can have its own vCPUs wait for one another: a tenth of
 * the time goes by in any case.
 * Return: what it shows
 */
uint64_t guest_clock_advance(struct guest_clock *c, uint64_t wall_ns, const uint64_t *waited_ns,
			     size_t nr);

/** guest_clock_waited - how long thread @tid of process @pid has waited for a processor, in
 *  nanoseconds: 0 where the host's kernel does not tell */
uint64_t guest_clock_waited(pid_t pid, pid_t tid);

#endif
