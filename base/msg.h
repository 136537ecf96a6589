/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages between our own processes: SOCK_SEQPACKET, one message one record,
 * a fixed header, descriptors alongside. Both sides check every length; a
 * record that does not fit its operation is fatal to the connection.
 */
#ifndef EXOPATCH_BASE_MSG_H
#define EXOPATCH_BASE_MSG_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/span.h"

/* A SEQPACKET record must fit the socket buffer (net.core.wmem_max is 212992 by default). */
#define MSG_MAX_BYTES 131072
#define MSG_MAX_FDS   64

/** struct msg_head - first bytes of every record, host byte order (same machine, same build) */
struct msg_head {
	uint32_t op;	    /* the request's operation; the answer repeats it */
	int32_t status;	    /* answers: 0 or a negative code; requests: 0 */
	uint32_t len_bytes; /* of what follows */
	uint32_t nr_fds;
};

/** struct msg - one received record; @fds are owned and closed by msg_free unless taken */
struct msg {
	struct msg_head head;
	uint8_t *body; /* head.len_bytes of them */
	int fds[MSG_MAX_FDS];
};

/** msg_socketpair - SEQPACKET pair, both ends close-on-exec. Return: 0 or -errno */
int msg_socketpair(int ret_sv[2]) XO_MUST_CHECK;

/**
 * msg_send - send one record
 * @fd: connected SEQPACKET socket
 * @op: operation
 * @status: 0, or the answer's negative code
 * @body: @len_bytes bytes, at most MSG_MAX_BYTES - sizeof(struct msg_head)
 * @fds: @nr_fds descriptors to pass (stay owned by the caller), at most MSG_MAX_FDS
 * Return: 0, -XO_ELIMIT, -XO_EPEERDIED, or -errno
 */
int msg_send(int fd, uint32_t op, int status, const void *body, size_t len_bytes, const int *fds,
	     size_t nr_fds) XO_MUST_CHECK;

/**
 * msg_recv - wait for one record
 * @timeout_ms: -1 for no limit
 * @ret: filled on success; msg_free it
 * Return: 0, -XO_EPEERDIED at the end of the connection, -XO_EPROTO, -XO_ETIMEOUT, or -errno
 */
int msg_recv(int fd, int timeout_ms, struct msg *ret) XO_MUST_CHECK;

void msg_free(struct msg *m);

static inline struct span msg_span(const struct msg *m)
{
	return SPAN(m->body, m->head.len_bytes);
}

#define _cleanup_msg_ XO_CLEANUP(msg_free)

#endif
