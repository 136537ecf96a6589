/* SPDX-License-Identifier: Apache-2.0 */
/* Base 64 with padding, RFC 4648 section 4; what is read must be the one way to write it. */
#ifndef EXOPATCH_ATTEST_B64_H
#define EXOPATCH_ATTEST_B64_H

#include "base/buf.h"

/** b64_add - append @in, encoded, to @out. Return: as xbuf_add */
int b64_add(struct xbuf *out, struct span in) XO_MUST_CHECK;

/** b64_decode - append what @in encodes to @out. Return: 0, -XO_EMALFORMED, or as xbuf_add */
int b64_decode(struct xbuf *out, struct span in) XO_MUST_CHECK;

/** b64_exactly - decode @in into exactly @len bytes. Return: whether it was that */
bool b64_exactly(struct span in, uint8_t *out, size_t len) XO_MUST_CHECK;

#endif
