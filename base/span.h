/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded, little-endian readers over bytes that somebody else wrote. Offsets
 * and lengths are compared with the remainder, never summed, so nothing wraps.
 * Bytes that may change underneath (guest memory) must be copied before they
 * are parsed; each reader here reads each byte once.
 */
#ifndef EXOPATCH_BASE_SPAN_H
#define EXOPATCH_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"

/** struct span - borrowed bytes; the owner outlives it */
struct span {
	const uint8_t *p;
	size_t len_bytes;
};

#define SPAN(ptr, n) ((struct span){.p = (const uint8_t *)(ptr), .len_bytes = (n)})

/** span_has - whether [@off, @off + @len) lies inside */
static inline bool span_has(struct span s, uint64_t off, uint64_t len)
{
	return off <= s.len_bytes && len <= s.len_bytes - off;
}

/** span_sub - the part [@off, @off + @len). Return: whether it lies inside; @ret set only then */
static inline XO_MUST_CHECK bool span_sub(struct span s, uint64_t off, uint64_t len,
					  struct span *ret)
{
	if (!span_has(s, off, len))
		return false;
	*ret = (struct span){.p = s.p + off, .len_bytes = (size_t)len};
	return true;
}

#define XO_DEFINE_SPAN_READ(name, type)                                                            \
	static inline XO_MUST_CHECK bool name(struct span s, uint64_t off, type *ret)              \
	{                                                                                          \
		if (!span_has(s, off, sizeof(type)))                                               \
			return false;                                                              \
		memcpy(ret, s.p + off, sizeof(type));                                              \
		return true;                                                                       \
	}
XO_DEFINE_SPAN_READ(span_u8, uint8_t)
XO_DEFINE_SPAN_READ(span_u16, uint16_t)
XO_DEFINE_SPAN_READ(span_u32, uint32_t)
XO_DEFINE_SPAN_READ(span_u64, uint64_t)
XO_DEFINE_SPAN_READ(span_s32, int32_t)
XO_DEFINE_SPAN_READ(span_s64, int64_t)
#undef XO_DEFINE_SPAN_READ

/** span_copy - copy [@off, @off + @len) to @dst. Return: whether it lies inside */
static inline XO_MUST_CHECK bool span_copy(struct span s, uint64_t off, void *dst, size_t len)
{
	if (!span_has(s, off, len))
		return false;
	memcpy(dst, s.p + off, len);
	return true;
}

/** span_cstr - the NUL-terminated string at @off, at most @max bytes with its NUL.
 *  Return: whether there is one; *@ret borrows from @s */
static inline XO_MUST_CHECK bool span_cstr(struct span s, uint64_t off, size_t max,
					   const char **ret)
{
	size_t room;

	if (off >= s.len_bytes)
		return false;
	room = s.len_bytes - (size_t)off;
	if (room > max)
		room = max;
	if (!memchr(s.p + off, 0, room))
		return false;
	*ret = (const char *)(s.p + off);
	return true;
}

#endif
