// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/control.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/buf.h"
#include "base/msg.h"
#include "base/util.h"

#define CONTROL_BACKLOG	     8
#define CONTROL_REQUEST_MS   2000
#define CONTROL_ANSWER_BYTES (8u << 20)
#define CONTROL_SLACK_MS     60000 /* what an operation may take besides its own time-out */

struct control {
	int fd;
	struct sockaddr_un addr;
};

/* The socket's name: state directory, "guard-", and a digest of how the VM was named. */
static int socket_name(const struct agent_opts *o, struct sockaddr_un *ret, struct xerr *err)
{
	const char *dir = agent_state_dir(o);
	_cleanup_free_ char *real = NULL, *name = NULL;
	char hex[XO_SHA256_HEX_SIZE];
	uint8_t digest[XO_SHA256_BYTES];
	int n;

	if (o->target.qmp_path) {
		real = realpath(o->target.qmp_path, NULL);
		n = asprintf(&name, "qmp:%s", real ? real : o->target.qmp_path);
	} else {
		n = asprintf(&name, "domain:%s:%s",
			     o->target.connect_uri ? o->target.connect_uri : "", o->target.domain);
	}
	if (n < 0 || xo_sha256(SPAN(name, (size_t)n), digest))
		return xerr_set(err, ENOMEM, "out of memory");
	xo_hex(SPAN(digest, 8), hex);
	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	n = snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/guard-%s", dir, hex);
	if (n < 0 || (size_t)n >= sizeof(ret->sun_path))
		return xerr_set(err, XO_ESTATE,
				"state directory %s: its path is too long for a socket; use a "
				"shorter one",
				dir);
	return 0;
}

static int connect_to(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr))) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	return fd;
}

/* ---- the asking side ---- */

static json_t *request_json(const struct agent_opts *o, const char *argument)
{
	_cleanup_free_ char *trust = o->trust_dir ? realpath(o->trust_dir, NULL) : NULL;
	_cleanup_free_ char *policy = o->policy ? realpath(o->policy, NULL) : NULL;
	_cleanup_free_ char *facts = o->facts ? realpath(o->facts, NULL) : NULL;

	/* A file that is not there must not be one that was not asked for. */
	return json_pack("{s:s*,s:s*,s:s*,s:s*,s:i,s:I}", "argument", argument, "trust_dir", trust,
			 "policy", policy ? policy : o->policy, "facts", facts ? facts : o->facts,
			 "home", (int)o->home, "timeout_ns", (json_int_t)o->timeout_ns);
}

static int take_reasons(json_t *list, struct refusal *why)
{
	json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
	{
		const char *detail = NULL;
		int code = 0;

		if (json_unpack(item, "[is]", &code, &detail))
			return -XO_EPROTO;
		refusal_add(why, code, "%s", detail);
	}
	return 0;
}

int control_unpack(const void *text, size_t len_bytes, json_t **ret, struct refusal *why,
		   struct xerr *err)
{
	json_t *answer = json_loadb(text, len_bytes, JSON_REJECT_DUPLICATES, NULL);
	json_t *doc = NULL, *reasons = NULL;
	const char *error = NULL;
	int code = 0, rc;

	if (!answer || json_unpack(answer, "{s:i,s:s,s:o,s?o}", "code", &code, "error", &error,
				   "reasons", &reasons, "doc", &doc)) {
		json_decref(answer);
		return xerr_set(err, XO_EPROTO, "guard: its answer is malformed");
	}
	rc = take_reasons(reasons, why);
	if (!rc && code)
		rc = xerr_set(err, code, "%s", error);
	else if (!rc && doc && ret)
		*ret = json_incref(doc);
	json_decref(answer);
	return rc;
}

static int take_answer(const struct msg *m, json_t **ret, struct refusal *why, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf text = XBUF(CONTROL_ANSWER_BYTES);
	int rc = m->head.nr_fds == 1 ? xbuf_read_fd(&text, m->fds[0]) : -XO_EPROTO;

	if (rc)
		return xerr_set(err, rc, "guard: its answer cannot be read");
	return control_unpack(text.data, text.len_bytes, ret, why, err);
}

int control_ask(const struct agent_opts *o, enum control_op op, const char *argument,
		bool *ret_done, json_t **ret, struct refusal *why, struct xerr *err)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -1;
	_cleanup_msg_ struct msg m = {0};
	struct sockaddr_un addr;
	json_t *request;
	int rc;

	*ret_done = false;
	rc = socket_name(o, &addr, err);
	if (rc)
		return rc;
	fd = connect_to(&addr);
	if (fd < 0)
		return 0; /* no guard, or one that died and left its socket */
	*ret_done = true;
	request = request_json(o, argument);
	text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	json_decref(request);
	if (!text)
		return xerr_set(err, ENOMEM, "out of memory");
	rc = msg_send(fd, op, 0, text, strlen(text), NULL, 0);
	if (!rc)
		rc = msg_recv(fd, (int)(o->timeout_ns / 1000000) + CONTROL_SLACK_MS, &m);
	if (rc)
		return xerr_set(err, rc, "guard of this VM: %s; see exopatch guard status",
				xo_code_text(rc));
	return take_answer(&m, ret, why, err);
}

bool control_is_served(const struct agent_opts *o)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un addr;

	if (socket_name(o, &addr, NULL))
		return false;
	fd = connect_to(&addr);
	return fd >= 0;
}

/* ---- the guard's side ---- */

int control_listen(struct control **ret, const struct agent_opts *o, bool *ret_stale,
		   struct xerr *err)
{
	struct control *c = calloc(1, sizeof(*c));
	mode_t mask;
	int rc, fd;

