// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/target/qchan.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>

#include "base/util.h"
#include "vmm-agent/target/target.h"

void qchan_event(struct qchan *c, const char *name)
{
	static const struct {
		const char *name;
		unsigned int set, clear;
	} known[] = {
		{"RESET", TGT_EVENT_RESET, 0},
		{"STOP", TGT_EVENT_STOP | TGT_EVENT_STANDS, 0},
		{"RESUME", TGT_EVENT_RESUME, TGT_EVENT_STANDS},
		{"MIGRATION", TGT_EVENT_MIGRATION, 0},
	};

	for (size_t i = 0; i < XO_ARRAY_SIZE(known); i++) {
		unsigned int was = atomic_load(&c->events);

		if (strcmp(name, known[i].name) != 0)
			continue;
		while (!atomic_compare_exchange_weak(&c->events, &was,
						     (was & ~known[i].clear) | known[i].set))
			;
	}
}

struct aside {
	int (*fn)(void *arg, struct xerr *err);
	void *arg;
	struct xerr err;
	int rc;
	atomic_bool done;
};

static void *run_aside(void *arg)
{
	struct aside *a = arg;

	a->rc = a->fn(a->arg, &a->err);
	atomic_store(&a->done, true);
	return NULL;
}

int qchan_aside(struct qchan *c, int (*fn)(void *arg, struct xerr *err), void *arg,
		struct xerr *err)
{
	struct aside a = {.fn = fn, .arg = arg};
	struct xerr idle = {0};
	pthread_t thread;
	int rc = 0;

	if (!c->idle)
		return fn(arg, err);
	if (pthread_create(&thread, NULL, run_aside, &a))
		return xerr_set(err, EAGAIN, "no thread to talk to QEMU with");
	while (!atomic_load(&a.done) && !rc)
		rc = c->idle(c->idle_arg, &idle);
	if (rc && c->ops && c->ops->cancel)
		c->ops->cancel(c);
	pthread_join(thread, NULL);
	if (rc)
		return xerr_set(err, rc, "%s", idle.text);
	return a.rc ? xerr_set(err, a.rc, "%s", a.err.text) : 0;
}

struct request {
	struct qchan *c;
	const json_t *request;
	int fd;
	json_t **reply;
};

static int run_request(void *arg, struct xerr *err)
{
	struct request *r = arg;

	return r->c->ops->call(r->c, r->request, r->fd, r->reply, err);
}

/* QEMU's own words for a refused command, made fit for a message. */
static int refused(const char *name, const json_t *error, struct xerr *err)
{
	const char *desc = json_string_value(json_object_get(error, "desc"));
	char text[256];

	if (!desc)
		desc = "no reason given";
	return xerr_set(err, XO_EQMP, "%s: %s", name,
			xo_escape(SPAN(desc, strlen(desc)), text, sizeof(text)));
}

static int call(struct qchan *c, const char *name, json_t *args, int fd, json_t **ret,
		struct xerr *err)
{
	_cleanup_json_ json_t *request = NULL;
	_cleanup_json_ json_t *reply = NULL;
	const json_t *error;
	json_t *value;
	int rc;

	if (!c)
		return xerr_set(err, XO_ETIMEOUT, "%s: there is no connection to QEMU at present",
				name);
	request = json_pack("{s:s, s:O*}", "execute", name, "arguments", args);
	if (!request)
		return xerr_set(err, ENOMEM, "%s: out of memory", name);
	rc = qchan_aside(c, run_request, &(struct request){c, request, fd, &reply}, err);
	if (rc)
		return rc;
	error = json_object_get(reply, "error");
	if (error)
		return refused(name, error, err);
	value = json_object_get(reply, "return");
	if (!value)
		return xerr_set(err, XO_ENOTQEMU, "%s: the reply is not one of QMP", name);
	if (ret)
		*ret = json_incref(value);
	return 0;
}

int qchan_call(struct qchan *c, const char *name, int fd, json_t **ret, struct xerr *err,
	       const char *args, ...)
{
	_cleanup_json_ json_t *packed = NULL;
	va_list ap;

	if (args) {
		va_start(ap, args);
		packed = json_vpack_ex(NULL, 0, args, ap);
		va_end(ap);
		if (!packed)
			return xerr_set(err, XO_EINTERNAL, "%s: cannot encode its arguments", name);
	}
	return call(c, name, packed, fd, ret, err);
}

int qchan_hmp(struct qchan *c, char **ret, struct xerr *err, const char *fmt, ...)
{
	_cleanup_free_ char *line = NULL;
	_cleanup_json_ json_t *value = NULL;
	va_list ap;
	char *text;
	int rc;

	va_start(ap, fmt);
	rc = vasprintf(&line, fmt, ap);
	va_end(ap);
	if (rc < 0) {
		line = NULL;
		return xerr_set(err, ENOMEM, "out of memory");
	}
	rc = qchan_call(c, "human-monitor-command", -1, &value, err, "{s:s}", "command-line", line);
	if (rc)
		return rc;
	if (!json_is_string(value))
		return xerr_set(err, XO_EQMP, "%s: the answer is not a text", line);
	text = strdup(json_string_value(value));
	if (!text)
		return xerr_set(err, ENOMEM, "out of memory");
	*ret = text;
	return 0;
}

void qchan_free(struct qchan *c)
{
	if (c)
		c->ops->free(c);
}
