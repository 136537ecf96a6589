/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard's events: one JSON object a line (docs/formats/events.md). They go
 * through a spool that outlives the guard, and nobody waits for the file: what
 * it does not take now is tried again, and what finds no room is counted.
 */
#ifndef EXOPATCH_AGENT_EVENTS_H
#define EXOPATCH_AGENT_EVENTS_H

#include <jansson.h>
#include <stdbool.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "vmm-agent/agent/fold.h"
#include "vmm-agent/agent/spool.h"

/** struct events_kept - of the events, what outlives a guard; zero-initialised memory is empty */
struct events_kept {
	struct fold fold;
	uint64_t lost_said; /* of those lost, told by an "events-lost" event */
	struct spool spool;
};

struct events;

/**
 * events_open - append to a file, or write to standard output
 * @path:	 NULL or "-": standard output
 * @limit_bytes: a file that is longer is renamed to @path.1 and begun anew; 0: never
 * @vm:		 name that goes into every event
 * @kept:	 borrowed
 * A FIFO that nobody reads is as good as a full disk: it is tried again.
 */
int events_open(struct events **ret, const char *path, uint64_t limit_bytes, const char *vm,
		struct events_kept *kept, struct xerr *err) XO_MUST_CHECK;

/**
 * events_emit - make an event, and write what the file takes now
 * @kind:    "guard-on", "jump-label", "violation", ...
 * @verdict: "kept", "put-back", "reported", or NULL
 * @details: object whose members follow, consumed; may be NULL
 * An event with a verdict that is the same as one not long ago is counted, and said later with how
 * often.
 */
void events_emit(struct events *e, const char *kind, const char *verdict, json_t *details);

/** events_tick - say what was counted and is due, write what waits. To be called often */
void events_tick(struct events *e);

/** struct events_stats - since the first guard of this VM began */
struct events_stats {
	uint64_t seq;		/* number of the last event */
	uint64_t lost;		/* made, and not written for good */
	uint64_t folded;	/* counted, said together */
	uint64_t waiting_bytes; /* made, not taken by the file yet */
};

void events_stats(const struct events *e, struct events_stats *ret);

/** events_settle - say all that was counted: no guard follows */
void events_settle(struct events *e);

/** events_close - write what the file takes. NULL is fine */
void events_close(struct events *e);

#endif
