/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard inside the monitor. guard_open.c gets the userfaultfd, guard_pages.c
 * knows what is protected, guard_event.c takes one write through docs/guard.md's
 * states, guard_step.c has the writer make its store.
 */
#ifndef EXOPATCH_MONITOR_GUARD_CORE_H
#define EXOPATCH_MONITOR_GUARD_CORE_H

#include "vmm-agent/monitor/golden.h"
#include "vmm-agent/monitor/guard.h"
#include "vmm-agent/monitor/inject.h"
#include "vmm-agent/monitor/kvmregs.h"
#include "vmm-agent/monitor/plan.h"
#include "vmm-agent/monitor/stub.h"
#include "vmm-agent/monitor/uffd.h"
#include "vmm-agent/monitor/vm.h"

#define GUARD_MAX_WAITING 80 /* threads: all vCPUs, and others; more wait in the kernel's queue */
#define GUARD_STOP_NS	  1000000000 /* nobody runs while the last one waits for a processor */
#define GUARD_RETRY_NS	  10000000

#define GUARD_NO_SLOT UINT32_MAX

/** struct finding - a page that may differ from its golden copy, to be judged in this hold */
struct finding {
	uint32_t slot; /* GUARD_NO_SLOT: it was released meanwhile, and nobody cares any more */
	pid_t tid;     /* of the writer; 0: found by a comparison */
};

struct guard {
	/* borrowed from the server */
	struct vm *vm;
	struct hold *hold;
	const struct kvm_fds *kvm;
	struct hva insn;

	struct hva vdso_end; /* of QEMU */
	struct hva stub;     /* KVM: where stub.c's code is in it */
	bool open;
	bool ready; /* false until what a guard before protected is adopted */
	int uffd;
	int events;  /* socket: struct mon_write_event go out */
	int pagemap; /* of QEMU */
	struct golden golden;
	struct hold device; /* one thread at most: a writer that is no vCPU */
	size_t nr_waiting;
	struct uffd_event waiting[GUARD_MAX_WAITING]; /* at most one a thread */
	size_t nr_findings, next_finding;
	struct finding *finding; /* MON_GUARD_MAX_PAGES + 2 of them */
	bool holding;		 /* a hold of the guard's own */
	bool judging;		 /* the client has an event: finding[next_finding - 1] */
	bool refusing;		 /* the client does not answer: everything is put back */
	bool failing;		 /* the last hold failed, and the client knows */
	uint64_t retry_ns;	 /* not before then */
	uint64_t judging_since_ns;
	struct mon_guard_stats stats;
	bool stuck;		      /* golden bytes could not be put back; QEMU stands still */
	bool gave_up;		      /* that was in this hold: the next comparison will tell */
	bool served;		      /* the write that this hold is for has been taken */
	unsigned int nr_let_in;	      /* threads that are no vCPUs, before bytes were put back */
	uint8_t judged[XO_PAGE_SIZE]; /* what the client has been shown */
	uint8_t target[XO_PAGE_SIZE]; /* what a page becomes when bytes are put back */
	uint8_t page[XO_PAGE_SIZE];   /* of memory that is not mapped here */
};

/** guard_setup - @g zeroed: nothing is open. guard_close at the end */
void guard_setup(struct guard *g, struct vm *vm, struct hold *hold, const struct kvm_fds *kvm);

/** guard_prepare - before the sandbox: QEMU's pagemap and vDSO. Return: 0 or -errno */
int guard_prepare(struct guard *g) XO_MUST_CHECK;

/**
 * guard_start - take over @events and @golden; make a userfaultfd through @dev_fd, or take @uffd
 * @uffd: -1 for a new one
 * Return: 0, -XO_EHOLD, -XO_EGUARD, ...; the descriptors are closed then
 */
int guard_start(struct guard *g, int dev_fd, int events, int golden, int uffd,
		struct xerr *err) XO_MUST_CHECK;
void guard_close(struct guard *g);

