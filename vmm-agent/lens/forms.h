/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may stand at a place that the kernel rewrites. text_poke_bp (arch/x86/
 * kernel/alternative.c) goes from one form to another in steps: int3 over byte
 * 0, then the tail, then byte 0; a store may show one byte of a step.
 */
#ifndef EXOPATCH_LENS_FORMS_H
#define EXOPATCH_LENS_FORMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define GFORM_MAX_BYTES 6
#define GFORMS_MAX	512

#define GFORM_INT3 0xcc
#define GFORM_CALL 0xe8
#define GFORM_JUMP 0xe9

struct gform {
	uint8_t len_bytes;
	uint8_t byte[GFORM_MAX_BYTES];
};

struct gforms {
	size_t nr;
	struct gform form[GFORMS_MAX];
};

enum gform_fit {
	GFORM_NONE,
	GFORM_WHOLE, /* it is one of them */
	GFORM_STEP,  /* it is on the way between two */
};

static inline void gforms_add(struct gforms *f, const void *bytes, size_t len)
{
	if (f->nr == GFORMS_MAX || len > GFORM_MAX_BYTES)
		return;
	f->form[f->nr].len_bytes = (uint8_t)len;
	memcpy(f->form[f->nr++].byte, bytes, len);
}

/** gforms_add_branch - @prefix (0 or 0x0f), @opcode and the 32-bit distance from @addr to @to, if
 *  it reaches that far */
static inline void gforms_add_branch(struct gforms *f, uint8_t prefix, uint8_t opcode,
				     uint64_t addr, uint64_t to)
{
	size_t len = prefix ? 6 : 5;
	int64_t away = (int64_t)(to - (addr + len));
	int32_t rel = (int32_t)away;
	uint8_t byte[GFORM_MAX_BYTES] = {prefix, opcode};

	if (rel != away)
		return;
	if (!prefix)
		byte[0] = opcode;
	memcpy(byte + len - sizeof(rel), &rel, sizeof(rel));
	gforms_add(f, byte, len);
}

static inline size_t gforms_longest(const struct gforms *f)
{
	size_t longest = 0;

	for (size_t i = 0; i < f->nr; i++)
		if (f->form[i].len_bytes > longest)
			longest = f->form[i].len_bytes;
	return longest;
}

/** gforms_whole - bytes of the form that @bytes are, or 0 */
static inline size_t gforms_whole(const struct gforms *f, const uint8_t *bytes)
{
	for (size_t i = 0; i < f->nr; i++)
		if (!memcmp(bytes, f->form[i].byte, f->form[i].len_bytes))
			return f->form[i].len_bytes;
	return 0;
}

static inline bool gforms_have(const struct gforms *f, size_t at, uint8_t byte)
{
	for (size_t i = 0; i < f->nr; i++)
		if (f->form[i].len_bytes > at && f->form[i].byte[at] == byte)
			return true;
	return false;
}

/** gforms_hold - whether @bytes are one of them, or a step that has nothing but what they have */
static inline bool gforms_hold(const struct gforms *f, const uint8_t *bytes)
{
	size_t longest = gforms_longest(f);

	if (gforms_whole(f, bytes))
		return true;
	if (!longest || bytes[0] != GFORM_INT3)
		return false;
	for (size_t at = 1; at < longest; at++)
		if (!gforms_have(f, at, bytes[at]))
			return false;
	return true;
}

/** gforms_fit - how @after fits, of which @before was found right. *@ret_len: bytes it covers */
static inline enum gform_fit gforms_fit(const struct gforms *f, const uint8_t *before,
					const uint8_t *after, size_t *ret_len)
{
	size_t longest = gforms_longest(f), whole = gforms_whole(f, after);

	if (whole) {
		*ret_len = whole;
		return GFORM_WHOLE;
	}
	if (!longest || after[0] != GFORM_INT3)
		return GFORM_NONE;
	for (size_t at = 1; at < longest; at++)
		if (after[at] != before[at] && !gforms_have(f, at, after[at]))
			return GFORM_NONE;
	*ret_len = longest;
	return GFORM_STEP;
}

#endif
