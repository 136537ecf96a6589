/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard's control socket. A guard works on its VM for as long as it lives,
 * so other commands on the same VM are sent to it: `exopatch apply` looks for
 * the socket that belongs to the VM as the operator named it, and if there is
 * one, has the guard do the work in its own session.
 *
 * SOCK_SEQPACKET in the state directory (0700), named by the SHA-256 of how the
 * VM was named; only the user who runs the guard is served.
 */
#ifndef EXOPATCH_AGENT_CONTROL_H
#define EXOPATCH_AGENT_CONTROL_H

#include "vmm-agent/agent/agent.h"

enum control_op {
	CONTROL_INSPECT = 1,
	CONTROL_APPLY,
	CONTROL_REVERT,
	CONTROL_STATUS,
	CONTROL_RECOVER,
	CONTROL_GUARD_STATUS,
	CONTROL_GUARD_STOP,
	CONTROL_ATTEST, /* the nonce, in hex */
};

/** struct control_request - received by the guard */
struct control_request {
	enum control_op op;
	char *argument; /* package path or patch id; absolute path for a package; NULL for none */
	struct agent_opts opts; /* trust_dir, home, timeout_ns; strings owned by @strings */
	json_t *strings;
};

/**
 * control_ask - have a running guard do it
 * @argument: as in struct control_request, or NULL
 * @ret_done: whether there is a guard; if not, nothing else is set
 * Return: as the operation's own function
 */
int control_ask(const struct agent_opts *o, enum control_op op, const char *argument,
		bool *ret_done, json_t **ret, struct refusal *why, struct xerr *err) XO_MUST_CHECK;

/** control_is_served - does a guard, or its supervisor, serve this VM? */
bool control_is_served(const struct agent_opts *o);

struct control;

/**
 * control_listen - make the socket. -XO_ELOCKED if a guard serves it already
 * @ret_stale: whether one was left by a guard that died with its supervisor
 */
int control_listen(struct control **ret, const struct agent_opts *o, bool *ret_stale,
		   struct xerr *err) XO_MUST_CHECK;

/** control_adopt - go on with a socket that somebody else has made; @fd is copied */
int control_adopt(struct control **ret, const struct agent_opts *o, int fd,
		  struct xerr *err) XO_MUST_CHECK;
int control_fd(const struct control *c);

/** control_accept - take one request; *@ret_fd is where its answer goes (control_answer) */
int control_accept(struct control *c, struct control_request *ret, int *ret_fd,
		   struct xerr *err) XO_MUST_CHECK;

/** control_answer - send the outcome and close @fd. @doc may be NULL */
void control_answer(int fd, int rc, json_t *doc, const struct refusal *why, const struct xerr *err);

void control_request_free(struct control_request *r);

/** control_close - the socket's name goes, too */
void control_close(struct control *c);
/** control_leave - somebody else goes on with it */
void control_leave(struct control *c);

/** control_pack - an outcome as text, owned by the caller, or NULL. @doc may be NULL
 *  control_unpack - back again; @ret may be NULL. Return: the outcome, or -XO_EPROTO */
char *control_pack(int rc, json_t *doc, const struct refusal *why, const struct xerr *err);
int control_unpack(const void *text, size_t len_bytes, json_t **ret, struct refusal *why,
		   struct xerr *err) XO_MUST_CHECK;

#endif
