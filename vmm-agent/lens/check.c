// SPDX-License-Identifier: Apache-2.0
/*
 * A task that is off its CPU, with its stack pointer and its context-switch
 * counts unchanged since it was looked at, has slept since, and its stack is
 * what it was: the counts go up in __schedule before the stack pointer is
 * saved, and on_cpu is set before a task runs and cleared after it stopped
 * (kernel/sched/core.c). Who is on a CPU is looked at from the vCPU's stack
 * pointer on.
 */
#include "vmm-agent/lens/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "vmm-agent/lens/places.h"
#include "vmm-agent/lens/tasks.h"

#define PREPARE_TRIES	5
#define MAX_RUNNING	(2ul * GKERNEL_MAX_CPUS) /* two per CPU amid a switch */
#define MAX_TRACE_BYTES 8192 /* SHADOW_STACK_SIZE is 4096; 50 entries of 40 bytes before 6.11 */
#define MAX_STACK_BYTES (UINT64_C(512) << 20) /* looked at in one pass */
#define MAX_RETHOOKS	(1u << 16)
#define IRQ_STACK_BYTES 16384 /* IRQ_STACK_SIZE, asm/page_64_types.h */
#define KERNEL_HALF	(UINT64_C(1) << 63)

struct gcheck_task {
	uint64_t task, stack, sp, switches, start_time;
	bool settled; /* it slept while it was looked at */
	bool busy;    /* something was found */
};

/* What is read of a task in one go. */
struct state {
	struct gcheck_task id;
	uint64_t restart_fn, ret_stack, rethooks;
	int32_t pid, curr_ret_stack;
	uint32_t on_cpu, cpu;
	char comm[LENS_COMM_SIZE];
};

/* One pass over all tasks, before or during the hold. */
struct pass {
	struct gcheck *c;
	const struct gkernel *k;
	struct gfindings found;
	struct xbuf seen;		   /* before: struct gcheck_task */
	size_t cursor;			   /* during: where the next task probably is */
	struct state running[MAX_RUNNING]; /* during */
	size_t nr_running;
	/* Those of the running tasks, by the same index, and behind them the interrupt stacks. */
	struct gstack stack[MAX_RUNNING + GKERNEL_MAX_CPUS];
	size_t nr_irq;
	uint32_t nr_rescanned;
	uint32_t hooks_left;   /* of kretprobes, over all tasks */
	struct gplaces places; /* during: kprobes */
	uint8_t scratch[GKERNEL_MAX_TASK];
};

static int broken(struct xerr *err, const struct state *st, const char *what)
{
	char comm[LENS_COMM_SIZE * 4];

	return xerr_set(err, XO_ETASKLIST, "guest task %d (%s): %s", st->pid,
			xo_escape(SPAN(st->comm, sizeof(st->comm)), comm, sizeof(comm)), what);
}

/* The member at @m of the structure of @bytes at @p: 4 or 8 of its bytes, else 0. */
static uint64_t member(const uint8_t *p, size_t bytes, const struct gmember *m, size_t want)
{
	uint64_t v = 0;

	if (m->known && span_has(SPAN(p, bytes), m->off, want)) {
		if (want == sizeof(uint64_t))
			v = *(const volatile uint64_t *)(const void *)(p + m->off);
		else
			v = *(const volatile uint32_t *)(const void *)(p + m->off);
	}
	return v;
}

/* How much of a task's structure is looked at: most of it is floating-point state. */
static size_t bytes_used(const struct goffs *o)
{
	const struct gmember *const used[] = {
		&o->task_stack,		&o->task_sp,	     &o->task_nvcsw,	 &o->task_nivcsw,
		&o->task_start_time,	&o->task_restart_fn, &o->task_ret_stack, &o->task_rethooks,
		&o->task_pid,		&o->task_on_cpu,     &o->task_cpu,	 &o->task_comm,
		&o->task_curr_ret_stack};
	uint64_t end = 0;

	for (size_t i = 0; i < XO_ARRAY_SIZE(used); i++)
		if (used[i]->known && used[i]->off + LENS_COMM_SIZE > end)
			end = used[i]->off + LENS_COMM_SIZE;
	return end < o->task_size.size_bytes ? end : o->task_size.size_bytes;
}

