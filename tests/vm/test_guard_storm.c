// SPDX-License-Identifier: Apache-2.0
/*
 * A guest that makes events all the time: all are counted, few are written, memory and processor
 * time stay bounded, another VM is served as well as ever, and a file that takes nothing stalls
 * nobody. ROUNDS in the environment: how often (200).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/util.h"
#include "tests/lib/guardrun.h"
#include "tests/lib/patching.h"

#define ROUNDS_DEFAULT	200
#define ROUND_MS	1000 /* far more than one takes */
#define PATIENT_MS	20000 /* also the longest pause between two summaries in such a short storm */
#define WARM_NS		UINT64_C(2500000000)
#define MAX_GROWTH_KIB	4096
#define MAX_LINES_PER_S 150
#define FIND_ATTACK	"a=$(/attacks/load -n text_vmap_alias)" /* takes longer than the attack */
#define ATTACK		"$a; rmmod text_vmap_alias"
#define SCHEDSTATS	"/proc/sys/kernel/sched_schedstats"
#define TOGGLE		"echo 1 >" SCHEDSTATS "; echo 0 >" SCHEDSTATS
#define TURNS		7
#define OTHER_TOGGLES	3
#define MAX_WORSE	3.0

static struct guest *g;
static struct guardrun *guard;
static unsigned int rounds;

static int boot(void **state)
{
	(void)state;
	return guest_boot(&g, &(struct guest_opts){.package = GUEST_6_1, .vcpus = 1});
}

static int end(void **state)
{
	(void)state;
	guardrun_drop(guard);
	guard = NULL;
	guest_free(g);
	g = NULL;
	return 0;
}

/* A number of /proc/PID/status, in KiB. */
static long status_kib(pid_t pid, const char *field)
{
	char path[64], line[256];
	_cleanup_fclose_ FILE *f = NULL;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, field, strlen(field)))
			return strtol(line + strlen(field), NULL, 10);
	return -1;
}

/* Processor time used so far, in seconds. */
static double cpu_s(pid_t pid)
{
	char path[64], line[1024] = "";
	_cleanup_fclose_ FILE *f = NULL;
	unsigned long user = 0, system = 0;
	char *paren;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	paren = strrchr(line, ')');
	assert_non_null(paren);
	assert_int_equal(sscanf(paren, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
				&user, &system),
			 2);
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static const char *const processes[] = {"supervisor_pid", "guard_pid", "monitor_pid", "lens_pid"};
#define NR_PROCESSES XO_ARRAY_SIZE(processes)

struct usage {
	double cpu_s;
	long kib[NR_PROCESSES];
};

static void take_usage(struct usage *ret)
{
	json_t *status = guardrun_status(guard);

	assert_non_null(status);
	*ret = (struct usage){0};
	for (size_t i = 0; i < NR_PROCESSES; i++) {
		pid_t pid = (pid_t)json_integer_value(json_object_get(status, processes[i]));

		ret->cpu_s += cpu_s(pid);
		ret->kib[i] = status_kib(pid, "RssAnon:");
	}
	json_decref(status);
}

/* What events of @kind stand for, those said together included; the guard has ended. */
static json_int_t tally(const char *kind, unsigned int *lines)
{
	json_int_t sum = 0;
	json_t *event;

	while ((event = guardrun_next(guard, 0))) {
		const json_t *repeated = json_object_get(event, "repeated");

		(*lines)++;
		if (!strcmp(guardrun_says(event, "kind"), kind))
			sum += repeated ? json_integer_value(repeated) : 1;
		json_decref(event);
	}
	return sum;
}

/* @command in the guest, @rounds times; then all that came of it must have been counted. */
static void storm(const char *prepare, const char *command, const char *kind, const char *counter)
{
	struct usage before, after;
	char line[256];
	uint64_t start_ns;
	unsigned int lines = 0;
	json_int_t count;
	double s;

	guard = guardrun_start(g, "enforce", NULL);
	assert_non_null(guard);
	snprintf(line, sizeof(line), "%s; %s", prepare, command);
	assert_int_equal(guest_run(g, line, 0, NULL, NULL), 0);
	xo_sleep_ns(WARM_NS); /* some audits: what they need is allocated */
	take_usage(&before);
	start_ns = xo_now_ns();
	snprintf(line, sizeof(line),
		 "%s; n=0; while [ $n -lt %u ]; do { %s; } >/dev/null 2>&1; n=$((n + 1)); done",
		 prepare, rounds, command);
	assert_int_equal(guest_run(g, line, rounds * ROUND_MS, NULL, NULL), 0);
	s = (double)(xo_now_ns() - start_ns) / 1e9;
	take_usage(&after);
	count = guardrun_number(guard, counter);
	assert_true(count >= (json_int_t)rounds);
	assert_int_equal(guardrun_number(guard, "lost_events"), 0);
	assert_true(exo_done(g, "guard", "stop"));
	assert_int_equal(guardrun_wait(guard, PATIENT_MS), 0);
	assert_int_equal(tally(kind, &lines), count);
	print_message("%u rounds in %.1f s: %lld writes, %u lines, %.2f of a processor\n", rounds,
		      s, (long long)count, lines, (after.cpu_s - before.cpu_s) / s);
	for (size_t i = 0; i < NR_PROCESSES; i++) {
		print_message("%s: from %ld to %ld KiB\n", processes[i], before.kib[i],
			      after.kib[i]);
		assert_true(after.kib[i] - before.kib[i] < MAX_GROWTH_KIB);
	}
	/* While the guard works its vCPU waits: it takes no more than its VM is given anyway. */
	assert_true((after.cpu_s - before.cpu_s) / s < 1.5);
	assert_true(lines < 1000 + MAX_LINES_PER_S * s);
	assert_int_equal(guardrun_missing(guard), 0);
	assert_true(guest_dmesg_clean(g));
}

static void static_key(void **state)
{
	(void)state;
	storm(":", TOGGLE, "jump label", "kept");
}

static void rootkit(void **state)
{
	(void)state;
	storm(FIND_ATTACK, ATTACK, "violation", "violations");
}

/* ---- beside another VM ---- */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, size_t nr)
{
	qsort(v, nr, sizeof(v[0]), by_value);
	return v[nr / 2];
}

