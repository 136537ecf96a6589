/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is given back all at once. */
#ifndef EXOPATCH_POLICY_ARENA_H
#define EXOPATCH_POLICY_ARENA_H

#include <stddef.h>

#include "base/cleanup.h"

struct arena_chunk;

/** struct arena - zero-initialise, arena_free */
struct arena {
	struct arena_chunk *chunk;
	size_t used_bytes; /* of the newest chunk */
};

/** arena_get - @nr zeroed elements of @size bytes, aligned for anything. Return: NULL: no memory */
void *arena_get(struct arena *a, size_t nr, size_t size) XO_MUST_CHECK;

/** arena_string - a copy of @len bytes and a NUL. Return: NULL: no memory */
char *arena_string(struct arena *a, const char *s, size_t len) XO_MUST_CHECK;

void arena_free(struct arena *a);

#endif
