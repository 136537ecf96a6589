// SPDX-License-Identifier: Apache-2.0
/*
 * What happens to a VM from outside while it is guarded: reset, stop, migration,
 * and the connection to QEMU that tells of them. After a reset firmware and boot
 * loader write where the old kernel was, so nothing may be enforced there; the
 * new kernel is guarded as soon as it has protected itself.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/util.h"
#include "vmm-agent/agent/guard.h"
#include "vmm-agent/agent/ops.h"

#define WRITES_TO_LIFT 16
#define GUARD_STATS_NS UINT64_C(20000000)
#define LOOK_SHARE     10
#define LOOKS_TO_ARM   2 /* mark_rodata_ro() takes its time */

/* Also amid a judgement: no call to QEMU in here. */
static int on_reset(struct guard *g, struct xerr *err)
{
	bool armed = g->state == GUARD_ARMED;
	int rc = armed || g->state == GUARD_LIFTED ? guard_disarm(g, err) : 0;

	g->state = GUARD_WAITING;
	g->reset_due = false;
	g->looks = 0;
	g->look_due_ns = xo_now_ns() + GUARD_LOOK_NS;
	(void)!session_was_reset(&g->s, NULL); /* a journal that fails: then it counts for less */
	g->kept->resets = g->s.resets;
	g->kept->react_due &= ~(uint32_t)GUARD_REACT_FOUND;
	g->kept->blind = false;
	g->failed_look = g->looks_failed = 0;
	if (armed) /* firmware may well reset once more */
		guard_emit(g, "guest-reset", NULL,
			   json_pack("{s:s}", "reason",
				     "the guest was reset; nothing is protected until its kernel "
				     "is up"));
	return rc;
}

static int note_events(struct guard *g)
{
	struct xerr lost = {0};
	unsigned int events = 0;
	int rc = tgt_events(g->s.tgt, &events, &lost);

	g->qmp_events |= events;
	if (events & (TGT_EVENT_STOP | TGT_EVENT_RESUME))
		g->stopped = (events & TGT_EVENT_STANDS) != 0;
	g->reset_due |= (events & TGT_EVENT_RESET) != 0;
	return rc;
}

void guard_disconnect(struct guard *g)
{
	tgt_disconnect(g->s.tgt);
	link_give(g->link, LINK_QMP, -1);
	g->qmp_fd = -1;
	g->connect_due_ns = xo_now_ns() + GUARD_CONNECT_NS;
}

static void take_events(struct guard *g)
{
	if (!note_events(g))
		return;
	/* QEMU ended, which shows elsewhere; or it closed our monitor only. */
	guard_disconnect(g);
	g->connect_due_ns = xo_now_ns();
}

void guard_listen(struct guard *g)
{
	(void)note_events(g); /* what is wrong with the connection shows when nobody uses it */
}

/*
 * From a QMP socket the event is here before the first write after the reset; through libvirt a
 * moment later, which is granted once a second: a guest that breaks the rules is not in a hurry.
 */
bool guard_was_reset(struct guard *g, bool wait)
{
	struct pollfd p = {.fd = g->qmp_fd, .events = POLLIN};
	uint64_t end_ns;

	take_events(g);
	if (g->reset_due || !wait || !g->s.vm->via_libvirt || g->qmp_fd < 0 ||
	    xo_now_ns() - g->waited_ns < GUARD_ASK_NS)
		return g->reset_due;
	g->waited_ns = xo_now_ns();
	end_ns = g->waited_ns + GUARD_LIBVIRT_NS;
	while (!g->reset_due && !g->stopped && xo_now_ns() < end_ns) {
		if (poll(&p, 1, (int)((end_ns - xo_now_ns()) / 1000000 + 1)) > 0)
			take_events(g);
	}
	return g->reset_due;
}

/*
 * Who writes to a guest that is stopped is QEMU, loading a snapshot page by page, each in many
 * stores, most of them with the bytes that are there: that would take minutes to judge. Nobody runs
 * what it writes, so let it, and compare all when it is done.
 */
