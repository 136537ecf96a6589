/* SPDX-License-Identifier: Apache-2.0 */
/* The guard's state, and the parts of its loop. docs/guard.md. */
#ifndef EXOPATCH_AGENT_GUARD_H
#define EXOPATCH_AGENT_GUARD_H

#include "vmm-agent/agent/control.h"
#include "vmm-agent/agent/events.h"
#include "vmm-agent/agent/gate.h"
#include "vmm-agent/agent/guard_digest.h"
#include "vmm-agent/agent/guard_regs.h"
#include "vmm-agent/agent/guest_clock.h"
#include "vmm-agent/agent/kept.h"
#include "vmm-agent/agent/session.h"
#include "vmm-agent/agent/supervise.h"
#include "vmm-agent/lens/guard.h"
#include "vmm-agent/lens/modgate.h"
#include "vmm-agent/monitor/guard.h"

/* Shared page tables: 100 times a second and more; all address spaces: within a second, with the
 * second look. */
#define GUARD_TABLES_NS	     UINT64_C(8000000)
#define GUARD_AUDIT_NS	     UINT64_C(600000000)
#define GUARD_SECOND_LOOK_NS UINT64_C(100000000)
#define GUARD_LOOK_NS	     UINT64_C(500000000)  /* for a kernel that is up */
#define GUARD_KEEP_NS	     UINT64_C(1000000000) /* what changes by and by, for the next guard */
#define GUARD_CONNECT_NS     UINT64_C(1000000000) /* to QEMU, after a failure */
#define GUARD_ASK_NS	     UINT64_C(1000000000) /* QEMU, while the guest is stopped */
#define GUARD_LIBVIRT_NS     UINT64_C(50000000)	  /* an event may take that long through libvirt */
#define GUARD_MODULES_NS     UINT64_C(450000000) /* memory of modules: their last steps take time */

#define GUARD_LATE_NS	  UINT64_C(250000000)	/* who does not look for so long says it, ... */
#define GUARD_LATE_SAY_NS UINT64_C(10000000000) /* ... and again not before */

#define GUARD_NO_WRITES UINT64_MAX /* the guest is not stopped, or it is not known how many */

enum guard_state {
	GUARD_STARTING,
	GUARD_ARMED,
	GUARD_WAITING, /* the guest has no kernel that is up */
	GUARD_LIFTED,  /* QEMU rewrites the memory of the guest that it has stopped */
};

/** struct guard_late - looks that came too late, since that was said */
struct guard_late {
	uint64_t checked_ns, said_ns, worst_ns, longest_ns; /* the last of all times */
	unsigned int times;
};

struct guard {
	const struct agent_guard_opts *opts;
	struct link *link;
	struct guard_kept *kept; /* what the next guard goes on from */
	enum guard_state state;
	struct session s;
	struct events *events;
	struct control *control;
	struct mon_guard_fds fds;
	struct guard_digest *digest; /* of the golden copies */
	struct appraiser *appraiser; /* once somebody has asked for evidence */
	struct lens_area *area;	     /* what is protected */
	size_t nr_areas;
	bool follow_all; /* following them failed half-way: some may not be protected */
	bool was_there;	 /* what the next audit finds is no new violation: it is the first */
	bool heard;	 /* of a write, since this guard began */
	bool stood;	 /* the last check found the guest stopped */
	struct lens_audit_stats audited;	     /* by the last audit */
	struct lens_finding told[LENS_MAX_FINDINGS]; /* of tables, not accepted yet */
	size_t nr_told;
	struct guard_regs regs;
	struct gate *gate; /* NULL: modules are not gated */
	bool tables_new;   /* what is remembered of tables is not yet known to the next guard */
	bool recall_due;   /* what the guard before remembered of them is to be told the lens */
	bool tables_again; /* a change among modules is being looked at twice */
	int failed_look;   /* code of a check that failed, until one does not */
	int looks_failed;  /* in a row, since lists changed */
	bool stop;
	const char *end_reason; /* of an end that nobody asked for */
	bool vcpus_look;	/* some may have come or gone */
	uint64_t nr_threads, vcpus_due_ns;
	bool stopped;		 /* QEMU said so, and not yet that the guest runs again */
	bool lift_due;		 /* guard_lift was called, guard_lifted has to follow */
	bool reset_due;		 /* QEMU said that the guest was reset */
	bool uffd_wanted;	 /* QEMU's attempt to have one of its own failed, as was said */
	bool after_crash;	 /* the guard before died with its supervisor */
	unsigned int looks;	 /* in a row that found the same kernel up */
	int qmp_fd;		 /* readable when QEMU may have said something, or -1 */
	unsigned int qmp_events; /* enum tgt_event, not handled yet */
	uint64_t started_ns, tables_due_ns, audit_due_ns, compare_due_ns;
	uint64_t stats_due_ns, writes_at_stop;
	uint64_t keep_due_ns;
	uint64_t look_due_ns, connect_due_ns, ask_due_ns, waited_ns;
	uint64_t react_due_ns; /* not before then */
	bool reaction_failed;  /* as was said */
	struct guard_late late;
	struct guest_clock clock; /* of findings that have to last */
	struct guard_count count;
};

