/* SPDX-License-Identifier: Apache-2.0 */
/* One attached VM with its helpers and journal: what every operation of the agent starts from. */
#ifndef EXOPATCH_AGENT_SESSION_H
#define EXOPATCH_AGENT_SESSION_H

#include "vmm-agent/agent/agent.h"
#include "vmm-agent/agent/journal.h"
#include "vmm-agent/lens/guard.h"
#include "vmm-agent/monitor/monitor.h"

/** struct session - zero-initialise, session_close; members are NULL where not reached */
struct session {
	const struct agent_opts *opts;
	struct tgt *tgt;
	const struct tgt_info *vm; /* borrowed from @tgt */
	struct lens *lens;
	bool lens_reads_qemu; /* RAM is private to QEMU: it sees the regions without a file too */
	struct mon *mon;      /* session_monitor starts it */
	bool guarded;	      /* it is a guard's, which has the VM armed */
	bool discovered;
	struct lens_kernel kernel;
	char build_id[41];
	char vm_key[96];
	uint8_t process[XO_SHA256_BYTES]; /* of QEMU, among all of all hosts */
	uint64_t resets;		  /* that guards have seen of it, as far as is known */
	struct journal *journal;
	struct jrow *row; /* of this VM, oldest first */
	size_t nr_rows;
	uint64_t opened_ns; /* when this operation began */
};

/**
 * session_open - attach, find the kernel
 * @why: what makes the VM ineligible; the session is then filled as far as it went
 * Return: 0, or a negative code (session_close it either way)
 */
int session_open(struct session *s, const struct agent_opts *o, struct refusal *why,
		 struct xerr *err) XO_MUST_CHECK;

/**
 * session_recall - as session_open, for a VM that a process of ours was attached to, without asking
 * QEMU anything (tgt_recall)
 * @lock_fd, @qmp_fd: its, copied; -1 for none
 * @root, @levels: the kernel's own page tables
 * @why: why there is no kernel; all else is there then
 */
int session_recall(struct session *s, const struct agent_opts *o, const struct tgt_info *vm,
		   int lock_fd, int qmp_fd, struct gpa root, uint8_t levels, struct refusal *why,
		   struct xerr *err) XO_MUST_CHECK;

/** session_look - look for the kernel anew, after a reset. @why: why there is none */
int session_look(struct session *s, struct refusal *why, struct xerr *err) XO_MUST_CHECK;

/** session_blind - let go of monitor and lens: what they know is of before a reset */
void session_blind(struct session *s);

/** session_journal - open the journal unless it is, and load this VM's rows as they are now */
int session_journal(struct session *s, struct xerr *err) XO_MUST_CHECK;

/** session_was_reset - QEMU said that it reset the guest: count it, for all who look later. It is
 *  counted here even if the journal could not be written */
int session_was_reset(struct session *s, struct xerr *err) XO_MUST_CHECK;

/** session_same_kernel - does the guest run the kernel, and the boot, that the row was made for? */
bool session_same_kernel(const struct session *s, const struct jrow *row);

/** session_row_here - may the row's patch have bytes in this guest? Not if it rebooted since */
bool session_row_here(const struct session *s, const struct jrow *row);

typedef bool session_row_fn(const struct session *s, const struct jrow *row);

/**
 * session_homes - where code of the journal's patches may be executed, page by page, and the memory
 * that must be mapped there. From malloc, NULL when out of memory
 * @which: whose, as session_row_here; *@ret_nr: how many pages
 */
struct lens_approved *session_homes(const struct session *s, session_row_fn *which, size_t *ret_nr);

/** session_monitor - start the monitor unless it runs */
int session_monitor(struct session *s, struct xerr *err) XO_MUST_CHECK;

/** session_read - copy guest-physical bytes, wherever they are; bytes are hostile */
int session_read(struct session *s, struct gpa gpa, void *buf, size_t len_bytes,
		 struct xerr *err) XO_MUST_CHECK;

/** session_progress - tell the caller what goes on */
void session_progress(const struct session *s, const char *what);

/** session_vm_json - what is known of the VM, as the "vm" and "kernel" members of @doc */
int session_vm_json(const struct session *s, json_t *doc) XO_MUST_CHECK;

void session_close(struct session *s);

#define _cleanup_session_ XO_CLEANUP(session_close)

#endif
