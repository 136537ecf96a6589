// SPDX-License-Identifier: Apache-2.0
/* Statements that were made with what they are about, and wait to be recorded. */
#include <errno.h>

#include "vmm-agent/agent/journal_db.h"

#define MAX_BODY (64U << 10)

int journal_begin(struct journal *j, struct xerr *err)
{
	return jdb_exec(j, "BEGIN IMMEDIATE", err);
}

int journal_commit(struct journal *j, struct xerr *err)
{
	int rc = jdb_exec(j, "COMMIT", err);

	if (rc)
		journal_undo(j);
	return rc;
}

void journal_undo(struct journal *j)
{
	sqlite3_exec(j->db, "ROLLBACK", NULL, NULL, NULL);
}

int journal_queue(struct journal *j, struct span body, struct xerr *err)
{
	_cleanup_jdb_stmt_ sqlite3_stmt *st = NULL;
	int rc = jdb_prepare(j, &st, err, "INSERT INTO statement VALUES (NULL, ?, NULL)", "b",
			     body.p, (uint64_t)body.len_bytes);

	return rc ? rc : jdb_finish(j, st, err);
}

int journal_queued(struct journal *j, struct jqueued *ret, struct xerr *err)
{
	_cleanup_jdb_stmt_ sqlite3_stmt *st = NULL;
	struct jqueued q = {.body = XBUF(MAX_BODY)};
	int rc, step;

	rc = jdb_prepare(j, &st, err,
			 "SELECT id, body, sequence FROM statement ORDER BY id LIMIT 1", "");
	if (rc)
		return rc;
	step = sqlite3_step(st);
	if (step != SQLITE_ROW && step != SQLITE_DONE)
		return jdb_error(j, err);
	if (step == SQLITE_ROW) {
		q.id = sqlite3_column_int64(st, 0);
		q.begun = sqlite3_column_type(st, 2) != SQLITE_NULL;
		q.sequence = (uint64_t)sqlite3_column_int64(st, 2);
		rc = xbuf_add(&q.body, sqlite3_column_blob(st, 1),
			      (size_t)sqlite3_column_bytes(st, 1));
		if (rc)
			return xerr_set(err, rc, "journal: a statement that waits: %s",
					xo_code_text(rc));
	}
	*ret = q;
	return 0;
}

void journal_queued_free(struct jqueued *q)
{
	xbuf_free(&q->body);
}

int journal_queue_length(struct journal *j, uint64_t *ret, struct xerr *err)
{
	_cleanup_jdb_stmt_ sqlite3_stmt *st = NULL;
	int rc = jdb_prepare(j, &st, err, "SELECT count(*) FROM statement", "");

	if (rc)
		return rc;
	if (sqlite3_step(st) != SQLITE_ROW)
		return jdb_error(j, err);
	*ret = (uint64_t)sqlite3_column_int64(st, 0);
	return 0;
}

int journal_queue_begin(struct journal *j, struct jqueued *q, uint64_t sequence, struct xerr *err)
{
	_cleanup_jdb_stmt_ sqlite3_stmt *st = NULL;
	int rc = jdb_prepare(j, &st, err, "UPDATE statement SET sequence = ? WHERE id = ?", "ii",
			     (int64_t)sequence, q->id);

	if (!rc)
		rc = jdb_finish(j, st, err);
	if (rc)
		return rc;
	q->begun = true;
	q->sequence = sequence;
	return 0;
}

int journal_queue_done(struct journal *j, const struct jqueued *q, struct xerr *err)
{
	_cleanup_jdb_stmt_ sqlite3_stmt *st = NULL;
	int rc = jdb_prepare(j, &st, err, "DELETE FROM statement WHERE id = ?", "i", q->id);

	return rc ? rc : jdb_finish(j, st, err);
}

int journal_noted(struct journal *j, const char *ring, uint64_t *ret, struct xerr *err)
{
	_cleanup_jdb_stmt_ sqlite3_stmt *st = NULL;
	int rc = jdb_prepare(j, &st, err, "SELECT taken FROM noted WHERE ring = ?", "t", ring);
	int step;

	if (rc)
		return rc;
	step = sqlite3_step(st);
	if (step != SQLITE_ROW && step != SQLITE_DONE)
		return jdb_error(j, err);
	*ret = step == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(st, 0) : 0;
	return 0;
}

int journal_note(struct journal *j, const char *ring, uint64_t taken, struct xerr *err)
{
	_cleanup_jdb_stmt_ sqlite3_stmt *st = NULL;
	int rc = jdb_prepare(j, &st, err,
			     "INSERT INTO noted VALUES (?1, ?2) ON CONFLICT (ring) DO UPDATE SET "
			     "taken = ?2",
			     "ti", ring, (int64_t)taken);

	return rc ? rc : jdb_finish(j, st, err);
}

int journal_signal(struct journal *j, const char *vm, const char *signal, const char *at,
		   struct xerr *err)
{
	_cleanup_jdb_stmt_ sqlite3_stmt *st = NULL;
	int rc = jdb_prepare(j, &st, err, "INSERT OR IGNORE INTO signal VALUES (?, ?, ?)", "ttt",
			     vm, signal, at);

	return rc ? rc : jdb_finish(j, st, err);
}

int journal_first_signal(struct journal *j, const char *vm, const char *signal, const char *from,
			 const char *to, char ret[32], struct xerr *err)
{
	_cleanup_jdb_stmt_ sqlite3_stmt *st = NULL;
	const char *at;
	int rc = jdb_prepare(j, &st, err,
			     "SELECT min(at) FROM signal WHERE vm = ? AND signal = ? AND at >= ? "
			     "AND at <= ?",
			     "tttt", vm, signal, from, to);

	if (rc)
		return rc;
	if (sqlite3_step(st) != SQLITE_ROW)
		return jdb_error(j, err);
	at = (const char *)sqlite3_column_text(st, 0);
	snprintf(ret, 32, "%s", at ? at : "");
	return 0;
}
