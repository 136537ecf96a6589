// SPDX-License-Identifier: Apache-2.0
/*
 * for_each_process_thread of include/linux/sched/signal.h: init_task.tasks
 * links the leaders, signal->thread_head the threads of each. Idle tasks are on
 * neither; per-CPU idle_threads (kernel/smpboot.c) names them.
 *
 * A guest that runs can free a task under the walk, and make a new one of its memory, whose
 * neighbour is the list's end: what lay between would be passed over, and a list that was cut short
 * looks sound. So each node must still have the neighbour that was come from when its next one has
 * been read, and there must be as many tasks as the kernel counts, but for those that are new.
 */
#include "vmm-agent/lens/tasks.h"

#include "vmm-agent/lens/list.h"

/* How many tasks there are, and how many were ever made: kernel/fork.c */
struct count {
	uint32_t nr;
	uint64_t forks;
	bool known;
};

static int broken(struct xerr *err, int rc, uint64_t at)
{
	return xerr_set(err, XO_ETASKLIST, "guest task list: near %#llx it %s",
			(unsigned long long)at,
			rc == -XO_ELIMIT      ? "loops or does not end"
			: rc == -XO_ETASKLIST ? "changes while it is read"
					      : "leaves memory");
}

static struct count count_now(const struct gkernel *k)
{
	uint64_t nr = gkernel_symbol(k, "nr_threads"), forks = gkernel_symbol(k, "total_forks");
	struct count c = {0};

	/* In this order: one that is made meanwhile is among the new. */
	c.known = nr && forks && !gspace_u32(k->space, (struct gva){nr}, &c.nr) &&
		  !gspace_u64(k->space, (struct gva){forks}, &c.forks);
	return c;
}

/* To the next node; @from: that before the one reached, 0 at the head. -XO_ETASKLIST: it moved */
static int step(const struct gkernel *k, struct glist *w, uint64_t *from)
{
	uint64_t at = w->at, prev;
	int rc = glist_next(k->space, w);

	if (!rc && *from) {
		rc = gspace_u64(k->space, (struct gva){at + sizeof(prev)}, &prev);
		if (!rc && prev != *from)
			rc = -XO_ETASKLIST;
	}
	*from = at;
	return rc;
}

static int walk_threads(const struct gkernel *k, uint64_t leader, uint32_t *left, gtask_fn fn,
			void *ctx, struct xerr *err)
{
	const struct goffs *o = &k->off;
	struct glist w = {.left = left};
	uint64_t signal, head, from = 0;
	int rc = gspace_u64(k->space, (struct gva){leader + o->task_signal.off}, &signal);

	if (rc)
		return broken(err, rc, leader);
	head = signal + o->signal_thread_head.off;
	w.at = head;
	for (;;) {
		rc = step(k, &w, &from);
		if (rc)
			return broken(err, rc, from);
		if (w.at == head)
			return 0;
		rc = fn(ctx, w.at - o->task_thread_node.off, err);
		if (rc)
			return rc;
	}
}

static int walk_idle(const struct gkernel *k, uint64_t init_task, gtask_fn fn, void *ctx,
		     struct xerr *err)
{
	uint64_t idle_threads;
	int rc = gkernel_need(k, "idle_threads", &idle_threads, err);

	if (!rc)
		rc = fn(ctx, init_task, err);
	for (uint32_t cpu = 0; !rc && cpu < k->nr_cpus; cpu++) {
		uint64_t task;

		if (!k->percpu[cpu])
			continue;
		rc = gspace_u64(k->space, (struct gva){k->percpu[cpu] + idle_threads}, &task);
		if (rc)
			return broken(err, rc, k->percpu[cpu]);
		if (task && task != init_task)
			rc = fn(ctx, task, err);
	}
	return rc;
}

int gtask_walk(const struct gkernel *k, gtask_fn fn, void *ctx, uint32_t *ret_nr, struct xerr *err)
{
	uint32_t left = GTASK_MAX, leaders_left = GTASK_MAX;
	struct glist w = {.left = &leaders_left};
	const struct count before = count_now(k);
	uint64_t init_task, head, from = 0;
	struct count after;
	uint32_t nr;
	int rc = gkernel_need(k, "init_task", &init_task, err);

	if (rc)
		return rc;
	head = init_task + k->off.task_tasks.off;
	w.at = head;
	for (;;) {
		rc = step(k, &w, &from);
		if (rc)
			return broken(err, rc, from);
		if (w.at == head)
			break;
		rc = walk_threads(k, w.at - k->off.task_tasks.off, &left, fn, ctx, err);
		if (rc)
			return rc;
	}
	/* Every walk_threads took one step more than there were threads. */
	nr = GTASK_MAX - left - (w.steps - 1);
	after = count_now(k);
	if (before.known && after.known && nr + (after.forks - before.forks) < after.nr)
		return xerr_set(err, XO_ETASKLIST, "guest task list: it has %u of %u tasks", nr,
				after.nr);
	*ret_nr = nr;
	return walk_idle(k, init_task, fn, ctx, err);
}
