// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/monitor/stub.h"

#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "base/fault.h"
#include "base/util.h"

#define RED_ZONE_BYTES 128 /* System V AMD64 ABI, section 3.2.2 */
#define MAX_BYTES      512
#define MAX_STOPS      16
#define TIMEOUT_NS     UINT64_C(1000000000)

/* include/linux/errno.h: what a system call returns inside the kernel to be started again. */
#define ERESTARTSYS	      512
#define ERESTARTNOINTR	      513
#define ERESTARTNOHAND	      514
#define ERESTART_RESTARTBLOCK 516
#define INSN_BYTES	      2 /* of `syscall` */

struct raw_call {
	uint64_t request, argument;
	int64_t result;
};

/* On the thread's stack, directly below its red zone: this, the data, and struct saved. */
struct head {
	struct raw_call call[STUB_MAX_CALLS];
	uint64_t pid, tid;
};

struct saved { /* popped, in this order */
	uint64_t rbx, rbp, r12, r13, r14, r15, rdi, rsi, rdx, rcx, r11, rax, rflags, rip;
};

struct block {
	struct head head;
	uint8_t rest[STUB_DATA_BYTES + sizeof(struct saved)];
};

_Static_assert(sizeof(struct raw_call) == 24 && offsetof(struct head, pid) == 96 &&
		       offsetof(struct head, tid) == 104 && offsetof(struct saved, rax) == 88 &&
		       offsetof(struct kvm_run, immediate_exit) == 1 &&
		       offsetof(struct kvm_run, exit_reason) == 8 && KVM_EXIT_DEBUG == 4 &&
		       SYS_ioctl == 16 && SYS_tgkill == 234 && SIGUSR1 == 10 &&
		       RED_ZONE_BYTES == 128,
	       "what the assembler believes");

/*
 * rbx: descriptor, rbp: struct kvm_run or 0, r12: this call, r13: the last one, r15: struct saved.
 * That ends at the thread's own red zone, so `ret` skips the zone.
 */
/* clang-format off */
__asm__(
"	.pushsection .rodata\n"
"stub_start:\n"
"	xorl	%r14d, %r14d\n"
"	testq	%rbp, %rbp\n"
"	jz	1f\n"
"	xchgb	%r14b, 1(%rbp)		# immediate_exit\n"
"1:	movl	$16, %eax		# ioctl\n"
"	movl	%ebx, %edi\n"
"	movq	(%r12), %rsi\n"
"	movq	8(%r12), %rdx\n"
"	syscall\n"
"	movq	%rax, 16(%r12)\n"
"	cmpq	%r13, %r12\n"
"	je	2f\n"
"	addq	$24, %r12\n"
"	testq	%rax, %rax\n"
"	jns	1b\n"
"	movq	%r13, %r12\n"
"	jmp	1b\n"
"2:	testq	%rbp, %rbp\n"
"	jz	3f\n"
"	orb	%r14b, 1(%rbp)\n"
"	cmpq	$0, 24 + 16(%rsp)	# result of call 1\n"
"	jne	3f\n"
"	cmpl	$4, 8(%rbp)		# exit_reason, KVM_EXIT_DEBUG\n"
"	je	3f\n"
"	movq	$0, 88(%r15)		# the thread's own rax\n"
"3:	movl	$234, %eax		# tgkill\n"
"	movq	96(%rsp), %rdi\n"
"	movq	104(%rsp), %rsi\n"
"	movl	$10, %edx		# SIGUSR1\n"
"	syscall\n"
"stub_done:\n"
"	movq	%r15, %rsp\n"
"	popq	%rbx\n"
"	popq	%rbp\n"
"	popq	%r12\n"
"	popq	%r13\n"
"	popq	%r14\n"
"	popq	%r15\n"
"	popq	%rdi\n"
"	popq	%rsi\n"
"	popq	%rdx\n"
"	popq	%rcx\n"
"	popq	%r11\n"
"	popq	%rax\n"
"	popfq\n"
"	ret	$128\n"
"stub_stop:\n"
"	.popsection\n");
/* clang-format on */

extern const uint8_t stub_start[], stub_done[], stub_stop[];

/* Whether the process has a handler for SIGUSR1, as QEMU's vCPU threads need, and none of its
 * threads has a shadow stack, which knows nothing of our `ret`. */