/* guard_pages.c; as their namesakes in guard.h */
int guard_protect(struct guard *g, const struct mon_range *r, size_t nr,
		  struct xerr *err) XO_MUST_CHECK;
int guard_release(struct guard *g, const struct mon_range *r, size_t nr,
		  struct xerr *err) XO_MUST_CHECK;
int guard_adopt(struct guard *g, struct xerr *err) XO_MUST_CHECK;
int guard_audit_pages(struct guard *g, uint64_t *ret_lost, struct xerr *err) XO_MUST_CHECK;
int guard_end(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_bytes - what the page holds now: XO_PAGE_SIZE bytes, valid until the next call, or NULL */
const uint8_t *guard_bytes(struct guard *g, uint32_t slot);

/** guard_is_private - whether the page can only be written through QEMU's own mapping */
bool guard_is_private(const struct guard *g, uint32_t slot);

/** guard_put_back - golden bytes over what was judged. The page is protected, all vCPUs held.
 *  @more: somebody has written since; what is not of g->judged stays, to be judged next
 *  Return: 0 or code; -XO_EREADBACK: somebody writes on, and QEMU is stopped (SIGSTOP) */
int guard_put_back(struct guard *g, uint32_t slot, bool more) XO_MUST_CHECK;

/** guard_done - what was at work is judged: let QEMU go on, if we stopped it. Not as long as bytes
 *  that were to be put back are still there */
void guard_done(struct guard *g);

/** guard_thaw - let QEMU go on, if we stopped it */
void guard_thaw(struct guard *g);

/** guard_suspect - have the page judged, if it differs. Return: whether it does */
bool guard_suspect(struct guard *g, uint32_t slot, pid_t tid);

/**
 * guard_commit_begin, guard_commit_end - around a commit of @p, while held: pages that it reaches
 * through QEMU's mapping are open meanwhile; afterwards what it wrote is golden
 * @through_qemu: every record goes that way
 */
int guard_commit_begin(struct guard *g, const struct plan *p, bool through_qemu,
		       struct xerr *err) XO_MUST_CHECK;
int guard_commit_end(struct guard *g, const struct plan *p, bool through_qemu, bool committed,
		     struct xerr *err) XO_MUST_CHECK;

/* guard_event.c */

/** guard_busy - whether something waits for guard_pump, by itself or at a time to come
 *  @ret_ns: until when it can wait */
bool guard_busy(const struct guard *g, uint64_t *ret_ns);

/** guard_pump - read events, hold, and take writes as far as a verdict is needed.
 *  Return: 0, or a code that ends the monitor */
int guard_pump(struct guard *g) XO_MUST_CHECK;

/** guard_judge - the client's verdict; goes on to the next write or lets go */
int guard_judge(struct guard *g, bool keep, uint64_t *ret_held_ns, struct xerr *err) XO_MUST_CHECK;

/** guard_again - mark the place at the event socket; tell what is being judged once more */
void guard_again(struct guard *g);

/** guard_refuse - instead of a verdict: put back what was to be judged, and what is found from now
 *  on; let go */
void guard_refuse(struct guard *g);

/** guard_hold - for the client: as hold_all. -EAGAIN if a writer cannot stop before its verdict */
int guard_hold(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_gone - tell the client that the VM has ended */
void guard_gone(struct guard *g);

/** guard_absorb - read what events there are. Return: whether @tid is among them, with *@ret_page
 */
bool guard_absorb(struct guard *g, pid_t tid, struct hva *ret_page);

/* guard_step.c */

/**
 * guard_store - open the page and have the writer make its store; then all pages are shut
 * @w: no longer in waiting
 * Findings are added for the pages that differ now.
 * Return: whether any does
 */
bool guard_store(struct guard *g, const struct uffd_event *w);

/** guard_vcpu - index of the vCPU whose thread is @tid, or -1 */
int guard_vcpu(const struct guard *g, pid_t tid);

#endif
