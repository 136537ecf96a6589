/* SPDX-License-Identifier: Apache-2.0 */
/* Small things that every part needs: time, hex, digests, escaping. */
#ifndef EXOPATCH_BASE_UTIL_H
#define EXOPATCH_BASE_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/span.h"

#define XO_SHA256_BYTES	   32
#define XO_SHA256_HEX_SIZE 65 /* with the NUL */

/** xo_now_ns - CLOCK_MONOTONIC in nanoseconds */
uint64_t xo_now_ns(void);

/** xo_sleep_ns - sleep that long, through signals */
void xo_sleep_ns(uint64_t ns);

/** xo_hex - lower-case hex of @in into @out, which holds 2 * in.len_bytes + 1 bytes */
void xo_hex(struct span in, char *out);

/** xo_unhex - exactly @len bytes from 2 * @len hex digits (either case) and nothing after.
 *  Return: whether @hex was that */
bool xo_unhex(const char *hex, uint8_t *out, size_t len) XO_MUST_CHECK;

/** xo_sha256 - digest of @in. Return: 0, or -XO_EINTERNAL if libcrypto fails */
int xo_sha256(struct span in, uint8_t out[XO_SHA256_BYTES]) XO_MUST_CHECK;

/**
 * xo_escape - make a hostile string fit for a log, terminal or page
 * @in:   bytes, need not be NUL-terminated, stops at a NUL
 * @out:  printable ASCII; everything else, and the backslash, as \xNN; NUL-terminated, cut to fit
 * @size: of @out, at least 1
 * Return: @out
 */
char *xo_escape(struct span in, char *out, size_t size);

/** xo_align_up - @v rounded up to a multiple of the power of two @a; saturates at UINT64_MAX */
static inline uint64_t xo_align_up(uint64_t v, uint64_t a)
{
	return v > UINT64_MAX - (a - 1) ? UINT64_MAX : (v + a - 1) & ~(a - 1);
}

#endif
