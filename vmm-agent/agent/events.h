/* SPDX-License-Identifier: Apache-2.0 */
/* The guard's events: one JSON object a line (docs/formats/events.md). */
#ifndef EXOPATCH_AGENT_EVENTS_H
#define EXOPATCH_AGENT_EVENTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/err.h"

struct events;

/**
 * events_open - append to a file, or write to standard output
 * @path: NULL or "-": standard output
 * @vm:   name that goes into every event
 */
int events_open(struct events **ret, const char *path, const char *vm,
		struct xerr *err) XO_MUST_CHECK;

/**
 * events_emit - write one line and flush it
 * @kind:    "guard-on", "jump-label", "violation", ...
 * @verdict: "kept", "put-back", "reported", or NULL
 * @details: object whose members follow, consumed; may be NULL
 * Return: 0, or -errno if it could not be written: the caller goes on, and counts it
 */
int events_emit(struct events *e, const char *kind, const char *verdict,
		json_t *details) XO_MUST_CHECK;

void events_close(struct events *e);

#endif
