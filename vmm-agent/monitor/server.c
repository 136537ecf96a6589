// SPDX-License-Identifier: Apache-2.0
/*
 * One request, one answer. Which operation is allowed when stands in one table;
 * anything else ends the connection, and with it the monitor.
 */
#include "vmm-agent/monitor/server.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/msg.h"
#include "base/util.h"
#include "vmm-agent/monitor/guard_core.h"
#include "vmm-agent/monitor/kvmregs.h"
#include "vmm-agent/monitor/msrfilter.h"
#include "vmm-agent/monitor/sandbox.h"
#include "vmm-agent/monitor/sysregs_core.h"
#include "vmm-agent/monitor/tcg.h"
#include "vmm-agent/monitor/vm.h"
#include "vmm-agent/monitor/wire.h"
#include "vmm-agent/monitor/write.h"

#define SETTLE_POLL_MS 5
/* A caller that sleeps on a held guest would look like a crash of the guest. */
#define MAX_HELD_MS 10000

struct answer {
	struct xerr err;
	size_t bad; /* record of the plan, or WIRE_NO_RECORD */
	const void *body;
	size_t len_bytes;
	struct mon_times times;
	struct mon_guard_stats stats;
	uint64_t number;
	uint32_t bits;
	struct mon_regs regs[MON_MAX_VCPUS];
	struct mon_sysregs sysregs[MON_MAX_VCPUS];
	uint8_t bytes[MON_MAX_READ];
};

struct server {
	int fd;
	bool started;
	struct vm vm;
	struct hold hold;
	struct kvm_fds kvm;
	struct hva syscall_insn;
	struct plan plan;
	struct tcg tcg;
	struct guard guard;
	struct sysregs sysregs;
	bool gone_told;
	uint64_t held_since_ns;
	struct answer answer;
	struct mon_range ranges[MON_GUARD_MAX_RANGES];
};

static bool is_tcg(const struct server *s)
{
	return s->vm.desc.accel == MON_TCG;
}

static bool is_held(const struct server *s)
{
	return s->tcg.held || s->hold.held;
}

static int op_start(struct server *s, struct msg *req, struct answer *a)
{
	int rc = wire_get_start(msg_span(req), &s->vm.desc);

	if (rc || req->head.nr_fds != s->vm.desc.nr_backends) {
		s->vm.desc.nr_backends = 0;
		return -XO_EPROTO;
	}
	for (size_t i = 0; i < req->head.nr_fds; i++)
		s->vm.desc.backend_fd[i] = XO_TAKE_FD(req->fds[i]);
	rc = vm_open(&s->vm, &a->err);
	if (!rc)
		rc = inject_find(s->vm.desc.pid, &s->syscall_insn, &a->err);
	if (!rc)
		rc = hold_open(&s->hold, s->vm.desc.pid, s->vm.desc.tid, s->vm.desc.nr_vcpus,
			       &a->err);
	if (rc == -XO_EDEBUGGER) {
		a->err = (struct xerr){0}; /* until then holds fail: a guard's writers wait */
		rc = 0;
	}
	if (!rc && !is_tcg(s)) {
		rc = kvmregs_find(s->vm.desc.pid, &s->kvm);
		if (rc)
			xerr_set(&a->err, rc, "QEMU (pid %d): its open files: %s",
				 (int)s->vm.desc.pid, xo_code_text(rc));
	}
	if (!rc) {
		s->guard.insn = s->syscall_insn;
		rc = guard_prepare(&s->guard);
		if (rc)
			xerr_set(&a->err, rc, "QEMU (pid %d): its pagemap and vDSO: %s",
				 (int)s->vm.desc.pid, strerrordesc_np(-rc));
	}
	if (!rc) {
		rc = sysregs_prepare(&s->sysregs, &s->vm);
		if (rc)
			xerr_set(&a->err, rc, "QEMU (pid %d): its mappings: %s",
				 (int)s->vm.desc.pid, strerrordesc_np(-rc));
	}
	if (!rc)
		rc = sandbox_enter(&a->err);
	s->started = rc == 0;
	return rc;
}

