/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens again and again is said once, and then counted: so a guest that
 * does the same thing a million times fills neither a disk nor a pipe. Plain
 * data without pointers, kept where the next guard finds it.
 */
#ifndef EXOPATCH_AGENT_FOLD_H
#define EXOPATCH_AGENT_FOLD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define FOLD_ENTRIES	  128
#define FOLD_COARSE	  32 /* kinds with their verdicts; the last takes what finds no room */
#define FOLD_SAID	  16			/* as often it is said all the same */
#define FOLD_FIRST_NS	  UINT64_C(1000000000)	/* said again after a second, if it goes on */
#define FOLD_LAST_NS	  UINT64_C(64000000000) /* then after two, four, ... this */
#define FOLD_BURST	  500			/* different things that are said at once */
#define FOLD_PER_S	  20			/* ... and then as many a second */
#define FOLD_BRIEF_SIZE	  640
#define FOLD_NAME_SIZE	  32
#define FOLD_VERDICT_SIZE 16

/** struct fold_entry - one thing that happened not long ago */
struct fold_entry {
	uint64_t key; /* 0: free */
	uint64_t since_ns, interval_ns;
	uint64_t said;	   /* how often since then */
	uint64_t repeated; /* ... and how often it was not */
	char kind[FOLD_NAME_SIZE];
	char verdict[FOLD_VERDICT_SIZE]; /* "" for none */
	char brief[FOLD_BRIEF_SIZE];	 /* JSON of what stays the same, or "" */
};

/** struct fold - zero-initialised memory is an empty one */
struct fold {
	/* Of what was kept, and of the rest: honest pokes do not silence violations. */
	struct {
		uint64_t tokens_ns; /* time that is saved up for saying things */
		uint64_t last_ns;
	} bucket[2];
	uint64_t folded; /* events that were counted, not said, ever */
	struct fold_entry entry[FOLD_ENTRIES];
	struct fold_entry coarse[FOLD_COARSE]; /* too many different things: counted by kind */
};

/**
 * fold_take - something happened
 * @details: an object or NULL
 * Return: whether it is to be said now; else it was counted
 */
bool fold_take(struct fold *f, const char *kind, const char *verdict, const json_t *details,
	       uint64_t now_ns);

/** fold_due - what has to be said by @now_ns. Return: an object for the caller with kind, verdict,
 *  repeated and what stayed the same; NULL when there is no more. @all: also before its time */
json_t *fold_due(struct fold *f, uint64_t now_ns, bool all);

#endif
