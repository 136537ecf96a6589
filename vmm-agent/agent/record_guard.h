/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process that records what a guard notes: disks and TPMs are slow, and
 * writers wait for the guard. Started by the supervisor, and again when it
 * dies; it leaves when the supervisor did and all is said.
 */
#ifndef EXOPATCH_AGENT_RECORD_GUARD_H
#define EXOPATCH_AGENT_RECORD_GUARD_H

#include <sys/types.h>

#include "vmm-agent/agent/agent.h"
#include "vmm-agent/agent/notes.h"

/** struct record_process - zero-initialise with .pidfd = -1 */
struct record_process {
	pid_t pid;
	int pidfd; /* readable when it ended; -1: there is none */
	uint64_t next_ns;
};

/** record_process_tend - start it unless it is there; after a death not at once */
void record_process_tend(struct record_process *p, const struct agent_opts *o, struct notes *n);

/** record_process_end - no more comes: wait a little for it to record what there is */
void record_process_end(struct record_process *p, const struct agent_opts *o, struct notes *n);

/**
 * record_notes - queue statements about what was noted and not taken yet
 * @hurry: also what a guest can repeat, violations above all, which is else put together for a
 * while
 * @ret_folded: whether some of that was among them; may be NULL
 */
int record_notes(const struct agent_opts *o, struct notes *n, bool hurry, bool *ret_folded,
		 struct xerr *err) XO_MUST_CHECK;

#endif
