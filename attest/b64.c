// SPDX-License-Identifier: Apache-2.0
#include "attest/b64.h"

#include <limits.h>
#include <openssl/evp.h>

#include "base/err.h"

#define B64_MAX_BYTES (64U << 20)

int b64_add(struct xbuf *out, struct span in)
{
	uint8_t *room;
	size_t n;
	int rc;

	if (in.len_bytes > B64_MAX_BYTES)
		return -XO_ELIMIT;
	n = (in.len_bytes + 2) / 3 * 4;
	rc = xbuf_reserve(out, n + 1, &room);
	if (rc)
		return rc;
	if (n)
		EVP_EncodeBlock(room, in.p, (int)in.len_bytes);
	out->len_bytes += n;
	return 0;
}

static int value(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* One group of four into up to three bytes. Return: how many, or -1 */
static int group(const uint8_t *in, bool last, uint8_t out[3])
{
	int pad = last ? (in[3] == '=') + (in[3] == '=' && in[2] == '=') : 0;
	uint32_t bits = 0;

	for (int i = 0; i < 4; i++) {
		int v = i < 4 - pad ? value(in[i]) : 0;

		if (v < 0)
			return -1;
		bits = bits << 6 | (uint32_t)v;
	}
	/* The bits that fall into the padding must be zero, else there were two ways to write it.
	 */
	if ((pad == 1 && (bits & 0xff)) || (pad == 2 && (bits & 0xffff)))
		return -1;
	out[0] = (uint8_t)(bits >> 16);
	out[1] = (uint8_t)(bits >> 8);
	out[2] = (uint8_t)bits;
	return 3 - pad;
}

int b64_decode(struct xbuf *out, struct span in)
{
	size_t n = 0;
	uint8_t *room;
	int rc;

	if (!in.len_bytes)
		return 0;
	if (in.len_bytes % 4)
		return -XO_EMALFORMED;
	rc = xbuf_reserve(out, in.len_bytes / 4 * 3, &room);
	if (rc)
		return rc;
	for (size_t i = 0; i < in.len_bytes; i += 4) {
		uint8_t three[3];
		int got = group(in.p + i, i + 4 == in.len_bytes, three);

		if (got < 0)
			return -XO_EMALFORMED;
		memcpy(room + n, three, (size_t)got);
		n += (size_t)got;
	}
	out->len_bytes += n;
	return 0;
}

bool b64_exactly(struct span in, uint8_t *out, size_t len)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(1024);

	if (in.len_bytes > 1024 || b64_decode(&b, in) || b.len_bytes != len)
		return false;
	memcpy(out, b.data, len);
	return true;
}
