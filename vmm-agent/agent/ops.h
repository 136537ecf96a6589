/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent's operations share. */
#ifndef EXOPATCH_AGENT_OPS_H
#define EXOPATCH_AGENT_OPS_H

#include "vmm-agent/agent/change.h"

/** op_begin - session with journal, for an operation on a VM; reasons if it is not eligible */
int op_begin(struct session *s, const struct agent_opts *o, struct refusal *why,
	     struct xerr *err) XO_MUST_CHECK;

/** op_pending - add XO_ENEEDSRECOVER for each row that a dead process left */
void op_pending(const struct session *s, struct refusal *why);

/** op_same_kernel - is the guest's kernel the one the row was made for? */
bool op_same_kernel(const struct session *s, const struct jrow *row);

/** op_live - may the row's patch have bytes in this guest? Not if the guest rebooted since */
bool op_live(const struct session *s, const struct jrow *row);

/** op_row_json - a row's identity and state. NULL when out of memory */
json_t *op_row_json(const struct jrow *row);

/** op_doc - the document of an operation, with "vm" and "kernel". NULL when out of memory */
json_t *op_doc(const struct session *s, const char *operation);

#define _cleanup_json_ XO_CLEANUP(op_json_decref)
static inline void op_json_decref(json_t **j)
{
	json_decref(*j);
}

#endif
