// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/fake_qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define MAX_LINE 65536
#define GREETING                                                                                   \
	"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, \"major\": 7}, "          \
	"\"package\": \"\"}, \"capabilities\": []}}\r\n"

struct fake_qmp {
	const struct fake_opts *opts;
	char dir[96], path[108];
	int listener, client;
	int passed;  /* the last descriptor received, until closefd or the next */
	int stop[2]; /* written to by fake_qmp_free */
	atomic_int fds;
	char got[4096];
	bool joined;
	pthread_t thread;
};

/* Wait until @fd is readable. Return: false when told to stop */
static bool readable(const struct fake_qmp *f, int fd)
{
	struct pollfd p[] = {{.fd = fd, .events = POLLIN}, {.fd = f->stop[0], .events = POLLIN}};

	while (poll(p, 2, -1) < 0) {
		if (errno != EINTR)
			return false;
	}
	return !p[1].revents;
}

static bool say(const struct fake_qmp *f, const char *text)
{
	size_t len = strlen(text);

	while (len) {
		ssize_t n = send(f->client, text, len, MSG_NOSIGNAL);

		if (n < 0)
			return false;
		text += n;
		len -= (size_t)n;
	}
	return true;
}

/* Read more, counting descriptors. Return: bytes, 0 at the end */
static size_t hear(struct fake_qmp *f, char *buf, size_t size)
{
	char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
	struct iovec iov = {.iov_base = buf, .iov_len = size};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	ssize_t n = readable(f, f->client) ? recvmsg(f->client, &msg, MSG_CMSG_CLOEXEC) : 0;
	const struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;

	if (c && c->cmsg_type == SCM_RIGHTS) {
		int fd;

		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		xo_close_ptr(&f->passed);
		f->passed = fd;
		atomic_fetch_add(&f->fds, 1);
	}
	return n > 0 ? (size_t)n : 0;
}

static bool answers_line(const struct fake_answer *a, const char *line)
{
	return !strncmp(a->command, "hmp:", 4) && strstr(line, a->command + 4) == line;
}

static const struct fake_answer *find(const struct fake_opts *o, const char *command,
				      const char *line)
{
	for (size_t l = 0; o->answers && o->answers[l]; l++) {
		for (const struct fake_answer *a = o->answers[l]; a->command; a++) {
			if (line ? answers_line(a, line) : !strcmp(a->command, command))
				return a;
		}
	}
	return NULL;
}

static char *answer_to(const struct fake_opts *o, const char *command, const char *line)
{
	const struct fake_answer *a = find(o, command, line);
	json_t *reply;
	char *text;

	if (a && a->value && line)
		reply = json_pack("{s:s}", "return", a->value);
	else if (a && a->value)
		reply = json_pack("{s:o}", "return", json_loads(a->value, JSON_DECODE_ANY, NULL));
	else if (!strcmp(command, "qmp_capabilities"))
		reply = json_pack("{s:{}}", "return");
	else
		reply = json_pack("{s:{s:s, s:s}}", "error", "class", "GenericError", "desc",
				  "not in the script");
	text = json_dumps(reply, JSON_COMPACT);
	json_decref(reply);
	return text;
}

static void note(struct fake_qmp *f, const char *command)
{
	size_t len = strlen(f->got);

	snprintf(f->got + len, sizeof(f->got) - len, "%s%s", len ? " " : "", command);
}

/* Return: whether to go on */
static bool serve_one(struct fake_qmp *f, const json_t *request)
{
	const char *command = json_string_value(json_object_get(request, "execute"));
	const char *line = json_string_value(
		json_object_get(json_object_get(request, "arguments"), "command-line"));
	const struct fake_opts *o = f->opts;
	_cleanup_free_ char *text = NULL;
	bool handshake;

	if (!command)
		return false;
	note(f, command);
	if (!strcmp(command, "closefd")) {
		xo_close_ptr(&f->passed);
		f->passed = -1;
	}
	handshake = !strcmp(command, "qmp_capabilities");
	if (o->hang_up_at && !strcmp(command, o->hang_up_at))
		return false;
	if (o->before_answer && !say(f, o->before_answer))
		return false;
	if (o->raw_answer && !handshake)
		return say(f, o->raw_answer);
	text = answer_to(o, command, line);
	return text && say(f, text) && say(f, "\r\n");
}

/* Requests come back to back; jansson tells where one ends. */
static void serve(struct fake_qmp *f)
{
	static _Thread_local char buf[MAX_LINE];
	size_t len = 0, n;

	while (len < sizeof(buf) && (n = hear(f, buf + len, sizeof(buf) - len))) {
		json_error_t where;
		json_t *request;

		len += n;
		while (len && (request = json_loadb(buf, len, JSON_DISABLE_EOF_CHECK, &where))) {
			bool go_on = serve_one(f, request);

			json_decref(request);
			if (!go_on)
				return;
			len -= (size_t)where.position;
			memmove(buf, buf + where.position, len);
		}
	}
}

static void *run(void *arg)
{
	struct fake_qmp *f = arg;

	if (!readable(f, f->listener))
		return NULL;
	f->client = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
	if (f->client < 0)
		return NULL;
	if (say(f, f->opts->greeting ? f->opts->greeting : GREETING))
		serve(f);
	shutdown(f->client, SHUT_RDWR);
	return NULL;
}

struct fake_qmp *fake_qmp_start(const struct fake_opts *opts)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct fake_qmp *f = calloc(1, sizeof(*f));
	const char *tmp = getenv("TMPDIR");

	if (!f)
		return NULL;
	f->opts = opts;
	f->passed = f->client = f->listener = f->stop[0] = f->stop[1] = -1;
	f->joined = true;
	snprintf(f->dir, sizeof(f->dir), "%s/exopatch-fake-XXXXXX", tmp ? tmp : "/tmp");
	if (mkdtemp(f->dir)) {
		snprintf(f->path, sizeof(f->path), "%s/qmp", f->dir);
		memcpy(addr.sun_path, f->path, sizeof(f->path));
		f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (f->listener >= 0 && !pipe2(f->stop, O_CLOEXEC) &&
		    !bind(f->listener, (struct sockaddr *)&addr, sizeof(addr)) &&
		    !listen(f->listener, 1))
			f->joined = pthread_create(&f->thread, NULL, run, f) != 0;
	}
	if (!f->joined)
		return f;
	fake_qmp_free(f);
	return NULL;
}

const char *fake_qmp_path(const struct fake_qmp *f)
{
	return f->path;
}

const char *fake_qmp_got(const struct fake_qmp *f)
{
	return f->got;
}

int fake_qmp_fds(const struct fake_qmp *f)
{
	return atomic_load(&f->fds);
}

void fake_qmp_join(struct fake_qmp *f)
{
	if (!f->joined)
		pthread_join(f->thread, NULL);
	f->joined = true;
}

void fake_qmp_free(struct fake_qmp *f)
{
	if (!f)
		return;
	if (f->stop[1] >= 0)
		close(f->stop[1]); /* wakes the thread */
	fake_qmp_join(f);
	if (f->stop[0] >= 0)
		close(f->stop[0]);
	if (f->client >= 0)
		close(f->client);
	if (f->listener >= 0)
		close(f->listener);
	xo_close_ptr(&f->passed);
	unlink(f->path);
	rmdir(f->dir);
	free(f);
}
