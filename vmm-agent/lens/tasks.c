// SPDX-License-Identifier: Apache-2.0
/*
 * for_each_process_thread of include/linux/sched/signal.h: init_task.tasks
 * links the leaders, signal->thread_head the threads of each. Idle tasks are on
 * neither; per-CPU idle_threads (kernel/smpboot.c) names them.
 */
#include "vmm-agent/lens/tasks.h"

#include "vmm-agent/lens/list.h"

static int broken(struct xerr *err, int rc, uint64_t at)
{
	return xerr_set(err, XO_ETASKLIST, "guest task list: near %#llx it %s",
			(unsigned long long)at,
			rc == -XO_ELIMIT ? "loops or does not end" : "leaves memory");
}

static int walk_threads(const struct gkernel *k, uint64_t leader, uint32_t *left, gtask_fn fn,
			void *ctx, struct xerr *err)
{
	const struct goffs *o = &k->off;
	struct glist w = {.left = left};
	uint64_t signal, head;
	int rc = gspace_u64(k->space, (struct gva){leader + o->task_signal.off}, &signal);

	if (rc)
		return broken(err, rc, leader);
	head = signal + o->signal_thread_head.off;
	w.at = head;
	for (;;) {
		rc = glist_next(k->space, &w);
		if (rc)
			return broken(err, rc, w.at);
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
	uint64_t init_task, head;
	int rc = gkernel_need(k, "init_task", &init_task, err);

	if (rc)
		return rc;
	head = init_task + k->off.task_tasks.off;
	w.at = head;
	for (;;) {
		rc = glist_next(k->space, &w);
		if (rc)
			return broken(err, rc, w.at);
		if (w.at == head)
			break;
		rc = walk_threads(k, w.at - k->off.task_tasks.off, &left, fn, ctx, err);
		if (rc)
			return rc;
	}
	/* Every walk_threads took one step more than there were threads. */
	*ret_nr = GTASK_MAX - left - (w.steps - 1);
	return walk_idle(k, init_task, fn, ctx, err);
}
