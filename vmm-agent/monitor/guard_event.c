// SPDX-License-Identifier: Apache-2.0
/*
 * One hold of the guard: everybody held, one write after another taken as far
 * as its verdict, everybody let go. A vCPU that waits inside the kernel for a
 * page cannot stop before the page is opened; it is as good as held, and its
 * write is taken in the same hold.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/msg.h"
#include "base/util.h"
#include "vmm-agent/monitor/guard_core.h"
#include "vmm-agent/monitor/wire.h"

#define READ_BATCH 16
#define MAX_LET_IN 8

int guard_vcpu(const struct guard *g, pid_t tid)
{
	for (size_t i = 0; i < g->hold->nr; i++)
		if (g->hold->thread[i].tid == tid)
			return (int)i;
	return -1;
}

static bool is_waiting(const struct guard *g, pid_t tid)
{
	for (size_t i = 0; i < g->nr_waiting; i++)
		if (g->waiting[i].tid == tid)
			return true;
	return false;
}

static void remember(struct guard *g, const struct uffd_event *e)
{
	size_t i = 0;

	while (i < g->nr_waiting && g->waiting[i].tid != e->tid)
		i++;
	if (i == GUARD_MAX_WAITING)
		return; /* not reached: no more is read than fits */
	g->waiting[i] = *e;
	if (i == g->nr_waiting)
		g->nr_waiting++;
}

bool guard_absorb(struct guard *g, pid_t tid, struct hva *ret_page)
{
	struct uffd_event e[READ_BATCH];
	size_t room = GUARD_MAX_WAITING - g->nr_waiting;
	size_t nr = uffd_read(g->uffd, e, room < READ_BATCH ? room : READ_BATCH);
	bool found = false;

	for (size_t i = 0; i < nr; i++) {
		if (tid && e[i].tid == tid) {
			*ret_page = e[i].page;
			found = true;
		} else {
			remember(g, &e[i]);
		}
	}
	return found;
}

/* A vCPU that was stopped has left its fault: it will come again. With @wake, so will those that
 * could not be asked to stop. */
static void forget_vcpus(struct guard *g, bool wake)
{
	size_t kept = 0;

	for (size_t i = 0; i < g->nr_waiting; i++) {
		struct uffd_event e = g->waiting[i];

		if (guard_vcpu(g, e.tid) < 0)
			g->waiting[kept++] = e;
		else if (wake)
			(void)!uffd_wake(g->uffd, e.page, XO_PAGE_SIZE);
	}
	g->nr_waiting = kept;
}

/* Threads that have been asked, still run, and wait for no page. */
static size_t still_running(const struct guard *g)
{
	size_t nr = 0;

	for (size_t i = 0; i < g->hold->nr; i++) {
		const struct thread *t = &g->hold->thread[i];

		nr += t->state == THREAD_ASKED && !is_waiting(g, t->tid);
	}
	return nr;
}

static bool any_unstopped(const struct guard *g)
{
	for (size_t i = 0; i < g->hold->nr; i++)
		if (g->hold->thread[i].state != THREAD_HELD)
			return true;
	return false;
}

/*
 * @writer: it sleeps in its fault, and is interrupted only when its page is about to be opened: a
 * thread that waits inside the kernel with a signal pending does not sleep, but spins.
 */
static int hold_vcpus(struct guard *g, pid_t writer, struct xerr *err)
{
	int rc = hold_ask(g->hold, writer, err);
	uint64_t deadline_ns = g->hold->asked_ns + GUARD_STOP_NS;

	while (!rc) {
		rc = hold_collect(g->hold, err);
		(void)guard_absorb(g, 0, NULL);
		if (rc || !still_running(g))
			break;
		if (xo_now_ns() >= deadline_ns)
			rc = xerr_set(err, XO_EHOLD, "a vCPU does not stop; its writes wait");
		else
			hold_pause(g->nr_waiting < GUARD_MAX_WAITING ? g->uffd : -1, deadline_ns);
	}
	if (!rc)
		return 0;
	hold_abort(g->hold);
	forget_vcpus(g, true);
	return rc;
}