static int read_state(struct pass *p, uint64_t task, struct state *ret, struct xerr *err)
{
	const struct goffs *o = &p->k->off;
	size_t n = bytes_used(o);
	const uint8_t *t = gspace_ptr(p->k->space, (struct gva){task}, n);

	if (!t || (uintptr_t)t % 8) {
		int rc = gspace_read(p->k->space, (struct gva){task}, p->scratch, n);

		if (rc)
			return xerr_set(err, XO_ETASKLIST, "guest task at %#llx: %s",
					(unsigned long long)task, xo_code_text(rc));
		t = p->scratch;
	}
	*ret = (struct state){
		.id = {.task = task,
		       .stack = member(t, n, &o->task_stack, 8),
		       .sp = member(t, n, &o->task_sp, 8),
		       .switches =
			       member(t, n, &o->task_nvcsw, 8) + member(t, n, &o->task_nivcsw, 8),
		       .start_time = member(t, n, &o->task_start_time, 8)},
		.restart_fn = member(t, n, &o->task_restart_fn, 8),
		.ret_stack = member(t, n, &o->task_ret_stack, 8),
		.rethooks = member(t, n, &o->task_rethooks, 8),
		.pid = (int32_t)member(t, n, &o->task_pid, 4),
		.curr_ret_stack = (int32_t)member(t, n, &o->task_curr_ret_stack, 4),
		.on_cpu = (uint32_t)member(t, n, &o->task_on_cpu, 4),
		.cpu = (uint32_t)member(t, n, &o->task_cpu, 4),
	};
	if (span_has(SPAN(t, n), o->task_comm.off, sizeof(ret->comm)))
		memcpy(ret->comm, t + o->task_comm.off, sizeof(ret->comm));
	return 0;
}

static bool same(const struct gcheck_task *a, const struct gcheck_task *b)
{
	return a->task == b->task && a->stack == b->stack && a->sp == b->sp &&
	       a->switches == b->switches && a->start_time == b->start_time;
}

static struct gowner owner(const struct state *st, enum lens_busy_kind kind)
{
	return (struct gowner){.kind = kind, .pid = st->pid, .cpu = -1, .comm = st->comm};
}

/* Return addresses that the function-graph tracer took off the stack. */
static int scan_ret_stack(struct pass *p, const struct state *st)
{
	const struct gowner o = owner(st, LENS_BUSY_TRACE);
	uint64_t unit = p->k->off.task_ret_stack.target_bytes;
	int64_t nr = st->curr_ret_stack;
	uint64_t bytes;

	if (!st->ret_stack || !unit)
		return 0;
	/* An array of structures and the index of the last, or of words and how many. */
	if (unit > sizeof(uint64_t))
		nr++;
	if (nr <= 0)
		return 0;
	bytes = (uint64_t)nr * unit;
	if (bytes > MAX_TRACE_BYTES)
		bytes = MAX_TRACE_BYTES;
	return gstack_scan(p->k->space, &p->c->ranges, st->ret_stack, st->ret_stack + bytes, &o,
			   &p->found);
}

/* Return addresses that kretprobes took off the stack. */
static int scan_rethooks(struct pass *p, const struct state *st)
{
	const struct gowner o = owner(st, LENS_BUSY_TRACE);
	const struct goffs *off = &p->k->off;
	uint64_t node = st->rethooks;

	if (!off->rethook_llist.known || !off->rethook_ret_addr.known)
		return 0;
	while (node) {
		uint64_t hook = node - off->rethook_llist.off;
		const struct grange *r;
		uint64_t addr;
		int rc;

		if (!p->hooks_left)
			return -XO_ELIMIT;
		p->hooks_left--;
		hook += off->rethook_ret_addr.off;
		rc = gspace_u64(p->k->space, (struct gva){hook}, &addr);
		if (!rc)
			rc = gspace_u64(p->k->space, (struct gva){node}, &node);
		if (rc)
			return rc;
		r = granges_hit(&p->c->ranges, addr);
		if (r)
			gfindings_add(&p->found, &o, r, addr, hook);
	}
	return 0;
}

/* All of a task, with its stack from @from on. */
static int scan_task(struct pass *p, const struct state *st, uint64_t from, struct xerr *err)
{
	const struct grange *r = granges_hit(&p->c->ranges, st->restart_fn);
	struct gowner o = owner(st, LENS_BUSY_RESTART);
	int rc;

	if (r)
		gfindings_add(&p->found, &o, r, st->restart_fn,
			      st->id.task + p->k->off.task_restart_fn.off);
	if (p->found.stack_bytes > MAX_STACK_BYTES)
		return broken(err, st, "there are more stacks than there can be");
	o.kind = LENS_BUSY_STACK;
	rc = gstack_scan(p->k->space, &p->c->ranges, from, st->id.stack + p->k->thread_bytes, &o,
			 &p->found);
	if (rc)
		return broken(err, st, "its kernel stack is not mapped");
	if (scan_ret_stack(p, st) || scan_rethooks(p, st))
		return broken(err, st, "its list of traced returns is corrupt");
	return 0;
}

