// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/target/qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/buf.h"
#include "base/util.h"

#define READ_CHUNK_BYTES 65536
#define BUSY_PAUSE_NS	 1000000
#define CANCEL_MS	 20 /* a call that is given up ends as fast as that */

struct qmp {
	struct qchan chan;
	int fd;
	pthread_mutex_t lock; /* held by who reads */
	struct xbuf in;	      /* received, not yet consumed */
	atomic_bool cancelled;
	/* Another process has used the connection: what it did not read comes first, perhaps from
	 * the middle of a message on, and replies to it are told by their id. */
	bool adopted, torn;
	unsigned int id;
};

/*
 * A compact message is one line; a pretty-printed one ends with the first line that is a
 * lone brace, since inner lines are indented. JSON strings hold no raw line ends.
 */
bool qmp_split(struct span in, size_t *ret_len_bytes)
{
	size_t start = 0;

	while (start < in.len_bytes) {
		const uint8_t *line = in.p + start;
		const uint8_t *nl = memchr(line, '\n', in.len_bytes - start);
		size_t len;

		if (!nl)
			return false;
		len = (size_t)(nl - line);
		start += len + 1;
		while (len && (line[len - 1] == '\r' || line[len - 1] == ' '))
			len--;
		if (!len)
			continue;
		if (line[0] == ' ' || (len == 1 && line[0] == '{'))
			continue;
		*ret_len_bytes = start;
		return true;
	}
	return false;
}

json_t *qmp_parse(struct span message)
{
	json_t *j = json_loadb((const char *)message.p, message.len_bytes, JSON_REJECT_DUPLICATES,
			       NULL);

	if (j && !json_is_object(j)) {
		json_decref(j);
		return NULL;
	}
	return j;
}

/* Wait for @events until the deadline. Return: 0, -XO_ETIMEOUT, or -errno */
static int wait_for(struct qmp *q, short events, uint64_t deadline_ns)
{
	for (;;) {
		struct pollfd p = {.fd = q->fd, .events = events};
		uint64_t now = xo_now_ns();
		int rc;

		if (now >= deadline_ns)
			return -XO_ETIMEOUT;
		if (atomic_load(&q->cancelled))
			return -ECANCELED;
		rc = deadline_ns - now < CANCEL_MS * UINT64_C(1000000)
			     ? (int)((deadline_ns - now) / 1000000 + 1)
			     : CANCEL_MS;
		rc = poll(&p, 1, rc);
		if (rc > 0)
			return 0;
		if (rc < 0 && errno != EINTR)
			return -errno;
	}
}

/* Append what has arrived. Return: 0, -XO_ETARGETGONE at the end, -XO_ELIMIT, or -errno */
static int receive(struct qmp *q, uint64_t deadline_ns)
{
	uint8_t *room;
	ssize_t n;
	int rc;

	rc = wait_for(q, POLLIN, deadline_ns);
	if (!rc)
		rc = xbuf_reserve(&q->in, READ_CHUNK_BYTES, &room);
	if (rc)
		return rc;
	n = recv(q->fd, room, READ_CHUNK_BYTES, 0);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n < 0)
		return errno == ECONNRESET ? -XO_ETARGETGONE : -errno;
	if (!n)
		return -XO_ETARGETGONE;
	q->in.len_bytes += (size_t)n;
	return 0;
}

/* The next message of any kind. Return: 0, -XO_ENOTQEMU if it is no JSON object, or as receive */
static int next_message(struct qmp *q, uint64_t deadline_ns, json_t **ret)
{
	size_t len;
	int rc;

	if (xo_now_ns() >= deadline_ns)
		return -XO_ETIMEOUT; /* messages that came all at once are not waited for */
	while (!qmp_split(xbuf_span(&q->in), &len)) {
		rc = receive(q, deadline_ns);
		if (rc)
			return rc;
	}
	*ret = qmp_parse(SPAN(q->in.data, len));
	memmove(q->in.data, q->in.data + len, q->in.len_bytes - len);
	q->in.len_bytes -= len;
	if (!*ret && q->torn) {
		q->torn = false;
		*ret = json_object();
	}
	return *ret ? 0 : -XO_ENOTQEMU;
}

/* Return: bytes sent of @text; the descriptor goes with the first of them; or -errno */
static ssize_t send_some(int sock, const char *text, size_t len_bytes, int fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = len_bytes};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *cmsg;
	ssize_t n;

	if (fd >= 0) {
		msg.msg_control = control.buf;
		msg.msg_controllen = sizeof(control.buf);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	}
	n = sendmsg(sock, &msg, MSG_NOSIGNAL);
	return n < 0 ? -errno : n;
}

