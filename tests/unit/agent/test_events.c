// SPDX-License-Identifier: Apache-2.0
/* Events: numbered, counted where they repeat, kept where the file does not take them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/util.h"
#include "vmm-agent/agent/events.h"

#define S UINT64_C(1000000000)

static char dir[64], path[96];
static struct events_kept *kept;

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/exopatch-events.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/events", dir);
	kept = calloc(1, sizeof(*kept));
	return kept ? 0 : -1;
}

static int teardown(void **state)
{
	char old[128];

	(void)state;
	snprintf(old, sizeof(old), "%s.1", path);
	unlink(path);
	unlink(old);
	rmdir(dir);
	free(kept);
	return 0;
}

/* ---- the spool ---- */

static void lines_come_out_as_they_went_in(void **state)
{
	char line[1000], expected[1000], got[1000];
	struct spool *s = &kept->spool;
	uint64_t in = 0, out = 0;

	(void)state;
	/* Many times around the ring, three lines at a time, taken out in pieces. */
	for (int round = 0; round < 2000; round++) {
		for (int i = 0; i < 3; i++, in++) {
			int n = snprintf(line, sizeof(line), "%llu:%0*d\n", (unsigned long long)in,
					 (int)(in % 900), 7);

			assert_int_equal(spool_seq(s), in + 1);
			assert_true(spool_put(s, line, (size_t)n));
		}
		for (int i = 0; i < 3; i++, out++) {
			size_t len = 0, part;
			const char *p;

			while (!len || got[len - 1] != '\n') {
				part = spool_first(s, &p);
				assert_true(part > 0);
				part = part > 300 ? 300 : part;
				memcpy(got + len, p, part);
				spool_sent(s, part);
				len += part;
			}
			got[len] = '\0';
			snprintf(expected, sizeof(expected), "%llu:%0*d\n", (unsigned long long)out,
				 (int)(out % 900), 7);
			assert_string_equal(got, expected);
		}
	}
	assert_int_equal(spool_waiting(s), 0);
}

static void what_finds_no_room_is_counted(void **state)
{
	static char line[1024];
	struct spool *s = &kept->spool;
	const char *p;

	(void)state;
	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	for (size_t i = 0; i < SPOOL_BYTES / sizeof(line); i++)
		assert_true(spool_put(s, line, sizeof(line)));
	assert_false(spool_put(s, line, sizeof(line)));
	assert_int_equal(spool_lost(s), 1);
	assert_int_equal(spool_seq(s), SPOOL_BYTES / sizeof(line) + 2);
	assert_int_equal(spool_first(s, &p), sizeof(line));
	spool_sent(s, sizeof(line));
	assert_true(spool_put(s, line, sizeof(line)));
}

static void a_line_that_was_torn_is_written_again(void **state)
{
	struct spool *s = &kept->spool;
	const char *p;

	(void)state;
	assert_true(spool_put(s, "abcdef\n", 7));
	assert_false(spool_again(s));
	spool_sent(s, 3);
	assert_int_equal(spool_first(s, &p), 4);
	assert_true(spool_again(s));
	assert_int_equal(spool_first(s, &p), 7);
}

/* ---- what repeats ---- */

static bool take(const char *kind, int gpa, int held, uint64_t now_ns)
{
	json_t *o = json_pack("{s:i,s:i}", "gpa", gpa, "held_us", held);
	bool said = fold_take(&kept->fold, kind, "put-back", o, now_ns);

	json_decref(o);
	return said;
}

static void the_same_again_is_counted(void **state)
{
	json_t *o;

	(void)state;
	for (int i = 0; i < FOLD_SAID; i++)
		assert_true(take("violation", 1, 10, S));
	for (int i = 0; i < 1000; i++)
		assert_false(take("violation", 1, i, S + 1));
	assert_true(take("violation", 2, 10, S));
	assert_true(take("jump-label", 1, 10, S));
	assert_null(fold_due(&kept->fold, S + S / 2, false));
	o = fold_due(&kept->fold, 2 * S, false);
	assert_int_equal(json_integer_value(json_object_get(o, "repeated")), 1000);
	assert_int_equal(json_integer_value(json_object_get(o, "gpa")), 1);
	assert_null(json_object_get(o, "held_us"));
	assert_string_equal(json_string_value(json_object_get(o, "verdict")), "put-back");
	json_decref(o);
	assert_null(fold_due(&kept->fold, 2 * S, false));
	/* It goes on, so the next summary takes longer. */
	for (int i = 0; i < FOLD_SAID + 1; i++)
		(void)take("violation", 1, 1, 2 * S);
	assert_null(fold_due(&kept->fold, 3 * S, false));
	o = fold_due(&kept->fold, 4 * S, false);
	assert_int_equal(json_integer_value(json_object_get(o, "repeated")), 1);
	json_decref(o);
	/* It has ended. */
	assert_null(fold_due(&kept->fold, 9 * S, false));
	assert_int_equal(kept->fold.entry[0].key, 0);
}

