/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines on their way to a file that may be full or blocked: a ring in memory
 * that outlives the process, so that what was made is written, if not by this
 * process then by the next. Plain data without pointers.
 */
#ifndef EXOPATCH_AGENT_SPOOL_H
#define EXOPATCH_AGENT_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

#define SPOOL_BYTES (512u << 10)

/** struct spool - zero-initialised memory is an empty one */
struct spool {
	/* One of the two is valid, so that a death in between leaves one that is whole. */
	uint32_t current;
	uint32_t zero;
	struct spool_state {
		uint64_t head, tail; /* bytes taken out and put in, ever */
		uint64_t seq;	     /* number of the last line that was made */
		uint64_t lost;	     /* lines that found no room, ever */
		uint64_t sent;	     /* bytes of the first line that are written already */
	} state[2];
	char ring[SPOOL_BYTES];
};

/** spool_seq - number that the next line has to bear */
uint64_t spool_seq(const struct spool *s);
uint64_t spool_lost(const struct spool *s);
uint64_t spool_waiting(const struct spool *s);

/** spool_put - put in a line with its newline; its number is used up also if there is no room.
 *  Return: whether there was */
bool spool_put(struct spool *s, const char *line, size_t len_bytes);

/** spool_first - the rest of the first line that waits, or its first part where the ring ends
 *  Return: how many bytes, 0: nothing waits */
size_t spool_first(const struct spool *s, const char **ret);

/** spool_sent - @len_bytes more of the first line were written */
void spool_sent(struct spool *s, size_t len_bytes);

/** spool_again - begin the first line anew: nobody knows how much of it was written.
 *  Return: whether some of it was */
bool spool_again(struct spool *s);

#endif
