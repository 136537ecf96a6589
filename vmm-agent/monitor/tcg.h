/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holding and writing a TCG guest through QEMU's gdb stub: only QEMU itself can
 * throw away the code it has translated. The stub stops the guest when it is
 * attached; after "D" has let it go, one more byte of any kind would stop it.
 */
#ifndef EXOPATCH_MONITOR_TCG_H
#define EXOPATCH_MONITOR_TCG_H

#include "vmm-agent/monitor/commit.h"
#include "vmm-agent/monitor/gdb.h"
#include "vmm-agent/monitor/vm.h"

/** struct tcg - one visit of the stub; zero-initialise with fd -1 */
struct tcg {
	int fd;	     /* our end of the stub's socket, or -1 */
	bool resume; /* let the guest run at release */
	bool held;
	int phy_mode; /* addresses the stub takes now: 1 physical, 0 virtual, -1 not known */
	size_t cpu;   /* the vCPU whose eyes virtual addresses are seen through */
	uint64_t asked_ns, held_ns;
	struct gdb_in in;
	struct xbuf out;       /* packets not sent yet; QEMU answers them in order */
	unsigned int owed;     /* answers "OK" that come before any other */
	size_t rx_off, rx_len; /* received, not yet fed to @in */
	uint8_t rx[4096];
};

/** tcg_open - take @fd for the next hold, dropping any before */
void tcg_open(struct tcg *t, int fd, bool resume);

/** tcg_hold - wait until the stub answers: the guest is stopped then. Return: 0 or -XO_EGDBSTUB */
int tcg_hold(struct tcg *t, struct xerr *err) XO_MUST_CHECK;

/** tcg_regs - registers of the first @nr vCPUs. Return: 0 or -XO_EGDBSTUB */
int tcg_regs(struct tcg *t, size_t nr, struct mon_regs *ret, struct xerr *err) XO_MUST_CHECK;

/** tcg_release - let the guest run if it is to, and drop the stub; @times may be NULL.
 *  Return: 0 or -XO_EGDBSTUB (the guest may still be stopped) */
int tcg_release(struct tcg *t, struct mon_times *times, struct xerr *err) XO_MUST_CHECK;

void tcg_close(struct tcg *t);

/** struct tcg_io - context of the struct commit_io calls below */
struct tcg_io {
	struct tcg *tcg;
	const struct vm *vm;
};

int tcg_read(void *tcg_io, const struct plan_rec *r, uint8_t *buf, struct xerr *err) XO_MUST_CHECK;
int tcg_write(void *tcg_io, const struct plan_rec *r, size_t nr, enum commit_bytes what,
	      struct xerr *err) XO_MUST_CHECK;

#endif
