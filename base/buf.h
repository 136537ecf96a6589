/* SPDX-License-Identifier: Apache-2.0 */
/* A growable byte buffer with a hard cap. */
#ifndef EXOPATCH_BASE_BUF_H
#define EXOPATCH_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/span.h"

/** struct xbuf - owns @data; zero-initialise with a cap (XBUF), free with xbuf_free */
struct xbuf {
	uint8_t *data;
	size_t len_bytes;
	size_t room_bytes;
	size_t cap_bytes; /* never grows past this */
};

#define XBUF(cap) ((struct xbuf){.cap_bytes = (cap)})

/** xbuf_add - append. Return: 0, -ENOMEM, or -XO_ELIMIT (nothing appended then) */
int xbuf_add(struct xbuf *b, const void *data, size_t len_bytes) XO_MUST_CHECK;

/** xbuf_addf - append formatted text without its NUL. Return: as xbuf_add */
int xbuf_addf(struct xbuf *b, const char *fmt, ...) XO_PRINTF(2, 3) XO_MUST_CHECK;

/** xbuf_reserve - make sure @len_bytes more fit; *@ret points at the free room. Return: as xbuf_add
 */
int xbuf_reserve(struct xbuf *b, size_t len_bytes, uint8_t **ret) XO_MUST_CHECK;

/** xbuf_read_fd - append all of @fd up to its end. Return: as xbuf_add, or -errno of read(2) */
int xbuf_read_fd(struct xbuf *b, int fd) XO_MUST_CHECK;

/** xbuf_read_file - append the regular file at @path. Return: as xbuf_read_fd, or -errno of open(2)
 */
int xbuf_read_file(struct xbuf *b, const char *path) XO_MUST_CHECK;

void xbuf_free(struct xbuf *b);

static inline struct span xbuf_span(const struct xbuf *b)
{
	return SPAN(b->data, b->len_bytes);
}

#define _cleanup_xbuf_ XO_CLEANUP(xbuf_free)

#endif
