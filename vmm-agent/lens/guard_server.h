/* SPDX-License-Identifier: Apache-2.0 */
/* The server's side of guard.h. */
#ifndef EXOPATCH_LENS_GUARD_SERVER_H
#define EXOPATCH_LENS_GUARD_SERVER_H

#include "base/buf.h"
#include "vmm-agent/lens/audit.h"
#include "vmm-agent/lens/judge.h"
#include "vmm-agent/lens/listed_programs.h"
#include "vmm-agent/lens/modtables.h"
#include "vmm-agent/lens/tables.h"
#include "vmm-agent/lens/wire.h"

/** struct gguard - zero-initialise, gguard_free it when the kernel is forgotten */
struct gguard {
	struct gjudge judge;
	struct gtables tables;
	struct gtables more; /* being set, in several parts */
	struct gtables seen; /* by the last check, if it found something */
	struct gaudit audit;
	struct gprograms programs;
	struct gmodules listed; /* of a question in several parts */
	struct gmodtables module_tables;
	bool prepared;
};

/** gguard_handle - answer a request of the guard. Return: as lserver_handle */
int gguard_handle(struct gguard *g, const struct gkernel *k, uint32_t op, struct span body,
		  struct xbuf *reply, struct xerr *err) XO_MUST_CHECK;

void gguard_free(struct gguard *g);

#endif
