// SPDX-License-Identifier: Apache-2.0
#include "base/msg.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/err.h"

int msg_socketpair(int ret_sv[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_sv) ? -errno : 0;
}

int msg_send(int fd, uint32_t op, int status, const void *body, size_t len_bytes, const int *fds,
	     size_t nr_fds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * MSG_MAX_FDS)];
	} control;
	struct msg_head head = {.op = op, .status = status};
	struct iovec iov[2];
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = 2};
	struct cmsghdr *cm;
	ssize_t n;

	if (len_bytes > MSG_MAX_BYTES - sizeof(head) || nr_fds > MSG_MAX_FDS)
		return -XO_ELIMIT;
	head.len_bytes = (uint32_t)len_bytes;
	head.nr_fds = (uint32_t)nr_fds;
	iov[0] = (struct iovec){.iov_base = &head, .iov_len = sizeof(head)};
	iov[1] = (struct iovec){.iov_base = (void *)(uintptr_t)body, .iov_len = len_bytes};
	if (nr_fds) {
		memset(&control, 0, sizeof(control));
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * nr_fds);
		cm = CMSG_FIRSTHDR(&mh);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int) * nr_fds);
		memcpy(CMSG_DATA(cm), fds, sizeof(int) * nr_fds);
	}
	do {
		n = sendmsg(fd, &mh, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EPIPE || errno == ECONNRESET ? -XO_EPEERDIED : -errno;
	return 0;
}

/* Take all descriptors out of @mh; more than fit, or any other control message, is an error. */
static int take_fds(struct msghdr *mh, int fds[MSG_MAX_FDS], size_t *nr)
{
	int rc = mh->msg_flags & MSG_CTRUNC ? -XO_EPROTO : 0;

	*nr = 0;
	for (struct cmsghdr *cm = CMSG_FIRSTHDR(mh); cm; cm = CMSG_NXTHDR(mh, cm)) {
		size_t got;

		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
			continue;
		got = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < got; i++) {
			int f;

			memcpy(&f, CMSG_DATA(cm) + i * sizeof(int), sizeof(f));
			if (*nr < MSG_MAX_FDS) {
				fds[(*nr)++] = f;
			} else {
				close(f);
				rc = -XO_EPROTO;
			}
		}
	}
	return rc;
}

int msg_recv(int fd, int timeout_ms, struct msg *ret)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * MSG_MAX_FDS)];
	} control;
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	struct msg m = {.head = {0}};
	struct msghdr mh = {0};
	struct iovec iov[2];
	uint8_t *body;
	size_t nr = 0;
	ssize_t n;
	int rc;

	if (timeout_ms >= 0) {
		do {
			rc = poll(&pfd, 1, timeout_ms);
		} while (rc < 0 && errno == EINTR);
		if (rc < 0)
			return -errno;
		if (rc == 0)
			return -XO_ETIMEOUT;
	}
	body = malloc(MSG_MAX_BYTES);
	if (!body)
		return -ENOMEM;
	iov[0] = (struct iovec){.iov_base = &m.head, .iov_len = sizeof(m.head)};
	iov[1] = (struct iovec){.iov_base = body, .iov_len = MSG_MAX_BYTES - sizeof(m.head)};
	mh = (struct msghdr){.msg_iov = iov,
			     .msg_iovlen = 2,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	do {
		n = recvmsg(fd, &mh, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0) {
		rc = errno == ECONNRESET ? -XO_EPEERDIED : -errno;
		free(body);
		return rc;
	}
	m.body = body;
	rc = take_fds(&mh, m.fds, &nr);
	if (n == 0)
		rc = -XO_EPEERDIED;
	else if ((size_t)n < sizeof(m.head) || (mh.msg_flags & MSG_TRUNC) ||
		 m.head.len_bytes != (size_t)n - sizeof(m.head) || m.head.nr_fds != nr)
		rc = -XO_EPROTO;
	m.head.nr_fds = (uint32_t)nr;
	if (rc) {
		msg_free(&m);
		return rc;
	}
	*ret = m;
	return 0;
}

void msg_free(struct msg *m)
{
	for (size_t i = 0; i < m->head.nr_fds && i < MSG_MAX_FDS; i++)
		if (m->fds[i] >= 0)
			close(m->fds[i]);
	free(m->body);
	memset(m, 0, sizeof(*m));
}
