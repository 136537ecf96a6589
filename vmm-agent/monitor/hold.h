/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holding a process's vCPU threads for microseconds. Never stays attached
 * between holds: a traced thread stops at every signal, and QEMU kicks KVM
 * vCPUs by signal.
 */
#ifndef EXOPATCH_MONITOR_HOLD_H
#define EXOPATCH_MONITOR_HOLD_H

#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/user.h>

#include "vmm-agent/monitor/monitor.h"

enum thread_state {
	THREAD_FREE,	/* not ours */
	THREAD_SEIZED,	/* attached, running */
	THREAD_ASKED,	/* interrupted, not stopped yet */
	THREAD_HELD,	/* stopped */
	THREAD_LEAVING, /* to be let go as soon as it stops, or reaped if it ends */
};

/* Whether a thread is inside the code of stub.c, which puts its registers back by itself. */
enum thread_stub {
	STUB_NONE,
	STUB_RUNS,
	STUB_DONE, /* it stands at the end of it */
};

/** struct thread - one vCPU thread */
struct thread {
	pid_t tid;
	enum thread_state state;
	int status_fd;	    /* /proc/PID/task/TID/status */
	int where_fd;	    /* .../syscall, or -1 */
	int signal;	    /* it is stopped on this signal, which DETACH passes on; or 0 */
	uint64_t swallowed; /* bit N - 1: signal N, held back by a visit, sent again at the end */
	bool injected;	    /* its registers are not its own: @own are, and have to be put back */
	enum thread_stub stub; /* likewise @own, if not STUB_NONE, but nobody has to */
	struct user_regs_struct own;
};

/** struct hold - all the vCPU threads of one process */
struct hold {
	pid_t pid;
	size_t nr;
	struct thread thread[MON_MAX_VCPUS];
	bool held;
	uint64_t asked_ns, held_ns; /* first interrupt, all held */
};

/**
 * hold_open - learn the threads of @pid, check that nobody traces them
 * @h: zeroed; hold_close it, on error too
 * Return: 0; -XO_EDEBUGGER: @h is as good as with 0, once that one has gone; -XO_ETARGETGONE
 */
int hold_open(struct hold *h, pid_t pid, const pid_t *tid, size_t nr,
	      struct xerr *err) XO_MUST_CHECK;
void hold_close(struct hold *h);

/** hold_init - once per process: the timer signal that bounds every wait. Return: 0 or -errno */
int hold_init(void) XO_MUST_CHECK;

/**
 * hold_all - hold every thread of @h
 * Return: 0; on any error nobody is held, or will be let go by hold_settle:
 * -XO_EHOLD (not in time), -XO_ETARGETGONE, -XO_EDEBUGGER, -XO_EPRIVILEGE
 */
int hold_all(struct hold *h, struct xerr *err) XO_MUST_CHECK;

/*
 * The same in parts, for when some threads may be unable to stop yet: hold_ask, then hold_collect
 * and hold_pause until those who can have stopped, then hold_seal or hold_abort.
 */

/** hold_ask - interrupt every thread of @h but @but (or 0), which is only attached; wait for none.
 *  Return: as hold_all; nobody is held then */
int hold_ask(struct hold *h, pid_t but, struct xerr *err) XO_MUST_CHECK;

/** hold_ask_one - interrupt one that was left out. Return: likewise */
int hold_ask_one(struct hold *h, struct thread *t, struct xerr *err) XO_MUST_CHECK;

/** hold_collect - take note of who has stopped. Return: 0, -XO_ETARGETGONE */
int hold_collect(struct hold *h, struct xerr *err) XO_MUST_CHECK;

/** hold_stopped - note that @t has stopped, when somebody else has seen @status */
void hold_stopped(struct thread *t, int status);

/** hold_pause - sleep until a traced thread stops, @fd (or -1) is readable, or @until_ns */
void hold_pause(int fd, uint64_t until_ns);

/** hold_seal - this is a hold now; threads still asked are let go by hold_settle after it */
void hold_seal(struct hold *h);

/** hold_abort - let everybody go, the rest by hold_settle */
void hold_abort(struct hold *h);

/** hold_release - let everybody go; @times may be NULL. Return: 0, -XO_ETARGETGONE */
int hold_release(struct hold *h, struct mon_times *times);

/** hold_settle - look after threads that could not be let go at once. Return: how many are left */
size_t hold_settle(struct hold *h);

/** hold_wait - wait until @t stops, at most until @deadline_ns; for inject.c.
 *  Return: the wait status, -XO_ETARGETGONE, -XO_ETIMEOUT, or -errno */
int hold_wait(struct thread *t, uint64_t deadline_ns) XO_MUST_CHECK;

/** hold_regs - the registers of held @t, wherever it stands. Return: 0, or -1 with errno set */
int hold_regs(struct thread *t, struct user_regs_struct *ret) XO_MUST_CHECK;

/** hold_sleeps - whether @t sleeps inside the kernel. False also if that cannot be told */
bool hold_sleeps(const struct thread *t);

/** hold_any - a held thread that can make a call for us (inject.h), or NULL */
struct thread *hold_any(struct hold *h);

/** hold_resume - let held @t run to its next stop, holding back a signal that it is stopped on.
 *  Return: 0, -XO_ETARGETGONE, or -errno */
int hold_resume(struct thread *t, enum __ptrace_request how) XO_MUST_CHECK;

/** hold_timer - tick from @after_ms on, so that waits wake up to look at the clock; 0: stop it */
void hold_timer(unsigned int after_ms);

#endif