	if (!c)
		return xerr_set(err, ENOMEM, "out of memory");
	c->fd = -1;
	rc = socket_name(o, &c->addr, err);
	if (rc)
		goto fail;
	fd = connect_to(&c->addr);
	if (fd >= 0) {
		close(fd);
		rc = xerr_set(err, XO_ELOCKED, "another guard serves %s", c->addr.sun_path);
		goto fail;
	}
	*ret_stale = !unlink(c->addr.sun_path);
	c->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mask = umask(0177);
	if (c->fd < 0 || bind(c->fd, (const struct sockaddr *)&c->addr, sizeof(c->addr)) ||
	    listen(c->fd, CONTROL_BACKLOG))
		rc = xerr_set(err, XO_ESTATE, "%s: %s", c->addr.sun_path, strerror(errno));
	umask(mask);
	if (rc)
		goto fail;
	*ret = c;
	return 0;
fail:
	control_close(c);
	return rc;
}

int control_adopt(struct control **ret, const struct agent_opts *o, int fd, struct xerr *err)
{
	struct control *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return xerr_set(err, ENOMEM, "out of memory");
	rc = socket_name(o, &c->addr, err);
	if (!rc) {
		c->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		if (c->fd < 0)
			rc = xerr_set(err, errno, "control socket: %s", strerror(errno));
	}
	if (rc) {
		free(c);
		return rc;
	}
	*ret = c;
	return 0;
}

int control_fd(const struct control *c)
{
	return c->fd;
}

void control_leave(struct control *c)
{
	if (c && c->fd >= 0)
		close(c->fd);
	free(c);
}

void control_close(struct control *c)
{
	if (c && c->fd >= 0)
		(void)unlink(c->addr.sun_path);
	control_leave(c);
}

static bool same_user(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) &&
	       (cred.uid == geteuid() || cred.uid == 0);
}

static int parse_request(const struct msg *m, struct control_request *ret)
{
	struct control_request r = {.op = (enum control_op)m->head.op};
	const char *argument = NULL, *trust = NULL, *policy = NULL, *facts = NULL;
	json_int_t timeout_ns = 0;
	int home = 0;

	if (r.op < CONTROL_INSPECT || r.op > CONTROL_ATTEST)
		return -XO_EPROTO;
	r.strings =
		json_loadb((const char *)m->body, m->head.len_bytes, JSON_REJECT_DUPLICATES, NULL);
	if (!r.strings ||
	    json_unpack_ex(r.strings, NULL, JSON_STRICT, "{s?s,s?s,s?s,s?s,s:i,s:I}", "argument",
			   &argument, "trust_dir", &trust, "policy", &policy, "facts", &facts,
			   "home", &home, "timeout_ns", &timeout_ns) ||
	    home < AGENT_HOME_AUTO || home > AGENT_HOME_SHIM || timeout_ns < 0) {
		json_decref(r.strings);
		return -XO_EPROTO;
	}
	if ((r.op == CONTROL_APPLY || r.op == CONTROL_REVERT || r.op == CONTROL_ATTEST) &&
	    !argument) {
		json_decref(r.strings);
		return -XO_EPROTO;
	}
	r.argument = argument ? strdup(argument) : NULL;
	r.opts = (struct agent_opts){.trust_dir = trust,
				     .policy = policy,
				     .facts = facts,
				     .home = (enum agent_home)home,
				     .timeout_ns = (uint64_t)timeout_ns};
	*ret = r;
	return 0;
}

int control_accept(struct control *c, struct control_request *ret, int *ret_fd, struct xerr *err)
{
	_cleanup_close_ int fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC);
	_cleanup_msg_ struct msg m = {0};
	int rc;

	if (fd < 0)
		return xerr_set(err, errno, "control socket: %s", strerror(errno));
	rc = same_user(fd) ? msg_recv(fd, CONTROL_REQUEST_MS, &m) : -XO_EPRIVILEGE;
	if (!rc)
		rc = parse_request(&m, ret);
	if (rc)
		return xerr_set(err, rc, "control socket: a request was not understood");
	*ret_fd = XO_TAKE_FD(fd);
	return 0;
}

void control_request_free(struct control_request *r)
{
	free(r->argument);
	json_decref(r->strings);
	memset(r, 0, sizeof(*r));
}

static json_t *answer_json(int rc, json_t *doc, const struct refusal *why, const struct xerr *err)
{
	json_t *reasons = json_array();

	for (size_t i = 0; i < why->nr; i++)
		json_array_append_new(
			reasons, json_pack("[is]", why->reason[i].code,
					   why->reason[i].detail ? why->reason[i].detail : ""));
	return json_pack("{s:i,s:s,s:o,s:O*}", "code", -rc, "error",
			 err->code ? err->text : xo_code_text(rc), "reasons", reasons, "doc", doc);
}

char *control_pack(int rc, json_t *doc, const struct refusal *why, const struct xerr *err)
{
	json_t *answer = answer_json(rc, doc, why, err);
	char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;

	json_decref(answer);
	return text;
}

/* Documents may be larger than a record, so they travel in a memfd. */
static int answer_file(json_t *answer)
{
	int fd = memfd_create("exopatch-answer", MFD_CLOEXEC);

	if (fd >= 0 && (json_dumpfd(answer, fd, JSON_COMPACT) || lseek(fd, 0, SEEK_SET))) {
		close(fd);
		return -1;
	}
	return fd;
}

void control_answer(int fd, int rc, json_t *doc, const struct refusal *why, const struct xerr *err)
{
	json_t *answer = answer_json(rc, doc, why, err);
	_cleanup_close_ int file = answer ? answer_file(answer) : -1;

	if (file >= 0) {
		/* An asker that went away has lost its answer, not its deed: the journal knows. */
		int sent = msg_send(fd, 0, 0, NULL, 0, &file, 1);

		(void)sent;
	}
	json_decref(answer);
	close(fd);
}
