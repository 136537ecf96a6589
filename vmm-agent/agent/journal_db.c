// SPDX-License-Identifier: Apache-2.0
/* The journal's file: its tables, and how to talk to them. */
#include "vmm-agent/agent/journal_db.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#define SCHEMA_VERSION 3
#define BUSY_MS	       5000

static const char schema[] =
	"CREATE TABLE patch ("
	" id INTEGER PRIMARY KEY, state TEXT NOT NULL, vm TEXT NOT NULL, patch_id TEXT NOT NULL,"
	" version TEXT NOT NULL, manifest_sha256 TEXT NOT NULL, payload_sha256 TEXT NOT NULL,"
	" build_id TEXT NOT NULL, serial INTEGER NOT NULL, security_epoch INTEGER NOT NULL,"
	" requires_ids TEXT NOT NULL, kernel_base INTEGER NOT NULL, home_kind TEXT NOT NULL,"
	" home INTEGER NOT NULL, home_bytes INTEGER NOT NULL, was_running INTEGER NOT NULL,"
	" created TEXT NOT NULL, updated TEXT NOT NULL, blackout_ns INTEGER NOT NULL,"
	" boot_token INTEGER NOT NULL) STRICT;"
	"CREATE INDEX patch_vm ON patch (vm, id);"
	"CREATE TABLE target ("
	" patch INTEGER NOT NULL REFERENCES patch (id), seq INTEGER NOT NULL, symbol TEXT NOT NULL,"
	" addr INTEGER NOT NULL, size_bytes INTEGER NOT NULL, detour_off INTEGER NOT NULL,"
	" replacement INTEGER NOT NULL, PRIMARY KEY (patch, seq)) STRICT;"
	"CREATE TABLE record ("
	" patch INTEGER NOT NULL REFERENCES patch (id), seq INTEGER NOT NULL, kind INTEGER NOT "
	"NULL,"
	" gpa INTEGER NOT NULL, gva INTEGER NOT NULL, before BLOB NOT NULL, after BLOB NOT NULL,"
	" PRIMARY KEY (patch, seq)) STRICT;"
	"CREATE TABLE seen ("
	" build_id TEXT NOT NULL, subject TEXT NOT NULL, serial INTEGER NOT NULL,"
	" security_epoch INTEGER NOT NULL, PRIMARY KEY (build_id, subject)) STRICT;"
	"PRAGMA user_version = 2;";

/* What is to be recorded: docs/attest.md, "From the journal into the log". */
static const char upgrade_2[] =
	"ALTER TABLE patch ADD COLUMN advisories TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE patch ADD COLUMN policy_sha256 TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE patch ADD COLUMN decision_sha256 TEXT NOT NULL DEFAULT '';"
	"CREATE TABLE statement ("
	" id INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL, sequence INTEGER) STRICT;"
	"CREATE TABLE noted (ring TEXT PRIMARY KEY, taken INTEGER NOT NULL) STRICT;"
	"CREATE TABLE signal ("
	" vm TEXT NOT NULL, signal TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY (vm, signal, at))"
	" STRICT, WITHOUT ROWID;"
	"PRAGMA user_version = 3;";

int jdb_error(const struct journal *j, struct xerr *err)
{
	return xerr_set(err, XO_ESTATE, "journal %s: %s; check the disk and its permissions",
			j->path, sqlite3_errmsg(j->db));
}

int jdb_prepare(struct journal *j, sqlite3_stmt **ret, struct xerr *err, const char *sql,
		const char *types, ...)
{
	va_list ap;
	int rc, n = 0;

	if (sqlite3_prepare_v2(j->db, sql, -1, ret, NULL) != SQLITE_OK)
		return jdb_error(j, err);
	rc = SQLITE_OK;
	va_start(ap, types);
	for (const char *t = types; *t && rc == SQLITE_OK; t++) {
		n++;
		if (*t == 'i') {
			rc = sqlite3_bind_int64(*ret, n, va_arg(ap, int64_t));
		} else if (*t == 't') {
			rc = sqlite3_bind_text(*ret, n, va_arg(ap, const char *), -1,
					       SQLITE_TRANSIENT);
		} else {
			const void *p = va_arg(ap, const void *);

			rc = sqlite3_bind_blob64(*ret, n, p, va_arg(ap, uint64_t),
						 SQLITE_TRANSIENT);
		}
	}
	va_end(ap);
	return rc == SQLITE_OK ? 0 : jdb_error(j, err);
}