void guard_watch_stopped(struct guard *g)
{
	struct mon_guard_stats stats;
	uint64_t now = xo_now_ns();

	if (!g->stopped) {
		g->writes_at_stop = GUARD_NO_WRITES;
		return;
	}
	if (g->state != GUARD_ARMED || now < g->stats_due_ns ||
	    mon_guard_stats(g->s.mon, &stats, NULL))
		return;
	g->stats_due_ns = now + GUARD_STATS_NS;
	if (g->writes_at_stop == GUARD_NO_WRITES)
		g->writes_at_stop = stats.nr_events;
	else if (stats.nr_events - g->writes_at_stop >= WRITES_TO_LIFT)
		guard_lift(g);
}

/* ---- the connection ---- */

/* What a guard that died amid an apply or revert has left. */
static void recover(struct guard *g)
{
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_json_ json_t *doc = NULL;
	struct xerr failed = {0};
	bool pending = tgt_gdb_stale(g->s.tgt);
	int rc;

	for (size_t i = 0; i < g->s.nr_rows; i++)
		pending |= g->s.row[i].state == J_APPLYING || g->s.row[i].state == J_REVERTING;
	if (!pending)
		return;
	rc = op_recover(&g->s, &doc, &why, &failed);
	guard_emit(g, "recovered", NULL,
		   json_pack("{s:s*,s:O*}", "reason",
			     rc	      ? failed.text
			     : why.nr ? why.reason[0].detail
				      : NULL,
			     "recovered", doc ? json_object_get(doc, "recovered") : NULL));
}

static int connect_qemu(struct guard *g, struct xerr *err)
{
	struct xerr failed = {0};
	int rc = tgt_connect(g->s.tgt, &g->opts->agent.target, &failed);
	bool again = g->kept->restarts || g->connect_due_ns;

	if (!rc)
		rc = tgt_watch(g->s.tgt, &g->qmp_fd, &failed);
	g->connect_due_ns = xo_now_ns() + GUARD_CONNECT_NS;
	if (rc == -XO_EPEERDIED || rc == -XO_ETARGETGONE)
		return xerr_set(err, rc, "%s", failed.text);
	if (rc) {
		guard_emit(g, "not-connected", "reported",
			   json_pack("{s:s}", "reason", failed.text));
		return 0;
	}
	link_give(g->link, LINK_QMP, tgt_qmp_fd(g->s.tgt));
	if (!again || g->state != GUARD_ARMED || guard_was_reset(g, false))
		return 0;
	recover(g);
	return 0;
}

/* ---- stopped, running, migrated ---- */

static int ask_state(struct guard *g, struct xerr *err)
{
	struct tgt_migration m;
	int rc;

	g->ask_due_ns = xo_now_ns() + GUARD_ASK_NS;
	rc = tgt_refresh_state(g->s.tgt, err);
	if (!rc)
		rc = tgt_migration(g->s.tgt, &m, err);
	if (rc)
		return rc;
	/* What was said since it was asked is newer than the answer. */
	if (!(g->qmp_events & (TGT_EVENT_STOP | TGT_EVENT_RESUME)))
		g->stopped = !g->s.vm->running;
	if (!strcmp(g->s.vm->state, "postmigrate")) {
		g->stop = true;
		g->end_reason = "the VM has moved to another host; guard it there";
	}
	if (m.failed && m.wants_uffd && !g->uffd_wanted)
		guard_emit(
			g, "userfaultfd-wanted", NULL,
			json_pack("{s:s}", "reason",
				  "a background snapshot or post-copy migration of QEMU's failed "
				  "beside the guard's userfaultfd; exopatch guard stop, do it "
				  "again, start the guard again"));
	g->uffd_wanted = m.failed && m.wants_uffd;
	return 0;
}

static int heed_run_state(struct guard *g, struct xerr *err)
{
	unsigned int e = g->qmp_events;
	bool was = g->s.vm->running;
	struct xerr failed = {0};
	int rc;

	if (!(e & (TGT_EVENT_STOP | TGT_EVENT_RESUME | TGT_EVENT_MIGRATION)) &&
	    (was || xo_now_ns() < g->ask_due_ns))
		return 0;
	g->qmp_events = 0;
	rc = ask_state(g, &failed);
	if (rc == -XO_EPEERDIED || rc == -XO_ETARGETGONE)
		return xerr_set(err, rc, "%s", failed.text);
	if (rc) {
		g->qmp_events |= TGT_EVENT_STOP; /* asked again */
		return 0;
	}
	if (was != g->s.vm->running)
		guard_emit(g, was ? "guest-stopped" : "guest-running", NULL,
			   json_pack("{s:s}", "state", g->s.vm->state));
	return 0;
}

