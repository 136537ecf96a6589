// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/target/qchan.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "base/util.h"

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

	request = json_pack("{s:s, s:O*}", "execute", name, "arguments", args);
	if (!request)
		return xerr_set(err, ENOMEM, "%s: out of memory", name);
	rc = c->ops->call(c, request, fd, &reply, err);
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
