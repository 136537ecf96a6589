/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A channel to QEMU's monitor: run one QMP command, perhaps with a descriptor
 * alongside. Two implementations behind one small table: a QMP socket of our
 * own (qmp.c) and libvirt's pass-through (libvirt.c).
 */
#ifndef EXOPATCH_TARGET_QCHAN_H
#define EXOPATCH_TARGET_QCHAN_H

#include <jansson.h>
#include <stdatomic.h>

#include "base/cleanup.h"
#include "base/err.h"

struct qchan;

/** struct qchan_ops - what an implementation provides */
struct qchan_ops {
	/*
	 * Send @request and wait for its reply, an object with "return" or "error".
	 * @fd: descriptor to pass along, stays the caller's; or -1
	 */
	int (*call)(struct qchan *c, const json_t *request, int fd, json_t **ret_reply,
		    struct xerr *err);
	/* Have a call that another thread waits in fail at once; NULL: it ends by its time-out. */
	void (*cancel)(struct qchan *c);
	/* Begin to take events. *@ret_fd: readable when some may have come */
	int (*watch)(struct qchan *c, int *ret_fd, struct xerr *err);
	/* Take what has come without waiting. Return: 0, -XO_ETARGETGONE, ... */
	int (*poll)(struct qchan *c, struct xerr *err);
	/* What the operator wrote about the VM, XML, owned by the caller; NULL: nowhere.
	 * -XO_EMISSING: nothing */
	int (*metadata)(struct qchan *c, char **ret, struct xerr *err);
	void (*free)(struct qchan *c);
};

/** struct qchan - first member of an implementation's own struct */
struct qchan {
	const struct qchan_ops *ops;
	char uuid[37]; /* of the VM, where somebody more trusted than QEMU knows it; else "" */
	/* Called again and again, for about a millisecond each, while a reply is waited for; NULL:
	 * nothing else to do meanwhile. A failure ends the wait. */
	int (*idle)(void *arg, struct xerr *err);
	void *idle_arg;
	atomic_uint events; /* enum tgt_event, that came and were not asked for yet */
};

/** qchan_event - note an event by its name in QMP; those that nobody needs are dropped */
void qchan_event(struct qchan *c, const char *name);

/** qchan_aside - run @fn(@arg) while calling @c's idle function; @c may be new.
 *  Return: what @fn does, or what the idle function failed with */
int qchan_aside(struct qchan *c, int (*fn)(void *arg, struct xerr *err), void *arg,
		struct xerr *err) XO_MUST_CHECK;

/**
 * qchan_call - run the QMP command @name
 * @fd: descriptor to pass along (getfd), stays the caller's; or -1
 * @ret: set to the "return" value, owned by the caller; NULL if not wanted
 * @args: jansson pack format of the arguments and its values, or NULL for none
 * Return: 0; -XO_EQMP if QEMU refused it; -XO_ETARGETGONE, -XO_ETIMEOUT, or another code
 */
int qchan_call(struct qchan *c, const char *name, int fd, json_t **ret, struct xerr *err,
	       const char *args, ...) XO_MUST_CHECK;

/** qchan_hmp - run a human monitor command. *@ret: its output, NUL-terminated, owned by the caller.
 *  Return: as qchan_call; HMP reports its own failures only within the text */
int qchan_hmp(struct qchan *c, char **ret, struct xerr *err, const char *fmt, ...)
	XO_PRINTF(4, 5) XO_MUST_CHECK;

/** qchan_free - close the channel. NULL is fine */
void qchan_free(struct qchan *c);

static inline void json_decref_ptr(json_t **j)
{
	json_decref(*j);
}
#define _cleanup_json_ XO_CLEANUP(json_decref_ptr)

#endif