int jdb_finish(struct journal *j, sqlite3_stmt *st, struct xerr *err)
{
	return sqlite3_step(st) == SQLITE_DONE ? 0 : jdb_error(j, err);
}

int jdb_exec(struct journal *j, const char *sql, struct xerr *err)
{
	return sqlite3_exec(j->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : jdb_error(j, err);
}

static int user_version(struct journal *j, int *ret, struct xerr *err)
{
	_cleanup_jdb_stmt_ sqlite3_stmt *st = NULL;
	int rc = jdb_prepare(j, &st, err, "PRAGMA user_version", "");

	if (rc)
		return rc;
	if (sqlite3_step(st) != SQLITE_ROW)
		return jdb_error(j, err);
	*ret = sqlite3_column_int(st, 0);
	return 0;
}

static int create_schema(struct journal *j, struct xerr *err)
{
	int version = 0, rc;

	rc = jdb_exec(j, "BEGIN IMMEDIATE", err);
	if (rc)
		return rc;
	rc = user_version(j, &version, err);
	if (!rc && version == 0)
		rc = jdb_exec(j, schema, err);
	if (!rc && (version == 0 || version == 2))
		rc = jdb_exec(j, upgrade_2, err);
	else if (!rc && version != SCHEMA_VERSION)
		rc = xerr_set(err, XO_ESTATE,
			      "journal %s: has version %d, this exopatch knows %d; use the "
			      "exopatch that wrote it",
			      j->path, version, SCHEMA_VERSION);
	if (rc) {
		sqlite3_exec(j->db, "ROLLBACK", NULL, NULL, NULL);
		return rc;
	}
	return jdb_exec(j, "COMMIT", err);
}

static int make_dir(const char *dir, struct xerr *err)
{
	struct stat st;

	if (mkdir(dir, 0700) && errno != EEXIST)
		return xerr_set(err, XO_ESTATE,
				"state directory %s: %s; make it, or name another "
				"with --state",
				dir, strerror(errno));
	if (stat(dir, &st) || !S_ISDIR(st.st_mode))
		return xerr_set(err, XO_ESTATE, "state directory %s: not a directory", dir);
	if (st.st_uid != geteuid() || (st.st_mode & 022))
		return xerr_set(err, XO_ESTATE,
				"state directory %s: must belong to the caller and be writable by "
				"nobody else; fix its owner or mode",
				dir);
	return 0;
}

int journal_open(struct journal **ret, const char *state_dir, struct xerr *err)
{
	struct journal *j;
	int rc, n;

	rc = make_dir(state_dir, err);
	if (rc)
		return rc;
	j = calloc(1, sizeof(*j));
	if (!j)
		return xerr_set(err, ENOMEM, "journal: out of memory");
	n = snprintf(j->path, sizeof(j->path), "%s/journal.db", state_dir);
	if (n < 0 || (size_t)n >= sizeof(j->path)) {
		free(j);
		return xerr_set(err, XO_ESTATE, "state directory %s: path too long", state_dir);
	}
	if (sqlite3_open_v2(j->path, &j->db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXRESCODE,
			    NULL) != SQLITE_OK) {
		rc = jdb_error(j, err);
		goto fail;
	}
	sqlite3_busy_timeout(j->db, BUSY_MS);
	rc = jdb_exec(
		j,
		"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
		"PRAGMA trusted_schema = OFF;",
		err);
	if (!rc)
		rc = create_schema(j, err);
	if (rc)
		goto fail;
	*ret = j;
	return 0;
fail:
	journal_close(j);
	return rc;
}

void journal_close(struct journal *j)
{
	if (!j)
		return;
	sqlite3_close_v2(j->db);
	free(j);
}
