/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two processes that keep each other alive. The supervisor holds copies of what
 * must not be lost and starts the guard; the guard starts another supervisor.
 * docs/guard.md, "Processes", has who does what when which dies.
 */
#ifndef EXOPATCH_AGENT_SUPERVISE_H
#define EXOPATCH_AGENT_SUPERVISE_H

#include "vmm-agent/agent/agent.h"
#include "vmm-agent/agent/kept.h"

#define SUPERVISE_RAPID_NS   UINT64_C(10000000000) /* who lives less died rapidly */
#define SUPERVISE_CRASH_LOOP 5			   /* so many rapid deaths in a row are one */

/** enum link_fd - what the supervisor holds a copy of */
enum link_fd {
	LINK_UFFD,
	LINK_GOLDEN,
	LINK_MONITOR, /* both sockets: the monitor does not notice that its guard died */
	LINK_MONITOR_EVENTS,
	LINK_CONTROL,
	LINK_LOCK,
	LINK_QMP, /* what QEMU says meanwhile waits there */
	LINK_NR
};

/** struct link - the guard's end of it; owned by supervise() */
struct link {
	const struct agent_guard_opts *opts;
	struct guard_kept *kept;
	int fd[LINK_NR]; /* the guard's copies of what the supervisor holds, or -1 */
	int kept_fd;
	int sock;    /* -1: the supervisor died */
	pid_t child; /* a supervisor that this guard has started, or -1 */
	bool stop;   /* the supervisor said so */
	uint64_t retry_ns;
};

/**
 * supervise - run @guard in a process of its own, and run it again when that dies
 * @guard: *@ret_ended: whether this was the end, and its outcome is the operator's; otherwise the
 *         process ends and another follows. A copy of @link->fd is its to make
 * Return: the outcome of the last guard, with @why and @err; 0 if told to stop while there was none
 */
int supervise(const struct agent_guard_opts *o,
	      int (*guard)(const struct agent_guard_opts *o, struct link *link, bool *ret_ended,
			   struct refusal *why, struct xerr *err),
	      struct refusal *why, struct xerr *err) XO_MUST_CHECK;

/** link_give - have the supervisor hold a copy of @fd, or of nothing (-1) any more. When it
 *  returns, it does. Without a supervisor the next one will */
void link_give(struct link *l, enum link_fd which, int fd);

/** link_tend - @l->sock is readable: told to stop (*@ret_stop), or the supervisor died; without
 *  one, try to start another. *@ret_started: one was */
void link_tend(struct link *l, bool *ret_stop, bool *ret_started);

#endif
