// SPDX-License-Identifier: Apache-2.0
/* The guard's loop: writes first, then requests, then what is due. docs/guard.md. */
#include "vmm-agent/agent/guard.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/util.h"

#define PUMP_MS 1

void guard_emit(struct guard *g, const char *kind, const char *verdict, json_t *details)
{
	if (events_emit(g->events, kind, verdict, details))
		g->count.lost_events++;
}

static int pump(void *arg, struct xerr *err)
{
	struct guard *g = arg;
	struct pollfd p = {.fd = mon_guard_fd(g->s.mon), .events = POLLIN};

	return poll(&p, 1, PUMP_MS) > 0 ? guard_handle_write(g, err) : 0;
}

static int poll_timeout_ms(const struct guard *g)
{
	uint64_t due = g->tables_due_ns < g->audit_due_ns ? g->tables_due_ns : g->audit_due_ns;
	uint64_t now = xo_now_ns();

	return due > now ? (int)((due - now) / 1000000 + 1) : 0;
}

static int step(struct guard *g, int vm_fd, struct xerr *err)
{
	struct pollfd p[] = {
		{.fd = mon_guard_fd(g->s.mon), .events = POLLIN},
		{.fd = control_fd(g->control), .events = POLLIN},
		{.fd = g->opts->stop_fd, .events = POLLIN},
		{.fd = vm_fd, .events = POLLIN},
	};
	int rc = 0;

	if (poll(p, XO_ARRAY_SIZE(p), poll_timeout_ms(g)) < 0 && errno != EINTR)
		return xerr_set(err, errno, "poll: %s", strerror(errno));
	if (p[3].revents)
		return xerr_set(err, XO_ETARGETGONE, "%s: QEMU ended", g->s.vm->name);
	if (p[2].revents)
		g->stop = true;
	if (p[0].revents)
		rc = guard_handle_write(g, err);
	else if (p[1].revents)
		rc = guard_serve(g, err);
	return rc ? rc : guard_check(g, err);
}

static void say_on(struct guard *g)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < g->nr_areas; i++)
		bytes += g->area[i].len_bytes;
	guard_emit(g, "guard-on", NULL,
		   json_pack("{s:s,s:s,s:I,s:I,s:f}", "mode",
			     g->opts->audit_only ? "audit" : "enforce", "kernel",
			     g->s.kernel.release, "areas", (json_int_t)g->nr_areas, "bytes",
			     (json_int_t)bytes, "armed_ms",
			     (double)(xo_now_ns() - g->started_ns) / 1e6));
}

static int loop(struct guard *g, struct xerr *err)
{
	_cleanup_close_ int vm_fd = (int)syscall(SYS_pidfd_open, g->s.vm->pid, 0);
	int rc = 0;

	if (vm_fd < 0)
		return xerr_set(err, XO_ETARGETGONE, "%s: QEMU ended", g->s.vm->name);
	while (!rc && !g->stop)
		rc = step(g, vm_fd, err);
	return rc;
}

static int protect(struct guard *g, struct xerr *err)
{
	struct xerr late = {0};
	int rc, rc_close;

	rc = guard_arm(g, err);
	if (!rc) {
		g->s.pump = pump;
		g->s.pump_arg = g;
		say_on(g);
		rc = gate_install(g, err);
		if (!rc)
			rc = loop(g, err);
		if (!rc)
			rc = gate_remove(g, err);
	}
	rc_close = mon_guard_close(g->s.mon, &late);
	if (rc == -XO_ETARGETGONE || rc_close == -XO_ETARGETGONE) {
		guard_emit(g, "target-gone", NULL, NULL);
		*err = (struct xerr){0};
		return 0;
	}
	if (!rc && rc_close)
		rc = xerr_set(err, rc_close, "%s", late.text);
	guard_emit(g, "guard-off", NULL, rc ? json_pack("{s:s}", "reason", err->text) : NULL);
	return rc;
}

static void guard_free(struct guard *g)
{
	control_close(g->control);
	session_close(&g->s);
	events_close(g->events);
	if (g->fds.uffd >= 0)
		close(g->fds.uffd);
	if (g->fds.golden >= 0)
		close(g->fds.golden);
	free(g->area);
	gate_free(g->gate);
}

int agent_guard(const struct agent_guard_opts *o, struct refusal *why, struct xerr *err)
{
	XO_CLEANUP(guard_free)
	struct guard g = {.opts = o, .fds = {-1, -1}, .started_ns = xo_now_ns()};
	int rc;

	rc = session_open(&g.s, &o->agent, why, err);
	if (rc || why->nr)
		return rc;
	rc = gate_load(&g, why, err);
	if (rc || why->nr)
		return rc;
	rc = session_journal(&g.s, err);
	if (!rc)
		rc = events_open(&g.events, o->events_path, g.s.vm->name, err);
	if (!rc)
		rc = control_listen(&g.control, &o->agent, err);
	return rc ? rc : protect(&g, err);
}
