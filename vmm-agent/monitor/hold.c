// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/monitor/hold.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "base/util.h"

#define TICK_MS	    10
#define SEIZE_TRIES 2
#define NS_PER_MS   UINT64_C(1000000)

/* The tracer of a thread, or 0. */
static pid_t tracer_of(const struct thread *t)
{
	static const char key[] = "TracerPid:";
	char text[4096];
	ssize_t n = pread(t->status_fd, text, sizeof(text) - 1, 0);
	char *p;

	if (n <= 0)
		return 0;
	text[n] = '\0';
	p = strstr(text, key);
	return p ? (pid_t)strtol(p + sizeof(key) - 1, NULL, 10) : 0;
}

/* TCG may have all vCPUs take turns in one thread. */
static bool knows(const struct hold *h, pid_t tid)
{
	for (size_t i = 0; i < h->nr; i++)
		if (h->thread[i].tid == tid)
			return true;
	return false;
}

int hold_open(struct hold *h, pid_t pid, const pid_t *tid, size_t nr, struct xerr *err)
{
	pid_t tracer = 0;
	char path[64];

	h->pid = pid;
	for (size_t i = 0; i < nr; i++) {
		struct thread *t = &h->thread[h->nr];

		if (knows(h, tid[i]))
			continue;
		*t = (struct thread){.tid = tid[i]};
		(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", (int)pid,
			       (int)tid[i]);
		t->where_fd = open(path, O_RDONLY | O_CLOEXEC);
		(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/status", (int)pid,
			       (int)tid[i]);
		t->status_fd = open(path, O_RDONLY | O_CLOEXEC);
		h->nr++;
		if (t->status_fd < 0)
			return xerr_set(err, XO_ETARGETGONE, "QEMU (pid %d): no thread %d: %s",
					(int)pid, (int)tid[i], strerrordesc_np(errno));
		if (!tracer)
			tracer = tracer_of(t);
	}
	return tracer ? xerr_set(err, XO_EDEBUGGER,
				 "QEMU (pid %d): process %d traces it; end that first", (int)pid,
				 (int)tracer)
		      : 0;
}

void hold_close(struct hold *h)
{
	for (size_t i = 0; i < h->nr; i++) {
		xo_close_ptr(&h->thread[i].status_fd);
		xo_close_ptr(&h->thread[i].where_fd);
	}
	h->nr = 0;
}

static void on_signal(int sig)
{
	(void)sig;
}

int hold_init(void)
{
	struct sigaction sa = {.sa_handler = on_signal}; /* no SA_RESTART: waits must return */
	sigset_t child;

	sigemptyset(&sa.sa_mask);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	/* Let in by hold_pause alone, so that no stop is missed between a look and a sleep. */
	if (sigprocmask(SIG_BLOCK, &child, NULL) || sigaction(SIGCHLD, &sa, NULL))
		return -errno;
	return sigaction(SIGALRM, &sa, NULL) ? -errno : 0;
}

void hold_pause(int fd, uint64_t until_ns)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t now_ns = xo_now_ns();
	uint64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
	struct timespec ts = {.tv_sec = (time_t)(left_ns / 1000000000),
			      .tv_nsec = (long)(left_ns % 1000000000)};
	sigset_t none;

	sigemptyset(&none);
	(void)ppoll(&p, 1, &ts, &none);
}

/* Periodic, so that a tick just before a wait begins does not lose the wake-up. */
void hold_timer(unsigned int after_ms)
{
	struct itimerval it = {{0}, {0}};

	if (after_ms) {
		it.it_value.tv_sec = after_ms / 1000;
		it.it_value.tv_usec = (suseconds_t)(after_ms % 1000) * 1000;
		it.it_interval.tv_usec = TICK_MS * INT64_C(1000);
	}
	(void)setitimer(ITIMER_REAL, &it, NULL);
}

/* The signal to pass on for a stop, or 0: our interrupt, a group stop, and a system call stop have
 * none. */
static int stop_signal(int status)
{
	if (status >> 16 || WSTOPSIG(status) == (SIGTRAP | 0x80))
		return 0;
	return WSTOPSIG(status);
}

int hold_wait(struct thread *t, uint64_t deadline_ns)
{
	int status;

	for (;;) {
		pid_t p = waitpid(t->tid, &status, __WALL);

		if (p == t->tid && WIFSTOPPED(status))
			return status;
		if (p == t->tid || errno == ECHILD) {
			t->state = THREAD_FREE;
			return -XO_ETARGETGONE;
		}
		if (errno != EINTR)
			return -errno;
		if (xo_now_ns() >= deadline_ns)
			return -XO_ETIMEOUT;
	}
}

int hold_regs(struct thread *t, struct user_regs_struct *ret)
{
	if (t->injected || t->stub != STUB_NONE) {
		*ret = t->own;
		return 0;
	}
	return ptrace(PTRACE_GETREGS, t->tid, NULL, ret) ? -1 : 0;
}

