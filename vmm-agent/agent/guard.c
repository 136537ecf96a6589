// SPDX-License-Identifier: Apache-2.0
/* The guard's process: its loop, its beginning and its end. docs/guard.md. */
#include "vmm-agent/agent/guard.h"
#include "vmm-agent/agent/appraise.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/util.h"
#include "vmm-agent/agent/record.h"

#define PUMP_MS 1
#define GONE_MS 200		    /* from the end of its first thread to that of the process */
#define TURN_NS UINT64_C(100000000) /* events that wait are looked after that often */

void guard_emit(struct guard *g, const char *kind, const char *verdict, json_t *details)
{
	guard_note(g, kind, verdict, details);
	events_emit(g->events, kind, verdict, details);
	g->kept->count = g->count;
}

/* The monitor died, and what it had open or had not been told of is for nobody to run. */
static void shut(struct guard *g)
{
	if (g->kept->armed && !g->kept->lifted && g->s.vm &&
	    (!g->s.mon || mon_handle(g->s.mon).fd < 0))
		mon_guard_shut(&g->fds, g->s.vm->pid);
}

int guard_pump(void *arg, struct xerr *err)
{
	struct guard *g = arg;
	struct pollfd p = {.fd = -1, .events = POLLIN};
	int rc;

	guard_listen(g);
	guard_watch_stopped(g);
	if (g->state == GUARD_ARMED)
		p.fd = mon_guard_fd(g->s.mon);
	rc = poll(&p, 1, PUMP_MS) > 0 ? guard_handle_write(g, err) : 0;
	if (rc)
		shut(g); /* the caller may have to wait for QEMU to the end */
	return rc;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static int poll_timeout_ms(const struct guard *g)
{
	uint64_t now = xo_now_ns(), due = now + TURN_NS;

	if (g->state == GUARD_ARMED)
		due = earlier(due, earlier(g->tables_due_ns, g->audit_due_ns));
	if (g->state == GUARD_WAITING)
		due = earlier(due, g->look_due_ns);
	if (g->qmp_fd < 0)
		due = earlier(due, g->connect_due_ns);
	return due > now ? (int)((due - now) / 1000000 + 1) : 0;
}

static void tend_supervisor(struct guard *g)
{
	bool stop = false, started = false;

	link_tend(g->link, &stop, &started);
	g->stop |= stop;
	if (started)
		guard_emit(g, "supervisor-restarted", NULL,
			   json_pack("{s:i}", "supervisor_pid", (int)g->kept->supervisor));
}

static int turn(struct guard *g, int vm_fd, struct xerr *err)
{
	struct pollfd p[] = {
		{.fd = g->state == GUARD_ARMED ? mon_guard_fd(g->s.mon) : -1, .events = POLLIN},
		{.fd = control_fd(g->control), .events = POLLIN},
		{.fd = g->opts->stop_fd, .events = POLLIN},
		{.fd = vm_fd, .events = POLLIN},
		{.fd = g->link->sock, .events = POLLIN},
		{.fd = g->qmp_fd, .events = POLLIN},
	};
	int rc = 0;

	if (poll(p, XO_ARRAY_SIZE(p), poll_timeout_ms(g)) < 0 && errno != EINTR)
		return xerr_set(err, errno, "poll: %s", strerror(errno));
	if (p[3].revents)
		return xerr_set(err, XO_ETARGETGONE, "%s: QEMU ended", g->s.vm->name);
	g->stop |= p[2].revents != 0;
	if (p[0].revents)
		rc = guard_handle_write(g, err);
	else if (p[1].revents)
		rc = guard_serve(g, err);
	if (!rc && !p[0].revents)
		guard_say_verdict(g);
	if (!rc)
		rc = guard_heed(g, err);
	if (!rc)
		rc = guard_react_if_due(g, err);
	if (!rc)
		rc = gate_tend(g, err);
	if (!rc && g->state == GUARD_ARMED)
		rc = guard_follow_vcpus(g, err);
	if (!rc && g->state == GUARD_ARMED)
		rc = guard_check(g, err);
	else if (!rc && g->state == GUARD_WAITING && xo_now_ns() >= g->look_due_ns)
		rc = guard_look(g, err);
	if (rc == -XO_EPEERDIED && g->lift_due) {
		*err = (struct xerr){0};
		rc = 0;
	}
	guard_lifted(g);
	if (g->state != GUARD_ARMED)
		g->late.checked_ns = 0;
	tend_supervisor(g);
	events_tick(g->events);
	if (!rc && xo_now_ns() >= g->keep_due_ns) {
		guard_keep_regs(g);
		g->keep_due_ns = xo_now_ns() + GUARD_KEEP_NS;
	}
	return rc;
}

static int loop(struct guard *g, struct xerr *err)
{
	_cleanup_close_ int vm_fd = (int)syscall(SYS_pidfd_open, g->s.vm->pid, 0);
	int rc = 0;

	if (vm_fd < 0)
		return xerr_set(err, XO_ETARGETGONE, "%s: QEMU ended", g->s.vm->name);
	while (!rc && !g->stop)
		rc = turn(g, vm_fd, err);
	return rc;
}

void guard_say_on(struct guard *g, bool again)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < g->nr_areas; i++)
		bytes += g->area[i].len_bytes;
	guard_emit(g, "guard-on", NULL,
		   json_pack("{s:s,s:s,s:o*,s:I,s:I,s:f,s:b,s:b}", "mode",
			     g->opts->audit_only ? "audit" : "enforce", "kernel",
			     g->s.kernel.release, "registers", guard_regs_json(g), "areas",
			     (json_int_t)g->nr_areas, "bytes", (json_int_t)bytes, "armed_ms",
			     (double)(xo_now_ns() - g->started_ns) / 1e6, "after_reset", again,
			     "after_crash", g->after_crash));
}

