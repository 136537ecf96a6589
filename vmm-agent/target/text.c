// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/target/text.h"

static void advance(struct span *s, size_t n)
{
	s->p += n;
	s->len_bytes -= n;
}

bool text_line(struct span *text, struct span *ret_line)
{
	const uint8_t *nl;
	size_t len;

	if (!text->len_bytes)
		return false;
	nl = memchr(text->p, '\n', text->len_bytes);
	len = nl ? (size_t)(nl - text->p) : text->len_bytes;
	*ret_line = SPAN(text->p, len);
	advance(text, nl ? len + 1 : len);
	if (len && ret_line->p[len - 1] == '\r')
		ret_line->len_bytes--;
	return true;
}

bool text_skip(struct span *s, const char *prefix)
{
	size_t n = strlen(prefix);

	if (s->len_bytes < n || memcmp(s->p, prefix, n) != 0)
		return false;
	advance(s, n);
	return true;
}

static int digit(uint8_t c, unsigned int base)
{
	int v = -1;

	if (c >= '0' && c <= '9')
		v = c - '0';
	else if (c >= 'a' && c <= 'f')
		v = c - 'a' + 10;
	else if (c >= 'A' && c <= 'F')
		v = c - 'A' + 10;
	return v >= 0 && (unsigned int)v < base ? v : -1;
}

static bool number(struct span *s, unsigned int base, size_t max_digits, uint64_t *ret)
{
	uint64_t v = 0;
	size_t n = 0;

	for (; n < s->len_bytes && digit(s->p[n], base) >= 0; n++) {
		if (n == max_digits)
			return false;
		v = v * base + (uint64_t)digit(s->p[n], base);
	}
	if (!n)
		return false;
	advance(s, n);
	*ret = v;
	return true;
}

bool text_hex(struct span *s, uint64_t *ret)
{
	return number(s, 16, 16, ret);
}

bool text_dec(struct span *s, uint64_t *ret)
{
	return number(s, 10, 19, ret);
}

size_t text_find(struct span s, const char *needle)
{
	const uint8_t *at;

	if (!s.len_bytes)
		return 0;
	at = memmem(s.p, s.len_bytes, needle, strlen(needle));
	return at ? (size_t)(at - s.p) : s.len_bytes;
}
