/* SPDX-License-Identifier: Apache-2.0 */
/* The mappings of a process, from the text of /proc/PID/maps (proc(5)). */
#ifndef EXOPATCH_TARGET_PROCMAPS_H
#define EXOPATCH_TARGET_PROCMAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/span.h"

/** struct mapping - one line */
struct mapping {
	uint64_t start, end; /* end > start */
	uint64_t file_off;
	dev_t dev; /* of the file system's superblock */
	ino_t ino; /* 0: anonymous */
	bool shared;
	bool writable;
	char name[64]; /* escaped, cut to fit */
};

/** struct procmaps - all lines, ascending; zero-initialise, procmaps_free */
struct procmaps {
	struct mapping *map;
	size_t nr;
};

/**
 * procmaps_parse - decode the text
 * @text: the process chooses its mappings' names; otherwise the kernel's words
 * Return: 0, -ENOMEM, or -XO_EMALFORMED
 */
int procmaps_parse(struct span text, struct procmaps *ret, struct xerr *err) XO_MUST_CHECK;

/** procmaps_next - take one mapping off the front of @text, for walks that keep none.
 *  Return: 1 if @ret is set, 0 at the end, or -XO_EMALFORMED */
int procmaps_next(struct span *text, struct mapping *ret) XO_MUST_CHECK;

/** procmaps_at - the mapping that holds address @addr, or NULL */
const struct mapping *procmaps_at(const struct procmaps *m, uint64_t addr);

void procmaps_free(struct procmaps *m);

#define _cleanup_procmaps_ XO_CLEANUP(procmaps_free)

#endif
