// SPDX-License-Identifier: Apache-2.0
/* The journal gives back what it was given, in every state, and refuses what it cannot trust. */
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "vmm-agent/agent/journal.h"

static char dir[64];
static char db[96];

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/xo-journal-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(db, sizeof(db), "%s/journal.db", dir);
	return 0;
}

static int teardown(void **state)
{
	static const char *const files[] = {"journal.db", "journal.db-wal", "journal.db-shm"};
	char path[96];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		unlink(path);
	}
	return rmdir(dir);
}

static void fill(struct jrow *row)
{
	struct jwrite *w;
	struct jtarget *t;

	row->state = J_APPLYING;
	strcpy(row->vm, "uuid:1");
	strcpy(row->patch_id, "fix");
	strcpy(row->version, "1");
	strcpy(row->build_id, "abcd");
	strcpy(row->home_kind, "window");
	row->kernel_base.v = 0xffffffff81000000;
	row->boot_token = 0xfedcba9876543210;
	row->serial = 7;
	row->was_running = true;
	for (int i = 0; i < 5; i++) {
		w = jrow_add_write(row, J_CODE, (struct gpa){0xd0000u + (unsigned int)i},
				   (struct gva){0xffffffffff601000}, 3);
		assert_non_null(w);
		memcpy(w->before, "abc", 3);
		memcpy(w->after, "xyz", 3);
	}
	t = jrow_add_target(row);
	assert_non_null(t);
	strcpy(t->symbol, "cmdline_proc_show");
	t->addr.v = 0xffffffff81234560;
	t->size_bytes = 77;
	t->detour_off = 5;
}

static void rows_survive_closing(void **state)
{
	_cleanup_jrow_ struct jrow row = {0};
	struct journal *j = NULL;
	struct jrow *rows = NULL;
	struct xerr err = {0};
	size_t nr = 0;

	(void)state;
	fill(&row);
	assert_int_equal(journal_open(&j, dir, &err), 0);
	assert_int_equal(journal_insert(j, &row, &err), 0);
	assert_true(row.id > 0);
	assert_int_equal(journal_set_state(j, &row, J_ACTIVE, 1234, &err), 0);
	journal_close(j);

	assert_int_equal(journal_open(&j, dir, &err), 0);
	assert_int_equal(journal_load(j, "uuid:1", &rows, &nr, &err), 0);
	assert_int_equal(nr, 1);
	assert_int_equal(rows[0].state, J_ACTIVE);
	assert_string_equal(rows[0].patch_id, "fix");
	assert_int_equal(rows[0].blackout_ns, 1234);
	assert_true(rows[0].kernel_base.v == 0xffffffff81000000);
	assert_true(rows[0].boot_token == 0xfedcba9876543210);
	assert_true(rows[0].was_running);
	assert_int_equal(rows[0].nr_writes, 5);
	assert_true(rows[0].write[4].gpa.v == 0xd0004);
	assert_memory_equal(rows[0].write[4].before, "abc", 3);
	assert_memory_equal(rows[0].write[4].after, "xyz", 3);
	assert_int_equal(rows[0].nr_targets, 1);
	assert_int_equal(rows[0].target[0].detour_off, 5);
	assert_true(rows[0].target[0].addr.v == 0xffffffff81234560);
	journal_rows_free(rows, nr);
	assert_int_equal(journal_load(j, "uuid:2", &rows, &nr, &err), 0);
	assert_int_equal(nr, 0);
	journal_rows_free(rows, nr);
	journal_close(j);
}

static void serials_never_go_down(void **state)
{
	struct journal *j = NULL;
	struct xerr err = {0};
	uint64_t serial = 9, epoch = 9;

	(void)state;
	assert_int_equal(journal_open(&j, dir, &err), 0);
	assert_int_equal(journal_newest(j, "b", "CVE-1", &serial, &epoch, &err), 0);
	assert_int_equal(serial, 0);
	assert_int_equal(epoch, 0);
	assert_int_equal(journal_saw(j, "b", "CVE-1", 5, 1, &err), 0);
	assert_int_equal(journal_saw(j, "b", "CVE-1", 3, 2, &err), 0);
	assert_int_equal(journal_newest(j, "b", "CVE-1", &serial, &epoch, &err), 0);
	assert_int_equal(serial, 5);
	assert_int_equal(epoch, 2);
	assert_int_equal(journal_newest(j, "other", "CVE-1", &serial, &epoch, &err), 0);
	assert_int_equal(serial, 0);
	journal_close(j);
}

/* Run SQL behind the journal's back. */
static void tamper(const char *sql)
{
	sqlite3 *raw = NULL;

	assert_int_equal(sqlite3_open(db, &raw), SQLITE_OK);
	assert_int_equal(sqlite3_exec(raw, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(raw);
}

static void expect_corrupt(const char *sql)
{
	_cleanup_jrow_ struct jrow row = {0};
	struct journal *j = NULL;
	struct jrow *rows = NULL;
	struct xerr err = {0};
	size_t nr = 0;

	fill(&row);
	assert_int_equal(journal_open(&j, dir, &err), 0);
	assert_int_equal(journal_insert(j, &row, &err), 0);
	tamper(sql);
	assert_int_equal(journal_load(j, "uuid:1", &rows, &nr, &err), -XO_ESTATE);
	assert_null(rows);
	journal_close(j);
}

static void malformed_rows_are_refused(void **state)
{
	(void)state;
	expect_corrupt("UPDATE patch SET state = 'sideways'");
	expect_corrupt("UPDATE patch SET state = 'active', version = printf('%.*c', 99, 'x')");
	expect_corrupt("UPDATE patch SET version = '1'; UPDATE record SET after = x'00'");
	expect_corrupt("UPDATE record SET kind = 77, after = before");
}

static void unsafe_directories_and_versions_are_refused(void **state)
{
	struct journal *j = NULL;
	struct xerr err = {0};

	(void)state;
	assert_int_equal(chmod(dir, 0777), 0);
	assert_int_equal(journal_open(&j, dir, &err), -XO_ESTATE);
	assert_int_equal(chmod(dir, 0700), 0);
	err = (struct xerr){0};
	assert_int_equal(journal_open(&j, dir, &err), 0);
	journal_close(j);
	tamper("PRAGMA user_version = 99");
	assert_int_equal(journal_open(&j, dir, &err), -XO_ESTATE);
	assert_non_null(strstr(err.text, "version 99"));
	err = (struct xerr){0};
	assert_int_equal(journal_open(&j, "/nonexistent/a/b", &err), -XO_ESTATE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(rows_survive_closing, setup, teardown),
		cmocka_unit_test_setup_teardown(serials_never_go_down, setup, teardown),
		cmocka_unit_test_setup_teardown(malformed_rows_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(unsafe_directories_and_versions_are_refused, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
