/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guard has to have recorded, on its way to a process of its own: so
 * no writer waits for a disk or a TPM. A ring in memory that outlives both
 * processes; one writes, one reads. Plain data without pointers.
 */
#ifndef EXOPATCH_AGENT_NOTES_H
#define EXOPATCH_AGENT_NOTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

#define NOTES_NR       256
#define NOTES_RESERVED 16 /* of them, for what is no violation */

enum note_kind {
	NOTE_ON = 1,
	NOTE_OFF,
	NOTE_VIOLATION,
	NOTE_QUEUED, /* a statement waits in the journal */
	NOTE_LOST,   /* something was not protected or not looked at; or is again, if undone */
};

/** struct note - one thing, and the boot that it is about */
struct note {
	enum note_kind kind;
	bool undone; /* of a violation: before anybody used it */
	bool audit;  /* of the guard: it only reports */
	int64_t time_s;
	char what[160]; /* for people */
	char vm_key[96];
	char build_id[41];
	char release[64];
	struct gva kernel_base;
	uint64_t boot_token;
	uint8_t process[32]; /* as in struct session */
	uint64_t resets;
};

/** struct notes - notes_init it; numbers count notes from 0 on and never start again */
struct notes {
	char id[33];	  /* of this ring among all, as the journal knows it */
	uint32_t bell;	  /* futex: rung with every note */
	uint32_t closing; /* nobody writes any more */
	uint64_t put;	  /* the writer's: this many were written */
	uint64_t dropped; /* and this many violations found no room */
	uint64_t taken;	  /* the reader's: the room of this many is free again */
	char failed[256]; /* why what was taken is not recorded yet, or "" */
	struct note note[NOTES_NR];
};

int notes_init(struct notes *n);

/** notes_put - write a note; one that finds no room is counted, if it is a violation */
void notes_put(struct notes *n, const struct note *note);

/** notes_get - note number @i, of those that were written and not taken */
const struct note *notes_get(const struct notes *n, uint64_t i);

/** notes_nr - how many were written */
uint64_t notes_nr(const struct notes *n);

/** notes_take - the room of those before number @upto is free again */
void notes_take(struct notes *n, uint64_t upto);

/** notes_close - nobody writes any more */
void notes_close(struct notes *n);

/** notes_wait - until a note is written after @seen of them, the ring is closed, @ms are over or a
 *  signal came */
void notes_wait(struct notes *n, uint64_t seen, uint64_t timeout_ns);

#endif