static int op_plan(struct server *s, struct msg *req, struct answer *a)
{
	struct span body = msg_span(req);
	uint64_t off = sizeof(struct wire_plan);
	struct wire_plan head;
	struct mon_write w;
	int rc = 0;

	if (!span_copy(body, 0, &head, sizeof(head)))
		return -XO_EPROTO;
	if (head.flags & WIRE_PLAN_FIRST)
		plan_clear(&s->plan);
	for (uint32_t i = 0; i < head.nr && !rc; i++) {
		rc = wire_next_write(body, &off, &w);
		if (rc)
			return rc;
		a->bad = s->plan.nr;
		rc = plan_add(&s->plan, &w, &a->err);
	}
	if (!rc && off != body.len_bytes)
		return -XO_EPROTO;
	if (!rc && head.flags & WIRE_PLAN_LAST) {
		rc = plan_check(&s->plan, &s->vm.desc, &a->bad, &a->err);
		if (!rc)
			write_prepare(&s->plan, &s->vm);
	}
	return rc;
}

static int op_gdb(struct server *s, struct msg *req, struct answer *a)
{
	struct wire_gdb w;

	if (!span_copy(msg_span(req), 0, &w, sizeof(w)) || req->head.nr_fds != 1)
		return -XO_EPROTO;
	if (!is_tcg(s))
		return xerr_set(&a->err, XO_EGDBSTUB, "the VM runs under KVM: no gdb stub is used");
	tcg_open(&s->tcg, XO_TAKE_FD(req->fds[0]), w.resume != 0);
	return 0;
}

static int op_hold(struct server *s, struct msg *req, struct answer *a)
{
	int rc;

	(void)req;
	if (!vm_alive(&s->vm))
		return xerr_set(&a->err, XO_ETARGETGONE, "QEMU (pid %d): ended",
				(int)s->vm.desc.pid);
	if (is_tcg(s))
		rc = tcg_hold(&s->tcg, &a->err);
	else
		rc = s->guard.open ? guard_hold(&s->guard, &a->err) : hold_all(&s->hold, &a->err);
	if (!rc)
		s->held_since_ns = xo_now_ns();
	return rc;
}

static int op_regs(struct server *s, struct msg *req, struct answer *a)
{
	size_t nr = s->vm.desc.nr_vcpus;
	int rc = 0;

	(void)req;
	if (is_tcg(s) && !s->tcg.held)
		return xerr_set(&a->err, XO_EGDBSTUB,
				"registers under TCG: only while the gdb stub holds the guest");
	if (!is_tcg(s) && s->kvm.nr != nr)
		return xerr_set(&a->err, XO_ECPUCOUNT,
				"QEMU (pid %d): %zu vCPUs in KVM, %zu expected",
				(int)s->vm.desc.pid, s->kvm.nr, nr);
	if (is_tcg(s))
		rc = tcg_regs(&s->tcg, nr, a->regs, &a->err);
	for (size_t i = 0; i < nr && !rc && !is_tcg(s); i++)
		rc = kvmregs_get(&s->hold, i, &s->vm, s->syscall_insn, s->kvm.fd[i], &a->regs[i],
				 &a->err);
	a->body = a->regs;
	a->len_bytes = nr * sizeof(a->regs[0]);
	return rc;
}

static int op_commit(struct server *s, struct msg *req, struct answer *a)
{
	struct commit_io io = {.ctx = &s->vm, .read = write_read, .write = write_records};
	struct tcg_io tcg = {.tcg = &s->tcg, .vm = &s->vm};
	int shut;
	int rc;

	(void)req;
	if (!s->plan.ready)
		return xerr_set(&a->err, XO_EPLAN, "no plan is loaded");
	if (is_tcg(s))
		io = (struct commit_io){.ctx = &tcg, .read = tcg_read, .write = tcg_write};
	rc = guard_commit_begin(&s->guard, &s->plan, is_tcg(s), &a->err);
	if (!rc)
		rc = commit_run(&io, &s->plan, &a->bad, &a->err);
	shut = guard_commit_end(&s->guard, &s->plan, is_tcg(s), rc == 0, &a->err);
	return rc ? rc : shut;
}

static int let_go(struct server *s, struct mon_times *times, struct xerr *err)
{
	if (is_tcg(s))
		return tcg_release(&s->tcg, times, err);
	if (hold_release(&s->hold, times))
		return xerr_set(err, XO_ETARGETGONE, "QEMU (pid %d): ended while it was held",
				(int)s->vm.desc.pid);
	return 0;
}

static int op_release(struct server *s, struct msg *req, struct answer *a)
{
	int rc = let_go(s, &a->times, &a->err);

	(void)req;
	if (!rc && !vm_alive(&s->vm))
		rc = xerr_set(&a->err, XO_ETARGETGONE, "QEMU (pid %d): ended", (int)s->vm.desc.pid);
	a->body = &a->times;
	a->len_bytes = sizeof(a->times);
	return rc;
}