static int send_all(struct qmp *q, const char *text, size_t len_bytes, int fd, uint64_t deadline_ns)
{
	while (len_bytes) {
		ssize_t n = send_some(q->fd, text, len_bytes, fd);
		int rc = 0;

		if (n == -EAGAIN)
			rc = wait_for(q, POLLOUT, deadline_ns);
		else if (n == -EPIPE || n == -ECONNRESET)
			rc = -XO_ETARGETGONE;
		else if (n < 0 && n != -EINTR)
			rc = (int)n;
		if (rc)
			return rc;
		if (n < 0)
			continue;
		fd = -1;
		text += n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

/* Of the request that was sent last. */
static json_int_t own_id(const struct qmp *q)
{
	return (json_int_t)getpid() << 32 | q->id;
}

/* Return: whether @m is an event */
static bool take_event(struct qmp *q, const json_t *m)
{
	const json_t *event = json_object_get(m, "event");

	if (json_is_string(event))
		qchan_event(&q->chan, json_string_value(event));
	return event != NULL;
}

/* Return: whether @m answers another process, or is the rest of what that one read */
static bool is_others(const struct qmp *q, const json_t *m)
{
	const json_t *id = json_object_get(m, "id");

	return q->adopted && (!json_is_integer(id) || json_integer_value(id) != own_id(q));
}

static int exchange(struct qmp *q, const char *text, int fd, json_t **ret)
{
	uint64_t deadline_ns = xo_now_ns() + QMP_REPLY_TIMEOUT_MS * UINT64_C(1000000);
	int rc;

	rc = send_all(q, text, strlen(text), fd, deadline_ns);
	while (!rc) {
		_cleanup_json_ json_t *m = NULL;

		rc = next_message(q, deadline_ns, &m);
		if (!rc && !take_event(q, m) && !is_others(q, m)) {
			*ret = XO_TAKE_PTR(m);
			return 0;
		}
	}
	return rc;
}

static int qmp_call(struct qchan *c, const json_t *request, int fd, json_t **ret_reply,
		    struct xerr *err)
{
	struct qmp *q = (struct qmp *)c;
	_cleanup_json_ json_t *own = json_copy((json_t *)(uintptr_t)request);
	const char *name = json_string_value(json_object_get(request, "execute"));
	_cleanup_free_ char *text = NULL;
	int rc;

	q->id++;
	if (q->adopted && own)
		json_object_set_new(own, "id", json_integer(own_id(q)));
	text = own ? json_dumps(own, JSON_COMPACT) : NULL;
	if (!text)
		return xerr_set(err, ENOMEM, "%s: out of memory", name);
	pthread_mutex_lock(&q->lock);
	rc = exchange(q, text, fd, ret_reply);
	pthread_mutex_unlock(&q->lock);
	if (rc == -XO_ETARGETGONE)
		return xerr_set(err, XO_ETARGETGONE, "%s: QEMU closed its QMP socket", name);
	if (rc == -XO_ETIMEOUT)
		return xerr_set(err, XO_ETIMEOUT, "%s: no answer from QEMU in %d ms", name,
				QMP_REPLY_TIMEOUT_MS);
	return rc ? xerr_set(err, rc, "%s: %s", name, xo_code_text(rc)) : 0;
}

static void qmp_cancel(struct qchan *c)
{
	atomic_store(&((struct qmp *)c)->cancelled, true);
}

static int qmp_watch(struct qchan *c, int *ret_fd, struct xerr *err)
{
	(void)err;
	*ret_fd = ((struct qmp *)c)->fd;
	return 0;
}

/* Events that are here already; a message of any other kind would be a reply to nothing. */
static int drain(struct qmp *q)
{
	struct pollfd p = {.fd = q->fd, .events = POLLIN};
	uint64_t deadline_ns = xo_now_ns() + QMP_REPLY_TIMEOUT_MS * UINT64_C(1000000);
	size_t len;

	while (qmp_split(xbuf_span(&q->in), &len) || poll(&p, 1, 0) > 0) {
		_cleanup_json_ json_t *m = NULL;
		int rc = 0;

		if (!qmp_split(xbuf_span(&q->in), &len))
			rc = receive(q, deadline_ns);
		if (!rc && qmp_split(xbuf_span(&q->in), &len))
			rc = next_message(q, deadline_ns, &m);
		if (rc)
			return rc;
		if (m && !take_event(q, m) && !q->adopted)
			return -XO_ENOTQEMU;
	}
	return 0;
}

/* While a reply is waited for, the thread that does takes the events; give it time to. */
static int qmp_poll(struct qchan *c, struct xerr *err)
{
	struct qmp *q = (struct qmp *)c;
	int rc;

	if (pthread_mutex_trylock(&q->lock)) {
		xo_sleep_ns(BUSY_PAUSE_NS);
		return 0;
	}
	rc = drain(q);
	pthread_mutex_unlock(&q->lock);
	return rc ? xerr_set(err, rc, "QMP events: %s", xo_code_text(rc)) : 0;
}

static void qmp_free(struct qchan *c)
{
	struct qmp *q = (struct qmp *)c;

	if (q->fd >= 0)
		close(q->fd);
	xbuf_free(&q->in);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

static const struct qchan_ops ops = {.call = qmp_call,
				     .cancel = qmp_cancel,
				     .watch = qmp_watch,
				     .poll = qmp_poll,
				     .free = qmp_free};

/* Connecting through a descriptor of the socket's inode lifts the limit on the path's length. */
static int connect_socket(const char *path, int *ret, struct xerr *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	_cleanup_close_ int inode = open(path, O_PATH | O_CLOEXEC);
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (inode < 0 && errno == EACCES)
		return xerr_set(err, XO_EPRIVILEGE, "%s: permission denied; run as root", path);
	if (inode < 0)
		return xerr_set(err, XO_ENOTARGET, "%s: %s", path, strerrordesc_np(errno));
	if (fstat(inode, &st) || !S_ISSOCK(st.st_mode))
		return xerr_set(err, XO_ENOTQEMU, "%s: not a socket; give a QMP socket", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return xerr_set(err, errno, "socket: %s", strerrordesc_np(errno));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d", inode);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		int e = errno;

		if (e == EAGAIN)
			return xerr_set(err, XO_ETIMEOUT,
					"%s: other clients wait for it already; give QEMU another "
					"-qmp socket",
					path);
		if (e == ECONNREFUSED)
			return xerr_set(err, XO_ENOTARGET,
					"%s: nobody listens; the virtual machine has ended", path);
		return xerr_set(err,
				e == EACCES || e == EPERM ? XO_EPRIVILEGE
				: e == EPROTOTYPE	  ? XO_ENOTQEMU
							  : e,
				"%s: %s", path, strerrordesc_np(e));
	}
	*ret = XO_TAKE_FD(fd);
	return 0;
}

static int greet(struct qmp *q, const char *path, struct xerr *err)
{
	uint64_t deadline_ns = xo_now_ns() + QMP_GREETING_TIMEOUT_MS * UINT64_C(1000000);
	_cleanup_json_ json_t *m = NULL;
	int rc = next_message(q, deadline_ns, &m);

	if (rc == -XO_ETIMEOUT)
		return xerr_set(err, XO_ETIMEOUT,
				"%s: no greeting in %d ms; another client holds this QMP socket (a "
				"second one can be given to QEMU with -qmp), or it is none",
				path, QMP_GREETING_TIMEOUT_MS);
	if (!rc && !json_is_object(json_object_get(m, "QMP")))
		rc = -XO_ENOTQEMU;
	if (rc == -XO_ENOTQEMU || rc == -XO_ETARGETGONE || rc == -XO_ELIMIT)
		return xerr_set(err, XO_ENOTQEMU, "%s: does not speak QMP; give a -qmp socket",
				path);
	return rc ? xerr_set(err, rc, "%s: %s", path, xo_code_text(rc)) : 0;
}

static struct qmp *make(int fd)
{
	struct qmp *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->chan.ops = &ops;
	q->fd = fd;
	pthread_mutex_init(&q->lock, NULL);
	q->in = XBUF(QMP_MAX_MESSAGE_BYTES);
	return q;
}

int qmp_adopt(int fd, struct qchan **ret, struct xerr *err)
{
	struct qmp *q = make(fd);

	if (!q)
		return xerr_set(err, ENOMEM, "out of memory");
	q->adopted = q->torn = true;
	*ret = &q->chan;
	return 0;
}

int qmp_open(const char *path, struct qchan **ret, struct xerr *err)
{
	struct qmp *q = make(-1);
	int rc;

	if (!q)
		return xerr_set(err, ENOMEM, "out of memory");
	rc = connect_socket(path, &q->fd, err);
	if (!rc)
		rc = greet(q, path, err);
	if (!rc)
		rc = qchan_call(&q->chan, "qmp_capabilities", -1, NULL, err, NULL);
	if (rc) {
		qmp_free(&q->chan);
		return rc;
	}
	*ret = &q->chan;
	return 0;
}
