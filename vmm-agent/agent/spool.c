// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/spool.h"

#include <string.h>

static const struct spool_state *now(const struct spool *s)
{
	return &s->state[s->current & 1];
}

static void set(struct spool *s, struct spool_state next)
{
	uint32_t other = !(s->current & 1);

	s->state[other] = next;
	__atomic_store_n(&s->current, other, __ATOMIC_RELEASE);
}

uint64_t spool_seq(const struct spool *s)
{
	return now(s)->seq + 1;
}

uint64_t spool_lost(const struct spool *s)
{
	return now(s)->lost;
}

uint64_t spool_waiting(const struct spool *s)
{
	return now(s)->tail - now(s)->head;
}

bool spool_put(struct spool *s, const char *line, size_t len_bytes)
{
	struct spool_state next = *now(s);
	size_t at = (size_t)(next.tail % SPOOL_BYTES), part = SPOOL_BYTES - at;
	bool fits = len_bytes <= SPOOL_BYTES - (next.tail - next.head);

	next.seq++;
	if (fits) {
		if (part > len_bytes)
			part = len_bytes;
		memcpy(s->ring + at, line, part);
		memcpy(s->ring, line + part, len_bytes - part);
		next.tail += len_bytes;
	} else {
		next.lost++;
	}
	set(s, next);
	return fits;
}

size_t spool_first(const struct spool *s, const char **ret)
{
	const struct spool_state *t = now(s);
	uint64_t from = t->head + t->sent;
	size_t at = (size_t)(from % SPOOL_BYTES), room = SPOOL_BYTES - at;
	uint64_t left = t->tail - from;
	size_t len = left < room ? (size_t)left : room;
	const char *nl = len ? memchr(s->ring + at, '\n', len) : NULL;

	*ret = s->ring + at;
	return nl ? (size_t)(nl - *ret) + 1 : len;
}

void spool_sent(struct spool *s, size_t len_bytes)
{
	struct spool_state next = *now(s);
	uint64_t last = next.head + next.sent + len_bytes - 1;

	next.sent += len_bytes;
	if (s->ring[last % SPOOL_BYTES] == '\n') {
		next.head += next.sent;
		next.sent = 0;
	}
	set(s, next);
}

bool spool_again(struct spool *s)
{
	struct spool_state next = *now(s);
	bool some = next.sent != 0;

	next.sent = 0;
	set(s, next);
	return some;
}