static int op_run(struct server *s, struct msg *req, struct answer *a)
{
	int released, rc;

	if (!s->plan.ready)
		return xerr_set(&a->err, XO_EPLAN, "no plan is loaded");
	rc = op_hold(s, req, a);
	if (rc)
		return rc;
	rc = op_commit(s, req, a);
	released = op_release(s, req, a);
	return rc ? rc : released;
}

static int op_read(struct server *s, struct msg *req, struct answer *a)
{
	const struct mon_region *r;
	struct wire_read w;
	int rc;

	if (!span_copy(msg_span(req), 0, &w, sizeof(w)) || w.zero || w.len_bytes > MON_MAX_READ)
		return -XO_EPROTO;
	r = vm_region(&s->vm.desc, (struct gpa){w.gpa}, w.len_bytes);
	if (!r)
		return xerr_set(&a->err, XO_EPLAN,
				"guest-physical %#llx: not inside one region of guest memory",
				(unsigned long long)w.gpa);
	rc = vm_peek(&s->vm, (struct hva){r->hva.v + (w.gpa - r->gpa.v)}, a->bytes, w.len_bytes);
	if (rc)
		return xerr_set(&a->err, rc, "QEMU's memory: cannot be read: %s", xo_code_text(rc));
	a->body = a->bytes;
	a->len_bytes = w.len_bytes;
	return 0;
}

static int op_guard_open(struct server *s, struct msg *req, struct answer *a)
{
	struct wire_guard_open w;
	int rc;

	if (!span_copy(msg_span(req), 0, &w, sizeof(w)) || w.has_uffd > 1 ||
	    req->head.nr_fds != 2 + w.has_uffd)
		return -XO_EPROTO;
	if (s->guard.open)
		return xerr_set(&a->err, XO_EGUARD, "the guard is open already");
	if (!is_tcg(s) && s->kvm.nr != s->vm.desc.nr_vcpus)
		return xerr_set(&a->err, XO_ECPUCOUNT,
				"QEMU (pid %d): %zu vCPUs in KVM, %zu expected",
				(int)s->vm.desc.pid, s->kvm.nr, s->vm.desc.nr_vcpus);
	rc = guard_start(&s->guard, w.dev_fd, XO_TAKE_FD(req->fds[0]), XO_TAKE_FD(req->fds[1]),
			 w.has_uffd ? XO_TAKE_FD(req->fds[2]) : -1, &a->err);
	return rc ? rc
		  : msg_send(s->guard.events, MON_OP_GUARD_OPEN, 0, NULL, 0, &s->guard.uffd, 1);
}

/* Ranges come and go also while a write is judged: it may be what the client learns of them by. */
static int op_guard_ranges(struct server *s, struct msg *req, struct answer *a)
{
	int nr = wire_get_ranges(msg_span(req), s->ranges);

	if (nr < 0)
		return nr;
	if (req->head.op == MON_OP_GUARD_PROTECT)
		return guard_protect(&s->guard, s->ranges, (size_t)nr, &a->err);
	return guard_release(&s->guard, s->ranges, (size_t)nr, &a->err);
}

static int op_guard_adopt(struct server *s, struct msg *req, struct answer *a)
{
	(void)req;
	return guard_adopt(&s->guard, &a->err);
}

static int op_guard_verdict(struct server *s, struct msg *req, struct answer *a)
{
	struct wire_verdict w;

	if (!span_copy(msg_span(req), 0, &w, sizeof(w)) || w.keep > 1)
		return -XO_EPROTO;
	a->body = &a->number;
	a->len_bytes = sizeof(a->number);
	return guard_judge(&s->guard, w.keep != 0, &a->number, &a->err);
}

static int op_guard_stats(struct server *s, struct msg *req, struct answer *a)
{
	(void)req;
	a->stats = s->guard.stats;
	a->stats.nr_pages = s->guard.golden.nr;
	a->body = &a->stats;
	a->len_bytes = sizeof(a->stats);
	return 0;
}

static int op_guard_audit(struct server *s, struct msg *req, struct answer *a)
{
	(void)req;
	a->body = &a->number;
	a->len_bytes = sizeof(a->number);
	return guard_audit_pages(&s->guard, &a->number, &a->err);
}

/* For the client that follows one that died. */
static int op_guard_again(struct server *s, struct msg *req, struct answer *a)
{
	(void)req;
	a->number = s->guard.judging ? MON_JUDGING : is_held(s) ? MON_HELD : MON_FREE;
	guard_again(&s->guard);
	a->body = &a->number;
	a->len_bytes = sizeof(a->number);
	return 0;
}

/* For a monitor that is to follow this one. */
static int op_guard_pause(struct server *s, struct msg *req, struct answer *a)
{
	(void)req;
	(void)a;
	s->guard.ready = false;
	return 0;
}