static bool fits(const struct thread *t)
{
	static const char caught[] = "\nSigCgt:";
	static const char features[] = "\nx86_Thread_features:";
	char text[4096];
	ssize_t n = pread(t->status_fd, text, sizeof(text) - 1, 0);
	const char *p, *end;

	if (n <= 0)
		return false;
	text[n] = '\0';
	p = strstr(text, features);
	end = p ? strchr(p + 1, '\n') : NULL;
	if (end && memmem(p, (size_t)(end - p), "shstk", 5))
		return false;
	p = strstr(text, caught);
	return p && strtoull(p + sizeof(caught) - 1, NULL, 16) & UINT64_C(1) << (SIGUSR1 - 1);
}

/* Its bytes, in whole words. */
static size_t whole(uint8_t ret[MAX_BYTES])
{
	size_t len_bytes = (size_t)(stub_stop - stub_start);

	memset(ret, 0, MAX_BYTES);
	memcpy(ret, stub_start, len_bytes);
	return xo_align_up(len_bytes, 16);
}

int stub_find(const struct thread *t, const struct vm *vm, struct hva vdso_end, struct hva *ret,
	      bool *ret_there, struct xerr *err)
{
	static const uint8_t none[MAX_BYTES];
	uint8_t ours[MAX_BYTES], theirs[MAX_BYTES];
	size_t len_bytes = whole(ours);
	struct hva at = {vdso_end.v - len_bytes};
	bool there;
	int rc;

	if (!fits(t))
		return xerr_set(err, XO_EHOLD,
				"QEMU (pid %d): no handler for SIGUSR1, or a shadow stack: its "
				"vCPU threads cannot be visited",
				(int)vm->desc.pid);
	rc = vm_peek(vm, at, theirs, len_bytes);
	if (rc)
		return xerr_set(err, rc, "QEMU (pid %d): its vDSO: %s", (int)vm->desc.pid,
				xo_code_text(rc));
	there = memcmp(theirs, ours, len_bytes) == 0;
	if (!there && memcmp(theirs, none, len_bytes) != 0)
		return xerr_set(err, XO_EHOLD, "QEMU (pid %d): its vDSO has no %zu unused bytes",
				(int)vm->desc.pid, len_bytes);
	*ret = at;
	*ret_there = there;
	return 0;
}

int stub_bring(const struct thread *t, struct hva at)
{
	uint8_t ours[MAX_BYTES];
	size_t len_bytes = whole(ours);
	uint64_t word;

	for (size_t i = 0; i < len_bytes; i += sizeof(word)) {
		memcpy(&word, ours + i, sizeof(word));
		if (ptrace(PTRACE_POKETEXT, t->tid, (void *)(uintptr_t)(at.v + i),
			   (void *)(uintptr_t)word))
			return errno == ESRCH ? -XO_ETARGETGONE : -errno;
	}
	return 0;
}

/* As the kernel would on the thread's way out, where the stub now puts its registers back. */
static void restart(struct user_regs_struct *r)
{
	int64_t ax = (int64_t)r->rax;

	if ((int64_t)r->orig_rax < 0)
		return;
	if (ax == -ERESTARTSYS || ax == -ERESTARTNOINTR || ax == -ERESTARTNOHAND)
		r->rax = r->orig_rax;
	else if (ax == -ERESTART_RESTARTBLOCK)
		r->rax = SYS_restart_syscall;
	else
		return;
	r->rip -= INSN_BYTES;
}

/* Data is in whole words, so that the stack stays aligned. */
static size_t data_bytes(const struct stub_visit *v)
{
	return xo_align_up(v->data_bytes, sizeof(uint64_t));
}

static size_t block_bytes(const struct stub_visit *v)
{
	return sizeof(struct head) + data_bytes(v) + sizeof(struct saved);
}

static struct hva block_at(const struct stub_visit *v)
{
	return (struct hva){v->thread->own.rsp - RED_ZONE_BYTES - block_bytes(v)};
}

