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
#define MAX_TRIES	8 /* signals that may get in the way of one step */
#define INSN_BYTES	2 /* of `syscall` */
#define SYSCALL_STOP(s) (!((s) >> 16) && WSTOPSIG(s) == (SIGTRAP | 0x80))

struct store {
	struct guard *g;
	struct hold *hold; /* that the writer belongs to; NULL: it cannot be stopped */
	struct thread *thread;
	pid_t tid;
	size_t nr_open;
	uint32_t open[MAX_OPEN];
};

static bool changed(const struct store *s)
{
	for (size_t i = 0; i < s->nr_open; i++) {
		const uint8_t *now = guard_bytes(s->g, s->open[i]);

		if (now && memcmp(now, golden_page(&s->g->golden, s->open[i]), XO_PAGE_SIZE) != 0)
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
	if (slot >= 0)
		s->open[s->nr_open++] = (uint32_t)slot;
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
	int rc;

	if (t->signal)
		t->swallowed |= UINT64_C(1) << (t->signal - 1);
	t->signal = 0;
	if (ptrace(request, t->tid, NULL, NULL))
		return errno == ESRCH ? -XO_ETARGETGONE : -errno;
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

static int set_debug(struct inject *in, int fd, const struct vm *vm, uint32_t control)
{
	const struct kvm_guest_debug debug = {.control = control};
	const uint64_t args[6] = {(uint64_t)fd, KVM_SET_GUEST_DEBUG, in->scratch.v};
	int64_t result = 0;
	int rc = vm_poke(vm, in->scratch, &debug, sizeof(debug));

	if (!rc)
		rc = inject_call(in, SYS_ioctl, args, &result);
	return rc ? rc : (int)result;
}

/* Make the call that the thread has just returned from once more. */
static int repeat_call(struct store *s, int64_t *ret)
{
	struct thread *t = s->thread;
	struct user_regs_struct r = t->own;
	int stops = 0;

	r.rip -= INSN_BYTES;
	r.rax = r.orig_rax;
	r.orig_rax = UINT64_MAX;
	t->injected = true;
	if (ptrace(PTRACE_SETREGS, t->tid, NULL, &r))
		return errno == ESRCH ? -XO_ETARGETGONE : -errno;
	for (int i = 0; i < 2 * MAX_TRIES && stops < 2; i++) {
		int rc = resume(s, PTRACE_SYSCALL);

		if (rc < 0)
			return rc;
		stops += SYSCALL_STOP(rc);
	}
	if (stops < 2)
		return -XO_EHOLD;
	if (ptrace(PTRACE_GETREGS, t->tid, NULL, &r))
		return errno == ESRCH ? -XO_ETARGETGONE : -errno;
	*ret = (int64_t)r.rax;
	return 0;
}

/* KVM_RUN with the vCPU in single-step mode, until it has made its step. */
static int run_once(struct store *s, struct hva run_hva)
{
	const struct vm *vm = s->g->vm;
	struct hva immediate = {run_hva.v + offsetof(struct kvm_run, immediate_exit)};
	struct hva reason = {run_hva.v + offsetof(struct kvm_run, exit_reason)};
	const uint8_t zero = 0;
	uint64_t deadline_ns = xo_now_ns() + STEP_NS;
	uint32_t exit_reason = 0;
	uint8_t kicked = 0;
	int64_t result = -EINTR;
	int rc = vm_peek(vm, immediate, &kicked, 1);

	if (!rc && kicked)
		rc = vm_poke(vm, immediate, &zero, 1);
	/* A halted vCPU does not come back by itself, only when resume() asks it to stop. */
	for (int i = 0; i < MAX_TRIES && !rc && result == -EINTR && !changed(s); i++) {
		rc = repeat_call(s, &result);
		if (xo_now_ns() >= deadline_ns)
			break;
	}
	if (!rc && kicked)
		rc = vm_poke(vm, immediate, &kicked, 1);
	if (!rc && result == 0)
		rc = vm_peek(vm, reason, &exit_reason, sizeof(exit_reason));
	if (!rc && result == 0 && exit_reason != KVM_EXIT_DEBUG)
		s->thread->own.rax = 0; /* QEMU's business */
	return rc;
}

/* Undone before anything else happens: a guard that died meanwhile would leave the vCPU stepping.
 */
static void step_vcpu(struct store *s, size_t vcpu)
{
	struct guard *g = s->g;
	struct inject in = {.hold = s->hold, .thread = s->thread, .insn = g->insn};
	int fd = g->kvm->fd[vcpu];
	int rc = inject_begin(&in);

	if (rc)
		return;
	golden_stepping(&g->golden, true);
	rc = set_debug(&in, fd, g->vm,
		       KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_BLOCKIRQ);
	if (!rc)
		(void)!run_once(s, g->kvm->run[vcpu]);
	/* If the thread did not come back in time, the end of the hold looks after its mode. */
	if (s->thread->state == THREAD_HELD && !set_debug(&in, fd, g->vm, 0))
		golden_stepping(&g->golden, false);
	(void)!inject_end(&in);
}

int guard_unstep(struct guard *g, struct xerr *err)
{
	bool held = g->hold->held;
	int rc = held ? 0 : hold_all(g->hold, err);
	size_t nr = g->vm->desc.accel == MON_KVM ? g->kvm->nr : 0;

	for (size_t i = 0; i < nr && !rc; i++) {
		struct inject in = {
			.hold = g->hold, .thread = &g->hold->thread[i], .insn = g->insn};
		int undone;

		if (in.thread->state != THREAD_HELD) {
			rc = -XO_EHOLD;
			break;
		}
		rc = inject_begin(&in);
		if (!rc)
			rc = set_debug(&in, g->kvm->fd[i], g->vm, 0);
		undone = inject_end(&in);
		rc = rc ? rc : undone;
	}
	if (!rc)
		golden_stepping(&g->golden, false);
	if (!held && g->hold->held)
		(void)!hold_release(g->hold, NULL);
	return rc ? xerr_set(err, rc, "single-step mode of a vCPU: %s", xo_code_text(rc)) : 0;
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

	if (ptrace(PTRACE_GETREGS, s->tid, NULL, &r))
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

		if (t->state != THREAD_HELD || ptrace(PTRACE_GETREGS, t->tid, NULL, &r) ||
		    !in_kvm_run(g, (int)i, &r))
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
		if (s->thread->state == THREAD_SEIZED && hold_ask_one(g->hold, s->thread, NULL))
			s->thread = NULL; /* it has ended */
		return;
	}
	if (!is_qemus(s))
		return;
	if (g->device.nr && t->state == THREAD_LEAVING && t->tid != s->tid)
		return; /* another one has not answered yet */
	if (!g->device.nr || t->state == THREAD_FREE)
		*t = (struct thread){.tid = s->tid, .status_fd = -1};
	g->device.nr = 1;
	/* Fails for the kernel's helpers within QEMU (io_uring, vhost). */
	if (hold_ask(&g->device, 0, NULL))
		return;
	s->hold = &g->device;
	s->thread = t;
}

bool guard_store(struct guard *g, const struct uffd_event *w)
{
	struct store s = {.g = g, .tid = w->tid};
	bool found = false;

	hold_timer(MON_HOLD_TIMEOUT_MS);
	find_writer(&s);
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