static void too_many_kinds_of_things_are_counted_by_kind(void **state)
{
	json_int_t said = 0, counted = 0;
	uint64_t now = S;
	json_t *o;

	(void)state;
	for (int i = 0; i < 100000; i++, now += S / 10000)
		said += take(i % 2 ? "violation" : "jump-label", i, 0, now);
	assert_true(said >= FOLD_BURST && said <= FOLD_BURST + 11 * FOLD_PER_S);
	while ((o = fold_due(&kept->fold, now, true))) {
		counted += json_integer_value(json_object_get(o, "repeated"));
		json_decref(o);
	}
	assert_int_equal(said + counted, 100000);
	/* They do not silence what is of another kind of verdict. */
	(void)take("violation", 200001, 0, now);
	assert_false(take("violation", 200002, 0, now));
	assert_true(fold_take(&kept->fold, "jump-label", "kept", NULL, now));
}

/* ---- the file ---- */

static struct events *open_events(const char *name, uint64_t limit)
{
	struct events *e = NULL;
	struct xerr err = {0};

	if (events_open(&e, name, limit, "vm", kept, &err))
		fail_msg("%s", err.text);
	return e;
}

/* Numbers of the lines of @name, which must follow each other from @first on. Return: the last */
static json_int_t numbers(const char *name, json_int_t first)
{
	_cleanup_fclose_ FILE *f = fopen(name, "re");
	char line[4096];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		json_t *o = json_loads(line, JSON_REJECT_DUPLICATES, NULL);

		assert_non_null(o);
		assert_int_equal(json_integer_value(json_object_get(o, "seq")), first++);
		assert_string_equal(json_string_value(json_object_get(o, "vm")), "vm");
		json_decref(o);
	}
	return first - 1;
}

static void numbers_go_on_with_the_next_guard(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct events *e = open_events(path, 0);

		events_emit(e, "guard-on", NULL, NULL);
		events_emit(e, "violation", "put-back", json_pack("{s:i}", "gpa", i));
		events_close(e);
	}
	assert_int_equal(numbers(path, 1), 6);
}

static void a_half_line_is_ended(void **state)
{
	struct events *e;
	FILE *f = fopen(path, "we");

	(void)state;
	assert_non_null(f);
	fputs("{\"torn\":", f);
	fclose(f);
	e = open_events(path, 0);
	events_emit(e, "guard-on", NULL, NULL);
	events_close(e);
	f = fopen(path, "re");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "{\"torn\":\n{\"time%*s"), 0);
	fclose(f);
}

static void a_long_file_is_begun_anew(void **state)
{
	struct events *e = open_events(path, 1000);
	json_int_t last;
	struct stat st;
	char old[128];

	(void)state;
	for (int i = 0; i < 13; i++)
		events_emit(e, "guard-on", NULL, json_pack("{s:s}", "padding", "0123456789"));
	events_close(e);
	snprintf(old, sizeof(old), "%s.1", path);
	assert_int_equal(stat(old, &st), 0);
	assert_true(st.st_size >= 1000 && st.st_size < 1300);
	last = numbers(old, 1);
	assert_int_equal(numbers(path, last + 1), 13);
}

static void a_full_disk_keeps_nobody(void **state)
{
	struct events *e = open_events("/dev/full", 0);
	struct events_stats stats;
	clock_t start = clock();

	(void)state;
	for (int i = 0; i < 10000; i++)
		events_emit(e, "guard-on", NULL, NULL);
	assert_true(clock() - start < 2 * CLOCKS_PER_SEC);
	events_stats(e, &stats);
	assert_int_equal(stats.seq, 10000);
	assert_true(stats.lost > 0);
	assert_true(stats.waiting_bytes > 0 && stats.waiting_bytes <= SPOOL_BYTES);
	events_close(e);
}

/* The reader gets what was made before it came, and is told what it did not get. */
static void a_fifo_that_is_read_late(void **state)
{
	struct events_stats stats;
	char line[4096] = "";
	struct events *e;
	json_int_t missing = 0, seq = 0;
	bool told = false;
	FILE *f;
	int fd;

	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	e = open_events(path, 0);
	for (int i = 0; i < 10000; i++)
		events_emit(e, "guard-on", NULL, NULL);
	events_stats(e, &stats);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(fd >= 0);
	f = fdopen(fd, "r");
	assert_non_null(f);
	xo_sleep_ns(S + S / 10); /* it is tried once a second */
	for (int i = 0; i < 1000 && !told; i++) {
		events_tick(e);
		while (fgets(line, sizeof(line), f)) {
			json_t *o = json_loads(line, 0, NULL);
			json_int_t n = json_integer_value(json_object_get(o, "seq"));

			missing += n - seq - 1;
			seq = n;
			told |= !strcmp(json_string_value(json_object_get(o, "kind")),
					"events-lost");
			json_decref(o);
		}
		clearerr(f);
	}
	assert_true(told);
	assert_int_equal(missing, stats.lost);
	events_close(e);
	fclose(f);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(lines_come_out_as_they_went_in),
		CASE(what_finds_no_room_is_counted),
		CASE(a_line_that_was_torn_is_written_again),
		CASE(the_same_again_is_counted),
		CASE(too_many_kinds_of_things_are_counted_by_kind),
		CASE(numbers_go_on_with_the_next_guard),
		CASE(a_half_line_is_ended),
		CASE(a_long_file_is_begun_anew),
		CASE(a_full_disk_keeps_nobody),
		CASE(a_fifo_that_is_read_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
