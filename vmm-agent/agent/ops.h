/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent's operations share. */
#ifndef EXOPATCH_AGENT_OPS_H
#define EXOPATCH_AGENT_OPS_H

#include "vmm-agent/agent/change.h"
#include "vmm-agent/agent/control.h"

/**
 * op_run - carry out an operation on a VM: in the session of the guard that protects it, or, if
 * there is none, in one of our own
 * @argument: package path, patch id, or NULL
 */
int op_run(const struct agent_opts *o, enum control_op op, const char *argument, json_t **ret,
	   struct refusal *why, struct xerr *err) XO_MUST_CHECK;

/** op_dispatch - carry out an operation in an open session with its journal loaded */
int op_dispatch(struct session *s, enum control_op op, const char *argument, json_t **ret,
		struct refusal *why, struct xerr *err) XO_MUST_CHECK;

/* The operations, each in a file of its own; as op_dispatch. */
int op_inspect(struct session *s, json_t **ret, struct refusal *why,
	       struct xerr *err) XO_MUST_CHECK;
int op_apply(struct session *s, const char *path, json_t **ret, struct refusal *why,
	     struct xerr *err) XO_MUST_CHECK;
int op_revert(struct session *s, const char *id, json_t **ret, struct refusal *why,
	      struct xerr *err) XO_MUST_CHECK;
int op_status(struct session *s, json_t **ret, struct xerr *err) XO_MUST_CHECK;
int op_recover(struct session *s, json_t **ret, struct refusal *why,
	       struct xerr *err) XO_MUST_CHECK;

struct appraiser;
struct appraise_guard;

/** op_attest - appraise the guest: the document has "statement", its text, and "detail"
 *  @a: used again the next time; *@a may be NULL
 *  @g: what the guard adds, or NULL
 *  @nonce: hex */
int op_attest(struct session *s, struct appraiser **a, const struct appraise_guard *g,
	      const char *nonce, json_t **ret, struct xerr *err) XO_MUST_CHECK;

/** op_pending - add XO_ENEEDSRECOVER for each row that a dead process left */
void op_pending(const struct session *s, struct refusal *why);

/** op_drop_lost - active rows of an earlier boot become J_LOST: they hold no room, bar nothing.
 *  Interrupted ones are left to recover: they may have left a gdb stub, and the guest stopped */
int op_drop_lost(struct session *s, struct xerr *err) XO_MUST_CHECK;

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
