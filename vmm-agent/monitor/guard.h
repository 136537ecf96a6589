/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard's part of the monitor, client side: write-protection of guest pages
 * from outside, and every write to them held until it has been judged.
 * docs/guard.md has the algorithm and what each step leaves behind.
 *
 * The monitor knows addresses and bytes only. What a write means is for its
 * client to say; while it thinks, the whole guest is held.
 */
#ifndef EXOPATCH_MONITOR_GUARD_H
#define EXOPATCH_MONITOR_GUARD_H

#include "vmm-agent/monitor/monitor.h"

#define MON_GUARD_MAX_PAGES  65536 /* 256 MiB */
#define MON_GUARD_MAX_RANGES 4096  /* in one call */

/** struct mon_range - whole pages of guest-physical memory inside one region with a backend */
struct mon_range {
	struct gpa gpa;
	uint64_t len_bytes;
};

/** struct mon_guard_fds - what outlives a monitor; owned by the client */
struct mon_guard_fds {
	int uffd;   /* the userfaultfd that QEMU created, or -1: none yet */
	int golden; /* memfd with the golden copies, or -1: none yet */
};

/**
 * mon_guard_open - get ready to protect
 * @m:       not holding
 * @dev_fd:  number, in QEMU, of an open /dev/userfaultfd (tgt_uffd_open); -1 if @fds has one
 * @fds:     in: from a guard before this one, or both -1; out: both valid, the caller closes them.
 *           As long as anybody has them open, protected pages stay protected. mon_guard_adopt has
 *           to follow then; no write is taken before
 * Return: 0, -XO_EHOLD, -EBUSY if QEMU has a userfaultfd of its own (snapshot, post-copy), ...
 */
int mon_guard_open(struct mon *m, int dev_fd, struct mon_guard_fds *fds,
		   struct xerr *err) XO_MUST_CHECK;

/**
 * mon_guard_protect - protect @nr more ranges; their bytes now are taken for golden
 * Pages protected already are left as they are. Under a hold of its own, unless held.
 */
int mon_guard_protect(struct mon *m, const struct mon_range *r, size_t nr,
		      struct xerr *err) XO_MUST_CHECK;

/** mon_guard_release - un-protect @nr ranges and forget their golden copies */
int mon_guard_release(struct mon *m, const struct mon_range *r, size_t nr,
		      struct xerr *err) XO_MUST_CHECK;

/**
 * mon_guard_adopt - after a guard died: take over what @fds protect
 * Every protected page is compared with its golden copy; what differs is reported by
 * mon_guard_next as if it were being written now.
 */
int mon_guard_adopt(struct mon *m, struct xerr *err) XO_MUST_CHECK;

/** struct mon_write_event - one write that is being held; mon_regs tells the vCPUs' registers */
struct mon_write_event {
	struct gpa gpa;	    /* of the first differing byte */
	uint32_t len_bytes; /* to the last differing byte */
	uint8_t before[XO_PAGE_SIZE];
	uint8_t after[XO_PAGE_SIZE];
	int32_t vcpu;	  /* index of the writer (TCG in one thread: 0), or -1: a device, a kernel
			     worker */
	pid_t writer_tid; /* of QEMU's thread, or of a helper of the kernel's; 0 if @adopted */
	bool adopted;	  /* found by a comparison (adopt, audit), not seen as it happened: the
			     guest may have used the bytes */
	uint64_t held_ns; /* the guest has been held for so long */
};

/** mon_guard_fd - readable when mon_guard_next has something */
int mon_guard_fd(const struct mon *m);

/**
 * mon_guard_next - the next write, with every vCPU held; answer it with mon_guard_verdict
 * @timeout_ms: -1 for ever
 * Return: 0, -XO_ETIMEOUT, -XO_ETARGETGONE, ...
 */
int mon_guard_next(struct mon *m, int timeout_ms, struct mon_write_event *ret,
		   struct xerr *err) XO_MUST_CHECK;