static void fill(const struct stub_visit *v, struct block *b)
{
	const struct user_regs_struct *o = &v->thread->own;
	uint64_t data = block_at(v).v + sizeof(struct head);
	const struct saved saved = {
		.rbx = o->rbx,
		.rbp = o->rbp,
		.r12 = o->r12,
		.r13 = o->r13,
		.r14 = o->r14,
		.r15 = o->r15,
		.rdi = o->rdi,
		.rsi = o->rsi,
		.rdx = o->rdx,
		.rcx = o->rcx,
		.r11 = o->r11,
		.rax = o->rax,
		.rflags = o->eflags,
		.rip = o->rip,
	};

	b->head = (struct head){.pid = (uint64_t)v->hold->pid, .tid = (uint64_t)v->thread->tid};
	for (size_t i = 0; i < v->nr; i++)
		b->head.call[i] = (struct raw_call){
			.request = v->call[i].request,
			.argument = v->call[i].argument + (v->call[i].in_data ? data : 0),
			.result = -ENOSYS,
		};
	memcpy(b->rest, v->data, data_bytes(v));
	memcpy(b->rest + data_bytes(v), &saved, sizeof(saved));
}

int stub_begin(struct stub_visit *v)
{
	struct thread *t = v->thread;
	struct user_regs_struct r;
	struct block b;
	uint64_t mask;
	int rc;

	if (t->stub == STUB_RUNS || v->nr == 0 || v->nr > STUB_MAX_CALLS ||
	    v->data_bytes > STUB_DATA_BYTES)
		return -XO_EHOLD;
	if (ptrace(PTRACE_GETSIGMASK, t->tid, sizeof(mask), &mask) || hold_regs(t, &r))
		return errno == ESRCH ? -XO_ETARGETGONE : -errno;
	if (mask & UINT64_C(1) << (SIGUSR1 - 1))
		return -XO_EHOLD;
	restart(&r);
	t->own = r;
	fill(v, &b);
	rc = vm_poke(v->vm, block_at(v), &b, block_bytes(v));
	if (rc)
		return rc;
	r.rip = v->code.v;
	r.rsp = block_at(v).v;
	r.orig_rax = UINT64_MAX; /* not in a system call: nothing to restart */
	r.rbx = (unsigned int)v->fd;
	r.rbp = v->run.v;
	r.r12 = r.rsp;
	r.r13 = r.r12 + (v->nr - 1) * sizeof(struct raw_call);
	r.r15 = r.rsp + sizeof(struct head) + data_bytes(v);
	if (ptrace(PTRACE_SETREGS, t->tid, NULL, &r))
		return errno == ESRCH ? -XO_ETARGETGONE : -errno;
	t->stub = STUB_RUNS;
	return 0;
}

bool stub_ended(struct stub_visit *v)
{
	struct thread *t = v->thread;
	struct user_regs_struct r;

	if (t->stub == STUB_RUNS && t->signal == SIGUSR1 &&
	    !ptrace(PTRACE_GETREGS, t->tid, NULL, &r) &&
	    r.rip == v->code.v + (uint64_t)(stub_done - stub_start))
		t->stub = STUB_DONE;
	return t->stub == STUB_DONE;
}

int stub_end(struct stub_visit *v)
{
	struct saved saved;
	struct block b;
	int rc = vm_peek(v->vm, block_at(v), &b, block_bytes(v));

	if (rc)
		return rc;
	for (size_t i = 0; i < v->nr; i++)
		v->call[i].result = b.head.call[i].result;
	memcpy(v->data, b.rest, v->data_bytes);
	memcpy(&saved, b.rest + data_bytes(v), sizeof(saved));
	v->thread->own.rax = saved.rax;
	return 0;
}

int stub_run(struct stub_visit *v)
{
	uint64_t deadline_ns = xo_now_ns() + TIMEOUT_NS;
	int rc = stub_begin(v);

	for (int i = 0; i < MAX_STOPS && !rc; i++) {
		rc = hold_resume(v->thread, PTRACE_CONT);
		if (!rc)
			rc = hold_wait(v->thread, deadline_ns);
		if (rc == -XO_ETIMEOUT) {
			(void)ptrace(PTRACE_INTERRUPT, v->thread->tid, NULL, NULL);
			v->thread->state = THREAD_LEAVING;
			return -XO_EHOLD;
		}
		if (rc < 0)
			return rc;
		hold_stopped(v->thread, rc);
		if (stub_ended(v))
			return stub_end(v);
		rc = 0;
	}
	return rc ? rc : -XO_EHOLD;
}
