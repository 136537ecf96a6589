// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/hold.h"

#include "base/util.h"

/*
 * The way out of every failure @rc: take the stub out, and make sure that the guest runs if it did.
 * When QEMU is gone, that was why.
 */
static int abandon_stub(struct session *s, int rc, struct xerr *err)
{
	struct xerr gone = {0}, ignored = {0};

	if (tgt_gdb_close(s->tgt, &gone) == -XO_ETARGETGONE) {
		*err = gone;
		return -XO_ETARGETGONE;
	}
	if (s->vm->running && tgt_resume(s->tgt, &ignored))
		return xerr_wrap(err, "the guest could not be resumed, run exopatch recover");
	return rc;
}

/* The guest runs on until QEMU has the last of these commands. */
static int open_stub(struct session *s, uint64_t *ret_start_ns, struct xerr *err)
{
	_cleanup_close_ int fd = -1;
	int rc;

	rc = tgt_gdb_open(s->tgt, &fd, err);
	if (rc)
		return rc;
	rc = mon_gdb(s->mon, fd, s->vm->running, err);
	*ret_start_ns = xo_now_ns();
	if (!rc)
		rc = tgt_gdb_attach(s->tgt, err);
	return rc;
}

int hold_begin(struct session *s, uint64_t *ret_start_ns, struct xerr *err)
{
	uint64_t start = xo_now_ns();
	int rc = 0;

	if (s->vm->accel == TGT_TCG)
		rc = open_stub(s, &start, err);
	if (!rc)
		rc = mon_hold(s->mon, err);
	if (rc)
		return s->vm->accel == TGT_TCG ? abandon_stub(s, rc, err) : rc;
	*ret_start_ns = start;
	return 0;
}

int hold_end(struct session *s, uint64_t start_ns, struct mon_times *times, struct xerr *err)
{
	int rc = mon_release(s->mon, times, err);
	uint64_t end = xo_now_ns();

	if (s->vm->accel != TGT_TCG)
		return rc;
	if (rc)
		return abandon_stub(s, rc, err);
	times->blackout_ns = end - start_ns;
	return tgt_gdb_close(s->tgt, err);
}
