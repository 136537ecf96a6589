// SPDX-License-Identifier: Apache-2.0
/*
 * Going on from what is protected already: after a guard that died, and after QEMU has loaded a
 * snapshot into the stopped guest. The former asks QEMU nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#include "vmm-agent/agent/guard.h"
#include "vmm-agent/target/proc.h"

#define OLD_MONITOR_MS 50

/* A monitor whose guard died ends what it is at, and itself. One that does not is ended. */
static void await_end(const struct kept_process *p)
{
	_cleanup_close_ int fd = p->pid > 0 ? (int)syscall(SYS_pidfd_open, p->pid, 0) : -1;
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	uint64_t start_time = 0;

	if (fd < 0 || proc_start_time(p->pid, &start_time, NULL) || start_time != p->start_time)
		return;
	if (poll(&poll_fd, 1, OLD_MONITOR_MS) != 0)
		return;
	(void)syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
	(void)poll(&poll_fd, 1, OLD_MONITOR_MS);
}

static int take_fds(struct guard *g, struct xerr *err)
{
	g->fds.uffd = fcntl(g->link->fd[LINK_UFFD], F_DUPFD_CLOEXEC, 3);
	g->fds.golden = fcntl(g->link->fd[LINK_GOLDEN], F_DUPFD_CLOEXEC, 3);
	if (g->fds.uffd < 0 || g->fds.golden < 0)
		return xerr_set(err, XO_EINTERNAL, "guard: nothing was handed over");
	return 0;
}

static int take_areas(struct guard *g, struct xerr *err)
{
	size_t nr = g->kept->nr_areas;

	g->area = calloc(nr + 1, sizeof(*g->area));
	if (!g->area || nr > GUARD_MAX_AREAS)
		return xerr_set(err, ENOMEM, "out of memory");
	memcpy(g->area, g->kept->area, nr * sizeof(*g->area));
	g->nr_areas = nr;
	return 0;
}

/*
 * The lens is another one: what the one before found is not lost by what the guest's tables say
 * meanwhile. Homes are not its own.
 */
static int seed_areas(struct guard *g, struct xerr *err)
{
	_cleanup_free_ struct lens_area *a = calloc(g->nr_areas + 1, sizeof(*a));
	size_t nr = 0;
	int rc;

	if (!a)
		return xerr_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < g->nr_areas; i++)
		if (g->area[i].kind != LENS_AREA_HOME)
			a[nr++] = g->area[i];
	rc = lens_areas_seed(g->s.lens, a, nr, err);
	return rc ? rc : lens_guard_prepare(g->s.lens, err);
}

/*
 * Without a kernel where one was guarded the guest is booting, if QEMU says that it was reset.
 * Otherwise somebody hides it, and nothing may be let go for that.
 */
static int recall(struct guard *g, struct xerr *err)
{
	_cleanup_refusal_ struct refusal why = {0};
	const struct guard_kept *k = g->kept;
	int rc = session_recall(&g->s, &g->opts->agent, &k->vm, g->link->fd[LINK_LOCK],
				g->link->fd[LINK_QMP], k->root, k->paging_levels, &why, err);

	if (rc || guard_was_reset(g, false))
		return rc;
	if (why.nr)
		return xerr_set(err, why.reason[0].code, "%s", why.reason[0].detail);
	rc = session_journal(&g->s, err); /* it knows the homes of patches */
	return rc ? rc : seed_areas(g, err);
}

/* It holds whom the guard before held, and tells again what that one was judging. */
static int take_monitor(struct guard *g)
{
	const struct mon_handle h = {.fd = g->link->fd[LINK_MONITOR],
				     .events = g->link->fd[LINK_MONITOR_EVENTS],
				     .pid = g->kept->monitor.pid};
	enum mon_phase phase = MON_FREE;
	int rc = h.fd < 0 || h.events < 0
			 ? -XO_EPEERDIED
			 : mon_take_over(&g->s.mon, &h, g->s.vm->nr_vcpus, &phase, NULL);

	if (!rc && phase == MON_HELD)
		rc = mon_release(g->s.mon, NULL, NULL); /* of an apply or revert */
	if (rc) {
		mon_free(g->s.mon);
		g->s.mon = NULL;
	}
	return rc;
}

static int start_monitor(struct guard *g, struct xerr *err)
{
	int rc;

	link_give(g->link, LINK_MONITOR, -1);
	link_give(g->link, LINK_MONITOR_EVENTS, -1);
	await_end(&g->kept->monitor);
	rc = session_monitor(&g->s, err);
	if (!rc)
		rc = mon_guard_open(g->s.mon, -1, &g->fds, err);
	if (!rc)
		rc = mon_guard_adopt(g->s.mon, err);
	if (rc)
		return rc;
	g->kept->monitor = guard_identify(mon_pid(g->s.mon));
	guard_give(g);
	return 0;
}

/* The areas are known, and the tables as they should be. */
static int pin_again(struct guard *g, const struct guard_regs *before, bool found, struct xerr *err)
{
	int rc = guard_refresh_all(g, err);

	if (!rc)
		rc = guard_recall_tables(g, err);
	return rc ? rc : guard_regs_resume(g, before, found, err);
}

int guard_resume(struct guard *g, struct xerr *err)
{
	const struct guard_regs *regs = &g->kept->regs[g->kept->regs_current & 1];
	bool taken = false;
	int rc = take_fds(g, err);

	if (!rc)
		rc = take_areas(g, err);
	if (!rc)
		rc = recall(g, err);
	if (!rc)
		taken = !take_monitor(g);
	if (!rc && !taken)
		rc = start_monitor(g, err);
	if (rc)
		return rc;
	g->state = GUARD_ARMED;
	return g->reset_due ? 0 : pin_again(g, regs, taken, err);
}

void guard_lift(struct guard *g)
{
	g->state = GUARD_LIFTED;
	g->writes_at_stop = GUARD_NO_WRITES;
	guard_regs_release(g); /* the next kernel may be another */
	mon_guard_lift(&g->fds);
	/* It may be about to ask for the next verdict, and holds everybody for it. */
	link_give(g->link, LINK_MONITOR, -1);
	link_give(g->link, LINK_MONITOR_EVENTS, -1);
	mon_free(g->s.mon);
	g->s.mon = NULL;
}

/* Nothing was protected since, but for the copies. */
static int is_same_kernel(struct guard *g, bool *ret, struct xerr *err)
{
	_cleanup_refusal_ struct refusal why = {0};
	struct lens_kernel before = g->s.kernel;
	int rc;

	rc = session_look(&g->s, &why, err);
	*ret = !rc && !why.nr && before.base.v == g->s.kernel.base.v &&
	       before.phys_base.v == g->s.kernel.phys_base.v &&
	       !memcmp(before.build_id, g->s.kernel.build_id, sizeof(before.build_id));
	return rc;
}

int guard_readopt(struct guard *g, struct xerr *err)
{
	struct guard_regs regs = g->regs;
	bool same = false;
	int rc = is_same_kernel(g, &same, err);

	if (rc)
		return rc;
	if (!same) {
		guard_forget(g);
		return 0;
	}
	rc = seed_areas(g, err);
	if (!rc)
		rc = start_monitor(g, err);
	if (rc)
		return rc;
	g->state = GUARD_ARMED;
	rc = pin_again(g, &regs, false, err);
	return rc ? rc : guard_regs_again(g, err);
}
