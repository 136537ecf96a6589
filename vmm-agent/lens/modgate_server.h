/* SPDX-License-Identifier: Apache-2.0 */
/* The server's side of modgate.h. */
#ifndef EXOPATCH_LENS_MODGATE_SERVER_H
#define EXOPATCH_LENS_MODGATE_SERVER_H

#include "base/buf.h"
#include "vmm-agent/lens/judge.h"
#include "vmm-agent/lens/modtables.h"

/** gmodgate_modules, gmodgate_bell - answer WIRE_MODULES, WIRE_BELL. Return: as lserver_handle
 *  @kept: the list, from a question's first part to its last; @tables: known or not yet */
int gmodgate_modules(struct gmodules *kept, struct gmodtables *tables, const struct gjudge *j,
		     const struct gkernel *k, struct span body, struct xbuf *reply,
		     struct xerr *err) XO_MUST_CHECK;
int gmodgate_bell(const struct gkernel *k, struct span body, struct xbuf *reply,
		  struct xerr *err) XO_MUST_CHECK;

#endif