/* A dead task that waits for its parent has no stack any more. */
static int scan_sleeper(struct pass *p, const struct state *st, struct xerr *err)
{
	if (!st->id.stack)
		return 0;
	if (st->id.sp - st->id.stack >= p->k->thread_bytes || st->id.sp % 8)
		return broken(err, st, "its saved stack pointer is not on its stack");
	return scan_task(p, st, st->id.sp, err);
}

/* ---- before the hold ---- */

static int look_before(void *ctx, uint64_t task, struct xerr *err)
{
	struct pass *p = ctx;
	struct state st = {0}, after = {0};
	int rc = read_state(p, task, &st, err);

	if (rc)
		return rc;
	if (!st.on_cpu) {
		p->found.nr = p->found.dropped = 0;
		/* Running meanwhile, it may look broken: it is then looked at again in the hold. */
		rc = scan_sleeper(p, &st, NULL);
		st.id.busy = p->found.nr > 0;
		st.id.settled = !rc && !read_state(p, task, &after, NULL) && !after.on_cpu &&
				same(&st.id, &after.id);
	}
	return xbuf_add(&p->seen, &st.id, sizeof(st.id));
}

static size_t bucket_of(const struct gcheck *c, uint64_t task)
{
	return (task >> 6) * UINT64_C(0x9e3779b97f4a7c15) >> 20 & (c->nr_buckets - 1);
}

/* The first of equal or colliding tasks wins; the others are looked at again in the hold. */
static int remember(struct gcheck *c, struct xbuf *seen)
{
	size_t nr = 1;

	c->nr = seen->len_bytes / sizeof(*c->task);
	c->task = (struct gcheck_task *)(void *)XO_TAKE_PTR(seen->data);
	xbuf_free(seen);
	while (nr < c->nr * 2)
		nr *= 2;
	c->bucket = calloc(nr, sizeof(*c->bucket));
	if (!c->bucket)
		return -ENOMEM;
	c->nr_buckets = nr;
	for (size_t i = 0; i < c->nr; i++) {
		uint32_t *b = &c->bucket[bucket_of(c, c->task[i].task)];

		if (!*b)
			*b = (uint32_t)i + 1;
	}
	return 0;
}

int gcheck_prepare(struct gcheck *c, const struct gkernel *k, const struct lens_range *r, size_t nr,
		   struct xerr *err)
{
	_cleanup_free_ struct pass *p = calloc(1, sizeof(*p));
	_cleanup_free_ struct lens_busy *busy = calloc(LENS_MAX_BUSY, sizeof(*busy));
	struct xerr last = {0};
	int rc;

	gcheck_free(c);
	if (!p || !busy)
		return xerr_set(err, ENOMEM, "stack check: out of memory");
	rc = granges_set(&c->ranges, r, nr, LENS_RANGE_CODE);
	if (!rc)
		rc = granges_set(&c->written, r, nr, LENS_RANGE_WRITTEN);
	if (rc)
		return xerr_set(err, rc, "stack check: the ranges are malformed");
	for (int i = 0; i < PREPARE_TRIES; i++) {
		uint32_t nr_tasks;

		p->c = c;
		p->k = k;
		p->found = (struct gfindings){.busy = busy};
		p->hooks_left = MAX_RETHOOKS;
		p->seen = XBUF(2ul * GTASK_MAX * sizeof(struct gcheck_task));
		last = (struct xerr){0};
		rc = gtask_walk(k, look_before, p, &nr_tasks, &last);
		if (!rc)
			rc = remember(c, &p->seen);
		xbuf_free(&p->seen);
		if (rc != -XO_ETASKLIST)
			break;
	}
	c->prepared = !rc;
	return rc ? xerr_set(err, rc, "%s", last.code ? last.text : xo_code_text(rc)) : 0;
}

/* ---- during the hold ---- */