static int op_guard_close(struct server *s, struct msg *req, struct answer *a)
{
	(void)req;
	return guard_end(&s->guard, &a->err);
}

static int op_sysregs_find(struct server *s, struct msg *req, struct answer *a)
{
	size_t len = s->vm.desc.nr_vcpus * sizeof(a->sysregs[0]);

	if (req->head.len_bytes != len || !span_copy(msg_span(req), 0, a->sysregs, len))
		return -XO_EPROTO;
	a->body = &a->bits;
	a->len_bytes = sizeof(a->bits);
	return sysregs_find(&s->sysregs, &s->guard, a->sysregs, &a->bits, &a->err);
}

static int op_sysregs(struct server *s, struct msg *req, struct answer *a)
{
	struct wire_sysregs w;

	if (!span_copy(msg_span(req), 0, &w, sizeof(w)) || w.msrs > 1)
		return -XO_EPROTO;
	a->body = a->sysregs;
	a->len_bytes = s->vm.desc.nr_vcpus * sizeof(a->sysregs[0]);
	return sysregs_read(&s->sysregs, &s->guard, w.msrs != 0, a->sysregs, &a->err);
}

static int op_sysregs_set(struct server *s, struct msg *req, struct answer *a)
{
	struct wire_sysregs_set w;

	if (!span_copy(msg_span(req), 0, &w, sizeof(w)) || w.zero || w.to.state ||
	    w.to.have & ~MON_REG_ALL || w.vcpu >= s->vm.desc.nr_vcpus || is_tcg(s))
		return -XO_EPROTO;
	return sysregs_set(&s->sysregs, &s->guard, w.vcpu, &w.to, &a->err);
}

static int op_deny_msrs(struct server *s, struct msg *req, struct answer *a)
{
	struct wire_deny_msrs w;

	if (!span_copy(msg_span(req), 0, &w, sizeof(w)) || w.deny > 1 || is_tcg(s))
		return -XO_EPROTO;
	return msrfilter_set(&s->guard, w.deny != 0, &a->err);
}

/* FREE and HELD are the client's own doing; JUDGING begins by itself, so that a request for FREE
 * that comes then is not a breach, only too early. */
enum when { FRESH = 1, FREE = 2, HELD = 4, JUDGING = 8, GUARDED = 16 };

static const struct {
	unsigned int when;
	int (*run)(struct server *s, struct msg *req, struct answer *a);
} ops[MON_OP_END] = {
	[MON_OP_START] = {FRESH, op_start},
	[MON_OP_PLAN] = {FREE | HELD, op_plan},
	[MON_OP_GDB] = {FREE, op_gdb},
	[MON_OP_HOLD] = {FREE, op_hold},
	[MON_OP_REGS] = {HELD | JUDGING, op_regs},
	[MON_OP_COMMIT] = {HELD, op_commit},
	[MON_OP_RELEASE] = {HELD, op_release},
	[MON_OP_RUN] = {FREE, op_run},
	[MON_OP_READ] = {FREE | HELD | JUDGING, op_read},
	[MON_OP_GUARD_OPEN] = {FREE, op_guard_open},
	[MON_OP_GUARD_PROTECT] = {FREE | HELD | JUDGING | GUARDED, op_guard_ranges},
	[MON_OP_GUARD_RELEASE] = {FREE | HELD | JUDGING | GUARDED, op_guard_ranges},
	[MON_OP_GUARD_ADOPT] = {FREE | GUARDED, op_guard_adopt},
	[MON_OP_GUARD_VERDICT] = {JUDGING | GUARDED, op_guard_verdict},
	[MON_OP_GUARD_STATS] = {FREE | HELD | JUDGING | GUARDED, op_guard_stats},
	[MON_OP_GUARD_AUDIT] = {FREE | HELD | JUDGING | GUARDED, op_guard_audit},
	[MON_OP_GUARD_AGAIN] = {FREE | HELD | JUDGING | GUARDED, op_guard_again},
	[MON_OP_GUARD_PAUSE] = {FREE | GUARDED, op_guard_pause},
	[MON_OP_GUARD_CLOSE] = {FREE | GUARDED, op_guard_close},
	[MON_OP_SYSREGS_FIND] = {FREE | GUARDED, op_sysregs_find},
	[MON_OP_DENY_MSRS] = {FREE | GUARDED, op_deny_msrs},
	[MON_OP_SYSREGS_SET] = {FREE | GUARDED, op_sysregs_set},
	[MON_OP_SYSREGS] = {FREE | HELD | JUDGING | GUARDED, op_sysregs},
};