/* proc_pid_syscall(), fs/proc/base.c: "running", or in which system call it is blocked. */
bool hold_sleeps(const struct thread *t)
{
	char first;

	return t->where_fd >= 0 && pread(t->where_fd, &first, 1, 0) == 1 && first != 'r';
}

/* Not one that waits inside the kernel for a page, or stands in the middle of another visit. */
struct thread *hold_any(struct hold *h)
{
	for (size_t i = 0; i < h->nr; i++)
		if (h->thread[i].state == THREAD_HELD && h->thread[i].stub != STUB_RUNS &&
		    !h->thread[i].injected)
			return &h->thread[i];
	return NULL;
}

int hold_resume(struct thread *t, enum __ptrace_request how)
{
	if (t->signal)
		t->swallowed |= UINT64_C(1) << (t->signal - 1);
	t->signal = 0;
	if (!ptrace(how, t->tid, NULL, NULL))
		return 0;
	return errno == ESRCH ? -XO_ETARGETGONE : -errno;
}

/* Let go of a stopped thread. One that is dying cannot be detached, but must be reaped. */
static void let_go(struct hold *h, struct thread *t)
{
	if (t->injected && !ptrace(PTRACE_SETREGS, t->tid, NULL, &t->own))
		t->injected = false;
	t->stub = STUB_NONE;
	for (int sig = 1; t->swallowed && sig <= 64; sig++)
		if (t->swallowed & UINT64_C(1) << (sig - 1))
			(void)syscall(SYS_tgkill, h->pid, t->tid, sig);
	t->swallowed = 0;
	if (ptrace(PTRACE_DETACH, t->tid, NULL, (void *)(uintptr_t)t->signal) && errno == ESRCH)
		t->state = THREAD_LEAVING;
	else
		t->state = THREAD_FREE;
	t->signal = 0;
}

/* A thread that is to be let go has stopped. */
static void leave(struct hold *h, struct thread *t, int status)
{
	t->signal = stop_signal(status);
	let_go(h, t);
}

size_t hold_settle(struct hold *h)
{
	size_t left = 0;

	for (size_t i = 0; i < h->nr; i++) {
		struct thread *t = &h->thread[i];
		int status;
		pid_t p;

		if (t->state != THREAD_LEAVING)
			continue;
		p = waitpid(t->tid, &status, __WALL | WNOHANG);
		if (p == t->tid && WIFSTOPPED(status))
			leave(h, t, status);
		else if (p != 0)
			t->state = THREAD_FREE;
		left += t->state == THREAD_LEAVING;
	}
	return left;
}

/* Nobody stays held. A thread can only be detached while it is stopped, so one that runs is told
 * to stop, and left to hold_settle. */
static void let_all_go(struct hold *h)
{
	for (size_t i = 0; i < h->nr; i++) {
		struct thread *t = &h->thread[i];

		if (t->state == THREAD_HELD) {
			let_go(h, t);
		} else if (t->state == THREAD_SEIZED || t->state == THREAD_ASKED) {
			(void)ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL);
			t->state = THREAD_LEAVING;
		}
	}
	(void)hold_settle(h);
	hold_timer(0);
	h->held = false;
}

/* The same, but those who hear soon are waited for. */
static void give_up(struct hold *h)
{
	uint64_t deadline_ns = xo_now_ns() + 2 * (TICK_MS * NS_PER_MS);

	let_all_go(h);
	hold_timer(TICK_MS);
	for (size_t i = 0; i < h->nr; i++) {
		struct thread *t = &h->thread[i];
		int rc = t->state == THREAD_LEAVING ? hold_wait(t, deadline_ns) : -1;

		if (rc >= 0)
			leave(h, t, rc);
	}
	hold_timer(0);
}

static int seize_error(struct hold *h, const struct thread *t, int error, struct xerr *err)
{
	pid_t tracer = error == EPERM ? tracer_of(t) : 0;

	if (tracer)
		return xerr_set(err, XO_EDEBUGGER,
				"QEMU (pid %d): process %d traces it already; end that first",
				(int)h->pid, (int)tracer);
	if (error == ESRCH)
		return xerr_set(err, XO_ETARGETGONE, "QEMU (pid %d): thread %d is gone",
				(int)h->pid, (int)t->tid);
	if (error == EPERM)
		return xerr_set(err, XO_EPRIVILEGE,
				"QEMU (pid %d): may not be traced; run as root (CAP_SYS_PTRACE)",
				(int)h->pid);
	return xerr_set(err, XO_EHOLD, "QEMU (pid %d), thread %d: ptrace: %s", (int)h->pid,
			(int)t->tid, strerrordesc_np(error));
}

void hold_stopped(struct thread *t, int status)
{
	t->signal = stop_signal(status);
	t->state = THREAD_HELD;
}