static const struct gcheck_task *recall(struct pass *p, uint64_t task)
{
	const struct gcheck *c = p->c;
	uint32_t i;

	if (p->cursor < c->nr && c->task[p->cursor].task == task)
		return &c->task[p->cursor++];
	i = c->bucket[bucket_of(c, task)];
	if (!i || c->task[i - 1].task != task)
		return NULL;
	p->cursor = i;
	return &c->task[i - 1];
}

static int look_during(void *ctx, uint64_t task, struct xerr *err)
{
	struct pass *p = ctx;
	const struct gcheck_task *was = recall(p, task);
	struct state st = {0};
	int rc = read_state(p, task, &st, err);

	if (rc)
		return rc;
	if (st.on_cpu) {
		uint64_t high = st.id.stack + p->k->thread_bytes;

		if (p->nr_running == MAX_RUNNING)
			return broken(err, &st, "more tasks are on CPUs than there can be");
		p->running[p->nr_running] = st;
		p->stack[p->nr_running++] =
			(struct gstack){.low = st.id.stack, .high = high, .from = high};
		return 0;
	}
	if (was && was->settled && !was->busy && same(was, &st.id))
		return 0;
	p->nr_rescanned++;
	return scan_sleeper(p, &st, err);
}

/*
 * Is the vCPU in user mode, or in the few instructions that still or already
 * have its stack? Not if it is in firmware: system management mode may have
 * interrupted the kernel anywhere. A vCPU that was never started has no tables.
 */
static bool in_user(const struct lens_check_regs *r)
{
	return r->cpl == 3 || (r->rsp < KERNEL_HALF && (r->rip >= KERNEL_HALF || !r->cr3));
}

/* Each CPU's interrupt stack: hardirq_stack_ptr, in pcpu_hot from Linux 6.2 on, is its last word.
 */
static void find_irq_stacks(struct pass *p)
{
	const struct gkernel *k = p->k;
	const struct gmember *m = &k->off.pcpu_hot_irq_stack;
	uint64_t hot = gkernel_symbol(k, "pcpu_hot"), top;
	uint64_t off = hot && m->known ? hot + m->off : gkernel_symbol(k, "hardirq_stack_ptr");

	for (uint32_t cpu = 0; off && cpu < k->nr_cpus; cpu++) {
		if (!k->percpu[cpu] ||
		    gspace_u64(k->space, (struct gva){k->percpu[cpu] + off}, &top) ||
		    top < KERNEL_HALF || top > UINT64_MAX - sizeof(top))
			continue;
		top += sizeof(top);
		p->stack[p->nr_running + p->nr_irq++] =
			(struct gstack){.low = top - IRQ_STACK_BYTES, .high = top, .from = top};
	}
}

/* Lower the in-use part of the stacks that this vCPU is on. Return: whether there was any */
static bool follow_vcpu(struct pass *p, const struct lens_check_regs *r, int32_t cpu)
{
	const struct gowner o = {.kind = LENS_BUSY_IRQ_STACK, .pid = -1, .cpu = cpu};
	size_t nr = p->nr_running + p->nr_irq;
	bool met = false;

	for (size_t i = 0; i < p->nr_running; i++) {
		struct gstack *s = &p->stack[i];

		if (r->rsp >= s->low && r->rsp < s->high) {
			if (r->rsp < s->from)
				s->from = r->rsp & ~UINT64_C(7);
			return true;
		}
	}
	/* An interrupt, exception or entry stack, or that of a task past its last list entry. */
	for (size_t i = 0; i < nr; i++)
		p->stack[i].mark = p->stack[i].from;
	gstack_scan_unknown(p->k->space, &p->c->ranges, r->rsp, &o, p->stack, nr, &p->found);
	/* A non-maskable interrupt or an exception has a stack of its own, on top of that one. */
	for (size_t i = p->nr_running; i < nr; i++) {
		const struct gstack *s = &p->stack[i];

		if (s->from < s->mark && (r->rsp < s->low || r->rsp >= s->high))
			gstack_scan_unknown(p->k->space, &p->c->ranges, s->from, &o, p->stack, nr,
					    &p->found);
	}
	for (size_t i = 0; i < p->nr_running; i++)
		met = met || p->stack[i].from < p->stack[i].mark;
	return met;
}

/* A task on a CPU whose other task is in use is amid a switch: what it saved holds. */
static bool amid_switch(const struct pass *p, size_t which)
{
	for (size_t i = 0; i < p->nr_running; i++)
		if (i != which && p->running[i].cpu == p->running[which].cpu &&
		    p->stack[i].from < p->stack[i].high)
			return true;
	return false;
}