int guard_hold(struct guard *g, struct xerr *err)
{
	int rc = hold_vcpus(g, 0, err);

	if (rc)
		return rc;
	if (any_unstopped(g)) {
		hold_abort(g->hold);
		return xerr_set(err, EAGAIN, "a vCPU waits for a verdict; give it first");
	}
	forget_vcpus(g, false);
	hold_seal(g->hold);
	return 0;
}

bool guard_busy(const struct guard *g, uint64_t *ret_ns)
{
	*ret_ns = g->retry_ns;
	return g->ready && !g->judging && (g->nr_waiting || g->nr_findings);
}

static void tell_failure(struct guard *g, int rc, const struct xerr *why)
{
	struct wire_error e = {.record = WIRE_NO_RECORD};

	(void)snprintf(e.text, sizeof(e.text), "%s", why->text);
	(void)!msg_send(g->events, MON_OP_GUARD_EVENT, rc, &e, sizeof(e), NULL, 0);
}

void guard_gone(struct guard *g)
{
	struct xerr why = {0};
	int rc = xerr_set(&why, XO_ETARGETGONE, "QEMU (pid %d): ended", (int)g->vm->desc.pid);

	tell_failure(g, rc, &why);
}

static struct uffd_event take_waiting(struct guard *g, size_t i)
{
	struct uffd_event e = g->waiting[i];

	g->nr_waiting--;
	memmove(&g->waiting[i], &g->waiting[i + 1], (g->nr_waiting - i) * sizeof(g->waiting[0]));
	return e;
}

/* The first write that waits; after that only those of vCPUs that cannot stop before. */
static bool next_writer(struct guard *g, struct uffd_event *ret)
{
	for (size_t i = 0; i < g->nr_waiting; i++) {
		int vcpu = guard_vcpu(g, g->waiting[i].tid);

		if (g->served && (vcpu < 0 || g->hold->thread[vcpu].state == THREAD_HELD))
			continue;
		*ret = take_waiting(g, i);
		g->served = true;
		return true;
	}
	return false;
}

static void store(struct guard *g, const struct uffd_event *w)
{
	g->stats.nr_events++;
	if (!guard_store(g, w))
		g->stats.nr_empty++;
}

/* Who waits for the page, and would get in when it is opened. Those that are no vCPUs come again
 * and again, and are let in only so often. */
static bool gets_in(struct guard *g, const struct uffd_event *w, struct hva page)
{
	int vcpu = guard_vcpu(g, w->tid);

	if (w->page.v != page.v)
		return false;
	return vcpu < 0 ? g->nr_let_in++ < MAX_LET_IN : g->hold->thread[vcpu].state != THREAD_HELD;
}

/*
 * A private page has to be open while its golden bytes are put back. Who waits for it and cannot be
 * stopped would get in then, and what it stored be lost: it stores before, and that is found and
 * judged after.
 */
static int put_back(struct guard *g, uint32_t slot)
{
	struct hva page = golden_hva(&g->golden, slot);
	bool more = false;

	g->stats.nr_put_back++;
	(void)guard_absorb(g, 0, NULL);
	for (size_t i = 0; guard_is_private(g, slot) && i < g->nr_waiting;) {
		struct uffd_event w = g->waiting[i];

		if (!gets_in(g, &w, page)) {
			i++;
			continue;
		}
		(void)take_waiting(g, i);
		store(g, &w);
		more = true;
		i = 0; /* others may have come */
	}
	return guard_put_back(g, slot, more);
}

