/* SPDX-License-Identifier: Apache-2.0 */
/* What travels between supervisor and guard (base/msg.h), and the guard's side of it. */
#ifndef EXOPATCH_AGENT_LINK_H
#define EXOPATCH_AGENT_LINK_H

#include "base/msg.h"
#include "vmm-agent/agent/supervise.h"

enum link_op {
	LINK_OP_GIVE = 1, /* struct link_give, descriptors -> nothing */
	LINK_OP_TAKE,	  /* as GIVE, the guard's memory as first descriptor -> nothing */
	LINK_OP_STOP,	  /* to the guard; no answer */
	LINK_OP_END,	  /* the outcome as control_pack has it; no answer, the guard ends */
};

/** struct link_give - a bit for each enum link_fd */
struct link_give {
	uint32_t given;	  /* comes along, in the order of its number */
	uint32_t dropped; /* is not held any more */
};

/** link_take - the supervisor's side of GIVE and TAKE: take the descriptors out of @m */
void link_take(struct link *l, struct msg *m);

/** link_end - the guard says its outcome. The supervisor passes it on when the guard has ended */
void link_end(struct link *l, int rc, const struct refusal *why, const struct xerr *err);

/** link_inherited - the socket that a guard has started this process with, or -1 */
int link_inherited(void);

#endif
