// SPDX-License-Identifier: Apache-2.0
/*
 * A monitor that outlives its client: somebody else has copies of its sockets,
 * so it does not see their end, holds whom it held, and waits for the next
 * client. At the sockets may be what the dead one did not read any more.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "vmm-agent/monitor/client.h"
#include "vmm-agent/monitor/golden.h"
#include "vmm-agent/monitor/guard.h"
#include "vmm-agent/monitor/uffd.h"
#include "vmm-agent/monitor/wire.h"

#define ANSWER_MS 2000
#define MAX_STALE 4096 /* records that the dead client did not read */

struct mon_handle mon_handle(const struct mon *m)
{
	return (struct mon_handle){.fd = m->fd, .events = m->events, .pid = m->pid};
}

/* Read up to the first record of @op, which is @ret. */
static int skip_to(int fd, uint32_t op, struct msg *ret)
{
	for (int i = 0; i < MAX_STALE; i++) {
		int rc = msg_recv(fd, ANSWER_MS, ret);

		if (rc || ret->head.op == op)
			return rc;
		msg_free(ret);
	}
	return -XO_EPROTO;
}

static int ask_phase(struct mon *m, enum mon_phase *ret)
{
	_cleanup_msg_ struct msg answer = {0}, mark = {0};
	uint64_t phase;
	int rc = msg_send(m->fd, MON_OP_GUARD_AGAIN, 0, NULL, 0, NULL, 0);

	if (!rc)
		rc = skip_to(m->fd, MON_OP_GUARD_AGAIN, &answer);
	if (!rc)
		rc = skip_to(m->events, MON_OP_GUARD_AGAIN, &mark);
	if (rc)
		return rc;
	if (answer.head.status || !span_copy(msg_span(&answer), 0, &phase, sizeof(phase)) ||
	    phase > MON_JUDGING)
		return -XO_EPROTO;
	*ret = (enum mon_phase)phase;
	return 0;
}

int mon_take_over(struct mon **ret, const struct mon_handle *h, size_t nr_vcpus,
		  enum mon_phase *ret_phase, struct xerr *err)
{
	struct mon *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return xerr_set(err, ENOMEM, "monitor: out of memory");
	*m = (struct mon){.pid = h->pid, .nr_vcpus = nr_vcpus};
	m->fd = fcntl(h->fd, F_DUPFD_CLOEXEC, 3);
	m->events = fcntl(h->events, F_DUPFD_CLOEXEC, 3);
	rc = m->fd < 0 || m->events < 0 ? -errno : ask_phase(m, ret_phase);
	if (rc) {
		xerr_set(err, rc, "monitor of the guard before (pid %d): %s", (int)h->pid,
			 xo_code_text(rc));
		if (m->fd >= 0)
			close(m->fd);
		if (m->events >= 0)
			close(m->events);
		free(m);
		return rc;
	}
	*ret = m;
	return 0;
}

/* What fails has no page any more. */
static void each_run(const struct mon_guard_fds *fds,
		     int (*fn)(int fd, struct hva start, uint64_t len_bytes))
{
	struct golden g = {0};

	if (fds->uffd < 0 || fds->golden < 0)
		return;
	if (!golden_map(&g, fds->golden, false, NULL)) {
		for (size_t i = 0, n; i < g.nr; i += n) {
			n = golden_run(&g, i);
			(void)!fn(fds->uffd, golden_hva(&g, g.order[i]), n * XO_PAGE_SIZE);
		}
	}
	golden_unmap(&g);
}

/* First what stops the guest: the rest takes time. */
void mon_guard_shut(const struct mon_guard_fds *fds, pid_t qemu)
{
	if (qemu > 1 && fds->golden >= 0 &&
	    golden_note(fds->golden, GOLDEN_AT_WORK, GOLDEN_FROZEN, true))
		(void)kill(qemu, SIGSTOP);
	each_run(fds, uffd_protect);
}

void mon_guard_thaw(const struct mon_guard_fds *fds, pid_t qemu)
{
	if (qemu > 1 && fds->golden >= 0 &&
	    golden_note(fds->golden, GOLDEN_FROZEN, GOLDEN_FROZEN, false))
		(void)kill(qemu, SIGCONT);
}
void mon_guard_lift(const struct mon_guard_fds *fds)
{
	each_run(fds, uffd_unregister);
}

static int32_t slot_of(const struct golden *g, struct gpa page)
{
	for (size_t i = 0; i < g->nr; i++)
		if (golden_gpa(g, g->order[i]).v == page.v)
			return (int32_t)g->order[i];
	return -1;
}

int mon_guard_follow(const struct mon_guard_fds *fds, const struct mon_write *w, size_t nr,
		     struct xerr *err)
{
	struct golden g = {0};
	int rc = golden_map(&g, fds->golden, false, err);

	for (size_t i = 0; i < nr && !rc; i++) {
		uint64_t off = w[i].gpa.v & XO_PAGE_MASK;
		int32_t slot = slot_of(&g, (struct gpa){w[i].gpa.v - off});

		if (w[i].len_bytes > XO_PAGE_SIZE - off)
			rc = xerr_set(err, XO_EPLAN, "record %zu: not inside one page", i);
		else if (slot >= 0 && !memcmp(golden_page(&g, (uint32_t)slot) + off, w[i].expected,
					      w[i].len_bytes))
			golden_write(&g, (uint32_t)slot, off, w[i].replacement, w[i].len_bytes);
	}
	golden_unmap(&g);
	return rc;
}
