// SPDX-License-Identifier: Apache-2.0
/*
 * Having a writer make its one store. Where it stops tells how it writes:
 *
 *  - in user mode: the instruction it stopped at is the store. TCG's generated
 *    code and helpers, QEMU's device emulation. It is stepped once.
 *  - out of KVM_RUN with EINTR: the vCPU has not made the store. QEMU's own
 *    call is made again, with the vCPU in single-step mode. If that ends with
 *    the step, nobody but us knows; if it ends otherwise (I/O, MMIO), QEMU gets
 *    that as the result of its call. So nothing has to be decoded here.
 *  - out of any other system call, or with the page changed: the kernel copied.
 *
 * A store that needs more than one protected page gets them all opened.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "base/util.h"
#include "vmm-agent/monitor/guard_core.h"

#define MAX_OPEN	4 /* an XSAVE area spans three pages at most */
#define STEP_NS		10000000
#define KERNEL_NS	2000000 /* for a writer that cannot be stopped */
#define KERNEL_PAUSE_NS 50000
#define STALE_NS	2000000
#define MAX_TRIES	8 /* signals that may get in the way of one step */
#define SYSCALL_STOP(s) (!((s) >> 16) && WSTOPSIG(s) == (SIGTRAP | 0x80))

struct store {
	struct guard *g;
	struct hold *hold; /* that the writer belongs to; NULL: it cannot be stopped */
	struct thread *thread;
	pid_t tid;
	bool awake; /* it did not sleep when it was asked to stop */
	size_t nr_open;
	uint32_t open[MAX_OPEN];
	uint8_t before[MAX_OPEN][XO_PAGE_SIZE]; /* as they were when they were opened */
};

static bool changed(const struct store *s)
{
	for (size_t i = 0; i < s->nr_open; i++) {
		const uint8_t *now = guard_bytes(s->g, s->open[i]);

		if (now && memcmp(now, s->before[i], XO_PAGE_SIZE) != 0)
			return true;
	}
	return false;
}

/* Open the page that the writer wants next. Return: false if there are too many */
static bool open_page(struct store *s, struct hva page)
{
	int32_t slot = golden_find(&s->g->golden, page);

	for (size_t i = 0; i < s->nr_open; i++)
		if ((int32_t)s->open[i] == slot)
			return true;
	if (slot >= 0 && s->nr_open == MAX_OPEN)
		return false;
	if (slot >= 0) {
		const uint8_t *now = guard_bytes(s->g, (uint32_t)slot);

		memcpy(s->before[s->nr_open],
		       now ? now : golden_page(&s->g->golden, (uint32_t)slot), XO_PAGE_SIZE);
		s->open[s->nr_open++] = (uint32_t)slot;
	}
	/* One that is not protected any more is only woken by this. */
	(void)!uffd_open(s->g->uffd, page, XO_PAGE_SIZE);
	return true;
}

/* Return: the wait status, -XO_ETARGETGONE, -XO_ETIMEOUT, -EAGAIN (it wants yet another page) */
static int wait_stop(struct store *s, uint64_t deadline_ns)
{
	struct guard *g = s->g;

	for (;;) {
		struct uffd_event e = {.tid = s->tid};
		int status;
		pid_t p = waitpid(s->tid, &status, __WALL | WNOHANG);

		if (p == s->tid && WIFSTOPPED(status))
			return status;
		if (p) {
			s->thread->state = THREAD_FREE;
			return -XO_ETARGETGONE;
		}
		if (guard_absorb(g, s->tid, &e.page) && !open_page(s, e.page)) {
			g->waiting[g->nr_waiting++] = e; /* it has just been read: there is room */
			return -EAGAIN;
		}
		if (xo_now_ns() >= deadline_ns)
			return -XO_ETIMEOUT;
		hold_pause(g->nr_waiting < GUARD_MAX_WAITING ? g->uffd : -1, deadline_ns);
	}
}

/* Run the held thread to its next stop, holding back a signal that it was stopped on. */
static int resume(struct store *s, enum __ptrace_request request)
{
	struct thread *t = s->thread;
	int rc = hold_resume(t, request);

	if (rc)
		return rc;
	rc = wait_stop(s, xo_now_ns() + STEP_NS);
	if (rc == -XO_ETIMEOUT || rc == -EAGAIN) {
		(void)ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL);
		rc = wait_stop(s, xo_now_ns() + GUARD_STOP_NS);
	}
	if (rc < 0) {
		t->state = t->state == THREAD_FREE ? THREAD_FREE : THREAD_ASKED;
		return rc;
	}
	if (!(rc >> 16) && !SYSCALL_STOP(rc) && WSTOPSIG(rc) != SIGTRAP)
		t->signal = WSTOPSIG(rc);
	return rc;
}

