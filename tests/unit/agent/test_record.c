// SPDX-License-Identifier: Apache-2.0
/* From the journal and a guard's notes into the log: in order, each once, whoever dies. */
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "attest/statement.h"
#include "tests/lib/attfix.h"
#include "tests/lib/reclog.h"
#include "vmm-agent/agent/notes.h"
#include "vmm-agent/agent/record.h"
#include "vmm-agent/agent/record_guard.h"

#define VM_KEY "uuid:" ATTFIX_UUID

static char dir[ATTFIX_PATH], state[ATTFIX_PATH + 16], log_dir[ATTFIX_PATH + 32];
static struct agent_opts opts;
static struct notes ring;

static int setup(void **unused)
{
	(void)unused;
	attfix_dir(dir);
	(void)snprintf(state, sizeof(state), "%s/state", dir);
	(void)snprintf(log_dir, sizeof(log_dir), "%s/attest", state);
	opts = (struct agent_opts){.state_dir = state, .timeout_ns = UINT64_C(200000000)};
	memset(&ring, 0, sizeof(ring));
	return notes_init(&ring);
}

static int teardown(void **unused)
{
	(void)unused;
	attfix_remove(dir);
	return 0;
}

static struct journal *open_journal(void)
{
	struct journal *j = NULL;
	struct xerr err = {0};

	assert_int_equal(journal_open(&j, state, &err), 0);
	return j;
}

static void queue(enum att_act act)
{
	struct att_statement *s = attfix_action(act);
	struct journal *j = open_journal();
	struct xerr err = {0};

	assert_int_equal(record_queue(j, s, &err), 0);
	journal_close(j);
	free(s);
}

static void flush(void)
{
	struct xerr err = {0};

	if (record_flush(&opts, &err))
		fail_msg("%s", err.text);
}

static void in_order(void **unused)
{
	(void)unused;
	queue(ATT_APPLY);
	queue(ATT_REVERT);
	queue(ATT_GUARD_ON);
	flush();
	flush();
	assert_int_equal(reclog_size(log_dir), 3);
	reclog_expect(log_dir, 0, ATT_APPLY, ATT_DONE, "");
	reclog_expect(log_dir, 1, ATT_REVERT, ATT_DONE, "");
	reclog_expect(log_dir, 2, ATT_GUARD_ON, ATT_DONE, "");
}

/* Two that say the same are two. */
static void the_same_twice(void **unused)
{
	(void)unused;
	queue(ATT_GUARD_ON);
	queue(ATT_GUARD_ON);
	flush();
	assert_int_equal(reclog_size(log_dir), 2);
}