/* What the other VM's guard takes for a write, in microseconds, while the first VM does @work all
 * the time. */
static double held_beside(const char *work, struct guest *other, struct guardrun *its_guard)
{
	static double held[1024];
	char line[256];
	size_t nr = 0;
	json_t *event;

	snprintf(line, sizeof(line),
		 "rm -f /tmp/stop; (until [ -e /tmp/stop ]; do %s; done) >/dev/null 2>&1 &", work);
	assert_int_equal(guest_run(g, line, 0, NULL, NULL), 0);
	for (int i = 0; i < OTHER_TOGGLES; i++)
		assert_int_equal(guest_run(other, TOGGLE, PATIENT_MS, NULL, NULL), 0);
	assert_int_equal(guest_run(g, "touch /tmp/stop", PATIENT_MS, NULL, NULL), 0);
	while ((event = guardrun_next(its_guard, 0))) {
		const json_t *us = json_object_get(event, "held_us");

		if (us && nr < XO_ARRAY_SIZE(held))
			held[nr++] = json_number_value(us);
		json_decref(event);
	}
	assert_true(nr > 0);
	return median(held, nr);
}

/*
 * A VM whose guard has work all the time is to the others a VM that computes all the time: while
 * its guard works, its vCPU waits. So a storm may cost another VM's writes what mere computing
 * costs them, and little more. Both by turns, and compared within a turn, since this host has other
 * things to do, too.
 */