/*
 * Its trap flag and the SIGTRAP outlive a tracer that dies here, and would kill QEMU. So after the
 * step the thread goes on to an ordinary stop at once, which it reaches without an instruction.
 */
static void leave_step(struct store *s)
{
	for (int i = 0; i < MAX_TRIES; i++) {
		int rc;

		if (ptrace(PTRACE_INTERRUPT, s->tid, NULL, NULL))
			return;
		rc = resume(s, PTRACE_CONT);
		if (rc < 0 || rc >> 16 == PTRACE_EVENT_STOP)
			return;
	}
}

/* QEMU's threads block SIGTRAP; a step's trap is forced upon them, which unblocks it. */
static void step_user(struct store *s)
{
	bool stepped = false;
	uint64_t mask;

	if (ptrace(PTRACE_GETSIGMASK, s->tid, sizeof(mask), &mask))
		return;
	for (int i = 0; i < MAX_TRIES && !stepped; i++) {
		int rc = resume(s, PTRACE_SINGLESTEP);

		if (rc < 0)
			return;
		stepped = changed(s) || (!(rc >> 16) && WSTOPSIG(rc) == SIGTRAP);
	}
	leave_step(s);
	(void)ptrace(PTRACE_SETSIGMASK, s->tid, sizeof(mask), &mask);
}

/* One visit. The thread may stop on its way for signals, or since a halted vCPU was told to. */
static int run_stub(struct store *s, struct stub_visit *v)
{
	int rc = stub_begin(v);

	if (rc)
		return rc;
	fault_pass(FAULT_guard_stepping);
	for (int i = 0; i < MAX_TRIES; i++) {
		rc = resume(s, PTRACE_CONT);
		if (rc < 0)
			return rc;
		if (stub_ended(v))
			return stub_end(v);
	}
	return -XO_EHOLD;
}

/*
 * KVM_RUN with the vCPU in single-step mode. The mode is ended in the same visit, by the thread
 * itself. A signal may cut the call short; then it is made again.
 */
static void step_vcpu(struct store *s, size_t vcpu)
{
	const struct kvm_guest_debug on = {
		.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_BLOCKIRQ};
	const struct guard *g = s->g;
	struct stub_visit v = {
		.hold = s->hold,
		.thread = s->thread,
		.vm = g->vm,
		.code = g->stub,
		.fd = g->kvm->fd[vcpu],
		.run = g->kvm->run[vcpu],
		.nr = 3,
		.call = {{.request = KVM_SET_GUEST_DEBUG, .in_data = true},
			 {.request = KVM_RUN},
			 {.request = KVM_SET_GUEST_DEBUG, .argument = sizeof(on), .in_data = true}},
		.data_bytes = 2 * sizeof(on),
	};
	uint64_t deadline_ns = xo_now_ns() + STEP_NS;

	memcpy(v.data, &on, sizeof(on));
	for (int i = 0; i < MAX_TRIES && !changed(s); i++)
		if (run_stub(s, &v) || v.call[1].result != -EINTR || xo_now_ns() >= deadline_ns)
			return;
}

/* Whether the held thread has just been cut out of KVM_RUN. */
static bool in_kvm_run(const struct guard *g, int vcpu, const struct user_regs_struct *r)
{
	return vcpu >= 0 && g->vm->desc.accel == MON_KVM && r->orig_rax == SYS_ioctl &&
	       r->rdi == (uint64_t)g->kvm->fd[vcpu] && r->rsi == KVM_RUN &&
	       (int64_t)r->rax == -EINTR;
}

static void step_writer(struct store *s)
{
	int vcpu = guard_vcpu(s->g, s->tid);
	struct user_regs_struct r;

	if (hold_regs(s->thread, &r))
		return;
	if ((int64_t)r.orig_rax < 0)
		step_user(s);
	else if (in_kvm_run(s->g, vcpu, &r))
		step_vcpu(s, (size_t)vcpu);
}

static void finish(struct store *s)
{
	if (s->thread->state == THREAD_ASKED) {
		int rc = wait_stop(s, xo_now_ns() + GUARD_STOP_NS);

		if (rc < 0)
			return;
		hold_stopped(s->thread, rc);
	}
	if (s->thread->state == THREAD_HELD && !changed(s))
		step_writer(s);
}