/**
 * mon_guard_verdict - keep the bytes (they become golden) or put the golden ones back; let go
 * @ret_held_ns: how long the guest was held in all; may be NULL
 */
int mon_guard_verdict(struct mon *m, bool keep, uint64_t *ret_held_ns,
		      struct xerr *err) XO_MUST_CHECK;

/** mon_guard_pause - take no more writes: they wait for the next monitor (mon_free this one).
 *  Return: 0; -EAGAIN: a write waits for its verdict */
int mon_guard_pause(struct mon *m, struct xerr *err) XO_MUST_CHECK;

/** struct mon_guard_stats - since mon_guard_open */
struct mon_guard_stats {
	uint64_t nr_pages, nr_events, nr_empty, nr_kept, nr_put_back;
	uint64_t arm_ns; /* of the last mon_guard_protect */
};

int mon_guard_stats(struct mon *m, struct mon_guard_stats *ret, struct xerr *err) XO_MUST_CHECK;

/**
 * mon_guard_audit - are all pages still protected in QEMU's page tables (pagemap bit 57)?
 * Lost protection (balloon, discarded pages) is put back; *@ret_lost: how many pages
 */
int mon_guard_audit(struct mon *m, uint64_t *ret_lost, struct xerr *err) XO_MUST_CHECK;

/* ---- a monitor that outlives its client ---- */

/** struct mon_handle - what is needed to go on with a monitor whose guard is open; the descriptors
 *  keep it alive as long as anybody has them */
struct mon_handle {
	int fd, events;
	pid_t pid;
};

/** enum mon_phase - what a monitor is at */
enum mon_phase { MON_FREE, MON_HELD, MON_JUDGING };

/** mon_handle - of a monitor whose guard is open; the descriptors stay @m's */
struct mon_handle mon_handle(const struct mon *m);

/**
 * mon_take_over - go on with the monitor of a client that died
 * @h:	       its descriptors are copied
 * @ret_phase: it may hold the guest for the dead client (mon_release lets go), or for a write that
 *	       was to be judged: mon_guard_next tells that write once more
 * Return: 0; -XO_EPEERDIED if it is gone too, ... The program is no child of ours, mon_free ends it
 */
int mon_take_over(struct mon **ret, const struct mon_handle *h, size_t nr_vcpus,
		  enum mon_phase *ret_phase, struct xerr *err) XO_MUST_CHECK;

/**
 * mon_guard_shut - the monitor died: shut the page that it may have left open
 * @qemu: its process id. Is there, or may there be, something that was not judged, then QEMU is
 *	  stopped (SIGSTOP) until the next monitor has had that judged
 * Takes a millisecond. Not while there is a monitor that is to go on: it would be in the way of
 * what that does.
 */
void mon_guard_shut(const struct mon_guard_fds *fds, pid_t qemu);

/** mon_guard_thaw - let QEMU go on, if it was stopped so, and nobody is going to do it */
void mon_guard_thaw(const struct mon_guard_fds *fds, pid_t qemu);

/**
 * mon_guard_lift - without asking the monitor: un-protect everything, and keep the golden copies
 * That monitor is of no use any more; another one's mon_guard_adopt protects again and reports
 * what differs.
 */
void mon_guard_lift(const struct mon_guard_fds *fds);

/**
 * mon_guard_follow - without a monitor: golden copies that hold @expected hold @replacement then
 * @w: @nr records; those that lie in no protected page are passed over
 */
int mon_guard_follow(const struct mon_guard_fds *fds, const struct mon_write *w, size_t nr,
		     struct xerr *err) XO_MUST_CHECK;

/** mon_guard_close - un-protect everything; closing the last copy of @fds.uffd ends it for good.
 *  -EAGAIN: a write waits for its verdict, nothing was done */
int mon_guard_close(struct mon *m, struct xerr *err) XO_MUST_CHECK;

#endif
