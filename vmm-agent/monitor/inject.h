/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls made in a held thread. A series of calls is one visit: begin
 * saves the registers, end puts them back; results are looked at after that.
 * Should the monitor die inside a visit, the thread is left with wrong
 * registers, so visits are few and short.
 */
#ifndef EXOPATCH_MONITOR_INJECT_H
#define EXOPATCH_MONITOR_INJECT_H

#include "vmm-agent/monitor/hold.h"

#define INJECT_SCRATCH_BYTES 1024

/** struct inject - one visit of one held thread; borrow everything during it */
struct inject {
	struct hold *hold;
	struct thread *thread;
	struct hva insn;    /* of a `syscall` instruction in the process */
	struct hva scratch; /* INJECT_SCRATCH_BYTES below the red zone of the thread's stack */
	bool restart;	    /* it was held within a system call that must be restarted */
};

/** inject_vdso - where the vDSO of @pid is. Return: 0 or -errno */
int inject_vdso(pid_t pid, struct hva *start, struct hva *end) XO_MUST_CHECK;

/** inject_find - look for a `syscall` instruction in the vDSO of @pid. Return: 0 or a code */
int inject_find(pid_t pid, struct hva *ret, struct xerr *err) XO_MUST_CHECK;

/** inject_begin - @in: hold, thread and insn filled in. Return: 0 or -errno */
int inject_begin(struct inject *in) XO_MUST_CHECK;

/**
 * inject_call - make one system call
 * @args: six
 * @ret: what it returned, a negative errno value included
 * Return: 0 if the call was made, -XO_ETARGETGONE, -XO_EHOLD, or -errno
 */
int inject_call(struct inject *in, long nr, const uint64_t args[6], int64_t *ret) XO_MUST_CHECK;

/** inject_end - put the registers back. Return: 0, -XO_ETARGETGONE, -XO_EHOLD, or -errno */
int inject_end(struct inject *in) XO_MUST_CHECK;

#endif
