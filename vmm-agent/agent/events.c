// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/events.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"

#define RETRY_NS    UINT64_C(1000000000) /* of a disk that is full, a FIFO that nobody reads */
#define WRITE_BYTES 4096		 /* PIPE_BUF: a pipe that is writable takes that much */
#define TURN_WRITES 256			 /* in one turn: the guard has more to do */

struct events {
	struct events_kept *kept;
	char *path; /* NULL: standard output */
	uint64_t limit_bytes;
	int fd; /* or -1: to be opened again */
	bool regular;
	uint64_t retry_ns;
	char vm[256];
};

/* What the guard before was about to write: nobody knows how much of it is there. */
static void begin_anew(struct events *e)
{
	char last = '\n';
	struct stat st;

	if (spool_again(&e->kept->spool))
		last = '?';
	if (e->regular && !fstat(e->fd, &st) && st.st_size &&
	    pread(e->fd, &last, 1, st.st_size - 1) != 1)
		return;
	if (last != '\n')
		(void)!write(e->fd, "\n", 1);
}

static int open_file(struct events *e)
{
	struct stat st;

	if (!e->path) {
		e->fd = dup(STDOUT_FILENO);
	} else {
		e->fd = open(e->path,
			     O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
			     0600);
		/* Both ends of a FIFO in one hand would never tell that nobody reads it. */
		if (e->fd >= 0 && !fstat(e->fd, &st) && S_ISFIFO(st.st_mode)) {
			close(e->fd);
			e->fd = open(e->path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
		}
	}
	if (e->fd < 0)
		return -errno;
	e->regular = !fstat(e->fd, &st) && S_ISREG(st.st_mode);
	return 0;
}

int events_open(struct events **ret, const char *path, uint64_t limit_bytes, const char *vm,
		struct events_kept *kept, struct xerr *err)
{
	struct events *e = calloc(1, sizeof(*e));
	bool named = path && strcmp(path, "-") != 0;
	int rc;

	if (!e || (named && !(e->path = strdup(path)))) {
		free(e);
		return xerr_set(err, ENOMEM, "out of memory");
	}
	snprintf(e->vm, sizeof(e->vm), "%s", vm);
	e->kept = kept;
	e->limit_bytes = limit_bytes;
	rc = open_file(e);
	if (rc && rc != -ENXIO) {
		free(e->path);
		free(e);
		return xerr_set(err, rc, "%s: %s; name another file with --events",
				path ? path : "standard output", strerrordesc_np(-rc));
	}
	if (!rc)
		begin_anew(e);
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

/* At the length where it is begun anew, between two lines. */
static void rotate(struct events *e)
{
	_cleanup_free_ char *old = NULL;
	struct stat st;

	if (!e->path || !e->regular || !e->limit_bytes || fstat(e->fd, &st) ||
	    (uint64_t)st.st_size < e->limit_bytes)
		return;
	if (asprintf(&old, "%s.1", e->path) < 0) {
		old = NULL;
		return;
	}
	if (rename(e->path, old))
		return;
	close(e->fd);
	if (open_file(e))
		e->fd = -1;
}

/* Whether the file takes something without waiting. */
static bool takes(struct events *e)
{
	struct pollfd p = {.events = POLLOUT};

	if (xo_now_ns() < e->retry_ns)
		return false;
	if (e->fd < 0 && open_file(e)) {
		e->fd = -1;
		e->retry_ns = xo_now_ns() + RETRY_NS;
		return false;
	}
	p.fd = e->fd;
	return poll(&p, 1, 0) == 1;
}

static void refused(struct events *e)
{
	if (errno == EAGAIN || errno == EINTR)
		return;
	if (errno == EPIPE && e->path) {
		close(e->fd);
		e->fd = -1;
	}
	e->retry_ns = xo_now_ns() + RETRY_NS;
}

static void flush(struct events *e)
{
	struct spool *s = &e->kept->spool;
	const char *p;
	size_t len;

	for (int i = 0; i < TURN_WRITES && (len = spool_first(s, &p)) && takes(e); i++) {
		ssize_t n = write(e->fd, p, len < WRITE_BYTES ? len : WRITE_BYTES);

		if (n <= 0) {
			refused(e);
			return;
		}
		spool_sent(s, (size_t)n);
		if (p[n - 1] == '\n')
			rotate(e);
	}
}

static void put(struct events *e, const char *kind, const char *verdict, const json_t *details)
{
	struct spool *s = &e->kept->spool;
	_cleanup_free_ char *text = NULL;
	json_t *o =
		json_pack("{s:o,s:I,s:s,s:s,s:s*}", "time", now_rfc3339(), "seq",
			  (json_int_t)spool_seq(s), "vm", e->vm, "kind", kind, "verdict", verdict);
	size_t len;

	if (o && details)
		(void)!json_object_update_missing(o, (json_t *)(uintptr_t)details);
	text = o ? json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9))
		 : NULL;
	json_decref(o);
	len = text ? strlen(text) : SPOOL_BYTES + 1;
	if (text)
		text[len++] = '\n'; /* over its end: it is no string any more */
	(void)spool_put(s, text, len);
	flush(e);
}

void events_emit(struct events *e, const char *kind, const char *verdict, json_t *details)
{
	if (!verdict || fold_take(&e->kept->fold, kind, verdict, details, xo_now_ns()))
		put(e, kind, verdict, details);
	json_decref(details);
}

static void say_counted(struct events *e, bool all)
{
	json_t *o;

	while ((o = fold_due(&e->kept->fold, xo_now_ns(), all))) {
		_cleanup_free_ char *kind = NULL, *verdict = NULL;
		const char *v = json_string_value(json_object_get(o, "verdict"));

		kind = strdup(json_string_value(json_object_get(o, "kind")));
		verdict = v ? strdup(v) : NULL;
		if (kind)
			put(e, kind, verdict, o);
		json_decref(o);
	}
}

/* When the file takes lines again, it is told what it did not get. */
static void say_lost(struct events *e)
{
	uint64_t lost = spool_lost(&e->kept->spool);
	json_t *o;

	if (lost == e->kept->lost_said || spool_waiting(&e->kept->spool) > SPOOL_BYTES / 2)
		return;
	o = json_pack("{s:I,s:I}", "lost", (json_int_t)(lost - e->kept->lost_said), "lost_events",
		      (json_int_t)lost);
	e->kept->lost_said = lost;
	put(e, "events-lost", NULL, o);
	json_decref(o);
}

void events_tick(struct events *e)
{
	say_counted(e, false);
	say_lost(e);
	flush(e);
}

void events_stats(const struct events *e, struct events_stats *ret)
{
	*ret = (struct events_stats){
		.seq = spool_seq(&e->kept->spool) - 1,
		.lost = spool_lost(&e->kept->spool),
		.folded = e->kept->fold.folded,
		.waiting_bytes = spool_waiting(&e->kept->spool),
	};
}

void events_settle(struct events *e)
{
	say_counted(e, true);
}

void events_close(struct events *e)
{
	if (!e)
		return;
	events_tick(e);
	if (e->fd >= 0)
		close(e->fd);
	free(e->path);
	free(e);
}
