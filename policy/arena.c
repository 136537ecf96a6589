// SPDX-License-Identifier: Apache-2.0
#include "policy/arena.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define CHUNK_BYTES (64U << 10)

struct arena_chunk {
	struct arena_chunk *older;
	size_t room_bytes;
	alignas(max_align_t) char data[];
};

static bool add_chunk(struct arena *a, size_t room_bytes)
{
	struct arena_chunk *c = calloc(1, sizeof(*c) + room_bytes);

	if (!c)
		return false;
	c->older = a->chunk;
	c->room_bytes = room_bytes;
	a->chunk = c;
	a->used_bytes = 0;
	return true;
}

void *arena_get(struct arena *a, size_t nr, size_t size)
{
	size_t bytes;
	void *p;

	if (__builtin_mul_overflow(nr, size, &bytes) || bytes > SIZE_MAX / 4)
		return NULL;
	bytes = (bytes + alignof(max_align_t) - 1) / alignof(max_align_t) * alignof(max_align_t);
	if (!a->chunk || bytes > a->chunk->room_bytes - a->used_bytes)
		if (!add_chunk(a, bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES))
			return NULL;
	p = a->chunk->data + a->used_bytes;
	a->used_bytes += bytes;
	return p;
}

char *arena_string(struct arena *a, const char *s, size_t len)
{
	char *p = len < SIZE_MAX ? arena_get(a, len + 1, 1) : NULL;

	if (p)
		memcpy(p, s, len);
	return p;
}

void arena_free(struct arena *a)
{
	while (a->chunk) {
		struct arena_chunk *c = a->chunk;

		a->chunk = c->older;
		free(c);
	}
	a->used_bytes = 0;
}