/*
 * A running task that no vCPU's stack leads to is in user mode, with an empty
 * kernel stack. But if some vCPU's stack leads nowhere, it may be that task's,
 * and then all of the stack counts.
 */
static int look_at_running(struct pass *p, bool lost, struct xerr *err)
{
	for (size_t i = 0; i < p->nr_running; i++) {
		const struct state *st = &p->running[i];
		uint64_t from = p->stack[i].from;
		int rc;

		if (!st->id.stack)
			continue;
		if (from == p->stack[i].high && amid_switch(p, i))
			from = st->id.sp;
		else if (from == p->stack[i].high && lost)
			from = p->stack[i].low;
		if (from < p->stack[i].low || from > p->stack[i].high)
			return broken(err, st, "its saved stack pointer is not on its stack");
		rc = scan_task(p, st, from, err);
		if (rc)
			return rc;
		p->nr_rescanned++;
	}
	return 0;
}

static void look_at_vcpus(struct pass *p, const struct lens_check_regs *regs, size_t nr,
			  bool *ret_lost)
{
	for (size_t i = 0; i < nr; i++) {
		const struct gowner o = {.kind = LENS_BUSY_VCPU, .pid = -1, .cpu = (int32_t)i};
		const struct grange *r = granges_cover(&p->c->ranges, regs[i].rip);

		if (r)
			gfindings_add(&p->found, &o, r, regs[i].rip, 0);
		if (!in_user(&regs[i]) && !follow_vcpu(p, &regs[i], (int32_t)i))
			*ret_lost = true;
	}
}

/*
 * A kprobe works on a copy of the instruction it stands on, and puts the copied
 * byte back when it is taken out. So nothing may be written under one, armed or
 * not, nor while the kernel sets one up: the copy is made before kprobe_table
 * has it, but after kprobe_mutex is taken (kernel/kprobes.c).
 */
static int look_at_kprobes(struct pass *p, struct xerr *err)
{
	const struct gowner o = {.kind = LENS_BUSY_KPROBE, .pid = -1, .cpu = -1};
	const struct granges *g = &p->c->written;
	uint64_t mutex = gkernel_symbol(p->k, "kprobe_mutex"), owner = 0;

	if (!g->nr)
		return 0;
	/* Its owner is the first word of struct mutex; the low bits are flags. */
	if (mutex && !gspace_u64(p->k->space, (struct gva){mutex}, &owner) && owner & ~UINT64_C(7))
		gfindings_add(&p->found, &o, &g->r[0], 0, mutex);
	for (size_t i = 0; i < g->nr; i++) {
		const struct grange *r = &g->r[i];
		int rc = gplaces_kprobes(&p->places, p->k, r->start, r->end, err);

		if (rc)
			return rc;
		for (size_t n = 0; n < p->places.nr; n++)
			gfindings_add(&p->found, &o, r, p->places.place[n].addr, 0);
	}
	return 0;
}

int gcheck_run(struct gcheck *c, const struct gkernel *k, const struct lens_check_regs *regs,
	       size_t nr_regs, struct lens_busy *busy, size_t *ret_nr,
	       struct lens_check_stats *stats, struct xerr *err)
{
	_cleanup_free_ struct pass *p = calloc(1, sizeof(*p));
	uint64_t start = xo_now_ns();
	uint32_t nr_tasks = 0;
	bool lost = false;
	int rc;

	if (!p)
		return xerr_set(err, ENOMEM, "stack check: out of memory");
	if (!c->prepared)
		return xerr_set(err, XO_EPROTO, "stack check: not prepared");
	p->c = c;
	p->k = k;
	p->found.busy = busy;
	p->hooks_left = MAX_RETHOOKS;
	rc = gtask_walk(k, look_during, p, &nr_tasks, err);
	if (rc)
		return rc;
	find_irq_stacks(p);
	look_at_vcpus(p, regs, nr_regs, &lost);
	rc = look_at_running(p, lost, err);
	if (!rc)
		rc = look_at_kprobes(p, err);
	if (rc)
		return rc;
	*ret_nr = p->found.nr;
	*stats = (struct lens_check_stats){.nr_tasks = nr_tasks,
					   .nr_rescanned = p->nr_rescanned,
					   .stack_bytes = p->found.stack_bytes,
					   .ns = xo_now_ns() - start};
	return 0;
}

void gcheck_free(struct gcheck *c)
{
	free(c->task);
	free(c->bucket);
	*c = (struct gcheck){0};
}
