// SPDX-License-Identifier: Apache-2.0
/*
 * exopatch-lens: started by the client with one socket as descriptor 3. The
 * first record brings the memory; from then on there is nothing but that
 * socket, and each request is answered before the next is read.
 */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/msg.h"
#include "vmm-agent/lens/sandbox.h"
#include "vmm-agent/lens/server.h"

#define SOCKET_FD 3

static int answer(uint32_t op, int status, const struct xbuf *reply, const struct xerr *err)
{
	if (status && status != -XO_ENOROOM)
		return msg_send(SOCKET_FD, op, status, err->text, strlen(err->text), NULL, 0);
	return msg_send(SOCKET_FD, op, status, reply->data, reply->len_bytes, NULL, 0);
}

static int start(struct lserver *s)
{
	_cleanup_msg_ struct msg m = {0};
	struct xbuf none = {0};
	struct xerr err = {0};
	int rc = msg_recv(SOCKET_FD, -1, &m);

	if (rc)
		return rc;
	if (m.head.op != WIRE_START)
		return -XO_EPROTO;
	rc = lserver_start(s, msg_span(&m), m.fds, m.head.nr_fds, &err);
	msg_free(&m);
	if (!rc)
		rc = lsandbox_enter(s->mem.cache ? s->mem.fd : -1, &err);
	(void)!answer(WIRE_START, rc, &none, &err);
	return rc;
}

static int serve(struct lserver *s)
{
	for (;;) {
		_cleanup_msg_ struct msg m = {0};
		_cleanup_xbuf_ struct xbuf reply = XBUF(MSG_MAX_BYTES - sizeof(struct msg_head));
		struct xerr err = {0};
		int rc = msg_recv(SOCKET_FD, -1, &m);

		if (rc)
			return rc == -XO_EPEERDIED ? 0 : rc;
		if (m.head.nr_fds)
			return -XO_EPROTO;
		rc = lserver_handle(s, m.head.op, msg_span(&m), &reply, &err);
		if (answer(m.head.op, rc, &reply, &err) || rc == -XO_EPROTO)
			return -XO_EPROTO;
	}
}

int main(int argc, char **argv)
{
	static struct lserver s;
	int rc;

	if (argc > 1) {
		fprintf(stderr, "usage: %s\nStarted by exopatch, with a socket as descriptor 3.\n",
			argv[0]);
		return 2;
	}
	/* Give large copies back to the system at once, whatever was freed before. */
	(void)mallopt(M_MMAP_THRESHOLD, 256 << 10);
	/* Whoever started us may have died before this line: then the socket is at its end. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
		return 1;
	rc = start(&s);
	if (!rc)
		rc = serve(&s);
	/* No exit handlers: what they call is not allowed any more. */
	_exit(rc ? 1 : 0);
}
