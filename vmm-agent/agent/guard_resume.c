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

/* Is the kernel that the lens has found the one that is guarded, in the same boot? */
static bool is_same_kernel(const struct guard *g)
{
	const struct lens_kernel *now = &g->s.kernel;
	const struct guard_kept *k = g->kept;

	return k->base.v == now->base.v && k->phys_base.v == now->phys_base.v &&
	       (!k->boot_token || !now->boot_token || k->boot_token == now->boot_token) &&
	       !memcmp(k->build_id, now->build_id, sizeof(k->build_id));
}

/* The new lens must not take what a page is by now for what it was: a right to write, given while
 * there was no guard, would take the protection off. */
static int tell_areas(struct guard *g, struct xerr *err)
{
	_cleanup_free_ struct lens_area *a = calloc(g->nr_areas + 1, sizeof(*a));
	size_t nr = 0;

	if (!a)
		return xerr_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < g->nr_areas; i++)
		if (g->area[i].kind != LENS_AREA_HOME)
			a[nr++] = g->area[i];
	return lens_areas_seed(g->s.lens, a, nr, err);
}

/* Lists that lead nowhere just now: what is written until they do is put back, and the audit says
 * so. */
static int prepare(struct guard *g, struct xerr *err)
{
	struct xerr why = {0};
	int rc = tell_areas(g, err);

	if (!rc)
		rc = guard_tell_probes(g, err);
	if (rc)
		return rc;
	rc = lens_guard_prepare(g->s.lens, &why);
	return guard_is_fatal(rc) ? xerr_set(err, rc, "%s", why.text) : 0;
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

	g->s.resets = k->resets;
	if (rc || guard_was_reset(g, false) || k->lifted)
		return rc;
	if (why.nr)
		return xerr_set(err, why.reason[0].code, "%s", why.reason[0].detail);
	if (!is_same_kernel(g)) {
		guard_emit(g, "kernel-changed", "reported",
			   json_pack("{s:s}", "reason",
				     "another kernel, or boot, is where one was guarded, without a "
				     "reset"));
		return xerr_set(
			err, XO_ENOKERNEL,
			"another kernel is where one was guarded, and QEMU did not say that "
			"the guest was reset; exopatch guard stop lets it go on");
	}
	rc = session_journal(&g->s, err); /* it knows the homes of patches */
	return rc ? rc : prepare(g, err);
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

/* However it ends, it lets go of whom it holds: nobody may run what it has not had judged. */
static void end_monitor(struct guard *g)
{
	if (!g->kept->lifted)
		mon_guard_shut(&g->fds, g->s.vm->pid);
	link_give(g->link, LINK_MONITOR, -1);
	link_give(g->link, LINK_MONITOR_EVENTS, -1);
	await_end(&g->kept->monitor);
	/* Meanwhile it may have opened a page. */
	if (!g->kept->lifted)
		mon_guard_shut(&g->fds, g->s.vm->pid);
}

int guard_start_monitor(struct guard *g, struct xerr *err)
{
	int rc;

	end_monitor(g);
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

/* The areas are known, and the tables as they should be: or will be, with the next look that finds
 * the guest's lists whole. */
static int pin_again(struct guard *g, const struct guard_regs *before, bool found, struct xerr *err)
{
	struct xerr why = {0};
	int rc = guard_refresh_all(g, err);

	if (rc)
		return rc;
	rc = guard_recall_tables(g, &why);
	g->recall_due = rc != 0;
	if (guard_is_fatal(rc))
		return xerr_set(err, rc, "%s", why.text);
	return guard_regs_resume(g, before, found, err);
}

int guard_resume(struct guard *g, struct xerr *err)
{
	const struct guard_regs *regs = &g->kept->regs[g->kept->regs_current & 1];
	bool pruned = guard_prune_vcpus(g), taken = false;
	int rc = take_fds(g, err);

	if (!rc)
		rc = take_areas(g, err);
	if (!rc)
		rc = recall(g, err);
	if (!rc && pruned)
		guard_say_vcpus(g);
	if (!rc && g->kept->lifted) {
		g->regs = *regs;
		g->state = GUARD_LIFTED;
		return 0;
	}
	if (!rc)
		taken = !pruned && !take_monitor(g);
	if (!rc && !taken)
		rc = guard_start_monitor(g, err);
	if (rc)
		return rc;
	g->state = GUARD_ARMED;
	g->regs.denied = regs->denied;
	return g->reset_due ? 0 : pin_again(g, regs, taken, err);
}

void guard_lift(struct guard *g)
{
	g->state = GUARD_LIFTED;
	g->kept->lifted = true;
	g->lift_due = true;
	g->writes_at_stop = GUARD_NO_WRITES;
	mon_guard_lift(&g->fds);
	/* It may be about to ask for the next verdict, and holds everybody for it. */
	mon_end(g->s.mon);
	link_give(g->link, LINK_MONITOR, -1);
	link_give(g->link, LINK_MONITOR_EVENTS, -1);
	guard_emit(
		g, "guard-lifted", NULL,
		json_pack("{s:s}", "reason",
			  "QEMU rewrites the memory of the stopped guest; what differs is judged "
			  "after that"));
}

void guard_lifted(struct guard *g)
{
	if (!g->lift_due)
		return;
	g->lift_due = false;
	if (g->state != GUARD_LIFTED)
		return; /* that is over already */
	mon_free(g->s.mon);
	g->s.mon = NULL;
}

int guard_readopt(struct guard *g, struct xerr *err)
{
	_cleanup_refusal_ struct refusal why = {0};
	struct guard_regs regs = g->regs;
	int rc = session_look(&g->s, &why, err);

	if (rc)
		return rc;
	if (why.nr || !is_same_kernel(g))
		return guard_disarm(g, err);
	rc = guard_follow_rows(g, err);
	if (!rc)
		rc = prepare(g, err);
	if (!rc)
		rc = guard_start_monitor(g, err);
	if (rc)
		return rc;
	g->state = GUARD_ARMED;
	g->kept->lifted = false;
	gate_restored(g);
	return pin_again(g, &regs, false, err);
}