/* The next page that differs goes to the client. Return: whether it has one now */
static bool report(struct guard *g)
{
	const struct finding *f = &g->finding[g->next_finding++];
	struct mon_write_event e = {0};
	const uint8_t *now, *golden;
	uint32_t off;

	if (f->slot == GUARD_NO_SLOT)
		return false;
	now = guard_bytes(g, f->slot);
	golden = golden_page(&g->golden, f->slot);
	if (!now)
		return false;
	/* Once: others may write through mappings of their own. */
	memcpy(g->judged, now, XO_PAGE_SIZE);
	if (!golden_diff(golden, g->judged, &off, &e.len_bytes))
		return false;
	if (g->refusing) {
		(void)!put_back(g, f->slot);
		return false;
	}
	memcpy(e.before, golden, XO_PAGE_SIZE);
	memcpy(e.after, g->judged, XO_PAGE_SIZE);
	e.gpa.v = golden_gpa(&g->golden, f->slot).v + off;
	e.vcpu = f->tid ? guard_vcpu(g, f->tid) : -1;
	e.writer_tid = f->tid;
	e.adopted = f->tid == 0;
	golden_set(&g->golden, GOLDEN_AT_WORK, true);
	g->judging_since_ns = xo_now_ns();
	e.held_ns = g->judging_since_ns - g->hold->asked_ns;
	g->judging = true;
	/* A client that is gone shows at the other socket too. */
	(void)!msg_send(g->events, MON_OP_GUARD_EVENT, 0, &e, sizeof(e), NULL, 0);
	return true;
}

static void let_go(struct guard *g)
{
	forget_vcpus(g, false);
	g->holding = false;
	if (!g->gave_up)
		guard_done(g);
	/* If QEMU has ended, the server sees that by itself. */
	(void)!hold_release(g->hold, NULL);
}

/* Until a verdict is needed or nothing is left. */
static void go_on(struct guard *g)
{
	struct uffd_event w;

	for (;;) {
		while (g->next_finding < g->nr_findings)
			if (report(g))
				return;
		g->nr_findings = g->next_finding = 0;
		(void)guard_absorb(g, 0, NULL);
		if (!next_writer(g, &w))
			break;
		store(g, &w);
	}
	let_go(g);
}

void guard_again(struct guard *g)
{
	(void)!msg_send(g->events, MON_OP_GUARD_AGAIN, 0, NULL, 0, NULL, 0);
	if (!g->judging)
		return;
	g->next_finding--;
	g->judging = false;
	go_on(g);
}

int guard_pump(struct guard *g)
{
	struct xerr why = {0};
	int rc;

	if (xo_now_ns() < g->retry_ns)
		return 0;
	(void)guard_absorb(g, 0, NULL);
	if (!g->nr_waiting && !g->nr_findings)
		return 0;
	fault_pass(FAULT_guard_event_read);
	/* A finding is judged first, and its page may be run: then nobody is left out. */
	rc = hold_vcpus(g, g->nr_waiting && !g->nr_findings ? g->waiting[0].tid : 0, &why);
	if (rc) {
		g->retry_ns = xo_now_ns() + GUARD_RETRY_NS;
		if (!g->failing)
			tell_failure(g, rc, &why);
		g->failing = true;
		return 0;
	}
	g->failing = false;
	hold_seal(g->hold);
	g->holding = true;
	g->served = g->gave_up = false;
	g->nr_let_in = 0;
	fault_pass(FAULT_guard_held);
	go_on(g);
	return 0;
}

int guard_judge(struct guard *g, bool keep, uint64_t *ret_held_ns, struct xerr *err)
{
	uint32_t slot = g->finding[g->next_finding - 1].slot;
	uint64_t asked_ns = g->hold->asked_ns;
	int rc = 0;

	if (slot == GUARD_NO_SLOT) {
		g->stats.nr_kept++;
	} else if (keep) {
		golden_keep(&g->golden, slot, g->judged);
		/* What came since by some other mapping was not judged. */
		(void)guard_suspect(g, slot, 0);
		g->stats.nr_kept++;
	} else {
		rc = put_back(g, slot);
	}
	fault_pass(FAULT_guard_judged);
	g->judging = false;
	go_on(g);
	*ret_held_ns = xo_now_ns() - asked_ns;
	if (rc == -XO_EREADBACK)
		return xerr_set(
			err, rc,
			"golden bytes could not be put back: somebody writes there on and on "
			"(hardware?); QEMU (pid %d) is stopped until that ends, and may be "
			"let go by SIGCONT",
			(int)g->vm->desc.pid);
	return rc ? xerr_set(err, rc, "golden bytes could not be put back: %s", xo_code_text(rc))
		  : 0;
}

void guard_refuse(struct guard *g)
{
	uint64_t held_ns;

	g->refusing = true;
	if (g->judging)
		(void)!guard_judge(g, false, &held_ns, NULL);
}
