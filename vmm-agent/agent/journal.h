/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal: what was done to which VM, and how to undo it. SQLite, WAL,
 * synchronous=FULL: a row that was committed survives a power cut. The states
 * are those of docs/transaction.md.
 */
#ifndef EXOPATCH_AGENT_JOURNAL_H
#define EXOPATCH_AGENT_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/util.h"

enum jstate {
	J_APPLYING = 1,
	J_ACTIVE,
	J_REVERTING,
	J_REVERTED,
	J_ABORTED,
	J_LOST,
};

/** jstate_name - "applying", ...; stable, as --json shows it */
const char *jstate_name(enum jstate s);

/** enum jkind - what a record changes; J_MAP and J_PIN are shared between the patches of a VM */
enum jkind { J_MAP = 1, J_CODE, J_SHIM, J_PIN, J_DETOUR };

const char *jkind_name(enum jkind k);

/** struct jwrite - one write record; owns @before and @after */
struct jwrite {
	enum jkind kind;
	struct gpa gpa;
	struct gva gva; /* 0 where the guest does not execute it */
	uint32_t len_bytes;
	uint8_t *before;
	uint8_t *after;
};

/** struct jtarget - code that changes hands: a function, or a further piece of one (.cold) */
struct jtarget {
	char symbol[128];
	struct gva addr;
	uint64_t size_bytes;
	uint32_t detour_off;
	struct gva replacement; /* 0 for a further piece, which has no detour of its own */
};

/** struct jrow - one patch on one VM; zero-initialise, jrow_free */
struct jrow {
	int64_t id; /* 0 until inserted */
	enum jstate state;
	char vm[96]; /* identity, agent's session_vm_key */
	char patch_id[64];
	char version[32];
	char manifest_sha256[XO_SHA256_HEX_SIZE];
	char payload_sha256[XO_SHA256_HEX_SIZE];
	char build_id[41]; /* hex */
	uint64_t serial, security_epoch;
	char requires_ids[2048]; /* space-separated ids */
	struct gva kernel_base;
	uint64_t boot_token; /* of struct lens_kernel; 0 matches any boot */
	char home_kind[16];
	struct gva home;
	uint64_t home_bytes;
	bool was_running; /* the guest ran when the hold was made: recover may resume it */
	char created[32]; /* RFC 3339 UTC */
	char updated[32];
	uint64_t blackout_ns;
	char advisories[2080];			  /* that it fixes, space-separated */
	char policy_sha256[XO_SHA256_HEX_SIZE];	  /* of the policy that allowed it, or "" */
	char decision_sha256[XO_SHA256_HEX_SIZE]; /* and of its decision */
	size_t nr_targets;
	struct jtarget *target;
	size_t nr_writes;
	struct jwrite *write;
};

/** jrow_add_write - append a record with room for @len_bytes; NULL when out of memory.
 *  Its @before and @after are allocated and zero */
struct jwrite *jrow_add_write(struct jrow *row, enum jkind kind, struct gpa gpa, struct gva gva,
			      uint32_t len_bytes) XO_MUST_CHECK;

/** jrow_add_target - append a zeroed target; NULL when out of memory */
struct jtarget *jrow_add_target(struct jrow *row) XO_MUST_CHECK;

/** jrow_live - whether the row's patch may have bytes in the guest */
static inline bool jrow_live(const struct jrow *row)
{
	return row->state == J_APPLYING || row->state == J_ACTIVE || row->state == J_REVERTING;
}

struct journal;

/** journal_open - open or create STATE_DIR/journal.db (directory 0700). journal_close it */
int journal_open(struct journal **ret, const char *state_dir, struct xerr *err) XO_MUST_CHECK;
void journal_close(struct journal *j);

/** journal_insert - a new row with its targets and records, in one transaction; sets row->id,
 *  created and updated */
int journal_insert(struct journal *j, struct jrow *row, struct xerr *err) XO_MUST_CHECK;

