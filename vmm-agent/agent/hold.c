// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/hold.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

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

/* One call to QEMU, made by a thread of its own while this one lets waiting writers go. */
struct call {
	struct session *s;
	int (*fn)(struct session *s, uint64_t *ret_ns, struct xerr *err);
	uint64_t ns;
	int rc;
	struct xerr err;
	atomic_bool done;
};

static void *run_call(void *arg)
{
	struct call *c = arg;

	c->rc = c->fn(c->s, &c->ns, &c->err);
	atomic_store(&c->done, true);
	return NULL;
}

int hold_beside(struct session *s, int (*fn)(struct session *, uint64_t *, struct xerr *),
		uint64_t *ret_ns, struct xerr *err)
{
	struct call c = {.s = s, .fn = fn};
	struct xerr pumped = {0};
	pthread_t thread;
	int rc = 0;

	if (!s->pump)
		return fn(s, ret_ns, err);
	if (pthread_create(&thread, NULL, run_call, &c))
		return xerr_set(err, EAGAIN, "no thread to talk to QEMU with");
	while (!atomic_load(&c.done) && !rc)
		rc = s->pump(s->pump_arg, &pumped);
	pthread_join(thread, NULL);
	*ret_ns = c.ns;
	if (c.rc)
		return xerr_set(err, c.rc, "%s", c.err.text);
	return rc ? xerr_set(err, rc, "%s", pumped.text) : 0;
}

static int close_stub(struct session *s, uint64_t *ret_ns, struct xerr *err)
{
	*ret_ns = xo_now_ns();
	return tgt_gdb_close(s->tgt, err);
}

int hold_begin(struct session *s, uint64_t *ret_start_ns, struct xerr *err)
{
	uint64_t start = xo_now_ns();
	int rc = 0;

	if (s->vm->accel == TGT_TCG)
		rc = hold_beside(s, open_stub, &start, err);
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
	return hold_beside(s, close_stub, &end, err);
}
