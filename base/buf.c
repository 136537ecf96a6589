// SPDX-License-Identifier: Apache-2.0
#include "base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/err.h"

int xbuf_reserve(struct xbuf *b, size_t len_bytes, uint8_t **ret)
{
	size_t want, room;
	uint8_t *p;

	if (b->len_bytes > b->cap_bytes || len_bytes > b->cap_bytes - b->len_bytes)
		return -XO_ELIMIT;
	want = b->len_bytes + len_bytes;
	if (want > b->room_bytes) {
		room = b->room_bytes ? b->room_bytes : 256;
		while (room < want)
			room = room > b->cap_bytes / 2 ? b->cap_bytes : room * 2;
		p = realloc(b->data, room);
		if (!p)
			return -ENOMEM;
		b->data = p;
		b->room_bytes = room;
	}
	*ret = b->data + b->len_bytes;
	return 0;
}

int xbuf_add(struct xbuf *b, const void *data, size_t len_bytes)
{
	uint8_t *p;
	int rc;

	if (!len_bytes)
		return 0;
	rc = xbuf_reserve(b, len_bytes, &p);
	if (rc)
		return rc;
	memcpy(p, data, len_bytes);
	b->len_bytes += len_bytes;
	return 0;
}

int xbuf_addf(struct xbuf *b, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) {
		text = NULL;
		return -ENOMEM;
	}
	return xbuf_add(b, text, (size_t)n);
}

int xbuf_read_fd(struct xbuf *b, int fd)
{
	uint8_t *p, probe;
	size_t room;
	ssize_t n;
	int rc;

	for (;;) {
		room = b->cap_bytes - b->len_bytes;
		if (room > 65536)
			room = 65536;
		if (!room) {
			/* Full: an end of file here is still success. */
			n = read(fd, &probe, 1);
			if (n > 0)
				return -XO_ELIMIT;
		} else {
			rc = xbuf_reserve(b, room, &p);
			if (rc)
				return rc;
			n = read(fd, p, room);
		}
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (n == 0)
			return 0;
		b->len_bytes += (size_t)n;
	}
}

int xbuf_read_file(struct xbuf *b, const char *path)
{
	_cleanup_close_ int fd = -1;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -errno;
	return xbuf_read_fd(b, fd);
}

void xbuf_free(struct xbuf *b)
{
	free(b->data);
	*b = XBUF(b->cap_bytes);
}
