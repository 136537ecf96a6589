/* SPDX-License-Identifier: Apache-2.0 */
/* A process with threads that behave as vCPU threads may: for hold and inject without QEMU. */
#ifndef EXOPATCH_TESTS_FAKEVM_H
#define EXOPATCH_TESTS_FAKEVM_H

#include "vmm-agent/monitor/hold.h"

enum { FAKE_SPIN, FAKE_SLEEP, FAKE_READ, FAKE_VFORK, FAKE_THREADS };

#define FAKE_RAM_BYTES (1u << 20)

/** struct fakevm_shared - what its threads report */
struct fakevm_shared {
	pid_t tid[FAKE_THREADS];
	uint64_t spins;	      /* FAKE_SPIN: rounds */
	uint64_t sleeps;      /* FAKE_SLEEP: naps of 50 ms that ran their full time */
	uint64_t interrupted; /* FAKE_SLEEP, FAKE_READ: calls that ended with EINTR */
	uint64_t reads;	      /* FAKE_READ: bytes that came in through the pipe */
	uint64_t usr1;	      /* SIGUSR1 handled, by any thread */
	uint32_t vfork;	      /* FAKE_VFORK: the thread cannot be stopped as long as it is set */
	uint32_t vforked;     /* it is there */
};

struct fakevm {
	pid_t pid;
	int ram; /* memfd */
	uint8_t *mem;
	int pipe;
	volatile struct fakevm_shared *shared;
};

/** fakevm_start - Return: 0, or -1 */
int fakevm_start(struct fakevm *v) XO_MUST_CHECK;

/** fakevm_desc - as the monitor is told: the first @nr_threads threads as vCPUs, one region */
void fakevm_desc(const struct fakevm *v, size_t nr_threads, struct mon_vm *ret);

/** fakevm_spins - whether FAKE_SPIN goes round (patience.h) */
bool fakevm_spins(const struct fakevm *v);

/** fakevm_kill - SIGKILL to it alone, if it still is there (never to -1, which is everybody) */
void fakevm_kill(const struct fakevm *v);

void fakevm_stop(struct fakevm *v);

/** fakevm_wait - whether *@counter gets to @at_least (patience.h) */
bool fakevm_wait(const volatile uint64_t *counter, uint64_t at_least);

/** fakevm_settled - look after threads that could not be let go at once (hold_settle), until no
 *  more than @left are left (patience.h). Return: how many are */
size_t fakevm_settled(struct hold *h, size_t left);

/** fakevm_end - fakevm_stop, also amid a hold: who waits for it would wait for threads that only
 *  their tracer can reap, which is this process. @h is closed */
void fakevm_end(struct fakevm *v, struct hold *h);

#endif