static void once_whoever_dies(void **unused)
{
	static const char *const faults[] = {
		"record_begun", "log_written",	 "log_synced",	"rec_logged", "rec_measured",
		"rec_extended", "record_logged", "log_partial", "log_signed", "log_published"};

	(void)unused;
	for (size_t i = 0; i < XO_ARRAY_SIZE(faults); i++) {
		char armed[64];
		int status;
		pid_t pid;

		queue(ATT_GUARD_ON);
		queue(ATT_GUARD_ON);
		pid = fork();
		if (!pid) {
			(void)snprintf(armed, sizeof(armed), "%s=kill", faults[i]);
			setenv("EXOPATCH_FAULT", armed, 1);
			flush();
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
			fail_msg("%s was not passed", faults[i]);
		flush();
		assert_int_equal(reclog_size(log_dir), 2 * (i + 1));
	}
}

/* What was begun to change and not said is undone, together. */
static void change_and_statement_are_one(void **unused)
{
	struct att_statement *s = attfix_action(ATT_APPLY);
	struct journal *j = open_journal();
	struct xerr err = {0};
	uint64_t nr = 7;

	(void)unused;
	assert_int_equal(journal_begin(j, &err), 0);
	assert_int_equal(record_queue(j, s, &err), 0);
	journal_undo(j);
	assert_int_equal(journal_queue_length(j, &nr, &err), 0);
	assert_int_equal(nr, 0);
	assert_int_equal(journal_begin(j, &err), 0);
	assert_int_equal(record_queue(j, s, &err), 0);
	assert_int_equal(journal_commit(j, &err), 0);
	assert_int_equal(journal_queue_length(j, &nr, &err), 0);
	assert_int_equal(nr, 1);
	journal_close(j);
	free(s);
}

static void nonsense_is_not_recorded(void **unused)
{
	struct journal *j = open_journal();
	struct xerr err = {0};

	(void)unused;
	assert_int_equal(journal_queue(j, SPAN("{}", 2), &err), 0);
	journal_close(j);
	assert_int_equal(record_flush(&opts, &err), -XO_ESTATE);
	assert_int_equal(reclog_size(log_dir), 0);
}

static void in_use(void **unused)
{
	struct att_recorder *r;
	struct xerr err = {0};
	uint64_t start;

	(void)unused;
	queue(ATT_APPLY);
	r = attfix_open(log_dir, NULL);
	start = xo_now_ns();
	assert_int_equal(record_ready(&opts, &err), -XO_ELOCKED);
	assert_true(xo_now_ns() - start >= opts.timeout_ns / 2);
	att_recorder_close(r);
	flush();
	assert_int_equal(reclog_size(log_dir), 1);
}

/* A journal from before there were statements. */
static void an_older_journal(void **unused)
{
	struct journal *j = open_journal();
	char path[ATTFIX_PATH + 32];
	sqlite3 *db;

	(void)unused;
	journal_close(j);
	(void)snprintf(path, sizeof(path), "%s/journal.db", state);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db,
				      "DROP TABLE statement; DROP TABLE noted; DROP TABLE signal;"
				      "ALTER TABLE patch DROP COLUMN advisories;"
				      "ALTER TABLE patch DROP COLUMN policy_sha256;"
				      "ALTER TABLE patch DROP COLUMN decision_sha256;"
				      "PRAGMA user_version = 2;",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(db);
	queue(ATT_APPLY);
	flush();
	assert_int_equal(reclog_size(log_dir), 1);
}

/* ---- notes ---- */

static void note(enum note_kind kind, const char *what, bool undone)
{
	struct note n = {.kind = kind,
			 .undone = undone,
			 .time_s = ATTFIX_NOW_S,
			 .vm_key = VM_KEY,
			 .build_id = "3b43fad5034874490492495d552c0af6a5fab235",
			 .release = "6.1.0-56-cloud-amd64",
			 .kernel_base = {0xffffffff81000000},
			 .boot_token = 5};

	(void)snprintf(n.what, sizeof(n.what), "%s", what);
	notes_put(&ring, &n);
}

static void say(bool hurry)
{
	struct xerr err = {0};

	if (record_notes(&opts, &ring, hurry, NULL, &err))
		fail_msg("%s", err.text);
	flush();
}

static void notes_become_statements(void **unused)
{
	_cleanup_free_ struct att_statement *bad = NULL;

	(void)unused;
	note(NOTE_ON, "", false);
	note(NOTE_VIOLATION, "a", true);
	note(NOTE_VIOLATION, "b", true);
	note(NOTE_VIOLATION, "a", true);
	note(NOTE_OFF, "", false);
	say(false);
	say(true);
	assert_int_equal(reclog_size(log_dir), 3);
	reclog_expect(log_dir, 0, ATT_GUARD_ON, ATT_DONE, "");
	reclog_expect(log_dir, 1, ATT_VIOLATION, ATT_REFUSED, "violation");
	reclog_expect(log_dir, 2, ATT_GUARD_OFF, ATT_DONE, "");
	bad = reclog_statement(log_dir, 1);
	assert_int_equal(bad->action.nr_reasons, 2);
	assert_string_equal(bad->action.reason[0].detail, "2 times: a");
	assert_string_equal(bad->action.reason[1].detail, "b");
}

/* Violations wait for others of their kind; who stands among them does not. */
static void violations_are_put_together(void **unused)
{
	struct xerr err = {0};

	(void)unused;
	note(NOTE_VIOLATION, "a", false);
	assert_int_equal(record_notes(&opts, &ring, false, NULL, &err), 0);
	assert_int_equal(ring.taken, 0);
	note(NOTE_OFF, "why", false);
	say(false);
	assert_int_equal(ring.taken, 2);
	reclog_expect(log_dir, 0, ATT_VIOLATION, ATT_FAILED, "violation");
	reclog_expect(log_dir, 1, ATT_GUARD_OFF, ATT_DONE, "guard-off");
}

/* More than there is room for: counted, once; and the guard's end still has room. */
static void a_flood(void **unused)
{
	_cleanup_free_ struct att_statement *bad = NULL;
	unsigned long long more = 0, times = 0;
	const struct att_action *a;
	char what[16];

	(void)unused;
	for (int i = 0; i < 1000; i++) {
		(void)snprintf(what, sizeof(what), "%d", i % 40);
		note(NOTE_VIOLATION, what, true);
	}
	note(NOTE_OFF, "", false);
	say(false);
	assert_int_equal(reclog_size(log_dir), 2);
	bad = reclog_statement(log_dir, 0);
	a = &bad->action;
	assert_int_equal(a->nr_reasons, ATT_MAX_REASONS);
	for (size_t i = 0; i + 1 < a->nr_reasons; i++)
		times += strtoull(a->reason[i].detail, NULL, 10);
	assert_int_equal(sscanf(a->reason[ATT_MAX_REASONS - 1].detail, "%llu more", &more), 1);
	assert_int_equal(times + more, 1000);
	note(NOTE_VIOLATION, "one", true);
	say(true);
	reclog_expect(log_dir, -1, ATT_VIOLATION, ATT_REFUSED, "violation");
}

/* Dead between the journal and the ring: the journal is right. */
static void said_already(void **unused)
{
	(void)unused;
	note(NOTE_ON, "", false);
	say(false);
	ring.taken = 0;
	say(true);
	note(NOTE_OFF, "", false);
	ring.taken = 0;
	say(true);
	assert_int_equal(reclog_size(log_dir), 2);
	assert_int_equal(ring.taken, 2);
}

/* What was not protected for a while: off and on again, whatever stands between. */
static void lapses(void **unused)
{
	_cleanup_free_ struct att_statement *s = NULL;

	(void)unused;
	note(NOTE_LOST, "protection-lost: pages", true);
	note(NOTE_VIOLATION, "a", true);
	note(NOTE_LOST, "protection-lost: pages", true);
	say(false);
	assert_int_equal(reclog_size(log_dir), 0);
	say(true);
	assert_int_equal(reclog_size(log_dir), 3);
	reclog_expect(log_dir, 0, ATT_VIOLATION, ATT_REFUSED, "violation");
	reclog_expect(log_dir, 1, ATT_GUARD_OFF, ATT_FAILED, "guard-off");
	reclog_expect(log_dir, 2, ATT_GUARD_ON, ATT_DONE, "");
	s = reclog_statement(log_dir, 1);
	assert_string_equal(s->action.reason[0].detail, "2 times: protection-lost: pages");
	/* Not at once: first the one, then the other. */
	note(NOTE_LOST, "audit-failed: why", false);
	say(true);
	note(NOTE_LOST, "", true);
	say(true);
	assert_int_equal(reclog_size(log_dir), 5);
	reclog_expect(log_dir, 3, ATT_GUARD_OFF, ATT_FAILED, "guard-off");
	reclog_expect(log_dir, 4, ATT_GUARD_ON, ATT_DONE, "");
}

/* They do not fill the ring. */
static void many_lapses(void **unused)
{
	(void)unused;
	for (int i = 0; i < 300; i++) {
		note(NOTE_LOST, "not-armed: why", false);
		say(false);
	}
	assert_in_range(reclog_size(log_dir), 1, 5);
}

/* What waited in the ring, however long, is not said to have ended before what was said meanwhile.
 */
static void a_note_that_waited(void **unused)
{
	_cleanup_free_ struct att_statement *s = NULL;
	int64_t now_s = (int64_t)time(NULL);

	(void)unused;
	note(NOTE_VIOLATION, "a", true);
	say(true);
	s = reclog_statement(log_dir, 0);
	assert_int_equal(s->started_s, ATTFIX_NOW_S);
	assert_in_range(s->finished_s, now_s, now_s + 60);
}

/* ---- names ---- */

static void names_of_machines(void **unused)
{
	char a[37], b[37];
	uint8_t one[XO_SHA256_BYTES], two[XO_SHA256_BYTES];

	(void)unused;
	assert_int_equal(record_machine("uuid:5F2C1D5E-8a51-4a7e-9f5e-0d2f6a1b3c4d", a), 0);
	assert_string_equal(a, ATTFIX_UUID);
	assert_int_equal(record_machine("process:1:2", a), 0);
	assert_int_equal(record_machine("process:1:3", b), 0);
	assert_string_not_equal(a, b);
	assert_int_equal(a[14], '8');
	assert_non_null(strchr("89ab", a[19]));
	assert_int_equal(record_boot(a, "ab", (struct gva){1}, 1, one), 0);
	assert_int_equal(record_boot(a, "ab", (struct gva){1}, 2, two), 0);
	assert_memory_not_equal(one, two, sizeof(one));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(in_order),
		TEST(the_same_twice),
		TEST(once_whoever_dies),
		TEST(change_and_statement_are_one),
		TEST(nonsense_is_not_recorded),
		TEST(in_use),
		TEST(an_older_journal),
		TEST(notes_become_statements),
		TEST(violations_are_put_together),
		TEST(a_flood),
		TEST(said_already),
		TEST(lapses),
		TEST(many_lapses),
		TEST(a_note_that_waited),
		TEST(names_of_machines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