/* QEMU answers again, so it is done with what it wrote. */
static int end_lift(struct guard *g, struct xerr *err)
{
	struct xerr failed = {0};
	int rc = tgt_refresh_state(g->s.tgt, &failed);

	if (rc == -XO_ETIMEOUT || !strcmp(g->s.vm->state, "restore-vm"))
		return 0;
	if (!rc)
		rc = guard_readopt(g, &failed);
	if (rc)
		return xerr_set(err, rc, "%s", failed.text);
	g->looks = 0;
	guard_emit(g, "guest-restored", NULL,
		   json_pack("{s:s}", "reason",
			     g->state == GUARD_ARMED
				     ? "QEMU rewrote the memory of the stopped guest; what differs "
				       "is judged"
				     : "QEMU rewrote the memory of the stopped guest, which holds "
				       "another kernel now"));
	return 0;
}

int guard_heed(struct guard *g, struct xerr *err)
{
	int rc = 0;

	take_events(g);
	guard_watch_stopped(g);
	if (g->qmp_fd < 0 && xo_now_ns() >= g->connect_due_ns)
		rc = connect_qemu(g, err);
	if (!rc && g->reset_due)
		rc = on_reset(g, err);
	if (!rc && g->state == GUARD_LIFTED && g->qmp_fd >= 0)
		rc = end_lift(g, err);
	if (!rc && g->qmp_fd >= 0)
		rc = heed_run_state(g, err);
	return rc;
}

/* ---- waiting ---- */

/* mark_rodata_ro() is nearly the last thing before the first process. */
int guard_is_up(struct guard *g, bool *ret, struct xerr *err)
{
	_cleanup_free_ struct lens_area *a = calloc(LENS_MAX_AREAS, sizeof(*a));
	bool rodata = false, late = false;
	uint64_t text = 0;
	size_t nr = 0;
	int rc = a ? lens_areas(g->s.lens, a, LENS_MAX_AREAS, &nr, err)
		   : xerr_set(err, ENOMEM, "out of memory");

	if (rc)
		return rc;
	for (size_t i = 0; i < nr; i++) {
		if (a[i].kind == LENS_AREA_TEXT)
			text += a[i].len_bytes;
		rodata |= a[i].kind == LENS_AREA_RODATA;
		late |= a[i].kind == LENS_AREA_RO_AFTER_INIT;
	}
	*ret = rodata && late && text >= g->s.kernel.text_bytes / XO_PAGE_SIZE * XO_PAGE_SIZE;
	return 0;
}

/* Is there a kernel, is it up, and was it the time before? */
static int look(struct guard *g, bool *ret_arm, struct xerr *err)
{
	_cleanup_refusal_ struct refusal why = {0};
	bool up = false;
	int rc = session_look(&g->s, &why, err);

	if (!rc && !why.nr)
		rc = guard_is_up(g, &up, err);
	g->looks = !rc && up ? g->looks + 1 : 0;
	*ret_arm = g->looks >= LOOKS_TO_ARM;
	return rc;
}

/* A guest that boots gives all kinds of answers; what lasts is said. */
int guard_look(struct guard *g, struct xerr *err)
{
	_cleanup_refusal_ struct refusal why = {0};
	uint64_t start_ns = xo_now_ns(), took_ns;
	struct xerr failed = {0};
	bool now = false;
	int rc = g->qmp_fd < 0 ? 0 : look(g, &now, &failed);

	/* Early in boot there is much to search: that must not take the guest's time. */
	took_ns = xo_now_ns() - start_ns;
	g->look_due_ns = xo_now_ns() + GUARD_LOOK_NS + LOOK_SHARE * took_ns;
	if (!rc && now) {
		g->started_ns = xo_now_ns();
		rc = tgt_reread(g->s.tgt, &why, &failed);
		if (!rc)
			rc = guard_arm(g, &failed);
		if (!rc) {
			guard_say_on(g, true);
			return 0;
		}
		g->looks = 0;
		guard_emit(g, "not-armed", "reported", json_pack("{s:s}", "reason", failed.text));
	}
	return rc == -XO_ETARGETGONE ? xerr_set(err, rc, "%s", failed.text) : 0;
}
