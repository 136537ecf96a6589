/* SPDX-License-Identifier: Apache-2.0 */
/* The server's side of wire.h: requests in, answers out, nothing else of the outer world. */
#ifndef EXOPATCH_LENS_SERVER_H
#define EXOPATCH_LENS_SERVER_H

#include "base/buf.h"
#include "vmm-agent/lens/check.h"
#include "vmm-agent/lens/guard_server.h"
#include "vmm-agent/lens/modules.h"
#include "vmm-agent/lens/wire.h"

/** struct lserver - zero-initialise, lserver_free it */
struct lserver {
	struct gmem mem;
	size_t nr_vcpus;
	struct lens_vcpu_hint vcpu[LENS_MAX_VCPUS];
	struct gspace *space;
	struct gkernel kernel;
	struct gmodules modules;
	struct gcheck check;
	struct gguard guard;
	bool found; /* kernel and modules are valid */
};

/** lserver_start - take WIRE_START: map the backends, keep a copy of the descriptor of QEMU's
 *  memory. @fds: @nr_fds, stay the caller's */
int lserver_start(struct lserver *s, struct span body, const int *fds, size_t nr_fds,
		  struct xerr *err) XO_MUST_CHECK;

/**
 * lserver_handle - answer any other request
 * @reply: what to answer with on success, and on -XO_ENOROOM
 * Return: the answer's status; -XO_EPROTO for a record that does not fit its operation
 */
int lserver_handle(struct lserver *s, uint32_t op, struct span body, struct xbuf *reply,
		   struct xerr *err) XO_MUST_CHECK;

void lserver_free(struct lserver *s);

#endif
