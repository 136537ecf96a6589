// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/journal.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "vmm-agent/agent/journal_db.h"

#define MAX_ROWS       100000
#define MAX_RECORDS    65536
#define MAX_RECORD_LEN 4096

static const char *const state_names[] = {
	[J_APPLYING] = "applying", [J_ACTIVE] = "active",   [J_REVERTING] = "reverting",
	[J_REVERTED] = "reverted", [J_ABORTED] = "aborted", [J_LOST] = "lost",
};

const char *jstate_name(enum jstate s)
{
	return s > 0 && s < XO_ARRAY_SIZE(state_names) ? state_names[s] : "unknown";
}

static const char *const kind_names[] = {[J_MAP] = "map",
					 [J_CODE] = "code",
					 [J_SHIM] = "shim",
					 [J_PIN] = "pin",
					 [J_DETOUR] = "detour"};

const char *jkind_name(enum jkind k)
{
	return k > 0 && k < XO_ARRAY_SIZE(kind_names) ? kind_names[k] : "unknown";
}

static void now_rfc3339(char out[32])
{
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static int insert_details(struct journal *j, const struct jrow *row, struct xerr *err)
{
	int rc = 0;

	for (size_t i = 0; i < row->nr_targets && !rc; i++) {
		_cleanup_jdb_stmt_ sqlite3_stmt *st = NULL;
		const struct jtarget *t = &row->target[i];

		rc = jdb_prepare(j, &st, err, "INSERT INTO target VALUES (?,?,?,?,?,?,?)",
				 "iitiiii", row->id, (int64_t)i, t->symbol, (int64_t)t->addr.v,
				 (int64_t)t->size_bytes, (int64_t)t->detour_off,
				 (int64_t)t->replacement.v);
		if (!rc)
			rc = jdb_finish(j, st, err);
	}
	for (size_t i = 0; i < row->nr_writes && !rc; i++) {
		_cleanup_jdb_stmt_ sqlite3_stmt *st = NULL;
		const struct jwrite *w = &row->write[i];

		rc = jdb_prepare(j, &st, err, "INSERT INTO record VALUES (?,?,?,?,?,?,?)",
				 "iiiiibb", row->id, (int64_t)i, (int64_t)w->kind,
				 (int64_t)w->gpa.v, (int64_t)w->gva.v, w->before,
				 (uint64_t)w->len_bytes, w->after, (uint64_t)w->len_bytes);
		if (!rc)
			rc = jdb_finish(j, st, err);
	}
	return rc;
}

static int insert_row(struct journal *j, struct jrow *row, struct xerr *err)
{
	_cleanup_jdb_stmt_ sqlite3_stmt *st = NULL;
	int rc;

	rc = jdb_prepare(
		j, &st, err,
		"INSERT INTO patch VALUES (NULL,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
		"tttttttiititiiittiittt", jstate_name(row->state), row->vm, row->patch_id,
		row->version, row->manifest_sha256, row->payload_sha256, row->build_id,
		(int64_t)row->serial, (int64_t)row->security_epoch, row->requires_ids,
		(int64_t)row->kernel_base.v, row->home_kind, (int64_t)row->home.v,
		(int64_t)row->home_bytes, (int64_t)row->was_running, row->created, row->updated,
		(int64_t)row->blackout_ns, (int64_t)row->boot_token, row->advisories,
		row->policy_sha256, row->decision_sha256);
	if (!rc)
		rc = jdb_finish(j, st, err);
	if (!rc)
		row->id = sqlite3_last_insert_rowid(j->db);
	return rc;
}

int journal_insert(struct journal *j, struct jrow *row, struct xerr *err)
{
	int rc;

	now_rfc3339(row->created);
	memcpy(row->updated, row->created, sizeof(row->updated));
	rc = jdb_exec(j, "BEGIN IMMEDIATE", err);
	if (rc)
		return rc;
	rc = insert_row(j, row, err);
	if (!rc)
		rc = insert_details(j, row, err);
	if (!rc)
		rc = jdb_exec(j, "COMMIT", err);
	if (rc) {
		sqlite3_exec(j->db, "ROLLBACK", NULL, NULL, NULL);
		row->id = 0;
	}
	return rc;
}

int journal_set_state(struct journal *j, struct jrow *row, enum jstate state, uint64_t blackout_ns,
		      struct xerr *err)
{
	_cleanup_jdb_stmt_ sqlite3_stmt *st = NULL;
	char updated[32];
	int rc;

	if (!blackout_ns)
		blackout_ns = row->blackout_ns;
	now_rfc3339(updated);
	rc = jdb_prepare(j, &st, err,
			 "UPDATE patch SET state = ?, updated = ?, blackout_ns = ?, was_running = ?"
			 " WHERE id = ?",
			 "ttiii", jstate_name(state), updated, (int64_t)blackout_ns,
			 (int64_t)row->was_running, row->id);
	if (!rc)
		rc = jdb_finish(j, st, err);
	if (rc)
		return rc;
	if (sqlite3_changes(j->db) != 1)
		return xerr_set(err, XO_ESTATE, "journal %s: row %lld is gone", j->path,
				(long long)row->id);
	row->state = state;
	row->blackout_ns = blackout_ns;
	memcpy(row->updated, updated, sizeof(updated));
	return 0;
}

static int corrupt(const struct journal *j, struct xerr *err)
{
	return xerr_set(err, XO_ESTATE,
			"journal %s: a row is malformed; restore the file from a "
			"backup, or move it away if no patch is active",
			j->path);
}

/* Column @col as text into a fixed array; too long is corruption. */
static int column_text(sqlite3_stmt *st, int col, char *out, size_t size)
{
	const unsigned char *text = sqlite3_column_text(st, col);
	size_t n = text ? strlen((const char *)text) : size;

	if (n >= size)
		return -XO_ESTATE;
	memcpy(out, text, n + 1);
	return 0;
}

static int state_from_name(const char *name, enum jstate *ret)
{
	for (size_t s = 1; s < XO_ARRAY_SIZE(state_names); s++) {
		if (!strcmp(name, state_names[s])) {
			*ret = (enum jstate)s;
			return 0;
		}
	}
	return -XO_ESTATE;
}

static int load_row(sqlite3_stmt *st, struct jrow *row)
{
	char state[16];

	row->id = sqlite3_column_int64(st, 0);
	row->serial = (uint64_t)sqlite3_column_int64(st, 8);
	row->security_epoch = (uint64_t)sqlite3_column_int64(st, 9);
	row->kernel_base.v = (uint64_t)sqlite3_column_int64(st, 11);
	row->home.v = (uint64_t)sqlite3_column_int64(st, 13);
	row->home_bytes = (uint64_t)sqlite3_column_int64(st, 14);
	row->was_running = sqlite3_column_int(st, 15) != 0;
	row->blackout_ns = (uint64_t)sqlite3_column_int64(st, 18);
	row->boot_token = (uint64_t)sqlite3_column_int64(st, 19);
	if (column_text(st, 1, state, sizeof(state)) || state_from_name(state, &row->state) ||
	    column_text(st, 2, row->vm, sizeof(row->vm)) ||
	    column_text(st, 3, row->patch_id, sizeof(row->patch_id)) ||
	    column_text(st, 4, row->version, sizeof(row->version)) ||
	    column_text(st, 5, row->manifest_sha256, sizeof(row->manifest_sha256)) ||
	    column_text(st, 6, row->payload_sha256, sizeof(row->payload_sha256)) ||
	    column_text(st, 7, row->build_id, sizeof(row->build_id)) ||
	    column_text(st, 10, row->requires_ids, sizeof(row->requires_ids)) ||
	    column_text(st, 12, row->home_kind, sizeof(row->home_kind)) ||
	    column_text(st, 16, row->created, sizeof(row->created)) ||
	    column_text(st, 17, row->updated, sizeof(row->updated)) ||
	    column_text(st, 20, row->advisories, sizeof(row->advisories)) ||
	    column_text(st, 21, row->policy_sha256, sizeof(row->policy_sha256)) ||
	    column_text(st, 22, row->decision_sha256, sizeof(row->decision_sha256)))
		return -XO_ESTATE;
	return 0;
}

/* One more element for a growing array of @size-byte elements; NULL when out of memory. */
static void *grow(void *array, size_t nr, size_t size)
{
	/* Powers of two: grow when nr is 0 or a power of two. */
	if (nr & (nr - 1) && nr)
		return array;
	return reallocarray(array, nr ? nr * 2 : 1, size);
}

struct jtarget *jrow_add_target(struct jrow *row)
{
	struct jtarget *t = grow(row->target, row->nr_targets, sizeof(*t));

	if (!t)
		return NULL;
	row->target = t;
	t += row->nr_targets++;
	memset(t, 0, sizeof(*t));
	return t;
}

struct jwrite *jrow_add_write(struct jrow *row, enum jkind kind, struct gpa gpa, struct gva gva,
			      uint32_t len_bytes)
{
	struct jwrite *w = grow(row->write, row->nr_writes, sizeof(*w));

	if (!w)
		return NULL;
	row->write = w;
	w += row->nr_writes;
	*w = (struct jwrite){.kind = kind, .gpa = gpa, .gva = gva, .len_bytes = len_bytes};
	w->before = calloc(1, len_bytes);
	w->after = calloc(1, len_bytes);
	if (!w->before || !w->after) {
		free(w->before);
		free(w->after);
		return NULL;
	}
	row->nr_writes++;
	return w;
}

static int load_targets(struct journal *j, struct jrow *row, struct xerr *err)
{
	_cleanup_jdb_stmt_ sqlite3_stmt *st = NULL;
	int rc, step;

	rc = jdb_prepare(j, &st, err,
			 "SELECT symbol, addr, size_bytes, detour_off, replacement FROM target"
			 " WHERE patch = ? ORDER BY seq",
			 "i", row->id);
	if (rc)
		return rc;
	while ((step = sqlite3_step(st)) == SQLITE_ROW) {
		struct jtarget *t;

		if (row->nr_targets >= MAX_RECORDS)
			return corrupt(j, err);
		t = jrow_add_target(row);
		if (!t)
			return xerr_set(err, ENOMEM, "journal: out of memory");
		if (column_text(st, 0, t->symbol, sizeof(t->symbol)))
			return corrupt(j, err);
		t->addr.v = (uint64_t)sqlite3_column_int64(st, 1);
		t->size_bytes = (uint64_t)sqlite3_column_int64(st, 2);
		t->detour_off = (uint32_t)sqlite3_column_int64(st, 3);
		t->replacement.v = (uint64_t)sqlite3_column_int64(st, 4);
	}
	return step == SQLITE_DONE ? 0 : jdb_error(j, err);
}

static int load_record(struct journal *j, sqlite3_stmt *st, struct jrow *row, struct xerr *err)
{
	int kind = sqlite3_column_int(st, 0);
	int before = sqlite3_column_bytes(st, 3), after = sqlite3_column_bytes(st, 4);
	struct jwrite *w;

	if (row->nr_writes >= MAX_RECORDS || kind < J_MAP || kind > J_DETOUR || before <= 0 ||
	    before > MAX_RECORD_LEN || after != before)
		return corrupt(j, err);
	w = jrow_add_write(row, (enum jkind)kind,
			   (struct gpa){(uint64_t)sqlite3_column_int64(st, 1)},
			   (struct gva){(uint64_t)sqlite3_column_int64(st, 2)}, (uint32_t)before);
	if (!w)
		return xerr_set(err, ENOMEM, "journal: out of memory");
	memcpy(w->before, sqlite3_column_blob(st, 3), w->len_bytes);
	memcpy(w->after, sqlite3_column_blob(st, 4), w->len_bytes);
	return 0;
}

static int load_records(struct journal *j, struct jrow *row, struct xerr *err)
{
	_cleanup_jdb_stmt_ sqlite3_stmt *st = NULL;
	int rc, step;

	rc = jdb_prepare(
		j, &st, err,
		"SELECT kind, gpa, gva, before, after FROM record WHERE patch = ? ORDER BY seq",
		"i", row->id);
	if (rc)
		return rc;
	while ((step = sqlite3_step(st)) == SQLITE_ROW) {
		rc = load_record(j, st, row, err);
		if (rc)
			return rc;
	}
	return step == SQLITE_DONE ? 0 : jdb_error(j, err);
}

int journal_load(struct journal *j, const char *vm, struct jrow **ret, size_t *ret_nr,
		 struct xerr *err)
{
	_cleanup_jdb_stmt_ sqlite3_stmt *st = NULL;
	struct jrow *rows = NULL;
	size_t nr = 0;
	int rc, step;

	rc = jdb_prepare(j, &st, err, "SELECT * FROM patch WHERE vm = ? ORDER BY id", "t", vm);
	if (rc)
		return rc;
	while ((step = sqlite3_step(st)) == SQLITE_ROW) {
		struct jrow *grown = grow(rows, nr, sizeof(*rows));

		if (!grown) {
			rc = xerr_set(err, ENOMEM, "journal: out of memory");
			goto fail;
		}
		rows = grown;
		memset(&rows[nr], 0, sizeof(rows[nr]));
		nr++;
		rc = nr > MAX_ROWS || load_row(st, &rows[nr - 1]) ? corrupt(j, err) : 0;
		if (!rc)
			rc = load_targets(j, &rows[nr - 1], err);
		if (!rc)
			rc = load_records(j, &rows[nr - 1], err);
		if (rc)
			goto fail;
	}
	if (step != SQLITE_DONE) {
		rc = jdb_error(j, err);
		goto fail;
	}
	*ret = rows;
	*ret_nr = nr;
	return 0;
fail:
	journal_rows_free(rows, nr);
	return rc;
}

int journal_newest(struct journal *j, const char *build_id, const char *subject,
		   uint64_t *ret_serial, uint64_t *ret_epoch, struct xerr *err)
{
	_cleanup_jdb_stmt_ sqlite3_stmt *st = NULL;
	int rc, step;

	rc = jdb_prepare(
		j, &st, err,
		"SELECT serial, security_epoch FROM seen WHERE build_id = ? AND subject = ?", "tt",
		build_id, subject);
	if (rc)
		return rc;
	step = sqlite3_step(st);
	if (step != SQLITE_ROW && step != SQLITE_DONE)
		return jdb_error(j, err);
	*ret_serial = step == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(st, 0) : 0;
	*ret_epoch = step == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(st, 1) : 0;
	return 0;
}

int journal_saw(struct journal *j, const char *build_id, const char *subject, uint64_t serial,
		uint64_t epoch, struct xerr *err)
{
	_cleanup_jdb_stmt_ sqlite3_stmt *st = NULL;
	int rc;

	rc = jdb_prepare(j, &st, err,
			 "INSERT INTO seen VALUES (?1,?2,?3,?4) ON CONFLICT (build_id, subject) DO"
			 " UPDATE SET serial = max(serial, ?3), security_epoch ="
			 " max(security_epoch, ?4)",
			 "ttii", build_id, subject, (int64_t)serial, (int64_t)epoch);
	return rc ? rc : jdb_finish(j, st, err);
}

void jrow_free(struct jrow *row)
{
	for (size_t i = 0; i < row->nr_writes; i++) {
		free(row->write[i].before);
		free(row->write[i].after);
	}
	free(row->write);
	free(row->target);
	memset(row, 0, sizeof(*row));
}

void journal_rows_free(struct jrow *rows, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		jrow_free(&rows[i]);
	free(rows);
}
