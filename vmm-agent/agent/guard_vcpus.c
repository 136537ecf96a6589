// SPDX-License-Identifier: Apache-2.0
/*
 * vCPUs that come and go while the guard is on. A hold is one of all vCPUs, so the monitor has to
 * know them; it is followed by another one that does. QEMU says nothing of a vCPU that was added,
 * but has one thread more then, which costs a microsecond to see.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "vmm-agent/agent/guard.h"

#define LOOK_NS UINT64_C(100000000) /* threads come and go for other reasons */

/* proc_task_getattr(), fs/proc/base.c: a link for each thread. */
static uint64_t nr_threads(pid_t pid)
{
	char path[48];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	return stat(path, &st) ? 0 : st.st_nlink;
}

static bool is_due(struct guard *g)
{
	uint64_t now = xo_now_ns(), nr = nr_threads(g->s.vm->pid);

	g->vcpus_look |= nr != g->nr_threads;
	g->nr_threads = nr;
	if (!g->vcpus_look || now < g->vcpus_due_ns)
		return false;
	g->vcpus_look = false;
	g->vcpus_due_ns = now + LOOK_NS;
	return true;
}

/* By both: TCG may have all of them in one thread, and a number is given again. */
static bool same_vcpu(const struct tgt_vcpu *a, const struct tgt_vcpu *b)
{
	return a->tid == b->tid && a->cpu_index == b->cpu_index;
}

static bool same_vcpus(const struct tgt_info *a, const struct tgt_info *b)
{
	bool same = a->nr_vcpus == b->nr_vcpus;

	for (size_t i = 0; i < a->nr_vcpus && same; i++)
		same = same_vcpu(&a->vcpu[i], &b->vcpu[i]);
	return same;
}

/* What was learnt of a vCPU goes with it, wherever it stands in the list by now. */
static void move_pins(struct guard *g, const struct tgt_info *before)
{
	struct guard_regs *r = &g->regs;
	const struct guard_regs old = *r;
	const struct tgt_info *now = g->s.vm;

	memset(r->pins.vcpu, 0, sizeof(r->pins.vcpu));
	memset(r->vcpu_missed, 0, sizeof(r->vcpu_missed));
	for (size_t i = 0; i < now->nr_vcpus; i++) {
		size_t k = 0;

		while (k < before->nr_vcpus && !same_vcpu(&before->vcpu[k], &now->vcpu[i]))
			k++;
		if (k == before->nr_vcpus)
			continue;
		r->pins.vcpu[i] = old.pins.vcpu[k];
		r->vcpu_missed[i] = old.vcpu_missed[k];
	}
	if (r->pins.nr)
		r->pins.nr = now->nr_vcpus;
	r->have = 0;
	r->lost = true;
	r->again_ns = 0;
}

/* From here on it takes another monitor, or another guard. */
static int start_another(struct guard *g, struct xerr *err)
{
	int rc;

	mon_free(g->s.mon);
	g->s.mon = NULL;
	rc = guard_start_monitor(g, err);
	if (!rc)
		return 0;
	mon_free(g->s.mon);
	g->s.mon = NULL;
	return rc;
}

void guard_say_vcpus(struct guard *g)
{
	guard_emit(g, "vcpus-changed", NULL, json_pack("{s:i}", "vcpus", (int)g->s.vm->nr_vcpus));
}

static int replace_monitor(struct guard *g, const struct tgt_info *now, struct xerr *err)
{
	_cleanup_free_ struct tgt_info *before = malloc(sizeof(*before));
	int rc;

	if (!before)
		return xerr_set(err, ENOMEM, "out of memory");
	rc = mon_guard_pause(g->s.mon, err);
	if (rc)
		return rc;
	*before = *g->s.vm;
	tgt_take_vcpus(g->s.tgt, now);
	move_pins(g, before);
	rc = start_another(g, err);
	if (rc)
		return rc;
	guard_keep(g);
	guard_say_vcpus(g);
	return 0;
}

int guard_follow_vcpus(struct guard *g, struct xerr *err)
{
	_cleanup_free_ struct tgt_info *now = NULL;
	struct xerr why = {0};
	int rc;

	if (!tgt_connected(g->s.tgt) || !is_due(g))
		return 0;
	now = malloc(sizeof(*now));
	if (!now)
		return xerr_set(err, ENOMEM, "out of memory");
	rc = tgt_vcpus(g->s.tgt, now, &why);
	if (!rc && g->state == GUARD_ARMED && !same_vcpus(now, g->s.vm))
		rc = replace_monitor(g, now, &why);
	if (!g->s.mon || guard_is_fatal(rc))
		return rc ? xerr_set(err, rc, "%s", why.text) : 0;
	g->vcpus_look |= rc != 0; /* a write waits, or QEMU does not answer */
	return 0;
}

bool guard_prune_vcpus(struct guard *g)
{
	struct tgt_info *vm = &g->kept->vm;
	size_t kept = 0, nr = vm->nr_vcpus;

	for (size_t i = 0; i < nr; i++) {
		char path[64];

		snprintf(path, sizeof(path), "/proc/%d/task/%d", (int)vm->pid,
			 (int)vm->vcpu[i].tid);
		if (!access(path, F_OK))
			vm->vcpu[kept++] = vm->vcpu[i];
	}
	if (!kept || kept == nr)
		return false; /* or QEMU is gone, as will be found */
	vm->nr_vcpus = kept;
	for (size_t i = 0; i < XO_ARRAY_SIZE(g->kept->regs); i++) {
		memset(g->kept->regs[i].pins.vcpu, 0, sizeof(g->kept->regs[i].pins.vcpu));
		if (g->kept->regs[i].pins.nr)
			g->kept->regs[i].pins.nr = kept;
	}
	return true;
}