/* ---- the beginning ---- */

static int open_events(struct guard *g, const char *vm, struct xerr *err)
{
	return events_open(&g->events, g->opts->events_path, g->opts->events_limit_bytes, vm,
			   &g->kept->events, err);
}

/* A guest without a kernel may be rebooting, and a guard that began before waits for it. */
static int only_reboots(struct refusal *why, struct xerr *err)
{
	for (size_t i = 0; i < why->nr; i++)
		if (why->reason[i].code == XO_ELOCKED)
			return xerr_set(err, XO_ELOCKED, "%s", why->reason[i].detail);
	refusal_free(why);
	return 0;
}

/* The first guard of all, or one after a guard that protected nothing. */
static int begin(struct guard *g, struct refusal *why, struct xerr *err)
{
	const struct agent_opts *o = &g->opts->agent;
	bool up = false;
	int rc = gate_load(g, why, err);

	if (rc || why->nr)
		return rc;
	/* Both are taken anew, and would be in their own way. */
	link_give(g->link, LINK_LOCK, -1);
	link_give(g->link, LINK_QMP, -1);
	rc = session_open(&g->s, o, why, err);
	if (!rc && g->kept->begun && g->s.tgt)
		rc = only_reboots(why, err);
	if (rc || why->nr)
		return rc;
	rc = session_journal(&g->s, err);
	if (!rc && !g->kept->begun)
		rc = record_ready(o, err);
	if (!rc)
		rc = open_events(g, g->s.vm->name, err);
	if (!rc && g->link->fd[LINK_CONTROL] >= 0)
		rc = control_adopt(&g->control, o, g->link->fd[LINK_CONTROL], err);
	else if (!rc)
		rc = control_listen(&g->control, o, &g->after_crash, err);
	if (rc)
		return rc;
	link_give(g->link, LINK_CONTROL, control_fd(g->control));
	link_give(g->link, LINK_LOCK, tgt_lock_fd(g->s.tgt));
	link_give(g->link, LINK_QMP, tgt_qmp_fd(g->s.tgt));
	tgt_idle(g->s.tgt, guard_pump, g);
	g->stopped = !g->s.vm->running;
	if (g->s.discovered)
		rc = guard_is_up(g, &up, err);
	if (!rc && up) {
		rc = guard_arm(g, err);
		if (!rc)
			guard_say_on(g, false);
		if (!rc)
			rc = gate_install(g, err);
	} else if (!rc) {
		g->state = GUARD_WAITING;
		guard_emit(g, "guard-waiting", NULL,
			   json_pack("{s:s}", "reason", "the guest's kernel is not up yet"));
	}
	if (rc)
		return rc;
	if (!g->kept->begun)
		g->kept->started_ns = g->started_ns;
	g->kept->begun = true;
	return 0;
}

static void say_restarted(struct guard *g)
{
	struct guard_kept *k = g->kept;

	guard_emit(g, "guard-restarted", NULL,
		   json_pack("{s:s,s:i,s:i,s:f}", "reason",
			     k->last_error[0] ? k->last_error : "the guard was killed", "restarts",
			     (int)k->restarts, "guard_pid", (int)getpid(), "down_ms",
			     (double)(xo_now_ns() - k->died_ns) / 1e6));
	k->last_error[0] = '\0';
}

/* Whoever makes guards die has earned what a violation leads to. */
static void say_crash_loop(struct guard *g)
{
	const struct guard_kept *k = g->kept;

	if (k->rapid < SUPERVISE_CRASH_LOOP)
		return;
	guard_react(g, GUARD_REACT_REFUSED);
	guard_emit(g, "crash-loop", NULL,
		   json_pack("{s:i,s:s}", "deaths", (int)k->rapid, "reason",
			     k->last_error[0] ? k->last_error : "guards of this VM are killed"));
}

