// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "base/msg.h"
#include "vmm-agent/monitor/client.h"
#include "vmm-agent/monitor/golden.h"
#include "vmm-agent/monitor/guard.h"
#include "vmm-agent/monitor/wire.h"

/* Of a fixed size for good: whoever maps it must not be cut off from it. */
static int make_golden(struct xerr *err)
{
	_cleanup_close_ int fd = memfd_create("exopatch-golden", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)golden_file_bytes()) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return xerr_set(err, errno, "golden copies: %s", strerrordesc_np(errno));
	return XO_TAKE_FD(fd);
}

int mon_guard_open(struct mon *m, int dev_fd, struct mon_guard_fds *fds, struct xerr *err)
{
	_cleanup_close_ int golden = -1;
	_cleanup_msg_ struct msg a = {0};
	bool adopt = fds->uffd >= 0;
	struct wire_guard_open w = {.dev_fd = dev_fd, .has_uffd = adopt};
	int pass[3];
	int sv[2];
	int rc;

	if (adopt != (fds->golden >= 0))
		return xerr_set(err, XO_EINTERNAL, "guard: one descriptor without the other");
	if (!adopt) {
		golden = make_golden(err);
		if (golden < 0)
			return golden;
	}
	rc = msg_socketpair(sv);
	if (rc)
		return xerr_set(err, rc, "socket pair: %s", strerrordesc_np(-rc));
	pass[0] = sv[1];
	pass[1] = adopt ? fds->golden : golden;
	pass[2] = fds->uffd;
	rc = mon_call(m, MON_OP_GUARD_OPEN, SPAN(&w, sizeof(w)), pass, adopt ? 3 : 2, NULL, 0, NULL,
		      err);
	(void)close(sv[1]);
	if (!rc && (msg_recv(sv[0], 0, &a) || a.head.op != MON_OP_GUARD_OPEN || a.head.nr_fds != 1))
		rc = mon_lost(m, XO_EPROTO, err);
	if (rc) {
		(void)close(sv[0]);
		return rc;
	}
	xo_close_ptr(&m->events);
	m->events = sv[0];
	if (!adopt) {
		fds->uffd = XO_TAKE_FD(a.fds[0]);
		fds->golden = XO_TAKE_FD(golden);
	}
	return 0;
}

/* A request without a body. */
static int fetch(struct mon *m, uint32_t op, void *ret, size_t len_bytes, struct xerr *err)
{
	return mon_call(m, op, SPAN(NULL, 0), NULL, 0, ret, len_bytes, NULL, err);
}

static int ranges(struct mon *m, uint32_t op, const struct mon_range *r, size_t nr,
		  struct xerr *err)
{
	if (nr > MON_GUARD_MAX_RANGES)
		return xerr_set(err, XO_ELIMIT, "guard: %zu ranges in one call; the limit is %d",
				nr, MON_GUARD_MAX_RANGES);
	return mon_call(m, op, SPAN(r, nr * sizeof(*r)), NULL, 0, NULL, 0, NULL, err);
}

int mon_guard_protect(struct mon *m, const struct mon_range *r, size_t nr, struct xerr *err)
{
	return ranges(m, MON_OP_GUARD_PROTECT, r, nr, err);
}

int mon_guard_release(struct mon *m, const struct mon_range *r, size_t nr, struct xerr *err)
{
	return ranges(m, MON_OP_GUARD_RELEASE, r, nr, err);
}

int mon_guard_adopt(struct mon *m, struct xerr *err)
{
	return fetch(m, MON_OP_GUARD_ADOPT, NULL, 0, err);
}

int mon_guard_fd(const struct mon *m)
{
	return m->events;
}

int mon_guard_next(struct mon *m, int timeout_ms, struct mon_write_event *ret, struct xerr *err)
{
	_cleanup_msg_ struct msg a = {0};
	int rc;

	if (m->events < 0)
		return xerr_set(err, XO_EPEERDIED, "guard: not open, or its monitor has ended");
	rc = msg_recv(m->events, timeout_ms, &a);
	if (rc == -XO_ETIMEOUT)
		return xerr_set(err, XO_ETIMEOUT, "guard: no write within %d ms", timeout_ms);
	if (rc)
		return mon_lost(m, rc, err);
	if (a.head.status)
		return mon_take_error(&a, NULL, err);
	if (a.head.op != MON_OP_GUARD_EVENT || a.head.len_bytes != sizeof(*ret))
		return mon_lost(m, XO_EPROTO, err);
	memcpy(ret, a.body, sizeof(*ret));
	return 0;
}

int mon_guard_verdict(struct mon *m, bool keep, uint64_t *ret_held_ns, struct xerr *err)
{
	struct wire_verdict w = {.keep = keep};

	return mon_call(m, MON_OP_GUARD_VERDICT, SPAN(&w, sizeof(w)), NULL, 0, ret_held_ns,
			sizeof(*ret_held_ns), NULL, err);
}

int mon_guard_pause(struct mon *m, struct xerr *err)
{
	return fetch(m, MON_OP_GUARD_PAUSE, NULL, 0, err);
}

int mon_guard_stats(struct mon *m, struct mon_guard_stats *ret, struct xerr *err)
{
	return fetch(m, MON_OP_GUARD_STATS, ret, sizeof(*ret), err);
}

int mon_guard_audit(struct mon *m, uint64_t *ret_lost, struct xerr *err)
{
	return fetch(m, MON_OP_GUARD_AUDIT, ret_lost, sizeof(*ret_lost), err);
}

int mon_guard_close(struct mon *m, struct xerr *err)
{
	int rc = fetch(m, MON_OP_GUARD_CLOSE, NULL, 0, err);

	if (rc == -EAGAIN)
		return rc;
	xo_close_ptr(&m->events);
	m->events = -1;
	return rc;
}
