// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/util.h"
#include "vmm-agent/agent/control.h"

#define ANSWER_MS   2000
#define START_MS    1000
#define RETRY_NS    UINT64_C(1000000000)
#define VARIABLE    "EXOPATCH_SUPERVISE"
#define MAX_ARGS    256
#define CMDLINE_MAX (1u << 20)

void link_take(struct link *l, struct msg *m)
{
	struct link_give g;
	size_t next = m->head.op == LINK_OP_TAKE ? 1 : 0;

	if (!span_copy(msg_span(m), 0, &g, sizeof(g)))
		return;
	for (unsigned int i = 0; i < LINK_NR; i++) {
		if (!((g.given | g.dropped) >> i & 1))
			continue;
		xo_close_ptr(&l->fd[i]);
		l->fd[i] = -1;
		if (!(g.given >> i & 1) || next >= m->head.nr_fds)
			continue;
		l->fd[i] = XO_TAKE_FD(m->fds[next]);
		next++;
	}
}

/* The supervisor died. Another is started at the next turn. */
static void lose(struct link *l)
{
	xo_close_ptr(&l->sock);
	l->sock = -1;
	l->retry_ns = 0;
}

/* One request; an order to stop that comes instead of the answer is left for link_tend. */
static void ask(struct link *l, const struct link_give *g, const int *fds, size_t nr)
{
	_cleanup_msg_ struct msg m = {0};

	if (l->sock < 0)
		return;
	if (msg_send(l->sock, LINK_OP_GIVE, 0, g, sizeof(*g), fds, nr) ||
	    msg_recv(l->sock, ANSWER_MS, &m)) {
		lose(l);
		return;
	}
	if (m.head.op == LINK_OP_STOP) {
		_cleanup_msg_ struct msg answer = {0};

		l->stop = true;
		if (msg_recv(l->sock, ANSWER_MS, &answer))
			lose(l);
	}
}

void link_give(struct link *l, enum link_fd which, int fd)
{
	struct link_give g = {.given = fd >= 0 ? 1u << which : 0,
			      .dropped = fd < 0 ? 1u << which : 0};

	xo_close_ptr(&l->fd[which]);
	l->fd[which] = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
	ask(l, &g, &fd, fd >= 0);
}

void link_end(struct link *l, int rc, const struct refusal *why, const struct xerr *err)
{
	_cleanup_free_ char *text = control_pack(rc, NULL, why, err);

	if (text && l->sock >= 0)
		(void)!msg_send(l->sock, LINK_OP_END, 0, text, strlen(text), NULL, 0);
}

/* ---- another supervisor ---- */

/* The words of our own command line, in @b. */
static int own_command(struct xbuf *b, char *argv[MAX_ARGS + 1])
{
	size_t nr = 0, at = 0;
	int rc = xbuf_read_file(b, "/proc/self/cmdline");

	if (!rc && (!b->len_bytes || b->data[b->len_bytes - 1]))
		rc = -XO_EMALFORMED;
	while (!rc && at < b->len_bytes && nr < MAX_ARGS) {
		argv[nr++] = (char *)b->data + at;
		at += strlen(argv[nr - 1]) + 1;
	}
	argv[nr] = NULL;
	return rc;
}

/* Our environment, and in it the descriptor's number. */
static char **environment(char *variable)
{
	size_t nr = 0;
	char **e;

	while (environ[nr])
		nr++;
	e = calloc(nr + 2, sizeof(*e));
	if (e) {
		memcpy(e, environ, nr * sizeof(*e));
		e[nr] = variable;
	}
	return e;
}

/* This process may have threads: between fork and exec nothing but system calls. */
static pid_t spawn(int sock)
{
	_cleanup_xbuf_ struct xbuf command = XBUF(CMDLINE_MAX);
	_cleanup_free_ char **env = NULL;
	char *argv[MAX_ARGS + 1], variable[48];
	pid_t pid;

	snprintf(variable, sizeof(variable), VARIABLE "=%d", sock);
	env = environment(variable);
	if (!env || own_command(&command, argv))
		return -1;
	pid = fork();
	if (pid == 0) {
		if (!fcntl(sock, F_SETFD, 0))
			execve("/proc/self/exe", argv, env);
		_exit(127);
	}
	return pid;
}

int link_inherited(void)
{
	const char *text = getenv(VARIABLE);
	char *end;
	long fd;

	if (!text)
		return -1;
	fd = strtol(text, &end, 10);
	unsetenv(VARIABLE);
	if (*end || fd < 3 || fd > INT32_MAX || fcntl((int)fd, F_SETFD, FD_CLOEXEC))
		return -1;
	return (int)fd;
}

static int hand_over(struct link *l, int sock)
{
	_cleanup_msg_ struct msg m = {0};
	struct link_give g = {0};
	int fds[1 + LINK_NR] = {l->kept_fd};
	size_t nr = 1;
	int rc;

	for (unsigned int i = 0; i < LINK_NR; i++) {
		if (l->fd[i] < 0)
			continue;
		g.given |= 1u << i;
		fds[nr++] = l->fd[i];
	}
	rc = msg_send(sock, LINK_OP_TAKE, 0, &g, sizeof(g), fds, nr);
	if (!rc)
		rc = msg_recv(sock, START_MS, &m);
	return rc;
}

static bool start_supervisor(struct link *l)
{
	int sv[2];

	if (l->child > 0 && waitpid(l->child, NULL, WNOHANG) == 0)
		return false; /* it is on its way out */
	l->child = -1;
	if (msg_socketpair(sv))
		return false;
	l->child = spawn(sv[1]);
	close(sv[1]);
	if (l->child > 0 && !hand_over(l, sv[0])) {
		l->sock = sv[0];
		return true;
	}
	close(sv[0]);
	return false;
}

void link_tend(struct link *l, bool *ret_stop, bool *ret_started)
{
	struct pollfd p = {.fd = l->sock, .events = POLLIN};

	*ret_started = false;
	while (l->sock >= 0 && poll(&p, 1, 0) == 1) {
		_cleanup_msg_ struct msg m = {0};

		if (msg_recv(l->sock, 0, &m))
			lose(l);
		else if (m.head.op == LINK_OP_STOP)
			l->stop = true;
	}
	*ret_stop = l->stop;
	if (l->sock >= 0 || l->stop || xo_now_ns() < l->retry_ns)
		return;
	*ret_started = start_supervisor(l);
	if (!*ret_started)
		l->retry_ns = xo_now_ns() + RETRY_NS;
}
