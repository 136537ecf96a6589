// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/events.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

struct events {
	FILE *out;
	bool owned;
	char vm[256];
};

int events_open(struct events **ret, const char *path, const char *vm, struct xerr *err)
{
	struct events *e = calloc(1, sizeof(*e));
	int fd;

	if (!e)
		return xerr_set(err, ENOMEM, "out of memory");
	snprintf(e->vm, sizeof(e->vm), "%s", vm);
	if (!path || !strcmp(path, "-")) {
		e->out = stdout;
		*ret = e;
		return 0;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	e->out = fd < 0 ? NULL : fdopen(fd, "a");
	if (!e->out) {
		int error = errno;

		if (fd >= 0)
			close(fd);
		free(e);
		return xerr_set(err, error, "%s: %s; name another file with --events", path,
				strerror(error));
	}
	e->owned = true;
	*ret = e;
	return 0;
}

static json_t *now_rfc3339(void)
{
	struct timespec ts;
	char text[32];
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	return json_sprintf("%s.%09ldZ", text, ts.tv_nsec);
}

int events_emit(struct events *e, const char *kind, const char *verdict, json_t *details)
{
	json_t *o = json_pack("{s:o,s:s,s:s,s:s*}", "time", now_rfc3339(), "vm", e->vm, "kind",
			      kind, "verdict", verdict);
	int rc = 0;

	if (!o || (details && json_object_update(o, details)))
		rc = -ENOMEM;
	if (!rc && (json_dumpf(o, e->out, JSON_COMPACT | JSON_PRESERVE_ORDER) ||
		    fputc('\n', e->out) == EOF || fflush(e->out)))
		rc = -EIO;
	json_decref(o);
	json_decref(details);
	return rc;
}

void events_close(struct events *e)
{
	if (!e)
		return;
	if (e->owned)
		fclose(e->out);
	free(e);
}
