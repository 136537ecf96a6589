// SPDX-License-Identifier: Apache-2.0
#include "base/util.h"

#include <errno.h>
#include <openssl/evp.h>
#include <time.h>

#include "base/err.h"

uint64_t xo_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void xo_sleep_ns(uint64_t ns)
{
	struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000u),
			      .tv_nsec = (long)(ns % 1000000000u)};

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
		;
}

void xo_hex(struct span in, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < in.len_bytes; i++) {
		*out++ = digits[in.p[i] >> 4];
		*out++ = digits[in.p[i] & 15];
	}
	*out = '\0';
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool xo_unhex(const char *hex, uint8_t *out, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		int hi = digit(hex[0]);
		int lo = hi < 0 ? -1 : digit(hex[1]);

		if (lo < 0)
			return false;
		out[i] = (uint8_t)(hi << 4 | lo);
		hex += 2;
	}
	return *hex == '\0';
}

int xo_sha256(struct span in, uint8_t out[XO_SHA256_BYTES])
{
	return EVP_Digest(in.p, in.len_bytes, out, NULL, EVP_sha256(), NULL) == 1 ? 0
										  : -XO_EINTERNAL;
}

char *xo_escape(struct span in, char *out, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	size_t n = 0;

	for (size_t i = 0; i < in.len_bytes && in.p[i]; i++) {
		uint8_t c = in.p[i];
		bool plain = c >= 0x20 && c < 0x7f && c != '\\';

		if (size - 1 - n < (plain ? 1u : 4u))
			break;
		if (plain) {
			out[n++] = (char)c;
		} else {
			out[n++] = '\\';
			out[n++] = 'x';
			out[n++] = digits[c >> 4];
			out[n++] = digits[c & 15];
		}
	}
	out[n] = '\0';
	return out;
}
