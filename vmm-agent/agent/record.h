/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Statements about what the agent does. They are queued in the journal together
 * with what they are about, and go from there into the recorder's log:
 * docs/attest.md, "From the journal into the log".
 */
#ifndef EXOPATCH_AGENT_RECORD_H
#define EXOPATCH_AGENT_RECORD_H

#include "attest/attest.h"
#include "package/package.h"
#include "vmm-agent/agent/session.h"

/* ---- making them ---- */

/** record_machine - the UUID that statements call the VM by: its own, or if it has none, one made
 *  of its name in the journal */
int record_machine(const char *vm_key, char ret[37]) XO_MUST_CHECK;

/** record_boot - what tells one boot of a guest from the others */
int record_boot(const char *uuid, const char *build_id, struct gva base, uint64_t boot_token,
		uint8_t ret[XO_SHA256_BYTES]) XO_MUST_CHECK;

/** record_add_patch - @row is active */
void record_add_patch(struct att_statement *st, const struct jrow *row);

/**
 * record_new - a statement about a session's VM and what is active in it; free() it
 * The journal must be loaded. It began when the session's operation did, and ends now.
 */
int record_new(const struct session *s, enum att_kind kind, struct att_statement **ret,
	       struct xerr *err) XO_MUST_CHECK;

/** record_reason - one more reason; beyond ATT_MAX_REASONS the last one says how many there are */
void record_reason(struct att_action *a, const char *key, const char *detail);

/** record_queue - have a statement recorded */
int record_queue(struct journal *j, const struct att_statement *st, struct xerr *err) XO_MUST_CHECK;

/** struct record_about - what became of an action */
struct record_about {
	enum att_act act;
	enum att_verdict verdict;
	const struct refusal *why; /* or NULL */
	const struct xerr *failed; /* or NULL */
};

/** record_rehearse - can a statement be made about @act on @row, if it is done? To be asked before
 */
int record_rehearse(const struct session *s, const struct jrow *row, enum att_act act,
		    struct xerr *err) XO_MUST_CHECK;

/** record_outcome - journal_set_state, and the statement about it, as one change */
int record_outcome(struct session *s, struct jrow *row, enum jstate state, uint64_t blackout_ns,
		   const struct record_about *a, struct xerr *err) XO_MUST_CHECK;

/** record_refused - a refusal before there was a row, if it is known for which kernel
 *  @act: ATT_APPLY; ATT_REFUSE, if @p is NULL; ATT_POLICY
 *  @decision: the policy's (decide_apply), or NULL */
int record_refused(struct session *s, enum att_act act, const struct pkg *p, const json_t *decision,
		   const struct refusal *why, struct xerr *err) XO_MUST_CHECK;

/** record_policy - what the policy said, allowed (@why is empty) or not */
int record_policy(struct session *s, const struct pkg *p, const json_t *decision,
		  const struct refusal *why, struct xerr *err) XO_MUST_CHECK;

/* ---- into the log ---- */

/**
 * record_open - open the recorder of @o, and record what waits in the journal of @o
 * While another process has it open, it is waited for, as long as @o's time-out. Close it soon.
 */
int record_open(const struct agent_opts *o, struct att_recorder **ret,
		struct xerr *err) XO_MUST_CHECK;

/** record_flush - record_open and close */
int record_flush(const struct agent_opts *o, struct xerr *err) XO_MUST_CHECK;

/** record_ready - as record_flush, for before something is done that must be recorded */
int record_ready(const struct agent_opts *o, struct xerr *err) XO_MUST_CHECK;

/** record_late - record what was done. If that fails it waits in the journal, and @doc says so */
void record_late(const struct agent_opts *o, json_t *doc);

#endif
