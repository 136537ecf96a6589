/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's database, shared by the files that make up the journal. */
#ifndef EXOPATCH_AGENT_JOURNAL_DB_H
#define EXOPATCH_AGENT_JOURNAL_DB_H

#include <sqlite3.h>

#include "vmm-agent/agent/journal.h"

struct journal {
	sqlite3 *db;
	char path[4096];
};

/** jdb_error - record what SQLite says. Return: -XO_ESTATE */
int jdb_error(const struct journal *j, struct xerr *err);

/** jdb_prepare - a statement with its parameters bound: i = int64_t, t = text, b = blob and its
 *  length, uint64_t */
int jdb_prepare(struct journal *j, sqlite3_stmt **ret, struct xerr *err, const char *sql,
		const char *types, ...) XO_MUST_CHECK;

/** jdb_finish - run a statement that gives no rows */
int jdb_finish(struct journal *j, sqlite3_stmt *st, struct xerr *err) XO_MUST_CHECK;

/** jdb_exec - run SQL without parameters or rows */
int jdb_exec(struct journal *j, const char *sql, struct xerr *err) XO_MUST_CHECK;

static inline void jdb_finalize(sqlite3_stmt **st)
{
	sqlite3_finalize(*st);
}
#define _cleanup_jdb_stmt_ XO_CLEANUP(jdb_finalize)

#endif