static void wait_change(const struct store *s, uint64_t ns)
{
	uint64_t deadline_ns = xo_now_ns() + ns;

	while (!changed(s) && xo_now_ns() < deadline_ns)
		hold_pause(-1, xo_now_ns() + KERNEL_PAUSE_NS);
}

/*
 * A thread of the kernel's own. It may store by itself (vhost), or only make the page present for
 * a vCPU that KVM has halted meanwhile (asynchronous page fault). Which vCPU is not told: each
 * that was in the guest makes one step, which is harmless to those that want something else.
 */
static void kernel_writer(struct store *s)
{
	struct guard *g = s->g;

	wait_change(s, KERNEL_NS);
	for (size_t i = 0; i < g->hold->nr && !changed(s); i++) {
		struct thread *t = &g->hold->thread[i];
		struct user_regs_struct r;

		if (t->state != THREAD_HELD || hold_regs(t, &r) || !in_kvm_run(g, (int)i, &r))
			continue;
		s->hold = g->hold;
		s->thread = t;
		s->tid = t->tid;
		step_vcpu(s, i);
	}
}

static bool is_qemus(const struct store *s)
{
	return s->tid > 0 && !syscall(SYS_tgkill, s->g->vm->desc.pid, s->tid, 0);
}

/* The writer's thread, asked to stop, so that it does no more than this one store. */
static void find_writer(struct store *s)
{
	struct guard *g = s->g;
	int vcpu = guard_vcpu(g, s->tid);
	struct thread *t = &g->device.thread[0];

	if (vcpu >= 0) {
		s->hold = g->hold;
		s->thread = &g->hold->thread[vcpu];
		if (s->thread->state != THREAD_SEIZED)
			return;
		s->awake = !hold_sleeps(s->thread);
		if (hold_ask_one(g->hold, s->thread, NULL))
			s->thread = NULL; /* it has ended */
		return;
	}
	if (!is_qemus(s))
		return;
	if (g->device.nr && t->state == THREAD_LEAVING && t->tid != s->tid)
		return; /* another one has not answered yet */
	if (!g->device.nr || t->state == THREAD_FREE)
		*t = (struct thread){.tid = s->tid, .status_fd = -1, .where_fd = -1};
	g->device.nr = 1;
	/* Fails for the kernel's helpers within QEMU (io_uring, vhost). */
	if (hold_ask(&g->device, 0, NULL))
		return;
	s->hold = &g->device;
	s->thread = t;
}

/*
 * The event may be stale: a signal took the vCPU out of its fault, and it has been in the guest
 * since. Then it must not find the page open on its way to us. One that slept in the kernel when it
 * was asked cannot get into the guest any more, but may be unable to stop before its store.
 */
static void await_awake(struct store *s)
{
	uint64_t deadline_ns = xo_now_ns() + STALE_NS;
	int status;

	while (s->thread->state == THREAD_ASKED && xo_now_ns() < deadline_ns) {
		pid_t p = waitpid(s->tid, &status, __WALL | WNOHANG);

		if (p == s->tid && WIFSTOPPED(status))
			hold_stopped(s->thread, status);
		else if (p)
			s->thread->state = THREAD_FREE;
		else
			hold_pause(-1, xo_now_ns() + KERNEL_PAUSE_NS);
	}
}

bool guard_store(struct guard *g, const struct uffd_event *w)
{
	struct store s;
	bool found = false;

	s.g = g;
	s.hold = NULL;
	s.thread = NULL;
	s.tid = w->tid;
	s.awake = false;
	s.nr_open = 0;
	hold_timer(MON_HOLD_TIMEOUT_MS);
	find_writer(&s);
	if (s.thread && s.awake)
		await_awake(&s);
	golden_set(&g->golden, GOLDEN_AT_WORK, true);
	(void)open_page(&s, w->page);
	fault_pass(FAULT_guard_open_page);
	if (s.thread)
		finish(&s);
	else
		kernel_writer(&s);
	fault_pass(FAULT_guard_stepped);
	for (size_t i = 0; i < s.nr_open; i++)
		(void)!uffd_protect(g->uffd, golden_hva(&g->golden, s.open[i]), XO_PAGE_SIZE);
	fault_pass(FAULT_guard_shut);
	for (size_t i = 0; i < s.nr_open; i++)
		found |= guard_suspect(g, s.open[i], s.tid);
	if (s.hold == &g->device) {
		(void)!hold_release(&g->device, NULL);
		hold_timer(MON_HOLD_TIMEOUT_MS);
	}
	return found;
}
