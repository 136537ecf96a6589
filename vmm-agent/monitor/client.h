/* SPDX-License-Identifier: Apache-2.0 */
/* What client.c and guard_client.c share. */
#ifndef EXOPATCH_MONITOR_CLIENT_H
#define EXOPATCH_MONITOR_CLIENT_H

#include "base/msg.h"
#include "vmm-agent/monitor/monitor.h"

struct mon {
	pid_t pid;
	int fd;	    /* -1 once the monitor is known to be gone */
	int events; /* of the guard, or -1 */
	size_t nr_vcpus;
};

/**
 * mon_call - one request and its answer
 * @ret: @want bytes, which the answer must have; NULL: not wanted
 * @ret_bad: the record an error is about; may be NULL
 * Return: the answer's status, or -XO_EPEERDIED, -XO_EPROTO, -XO_ETIMEOUT
 */
int mon_call(struct mon *m, uint32_t op, struct span body, const int *fds, size_t nr_fds, void *ret,
	     size_t want, size_t *ret_bad, struct xerr *err) XO_MUST_CHECK;

/** mon_lost - the monitor is of no more use, because of @rc. Return: its negative code */
int mon_lost(struct mon *m, int rc, struct xerr *err);

/** mon_take_error - text and record of a failed answer. Return: its negative code */
int mon_take_error(const struct msg *a, size_t *ret_bad, struct xerr *err);

#endif
