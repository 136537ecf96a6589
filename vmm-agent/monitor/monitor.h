/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The monitor: one privileged process per VM that holds and releases vCPUs and
 * carries out write plans. It knows no ELF, no symbols and no page tables. This
 * is the client side; wire.h has the records, docs/monitor.md the protocol.
 *
 * Life: mon_start, then any number of (mon_plan, mon_hold, mon_regs,
 * mon_commit, mon_release), then mon_free. If the client dies, the monitor
 * completes or leaves a commit as it stands, lets the guest go and ends. If the
 * monitor dies, calls return -XO_EPEERDIED; KVM vCPUs then run on by
 * themselves, a TCG guest must be resumed by the caller (tgt_resume).
 */
#ifndef EXOPATCH_MONITOR_H
#define EXOPATCH_MONITOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/err.h"

#define MON_MAX_VCPUS	    64
#define MON_MAX_REGIONS	    64
#define MON_MAX_BACKENDS    16
#define MON_MAX_WRITES	    4096
#define MON_MAX_WRITE_BYTES 4096    /* one record; never crosses a page */
#define MON_MAX_PLAN_BYTES  1048576 /* old + new over all records */
#define MON_HOLD_TIMEOUT_MS 100	    /* a vCPU that does not stop in time fails the hold */

enum mon_accel { MON_KVM = 1, MON_TCG = 2 };

/** struct mon_region - guest-physical range and where its bytes are */
struct mon_region {
	struct gpa gpa;
	uint64_t len_bytes;
	struct hva hva;	 /* in QEMU; always known */
	int32_t backend; /* index into backends, or -1: reach it through QEMU's memory (pc.rom) */
	uint64_t backend_off; /* offset of @gpa in the backend file */
	bool rom;	      /* the guest sees it as read-only memory */
};

/** struct mon_vm - all the monitor is told of a VM; borrowed during mon_start */
struct mon_vm {
	pid_t pid; /* QEMU */
	enum mon_accel accel;
	size_t nr_vcpus;
	pid_t tid[MON_MAX_VCPUS]; /* vCPU threads, by vCPU index */
	size_t nr_regions;
	struct mon_region region[MON_MAX_REGIONS];
	size_t nr_backends;
	int backend_fd[MON_MAX_BACKENDS]; /* open for reading and writing */
};

/** struct mon_write - one record of a plan */
struct mon_write {
	struct gpa gpa;
	struct gva gva; /* where guest code sees these bytes; needed for ROM under TCG, else 0 */
	uint32_t len_bytes;
	const uint8_t *expected;
	const uint8_t *replacement;
};

/** struct mon_regs - a held vCPU's registers; hostile values */
struct mon_regs {
	uint64_t rip, rsp, rflags, cr0, cr3, cr4;
	uint64_t gs_base, kernel_gs_base; /* 0 where the stub does not tell (TCG) */
	uint8_t cpl;			  /* 0 to 3 */
};

/** struct mon_times - of the last hold; nanoseconds */
struct mon_times {
	uint64_t stop_ns;     /* first interrupt to all held */
	uint64_t held_ns;     /* all held to first let go */
	uint64_t release_ns;  /* first to last let go */
	uint64_t blackout_ns; /* first interrupt to last let go */
};

struct mon;

/**
 * mon_start - spawn exopatch-monitor for a VM
 * @ret: set on success; mon_free it
 * Return: 0, -XO_EPRIVILEGE (cannot trace QEMU), -XO_ETARGETGONE, or another code. Somebody who
 * traces QEMU shows at the first hold
 */
int mon_start(struct mon **ret, const struct mon_vm *vm, struct xerr *err) XO_MUST_CHECK;

/**
 * mon_plan - load a plan, replacing any loaded before
 * @w: @nr records (at most MON_MAX_WRITES), written in this order; lengths 1 to
 *     MON_MAX_WRITE_BYTES, inside one page and one region, no two overlapping
 * Return: 0, -XO_EPLAN with the record named
 */
int mon_plan(struct mon *m, const struct mon_write *w, size_t nr, struct xerr *err) XO_MUST_CHECK;

/**
 * mon_gdb - TCG only: hand over our end of the socket QEMU's gdb stub will listen on, for the
 * next hold (tgt_gdb_open gives it; call tgt_gdb_attach afterwards, then mon_hold)
 * @fd: stays owned by the caller
 * @resume: whether the release lets the guest run (false: it was paused before)
 */
int mon_gdb(struct mon *m, int fd, bool resume, struct xerr *err) XO_MUST_CHECK;

/** mon_hold - hold every vCPU. Return: 0, -XO_EHOLD (nothing held), -XO_EGDBSTUB, ... */
int mon_hold(struct mon *m, struct xerr *err) XO_MUST_CHECK;

/** mon_regs - registers of every held vCPU, by index. @ret holds nr_vcpus entries */
int mon_regs(struct mon *m, struct mon_regs *ret, struct xerr *err) XO_MUST_CHECK;

/**
 * mon_commit - carry out the loaded plan while held: compare all, write all, read all back
 * @ret_bad: the record that did not match, on -XO_EEXPECTED and -XO_EREADBACK; may be NULL
 * Return: 0; -XO_EEXPECTED, nothing written; -XO_EREADBACK, written records put back
 */
int mon_commit(struct mon *m, size_t *ret_bad, struct xerr *err) XO_MUST_CHECK;

/** mon_release - let every vCPU go. @times: may be NULL */
int mon_release(struct mon *m, struct mon_times *times, struct xerr *err) XO_MUST_CHECK;

/** mon_run - hold, commit, release in one request, for plans that need no stack check */
int mon_run(struct mon *m, struct mon_times *times, size_t *ret_bad,
	    struct xerr *err) XO_MUST_CHECK;

/**
 * mon_read - read guest-physical memory through QEMU; for blocks that have no file (pc.rom)
 * @len_bytes: at most 65536, inside one region
 */
int mon_read(struct mon *m, struct gpa gpa, void *buf, size_t len_bytes,
	     struct xerr *err) XO_MUST_CHECK;

/** mon_pid - the monitor's process id, for accounting and tests */
pid_t mon_pid(const struct mon *m);

/** mon_end - as mon_free, but @m stays, and calls on it return -XO_EPEERDIED: for a caller that
 *  others above still use it. Other processes' copies of its sockets end with it */
void mon_end(struct mon *m);

/** mon_free - release if held, end the process, wait for it. NULL is fine */
void mon_free(struct mon *m);

#endif