static void starves_nobody(void **state)
{
	const struct guest_opts opts = {.package = GUEST_6_1, .vcpus = 1, .name = "other"};
	double idle[TURNS], computing[TURNS], storming[TURNS], worse[TURNS];
	_cleanup_guest_ struct guest *other = NULL;
	struct guardrun *its_guard;

	(void)state;
	assert_int_equal(guest_boot(&other, &opts), 0);
	its_guard = guardrun_start(other, "enforce", NULL);
	guard = guardrun_start(g, "enforce", NULL);
	assert_true(guard && its_guard);
	for (size_t i = 0; i < TURNS; i++) {
		idle[i] = held_beside("usleep 100000", other, its_guard);
		computing[i] = held_beside(":", other, its_guard);
		storming[i] = held_beside(TOGGLE, other, its_guard);
		worse[i] = storming[i] / (computing[i] > idle[i] ? computing[i] : idle[i]);
	}
	print_message("another VM's writes: %.0f us beside an idle VM, %.0f us beside one that "
		      "computes, %.0f us beside a storm; %lld writes in the storm\n",
		      median(idle, TURNS), median(computing, TURNS), median(storming, TURNS),
		      (long long)guardrun_number(guard, "kept"));
	assert_true(median(worse, TURNS) < MAX_WORSE);
	assert_int_equal(guardrun_number(its_guard, "violations"), 0);
	assert_int_equal(guardrun_number(its_guard, "lost_events"), 0);
	assert_int_equal(guardrun_stop(its_guard), 0);
	assert_int_equal(guardrun_stop(guard), 0);
	guard = NULL;
	assert_true(guest_dmesg_clean(g));
	assert_true(guest_dmesg_clean(other));
}

/* ---- files that take nothing ---- */

static pid_t spawn_guard(const char *events)
{
	char exopatch[256], state[160];
	const char *const argv[] = {run_build_path("exopatch", exopatch, sizeof(exopatch)),
				    "guard",
				    "--qmp",
				    guest_qmp_path(g),
				    state,
				    "--events",
				    events,
				    NULL};

	snprintf(state, sizeof(state), "--state=%s/state", patching_dir());
	return proc_spawn(argv, NULL, -1, -1, NULL);
}

static json_int_t ask(const char *key)
{
	for (int i = 0; i < PATIENT_MS / 100; i++) {
		_cleanup_exo_ struct exo e = {0};

		assert_int_equal(EXO(&e, g, "guard", "status"), 0);
		if (!e.rc)
			return json_integer_value(
				json_object_get(json_object_get(e.doc, "guard"), key));
		xo_sleep_ns(100000000);
	}
	return -1;
}

static void end_guard(pid_t pid)
{
	int status;

	assert_true(exo_done(g, "guard", "stop"));
	status = proc_reap(pid, PATIENT_MS);
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
}

static void attack_with(const char *events, pid_t *ret)
{
	uint64_t start_ns;

	*ret = spawn_guard(events);
	assert_true(*ret > 0);
	assert_int_equal(ask("violations"), 0);
	start_ns = xo_now_ns();
	for (int i = 0; i < 3; i++)
		assert_int_equal(guest_run(g, FIND_ATTACK "; " ATTACK, 0, NULL, NULL), 0);
	print_message("%s: three attacks take %.0f ms\n", events,
		      (double)(xo_now_ns() - start_ns) / 1e6);
	assert_true(ask("violations") > 0);
	assert_true(ask("events_waiting_bytes") > 0);
}

static void full_disk(void **state)
{
	pid_t pid;

	(void)state;
	attack_with("/dev/full", &pid);
	end_guard(pid);
}

static void fifo_that_nobody_reads(void **state)
{
	char path[192], line[65536];
	_cleanup_fclose_ FILE *f = NULL;
	json_int_t seq = 0;
	pid_t pid;
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s/fifo", patching_dir());
	assert_int_equal(mkfifo(path, 0600), 0);
	attack_with(path, &pid);
	/* Whoever comes late gets all of it. */
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	f = fdopen(fd, "r");
	assert_non_null(f);
	end_guard(pid);
	while (fgets(line, sizeof(line), f)) {
		json_t *event = json_loads(line, JSON_REJECT_DUPLICATES, NULL);

		assert_non_null(event);
		assert_int_equal(json_integer_value(json_object_get(event, "seq")), ++seq);
		json_decref(event);
	}
	assert_true(seq > 6);
}

static int setup(void **state)
{
	const char *text = getenv("ROUNDS");

	(void)state;
	rounds = text ? (unsigned int)strtoul(text, NULL, 10) : ROUNDS_DEFAULT;
	return patching_setup();
}

static int teardown(void **state)
{
	(void)state;
	patching_teardown();
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(static_key, boot, end),
		cmocka_unit_test_setup_teardown(rootkit, boot, end),
		cmocka_unit_test_setup_teardown(starves_nobody, boot, end),
		cmocka_unit_test_setup_teardown(full_disk, boot, end),
		cmocka_unit_test_setup_teardown(fifo_that_nobody_reads, boot, end),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, setup, teardown);
}