/** guard_run - the guard's process; for supervise() */
int guard_run(const struct agent_guard_opts *o, struct link *link, bool *ret_ended,
	      struct refusal *why, struct xerr *err) XO_MUST_CHECK;

/** guard_say_verdict - the event of a write that the guard before has given a verdict on, and died
 *  before it could say so; if the write is not told once more within a moment of this guard's start
 */
void guard_say_verdict(struct guard *g);

/* guard_react.c */

/** guard_react - have what the operator wants to follow a violation, unless the guard only reports;
 *  at the end of a turn: amid a call to QEMU there can be no other. The next guard knows of it */
void guard_react(struct guard *g, enum guard_react_why why);

/** guard_react_if_due - between two calls to QEMU. Return: 0, or what ends the guard */
int guard_react_if_due(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/* guard_arm.c */

/** guard_arm - find what there is to protect and protect it */
int guard_arm(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_refresh - modules came or went: protect what is new, let go of what is no more */
int guard_refresh(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_area_at - the area of @list that has @gpa, or NULL */
const struct lens_area *guard_area_at(const struct lens_area *list, size_t nr, struct gpa gpa);

/** guard_disarm - un-protect everything; also while a write is being judged, which then stays */
int guard_disarm(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_refresh_all - as guard_refresh; protect also what should be already */
int guard_refresh_all(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_give - the supervisor gets copies of what keeps the protection up */
void guard_give(struct guard *g);

/** guard_forget - nothing is protected any more: the supervisor need not hold anything either */
void guard_forget(struct guard *g);

/** guard_identify - a process of ours, told from another that gets its number later */
struct kept_process guard_identify(pid_t pid);

/** guard_keep - write down what the next guard goes on from; guard_keep_regs - the part of it that
 *  changes by and by */
void guard_keep(struct guard *g);
void guard_keep_regs(struct guard *g);

/** guard_keep_probes - likewise what stands under kprobes. Return: 0, or what is fatal */
int guard_keep_probes(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_tell_probes - to a lens that is new: before lens_guard_prepare */
int guard_tell_probes(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/* guard_resume.c */

/** guard_resume - take over what the guard before protected, without asking QEMU anything */
int guard_resume(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_lift - QEMU itself writes while the guest stands still: it loads a snapshot. Let it, and
 *  compare after. The write that is judged must stay. Also amid a call to QEMU: whoever makes it
 *  finds the monitor dead afterwards */
void guard_lift(struct guard *g);

/** guard_lifted - at the end of a turn: nobody needs the monitor of before any more */
void guard_lifted(struct guard *g);

/** guard_readopt - after guard_lift: protect again what the golden copies tell, judge what differs;
 *  or, if that is another kernel or another boot of it, disarm */
int guard_readopt(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_start_monitor - one that takes over what is protected; there is none */
int guard_start_monitor(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/* guard_vcpus.c */

/** guard_follow_vcpus - vCPUs may have come or gone: then there is another monitor, which knows
 *  them. For each turn of the loop, while armed */
int guard_follow_vcpus(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_say_vcpus - event: others are held than before */
void guard_say_vcpus(struct guard *g);

/** guard_prune_vcpus - forget those of the guard's memory whose thread has ended. Return: whether
 *  there were any; the monitor of before is of no use then */
bool guard_prune_vcpus(struct guard *g);

/* guard_restore.c */

/** guard_follow_rows - after a snapshot was loaded, without a monitor that guards: the golden
 * copies have in the places of the journal's records what the guest's memory has there; a patch
 * that is not there any more is said */
int guard_follow_rows(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/* guard_reset.c */

/** guard_heed - what QEMU said meanwhile: reset, stop, resume, migration; and is it connected? */
int guard_heed(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_disconnect - from QEMU; guard_heed connects again, a second later */
void guard_disconnect(struct guard *g);

/**
 * guard_was_reset - has the guest been reset? What is written then is no violation but the
 * firmware's work, and stays; protection ends with this turn of the loop
 * @wait: through libvirt, also wait a little for the event
 */
bool guard_was_reset(struct guard *g, bool wait);

/** guard_listen - amid a call to QEMU: what has it said meanwhile? It may have stopped the guest,
 * and answer the call only when it has loaded a snapshot */
void guard_listen(struct guard *g);

/** guard_watch_stopped - is somebody writing to a guest that stands still? Then guard_lift. Without
 *  a call to QEMU */
void guard_watch_stopped(struct guard *g);

/** guard_look - waiting: is there a kernel that is up? Then arm */
int guard_look(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_is_up - has the kernel protected its own text and data, as it does when it has booted? */
int guard_is_up(struct guard *g, bool *ret, struct xerr *err) XO_MUST_CHECK;

/** guard_pump - for QEMU's calls (tgt_idle): writes are judged while it is waited for */
int guard_pump(void *arg, struct xerr *err) XO_MUST_CHECK;

/** guard_say_on - event: armed. @again: after a reset */
void guard_say_on(struct guard *g, bool again);

/* guard_attest.c */

/** guard_attest - as op_attest, with what the guard knows. The journal is loaded */
int guard_attest(struct guard *g, const char *nonce, json_t **ret, struct xerr *err) XO_MUST_CHECK;

/* the others */

/** guard_may_judge - a guard begins to judge; false if those before died of what it is about to */
bool guard_may_judge(struct guard *g);

/** guard_verdict - as mon_guard_verdict; that golden bytes could not be put back, for which QEMU
 * was stopped, is an event. *@ret_held_ns stays as it is then */
int guard_verdict(struct guard *g, bool keep, uint64_t *ret_held_ns,
		  struct xerr *err) XO_MUST_CHECK;

/** guard_handle_write - judge one write that is being held, and answer it */
int guard_handle_write(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_check - the checks that are due: page tables, address spaces, lost protection */
int guard_check(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_audit_anew - the guest's time did not go on, or it is not known how far: what audits have
 *  found and not told yet has to be found twice from now on */
void guard_audit_anew(struct guard *g);

/** guard_audit - walk all address spaces now. Return: 0; negative: it has to be done again */
int guard_audit(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_glance - amid something long: shared page tables and registers, if they are due. Return:
 * 0, or what is fatal */
int guard_glance(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_check_tables - compare the shared page tables with what they were, report, remember them.
 *  @module: one that has just rung: its pages are expected; or NULL */
int guard_check_tables(struct guard *g, const struct lens_module *module,
		       struct xerr *err) XO_MUST_CHECK;

/** guard_pin_tables - remember the shared page tables as they are now */
int guard_pin_tables(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_recall_tables - compare with what the guard before remembered */
int guard_recall_tables(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_approves - an executable page whose owner the kernel lists: what an honest guest may do.
 *  Options can forbid it */
bool guard_approves(const struct guard *g, const struct lens_finding *f);

/** guard_is_fatal - whether the guard cannot go on after this code */
bool guard_is_fatal(int rc);

/** guard_area_at - the area of @list, which is sorted by gpa, that has @gpa, or NULL */
const struct lens_area *guard_area_at(const struct lens_area *list, size_t nr, struct gpa gpa);

/** guard_serve - one request from the control socket */
int guard_serve(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_note - have an event recorded, if it is one of those (notes.h) */
void guard_note(struct guard *g, const char *kind, const char *verdict, const json_t *details);

/** guard_unrecorded_json - how much waits to be recorded, and why. NULL when out of memory */
json_t *guard_unrecorded_json(struct guard *g);

/** guard_emit - make an event (events_emit), and note it */
void guard_emit(struct guard *g, const char *kind, const char *verdict, json_t *details);

/** guard_status_json - what `exopatch guard status` shows. NULL when out of memory */
json_t *guard_status_json(struct guard *g);

#endif