/* A breach of the protocol is returned; anything else is the caller's answer. */
static int serve(struct server *s, struct msg *req)
{
	struct answer *a = &s->answer;
	unsigned int now = !s->started	      ? FRESH
			   : s->guard.judging ? JUDGING
			   : is_held(s)	      ? HELD
					      : FREE;
	uint32_t op = req->head.op;
	struct wire_error e = {0};
	int rc;

	if (op == 0 || op >= MON_OP_END || !ops[op].run ||
	    (ops[op].when & GUARDED && !s->guard.open))
		return -XO_EPROTO;
	if (!(ops[op].when & now) && !(now == JUDGING && ops[op].when & FREE))
		return -XO_EPROTO;
	a->err = (struct xerr){0};
	a->bad = WIRE_NO_RECORD;
	a->body = NULL;
	a->len_bytes = 0;
	if (ops[op].when & now)
		rc = ops[op].run(s, req, a);
	else
		rc = xerr_set(&a->err, EAGAIN, "a write waits for its verdict; give it first");
	if (rc == -XO_EPROTO)
		return rc;
	if (!rc)
		return msg_send(s->fd, op, 0, a->body, a->len_bytes, NULL, 0);
	e.record = (uint32_t)a->bad;
	(void)snprintf(e.text, sizeof(e.text), "%s", a->err.text);
	return msg_send(s->fd, op, rc, &e, sizeof(e), NULL, 0);
}

static uint64_t held_since_ns(const struct server *s)
{
	return s->guard.judging ? s->guard.judging_since_ns : s->held_since_ns;
}

static int ms_until(uint64_t ns)
{
	uint64_t now_ns = xo_now_ns();

	return ns > now_ns ? (int)((ns - now_ns) / 1000000) + 1 : 0;
}

/* How long to wait for a request: threads to settle, a hold not to outstay, writes that could not
 * be taken before. */
static int patience_ms(struct server *s)
{
	uint64_t retry_ns;

	if (hold_settle(&s->guard.device) || (!is_held(s) && hold_settle(&s->hold)))
		return SETTLE_POLL_MS;
	if (is_held(s))
		return ms_until(held_since_ns(s) + MAX_HELD_MS * UINT64_C(1000000));
	return guard_busy(&s->guard, &retry_ns) ? ms_until(retry_ns) : -1;
}

/* The guard takes writes only while nobody is held. */
static bool may_pump(const struct server *s)
{
	return s->guard.ready && !is_held(s) && xo_now_ns() >= s->guard.retry_ns;
}

static int request(struct server *s)
{
	_cleanup_msg_ struct msg req = {0};
	int rc = msg_recv(s->fd, -1, &req);

	return rc ? rc : serve(s, &req);
}

static int loop(struct server *s)
{
	for (;;) {
		struct pollfd p[] = {
			{.fd = s->fd, .events = POLLIN},
			{.fd = may_pump(s) ? s->guard.uffd : -1, .events = POLLIN},
			{.fd = s->guard.open && !s->gone_told ? s->vm.pidfd : -1, .events = POLLIN},
		};
		int ms = patience_ms(s);
		int rc = 0;

		if (poll(p, XO_ARRAY_SIZE(p), ms) < 0 && errno != EINTR)
			return -errno;
		if (is_held(s) && !patience_ms(s)) {
			guard_refuse(&s->guard);
			return -XO_ETIMEOUT;
		}
		if (p[2].revents) {
			guard_gone(&s->guard);
			s->gone_told = true;
		}
		if (p[0].revents)
			rc = request(s);
		if (!rc && may_pump(s))
			rc = guard_pump(&s->guard);
		if (rc)
			return rc == -XO_EPEERDIED ? 0 : rc;
	}
}

int server_run(int fd)
{
	_cleanup_free_ struct server *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return -ENOMEM;
	s->fd = fd;
	s->vm.pidfd = -1;
	s->tcg.fd = -1;
	guard_setup(&s->guard, &s->vm, &s->hold, &s->kvm);
	rc = hold_init();
	if (!rc)
		rc = loop(s);
	guard_close(&s->guard);
	xo_close_ptr(&s->guard.pagemap);
	if (is_held(s))
		(void)let_go(s, NULL, NULL);
	/* What cannot be let go yet is let go by the kernel when this process ends. */
	(void)hold_settle(&s->hold);
	tcg_close(&s->tcg);
	plan_clear(&s->plan);
	sysregs_free(&s->sysregs);
	hold_close(&s->hold);
	vm_close(&s->vm);
	return rc;
}