static int wait_all(struct hold *h, uint64_t deadline_ns, struct xerr *err)
{
	for (size_t i = 0; i < h->nr; i++) {
		struct thread *t = &h->thread[i];
		int rc = hold_wait(t, deadline_ns);

		if (rc == -XO_ETARGETGONE)
			return xerr_set(err, XO_ETARGETGONE, "vCPU %zu (thread %d): ended", i,
					(int)t->tid);
		if (rc < 0)
			return xerr_set(
				err, XO_EHOLD,
				"vCPU %zu (thread %d): did not stop within %d ms; try again", i,
				(int)t->tid, MON_HOLD_TIMEOUT_MS);
		hold_stopped(t, rc);
		if (i == h->nr / 2)
			fault_pass(FAULT_monitor_hold_some);
	}
	return 0;
}

int hold_ask_one(struct hold *h, struct thread *t, struct xerr *err)
{
	if (ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL))
		return seize_error(h, t, errno, err);
	t->state = THREAD_ASKED;
	return 0;
}

static int seize(struct hold *h, struct thread *t, struct xerr *err)
{
	int error = 0;

	for (int i = 0; i < SEIZE_TRIES; i++) {
		if (!ptrace(PTRACE_SEIZE, t->tid, NULL, (void *)PTRACE_O_TRACESYSGOOD)) {
			t->state = THREAD_SEIZED;
			return 0;
		}
		error = errno;
		/* Who traced it may have gone meanwhile. */
		if (error != EPERM || tracer_of(t))
			break;
	}
	return seize_error(h, t, error, err);
}

static int ask_all(struct hold *h, pid_t but, struct xerr *err)
{
	int rc = 0;

	for (size_t i = 0; i < h->nr && !rc; i++) {
		struct thread *t = &h->thread[i];

		if (t->state == THREAD_LEAVING)
			continue; /* asked before, and still to answer */
		rc = seize(h, t, err);
	}
	h->asked_ns = xo_now_ns();
	for (size_t i = 0; i < h->nr && !rc; i++) {
		struct thread *t = &h->thread[i];

		if (t->state == THREAD_LEAVING)
			t->state = THREAD_ASKED;
		else if (t->tid != but)
			rc = hold_ask_one(h, t, err);
	}
	return rc;
}

static void all_held(struct hold *h)
{
	h->held_ns = xo_now_ns();
	h->held = true;
}

int hold_all(struct hold *h, struct xerr *err)
{
	int rc;

	if (hold_settle(h))
		return xerr_set(err, XO_EHOLD,
				"a vCPU thread has not answered to the hold before; try again");
	hold_timer(MON_HOLD_TIMEOUT_MS);
	rc = ask_all(h, 0, err);
	if (!rc)
		rc = wait_all(h, h->asked_ns + MON_HOLD_TIMEOUT_MS * NS_PER_MS, err);
	if (rc) {
		give_up(h);
		return rc;
	}
	all_held(h);
	fault_pass(FAULT_monitor_held);
	return 0;
}

int hold_ask(struct hold *h, pid_t but, struct xerr *err)
{
	int rc;

	hold_timer(MON_HOLD_TIMEOUT_MS);
	rc = ask_all(h, but, err);
	if (rc)
		give_up(h);
	return rc;
}

int hold_collect(struct hold *h, struct xerr *err)
{
	for (size_t i = 0; i < h->nr; i++) {
		struct thread *t = &h->thread[i];
		int status = 0;
		pid_t p = t->state == THREAD_ASKED ? waitpid(t->tid, &status, __WALL | WNOHANG) : 0;

		if (p == t->tid && WIFSTOPPED(status)) {
			hold_stopped(t, status);
		} else if (p) {
			t->state = THREAD_FREE;
			return xerr_set(err, XO_ETARGETGONE, "QEMU (pid %d): thread %d ended",
					(int)h->pid, (int)t->tid);
		}
	}
	return 0;
}

void hold_seal(struct hold *h)
{
	all_held(h);
}

void hold_abort(struct hold *h)
{
	let_all_go(h);
}

int hold_release(struct hold *h, struct mon_times *times)
{
	uint64_t start_ns = xo_now_ns();
	uint64_t end_ns;
	int rc = 0;

	for (size_t i = 0; i < h->nr; i++) {
		if (h->thread[i].state == THREAD_HELD)
			let_go(h, &h->thread[i]);
		else if (h->thread[i].state != THREAD_ASKED)
			rc = -XO_ETARGETGONE;
		if (h->thread[i].state == THREAD_LEAVING)
			rc = -XO_ETARGETGONE;
		if (h->thread[i].state == THREAD_ASKED)
			h->thread[i].state = THREAD_LEAVING;
		if (i == h->nr / 2)
			fault_pass(FAULT_monitor_release_some);
	}
	end_ns = xo_now_ns();
	hold_timer(0);
	h->held = false;
	if (times)
		*times = (struct mon_times){
			.stop_ns = h->held_ns - h->asked_ns,
			.held_ns = start_ns - h->held_ns,
			.release_ns = end_ns - start_ns,
			.blackout_ns = end_ns - h->asked_ns,
		};
	fault_pass(FAULT_monitor_released);
	return rc;
}
