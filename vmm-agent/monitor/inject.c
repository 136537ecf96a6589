// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/monitor/inject.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "base/util.h"

#define RED_ZONE_BYTES	 128 /* System V AMD64 ABI, section 3.2.2 */
#define MAX_VDSO_BYTES	 65536
#define MAX_STOPS	 16 /* signals that may come between two steps of one call */
#define CALL_TIMEOUT_MS	 1000
#define SYSCALL_STOP(st) (!((st) >> 16) && WSTOPSIG(st) == (SIGTRAP | 0x80))

/* include/linux/errno.h: what a system call returns inside the kernel to be started again. */
#define ERESTARTSYS	      512
#define ERESTART_RESTARTBLOCK 516

int inject_vdso(pid_t pid, struct hva *start, struct hva *end)
{
	_cleanup_fclose_ FILE *f = NULL;
	char line[512];

	(void)snprintf(line, sizeof(line), "/proc/%d/maps", (int)pid);
	f = fopen(line, "re");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		if (!strstr(line, "[vdso]"))
			continue;
		return sscanf(line, "%" SCNx64 "-%" SCNx64, &start->v, &end->v) == 2 ? 0 : -EINVAL;
	}
	return -ENOENT;
}

int inject_find(pid_t pid, struct hva *ret, struct xerr *err)
{
	static const uint8_t syscall_insn[] = {0x0f, 0x05};
	_cleanup_free_ uint8_t *buf = NULL;
	struct iovec local, remote;
	struct hva start = {0};
	struct hva end = {0};
	uint8_t *hit;
	ssize_t n;
	int rc = inject_vdso(pid, &start, &end);

	if (rc)
		return xerr_set(err, rc == -EACCES ? XO_EPRIVILEGE : XO_ETARGETGONE,
				"QEMU (pid %d): its vDSO was not found: %s", (int)pid,
				strerrordesc_np(-rc));
	if (end.v <= start.v || end.v - start.v > MAX_VDSO_BYTES)
		return xerr_set(err, XO_EHOLD, "QEMU (pid %d): its vDSO has a bad size", (int)pid);
	buf = malloc(end.v - start.v);
	if (!buf)
		return xerr_set(err, ENOMEM, "QEMU (pid %d): out of memory", (int)pid);
	local = (struct iovec){buf, end.v - start.v};
	remote = (struct iovec){(void *)(uintptr_t)start.v, end.v - start.v};
	n = process_vm_readv(pid, &local, 1, &remote, 1, 0);
	if (n < 0)
		return xerr_set(err, errno == ESRCH ? XO_ETARGETGONE : XO_EPRIVILEGE,
				"QEMU (pid %d): its memory cannot be read: %s; run as root",
				(int)pid, strerrordesc_np(errno));
	hit = memmem(buf, (size_t)n, syscall_insn, sizeof(syscall_insn));
	if (!hit)
		return xerr_set(err, XO_EHOLD, "QEMU (pid %d): no system call in its vDSO",
				(int)pid);
	ret->v = start.v + (uint64_t)(hit - buf);
	return 0;
}

/* A held thread whose system call was cut short restarts it on its way out, but only from the kind
 * of stop that an interrupt or a signal makes. */
static bool must_restart(const struct user_regs_struct *r)
{
	int64_t ax = (int64_t)r->rax;

	return (int64_t)r->orig_rax >= 0 && ax <= -ERESTARTSYS && ax >= -ERESTART_RESTARTBLOCK;
}

int inject_begin(struct inject *in)
{
	struct thread *t = in->thread;

	if (!t || t->state != THREAD_HELD || t->stub == STUB_RUNS)
		return -XO_EHOLD;
	if (hold_regs(t, &t->own))
		return errno == ESRCH ? -XO_ETARGETGONE : -errno;
	in->restart = must_restart(&t->own);
	in->scratch.v = (t->own.rsp - RED_ZONE_BYTES - INJECT_SCRATCH_BYTES) & ~UINT64_C(63);
	return 0;
}

/* Let the thread run to its next stop of the kind wanted, remembering a signal that comes first. */
static int step(struct thread *t, enum __ptrace_request request, bool want_syscall)
{
	uint64_t deadline_ns = xo_now_ns() + CALL_TIMEOUT_MS * UINT64_C(1000000);

	for (int i = 0; i < MAX_STOPS; i++) {
		int rc;

		rc = hold_resume(t, request);
		if (rc)
			return rc;
		rc = hold_wait(t, deadline_ns);
		if (rc == -XO_ETIMEOUT) {
			(void)ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL);
			t->state = THREAD_LEAVING;
			return -XO_EHOLD;
		}
		if (rc < 0)
			return rc;
		if (want_syscall ? SYSCALL_STOP(rc) : rc >> 16 == PTRACE_EVENT_STOP)
			return 0;
		if (!(rc >> 16) && !SYSCALL_STOP(rc))
			t->signal = WSTOPSIG(rc);
	}
	return -XO_EHOLD;
}

int inject_call(struct inject *in, long nr, const uint64_t args[6], int64_t *ret)
{
	struct thread *t = in->thread;
	struct user_regs_struct r = t->own;
	int rc;

	r.rip = in->insn.v;
	r.rax = (uint64_t)nr;
	r.orig_rax = UINT64_MAX; /* not in a system call: nothing to restart */
	r.rdi = args[0];
	r.rsi = args[1];
	r.rdx = args[2];
	r.r10 = args[3];
	r.r8 = args[4];
	r.r9 = args[5];
	t->injected = true;
	if (ptrace(PTRACE_SETREGS, t->tid, NULL, &r))
		return errno == ESRCH ? -XO_ETARGETGONE : -errno;
	rc = step(t, PTRACE_SYSCALL, true); /* at its entry */
	if (!rc)
		rc = step(t, PTRACE_SYSCALL, true); /* at its exit */
	if (rc)
		return rc;
	if (ptrace(PTRACE_GETREGS, t->tid, NULL, &r))
		return errno == ESRCH ? -XO_ETARGETGONE : -errno;
	*ret = (int64_t)r.rax;
	return 0;
}

int inject_end(struct inject *in)
{
	struct thread *t = in->thread;
	int rc = 0;

	if (!t || !t->injected || t->state != THREAD_HELD)
		return 0;
	if (ptrace(PTRACE_SETREGS, t->tid, NULL, &t->own))
		return errno == ESRCH ? -XO_ETARGETGONE : -errno;
	t->injected = false;
	t->stub = STUB_NONE;
	if (in->restart) {
		if (ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL))
			return errno == ESRCH ? -XO_ETARGETGONE : -errno;
		rc = step(t, PTRACE_CONT, false);
	}
	fault_pass(FAULT_monitor_injected);
	return rc;
}