/** journal_set_state - move a row; @blackout_ns is stored unless 0; sets row->state, updated */
int journal_set_state(struct journal *j, struct jrow *row, enum jstate state, uint64_t blackout_ns,
		      struct xerr *err) XO_MUST_CHECK;

/** journal_load - all rows of @vm, oldest first; *@ret from malloc, journal_rows_free it */
int journal_load(struct journal *j, const char *vm, struct jrow **ret, size_t *ret_nr,
		 struct xerr *err) XO_MUST_CHECK;

/**
 * journal_newest - highest serial and security epoch ever applied on this host for a patch id and
 * kernel build-id, or, with @patch_id an advisory, for that advisory. Return: 0 (zeroes if none)
 */
int journal_newest(struct journal *j, const char *build_id, const char *subject,
		   uint64_t *ret_serial, uint64_t *ret_epoch, struct xerr *err) XO_MUST_CHECK;

/** journal_saw - remember that serial and epoch were applied for @subject (id or advisory) */
int journal_saw(struct journal *j, const char *build_id, const char *subject, uint64_t serial,
		uint64_t epoch, struct xerr *err) XO_MUST_CHECK;

/* ---- several changes as one ---- */

/** journal_begin - what follows is done at journal_commit, all of it, or not at all (journal_undo).
 *  Not around journal_insert */
int journal_begin(struct journal *j, struct xerr *err) XO_MUST_CHECK;

/** journal_commit - or, if that fails, undo */
int journal_commit(struct journal *j, struct xerr *err) XO_MUST_CHECK;
void journal_undo(struct journal *j);

/* ---- statements on their way into the log: docs/attest.md ---- */

/** struct jqueued - a statement that waits; journal_queued_free it */
struct jqueued {
	int64_t id; /* 0: none waits */
	struct xbuf body;
	bool begun;	   /* somebody has begun to record it, when its machine had... */
	uint64_t sequence; /* ...so many statements */
};

/** journal_queue - @body, a statement without its place in a chain, is to be recorded */
int journal_queue(struct journal *j, struct span body, struct xerr *err) XO_MUST_CHECK;

/** journal_queued - the one that has waited longest; @ret->id is 0 if none does */
int journal_queued(struct journal *j, struct jqueued *ret, struct xerr *err) XO_MUST_CHECK;
void journal_queued_free(struct jqueued *q);

/** journal_queue_length - how many wait */
int journal_queue_length(struct journal *j, uint64_t *ret, struct xerr *err) XO_MUST_CHECK;

/** journal_queue_begin - from here on it may stand in its machine's chain at @sequence or later */
int journal_queue_begin(struct journal *j, struct jqueued *q, uint64_t sequence,
			struct xerr *err) XO_MUST_CHECK;

/** journal_queue_done - it stands in the log */
int journal_queue_done(struct journal *j, const struct jqueued *q, struct xerr *err) XO_MUST_CHECK;

/** journal_noted - how far ring @ring of a guard was made into statements; 0: nothing yet
 *  journal_note - and say so */
int journal_noted(struct journal *j, const char *ring, uint64_t *ret,
		  struct xerr *err) XO_MUST_CHECK;
int journal_note(struct journal *j, const char *ring, uint64_t taken,
		 struct xerr *err) XO_MUST_CHECK;

/** journal_signal - @signal, a sign of harm, was seen on @vm at @at (RFC 3339, UTC)
 *  journal_first_signal - the first from @from to @to; *@ret is "" if there was none */
int journal_signal(struct journal *j, const char *vm, const char *signal, const char *at,
		   struct xerr *err) XO_MUST_CHECK;
int journal_first_signal(struct journal *j, const char *vm, const char *signal, const char *from,
			 const char *to, char ret[32], struct xerr *err) XO_MUST_CHECK;

void jrow_free(struct jrow *row);
void journal_rows_free(struct jrow *rows, size_t nr);

#define _cleanup_jrow_ XO_CLEANUP(jrow_free)

#endif