/* One after a guard that died: protection is on, writers wait. */
static int begin_again(struct guard *g, struct xerr *err)
{
	int rc = open_events(g, g->kept->vm.name, err);

	if (rc)
		return rc;
	say_crash_loop(g);
	rc = control_adopt(&g->control, &g->opts->agent, g->link->fd[LINK_CONTROL], err);
	if (!rc)
		rc = guard_resume(g, err);
	if (rc && g->kept->react_due && g->s.tgt &&
	    !tgt_connect(g->s.tgt, &g->opts->agent.target, NULL))
		(void)!guard_react_if_due(g, NULL);
	if (rc)
		return rc;
	tgt_idle(g->s.tgt, guard_pump, g);
	g->stopped = !g->s.vm->running;
	guard_audit_anew(g);
	say_restarted(g);
	return gate_adopt(g, err);
}

/* ---- the end ---- */

static void guard_free(struct guard *g)
{
	session_close(&g->s);
	guard_digest_free(g->digest);
	appraiser_free(g->appraiser);
	xo_close_ptr(&g->fds.uffd);
	xo_close_ptr(&g->fds.golden);
	free(g->area);
	gate_free(g->gate);
}

/* What the operator wanted, or the end of the VM. Return: the outcome */
static int end(struct guard *g, int rc, struct xerr *err)
{
	struct xerr late = {0};
	int rc_close;

	if (!rc && g->state == GUARD_ARMED)
		rc = gate_remove(g, err);
	rc_close = g->state == GUARD_ARMED || g->state == GUARD_LIFTED ? guard_disarm(g, &late) : 0;
	events_settle(g->events);
	if (rc == -XO_ETARGETGONE || rc_close == -XO_ETARGETGONE) {
		guard_emit(g, "target-gone", NULL, NULL);
		*err = (struct xerr){0};
		rc = 0;
	} else {
		if (!rc && rc_close)
			rc = xerr_set(err, rc_close, "%s", late.text);
		guard_emit(g, "guard-off", NULL,
			   json_pack("{s:s*}", "reason", rc ? err->text : g->end_reason));
	}
	events_close(g->events);
	control_close(g->control);
	return rc;
}

/* The next guard mends it. Nothing is un-protected, and nothing of the control socket goes. */
static int give_up(struct guard *g, int rc, const struct xerr *err)
{
	struct guard_kept *k = g->kept;

	snprintf(k->last_error, sizeof(k->last_error), "%s",
		 err->code ? err->text : xo_code_text(rc));
	k->count = g->count;
	events_close(g->events);
	control_leave(g->control);
	/* To close the session would end a monitor that holds a writer for the next guard. The
	 * process ends now, and its lens with it. */
	memset(&g->s, 0, sizeof(g->s));
	return rc;
}

/*
 * Has QEMU ended? Perhaps while there was no guard. That one of its threads did is not enough: a
 * guest can have a vCPU of its own taken out.
 */
static bool is_gone(const struct guard *g, int wait_ms)
{
	_cleanup_close_ int fd =
		g->kept->vm.pid ? (int)syscall(SYS_pidfd_open, g->kept->vm.pid, 0) : -1;
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return g->kept->begun && (fd < 0 || poll(&p, 1, wait_ms) > 0);
}

int guard_run(const struct agent_guard_opts *o, struct link *link, bool *ret_ended,
	      struct refusal *why, struct xerr *err)
{
	XO_CLEANUP(guard_free)
	struct guard g = {
		.opts = o,
		.link = link,
		.kept = link->kept,
		.fds = {-1, -1},
		.qmp_fd = -1,
		.writes_at_stop = GUARD_NO_WRITES,
		.started_ns = xo_now_ns(),
		.count = link->kept->count,
	};
	int rc;

	(void)signal(SIGPIPE, SIG_IGN);
	rc = g.kept->armed ? begin_again(&g, err) : begin(&g, why, err);
	if (!rc && !why->nr)
		rc = loop(&g, err);
	if (rc)
		shut(&g);
	if (rc && g.kept->begun && is_gone(&g, rc == -XO_ETARGETGONE ? GONE_MS : 0))
		rc = -XO_ETARGETGONE;
	else if (rc == -XO_ETARGETGONE && g.kept->begun)
		rc = xerr_set(err, XO_ECPUCOUNT, "QEMU is there, but not all of its vCPUs");
	*ret_ended = !g.kept->begun || g.stop || !rc || rc == -XO_ETARGETGONE;
	if (!*ret_ended)
		return give_up(&g, rc, err);
	if (g.events && g.kept->begun)
		return end(&g, rc, err);
	control_close(g.control);
	events_close(g.events);
	return rc;
}

int agent_guard(const struct agent_guard_opts *o, struct refusal *why, struct xerr *err)
{
	return supervise(o, guard_run, why, err);
}
