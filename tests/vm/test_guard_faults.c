// SPDX-License-Identifier: Apache-2.0
/*
 * The guard's processes are killed, at rest and amid what they do: writers wait, nothing that is
 * refused gets through, the guard comes back by itself, and every event has its number.
 * docs/guard.md, "Who dies, and what follows".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#include "base/fault.h"
#include "base/util.h"
#include "tests/lib/guardrun.h"
#include "tests/lib/patching.h"

#define BACK_MS                                                                                    \
	100 /* what a guard may take to come back, where nobody else needs the processor           \
	     */
#define PATIENT_MS 15000 /* ... and where others do */
#define PAUSE_MS   80	 /* at a fault point, in each of the attack's stores */
#define LATE_MS	   1000
#define LATE_NS	   UINT64_C(30000000000) /* until it says so */
#define ATTACK	   "/attacks/load text_vmap_alias; rmmod text_vmap_alias"

/* status 0: the attack had no effect */
#define UNHARMED "cat /proc/execdomains >/dev/null"

static struct guest *g, *other;
static struct guardrun *guard;
static char cmdline[256];

static void begin(const char *const env[])
{
	if (!g)
		assert_int_equal(
			guest_boot(&g, &(struct guest_opts){.package = GUEST_6_1, .vcpus = 1}), 0);
	guard = guardrun_start_with(g, "enforce", NULL, env);
	assert_non_null(guard);
}

static int end(void **state)
{
	(void)state;
	guardrun_drop(guard);
	guard = NULL;
	guest_free(g);
	g = NULL;
	guest_free(other);
	other = NULL;
	return 0;
}

static void stop(void)
{
	struct guardrun *r = guard;

	guard = NULL;
	assert_int_equal(guardrun_stop(r), 0);
}

static void finish(void)
{
	assert_int_equal(guardrun_missing(guard), 0);
	stop();
	assert_true(guest_dmesg_clean(g));
}

static uint64_t real_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

static pid_t pid_of(const char *who)
{
	char key[32];
	json_int_t pid;

	snprintf(key, sizeof(key), "%s_pid", who);
	pid = guardrun_number(guard, key);
	assert_true(pid > 1);
	return (pid_t)pid;
}

/* Kill it. Return: milliseconds until the event that says so much is mended */
static double kill_one(pid_t pid, const char *event_kind)
{
	uint64_t start_ns = real_now_ns();
	json_t *event;
	double ms;

	assert_int_equal(kill(pid, SIGKILL), 0);
	event = guardrun_find(guard, event_kind, PATIENT_MS);
	assert_non_null(event);
	ms = (double)(guardrun_time_ns(event) - start_ns) / 1e6;
	json_decref(event);
	return ms;
}

/* It guards: an attack is refused, and said. */
static void guards(void)
{
	assert_int_equal(guest_run(g, ATTACK, 0, NULL, NULL), 0);
	assert_true(guardrun_saw(guard, "violation", PATIENT_MS));
	assert_int_equal(guest_run(g, UNHARMED, 0, NULL, NULL), 0);
}

/* How long it takes just now to attach to a VM and find its kernel: one that stands still, beside
 * the guarded one. */
static double look_ms(void)
{
	_cleanup_exo_ struct exo e = {0};
	uint64_t start_ns = xo_now_ns();

	assert_int_equal(EXO(&e, other, "inspect"), 0);
	assert_int_equal(e.rc, 0);
	return (double)(xo_now_ns() - start_ns) / 1e6;
}

static void killed_at_rest(void **state)
{
	static const char *const victims[] = {"guard", "monitor", "lens"};
	bool soon = false;

	(void)state;
	assert_int_equal(guest_boot(&other, &(struct guest_opts){.package = GUEST_6_1, .vcpus = 1}),
			 0);
	assert_int_equal(guest_pause(other), 0);
	begin(NULL);
	for (size_t i = 0; i < XO_ARRAY_SIZE(victims); i++) {
		pid_t victim = pid_of(victims[i]);
		double before = look_ms();
		double ms = kill_one(victim, "guard-restarted");
		double after = look_ms(), busy = before > after ? before : after;

		print_message("%s killed: back after %.0f ms; a look at a VM takes %.0f ms before, "
			      "%.0f ms after\n",
			      victims[i], ms, before, after);
		/* On a busy host: no longer than one look takes. */
		soon |= ms <= BACK_MS || ms <= busy;
		guards();
	}
	assert_int_equal(guardrun_number(guard, "restarts"), 3);
	assert_true(soon);
	finish();
}

static void killed_supervisors(void **state)
{
	double ms;

	(void)state;
	begin(NULL);
	for (int i = 0; i < 2; i++) {
		ms = kill_one(pid_of("supervisor"), "supervisor-restarted");
		print_message("supervisor killed: another after %.0f ms\n", ms);
		guards();
		/* The new one does what the old one did. */
		ms = kill_one(pid_of("guard"), "guard-restarted");
		print_message("guard killed: back after %.0f ms\n", ms);
		guards();
	}
	assert_int_equal(guardrun_number(guard, "supervisor_restarts"), 2);
	assert_int_equal(guardrun_missing(guard), 0);
	/* The process that was started is no more, but "guard stop" reaches those that are. */
	assert_true(exo_done(g, "guard", "stop"));
	assert_true(guardrun_saw(guard, "guard-off", PATIENT_MS));
	assert_true(guest_dmesg_clean(g));
}

/* One process dies at one point of a mediated write. The others go on as docs/guard.md says.
 * @deaf: another one, which neither ends nor answers from then on, or NULL. Return: violations said
 */
static json_int_t killed_amid(const char *who, const char *deaf, enum fault point)
{
	char fault[64];
	const char *const env[] = {fault, NULL};
	pid_t pid, deaf_pid;
	json_int_t said;

	snprintf(fault, sizeof(fault), "EXOPATCH_FAULT=%s=pause:%d", fault_name(point), PAUSE_MS);
	begin(env);
	pid = pid_of(who);
	deaf_pid = deaf ? pid_of(deaf) : 0;
	assert_int_equal(
		guest_run(g, "(" ATTACK "; echo >/tmp/done) >/dev/null 2>&1 &", 0, NULL, NULL), 0);
	/* The first of six stores is judged; the next is under way. */
	assert_true(guardrun_saw(guard, "violation", PATIENT_MS));
	xo_sleep_ns(PAUSE_MS / 2 * UINT64_C(1000000));
	if (deaf)
		assert_int_equal(kill(deaf_pid, SIGSTOP), 0);
	print_message("%s killed at %s: back after %.0f ms\n", who, fault_name(point),
		      kill_one(pid, "guard-restarted"));
	assert_int_equal(guest_run(g, "until [ -e /tmp/done ]; do usleep 50000; done; rm /tmp/done",
				   PATIENT_MS, NULL, NULL),
			 0);
	assert_int_equal(guest_run(g, UNHARMED, 0, NULL, NULL), 0);
	said = guardrun_number(guard, "violations");
	assert_true(said > 0);
	finish();
	return said;
}

static const enum fault amid[] = {FAULT_guard_event_read, FAULT_guard_held, FAULT_guard_open_page,
				  FAULT_guard_stepped,	  FAULT_guard_shut, FAULT_guard_judged};

static void guard_killed_amid_an_event(void **state)
{
	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(amid); i++)
		(void)killed_amid("guard", NULL, amid[i]);
}

/* Each store is said, and once: also the one that a guard had judged and could not tell of. */
static void guard_killed_before_it_says_so(void **state)
{
	json_int_t want;

	(void)state;
	begin(NULL);
	guards();
	want = guardrun_number(guard, "violations");
	finish();
	assert_int_equal(killed_amid("guard", NULL, FAULT_guard_verdict_given), want);
}

/* What the monitor has open or has not told is not for the vCPUs that it lets go of as it ends. */
static void guard_killed_beside_a_deaf_monitor(void **state)
{
	(void)state;
	(void)killed_amid("guard", "monitor", FAULT_guard_open_page);
	(void)killed_amid("guard", "monitor", FAULT_guard_shut);
}

static void monitor_killed_amid_an_event(void **state)
{
	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(amid); i++)
		(void)killed_amid("monitor", NULL, amid[i]);
}

/* It judges again and again; so it dies amid that sooner or later. */
static void lens_killed_amid_events(void **state)
{
	(void)state;
	(void)killed_amid("lens", NULL, FAULT_guard_shut);
	(void)killed_amid("lens", NULL, FAULT_guard_judged);
}

/* As a debugger that lets it run. Ends when it is killed. */
static pid_t debug_thread(pid_t tid)
{
	pid_t pid = fork();
	int status;

	if (pid)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (ptrace(PTRACE_SEIZE, tid, NULL, NULL))
		_exit(1);
	while (waitpid(tid, &status, __WALL) == tid && WIFSTOPPED(status))
		(void)ptrace(PTRACE_CONT, tid, NULL,
			     (void *)(uintptr_t)(status >> 16 ? 0 : WSTOPSIG(status)));
	_exit(0);
}

static pid_t vcpu_thread(void)
{
	json_t *cpus = NULL;
	pid_t tid;

	assert_int_equal(guest_qmp(g, "query-cpus-fast", NULL, &cpus), 0);
	tid = (pid_t)json_integer_value(json_object_get(json_array_get(cpus, 0), "thread-id"));
	json_decref(cpus);
	assert_true(tid > 1);
	return tid;
}

/* Nobody can be held then: writers wait, guards do not die of it. */
static void somebody_debugs_qemu(void **state)
{
	pid_t debugger;

	(void)state;
	begin(NULL);
	debugger = debug_thread(vcpu_thread());
	xo_sleep_ns(100000000);
	assert_int_equal(waitpid(debugger, NULL, WNOHANG), 0);
	assert_int_equal(
		guest_run(g, "(" ATTACK "; echo >/tmp/done) >/dev/null 2>&1 &", 0, NULL, NULL), 0);
	assert_true(guardrun_saw(guard, "hold-failed", PATIENT_MS));
	assert_int_equal(guardrun_number(guard, "restarts"), 0);
	/* One that comes meanwhile takes over all the same. */
	(void)kill_one(pid_of("monitor"), "guard-restarted");
	xo_sleep_ns(500000000);
	assert_int_equal(guardrun_number(guard, "restarts"), 1);
	assert_int_equal(kill(debugger, SIGKILL), 0);
	assert_int_equal(waitpid(debugger, NULL, 0), debugger);
	assert_true(guardrun_saw(guard, "violation", PATIENT_MS));
	assert_int_equal(guest_run(g, "until [ -e /tmp/done ]; do usleep 50000; done; rm /tmp/done",
				   PATIENT_MS, NULL, NULL),
			 0);
	assert_int_equal(guest_run(g, UNHARMED, 0, NULL, NULL), 0);
	assert_int_equal(guardrun_number(guard, "restarts"), 1);
	finish();
}

static json_int_t protected_pages(void)
{
	json_t *status = guardrun_status(guard);
	json_int_t nr =
		json_integer_value(json_object_get(json_object_get(status, "golden"), "pages"));

	json_decref(status);
	return nr;
}

/* Text that the guest's tables make writable stays protected when another guard finds it so. */
static void writable_text_stays_protected(void **state)
{
	json_int_t before;

	(void)state;
	begin(NULL);
	before = protected_pages();
	assert_true(before > 1000);
	/* Its store is refused, the right to make it stays. */
	assert_int_equal(guest_run(g, "/attacks/load text_pte_write", 0, NULL, NULL), 0);
	assert_true(guardrun_saw(guard, "violation", PATIENT_MS));
	assert_true(kill_one(pid_of("guard"), "guard-restarted") > 0);
	guards();
	assert_true(protected_pages() >= before);
	/* With its removal it writes there once more. */
	(void)guardrun_settle(guard, 1000);
	assert_int_equal(
		guest_run(g, "rmmod text_pte_write; /attacks/load text_pte_write", 0, NULL, NULL),
		0);
	assert_true(guardrun_saw(guard, "violation", PATIENT_MS));
	assert_int_equal(guest_run(g, "cat /proc/filesystems >/dev/null", 0, NULL, NULL), 0);
	finish();
}

/* Run a command until it ends with @rc, as it must before long; or the test fails. */
static void await_rc(struct exo *e, int rc, const char *const args[])
{
	uint64_t end_ns = xo_now_ns() + PATIENT_MS * UINT64_C(1000000);

	while (!exo_run(e, g, NULL, args) && e->rc != rc && xo_now_ns() < end_ns) {
		exo_free(e);
		xo_sleep_ns(50000000);
	}
	assert_int_equal(e->rc, rc);
}

static void guard_killed_amid_apply_at(enum fault point)
{
	const char *const ask[] = {"status", NULL};
	_cleanup_exo_ struct exo e = {0}, status = {0};
	char fault[64];
	const char *const env[] = {fault, NULL};
	pid_t pid, child;

	snprintf(fault, sizeof(fault), "EXOPATCH_FAULT=%s=pause:2000", fault_name(point));
	begin(env);
	pid = pid_of("guard");
	child = fork();
	if (child == 0) {
		xo_sleep_ns(1000000000);
		kill(pid, SIGKILL);
		_exit(0);
	}
	assert_int_equal(EXO(&e, g, "apply", cmdline), 0);
	(void)waitpid(child, NULL, 0);
	assert_true(guardrun_saw(guard, "guard-restarted", PATIENT_MS));
	/* It answers when it has recovered. */
	await_rc(&status, 0, ask);
	print_message("guard killed at %s: apply says %d, the patch is %s\n", fault_name(point),
		      e.rc, exo_str(&status, "patches", "0", "state", NULL));
	assert_true(guest_is_running(g));
	if (!strcmp(exo_str(&status, "patches", "0", "state", NULL), "active"))
		assert_true(exo_done(g, "revert", "cmdline"));
	finish();
}

static void guard_killed_amid_apply(void **state)
{
	(void)state;
	guard_killed_amid_apply_at(FAULT_agent_held);
	guard_killed_amid_apply_at(FAULT_agent_committed);
}

/* A monitor that dies of every write: no spinning, nothing through, and it can be ended. */
static void crash_loop(void **state)
{
	const char *const env[] = {"EXOPATCH_FAULT=guard_held=kill", NULL};
	const char *const ask[] = {"guard", "status", NULL};
	_cleanup_exo_ struct exo status = {0};
	json_int_t deaths = 0;

	(void)state;
	begin(env);
	assert_int_equal(guest_run(g, "(" ATTACK ") >/dev/null 2>&1 &", 0, NULL, NULL), 0);
	while (deaths < 8) {
		json_t *event = guardrun_find(guard, "crash-loop", PATIENT_MS);

		assert_non_null(event);
		deaths = json_integer_value(json_object_get(event, "deaths"));
		json_decref(event);
	}
	/* While there is none, 1.6 s and more, the supervisor answers for the guard. */
	await_rc(&status, 1, ask);
	assert_string_equal(exo_str(&status, "error", "code", NULL), "peer-died");
	assert_int_equal(guardrun_missing(guard), 0);
	stop();
}

/* Both die: what they held is gone, the guest goes on, and the next guard says so. */
static void both_killed(void **state)
{
	_cleanup_close_ int end_fd = -1;
	struct pollfd ended = {.events = POLLIN};
	pid_t supervisor, one;

	(void)state;
	begin(NULL);
	supervisor = pid_of("supervisor");
	one = pid_of("guard");
	ended.fd = end_fd = pidfd_open(one, 0);
	assert_true(end_fd >= 0);
	assert_int_equal(kill(supervisor, SIGSTOP), 0);
	assert_int_equal(kill(one, SIGKILL), 0);
	assert_int_equal(kill(supervisor, SIGKILL), 0);
	assert_int_equal(poll(&ended, 1, PATIENT_MS), 1);
	guardrun_drop(guard);
	guard = NULL;
	assert_int_equal(guest_run(g, UNHARMED, 0, NULL, NULL), 0);
	guard = guardrun_start_with(g, "enforce", NULL, NULL);
	assert_non_null(guard);
	guards();
	finish();
}

/* What was done in such a time was not seen, but that there was such a time is. */
static void without_a_processor(void **state)
{
	double longest_ms = 0;
	uint64_t end_ns;
	json_t *event;
	pid_t one;

	(void)state;
	begin(NULL);
	one = pid_of("guard");
	assert_int_equal(kill(one, SIGSTOP), 0);
	xo_sleep_ns(LATE_MS * UINT64_C(1000000));
	assert_int_equal(kill(one, SIGCONT), 0);
	end_ns = xo_now_ns() + LATE_NS;
	/* On a busy host it was late before, too. */
	while (longest_ms < LATE_MS / 2.0 && (event = guardrun_next(guard, end_ns))) {
		if (!strcmp(guardrun_says(event, "kind"), "looked-late"))
			longest_ms = json_number_value(json_object_get(event, "longest_ms"));
		json_decref(event);
	}
	assert_true(longest_ms >= LATE_MS / 2.0);
	guards();
	finish();
}

static void told_to_end(void **state)
{
	int status;

	(void)state;
	begin(NULL);
	assert_int_equal(kill(guardrun_pid(guard), SIGTERM), 0);
	status = guardrun_wait(guard, PATIENT_MS);
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
	assert_true(guardrun_saw(guard, "guard-off", PATIENT_MS));
	assert_int_equal(guardrun_missing(guard), 0);
	assert_true(guest_dmesg_clean(g));
}

static int setup(void **state)
{
	(void)state;
	if (patching_setup())
		return -1;
	return patch_build(GUEST_6_1, "cmdline", "cmdline", NULL, cmdline, sizeof(cmdline));
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
		cmocka_unit_test_teardown(killed_at_rest, end),
		cmocka_unit_test_teardown(killed_supervisors, end),
		cmocka_unit_test_teardown(guard_killed_amid_an_event, end),
		cmocka_unit_test_teardown(guard_killed_before_it_says_so, end),
		cmocka_unit_test_teardown(guard_killed_beside_a_deaf_monitor, end),
		cmocka_unit_test_teardown(monitor_killed_amid_an_event, end),
		cmocka_unit_test_teardown(lens_killed_amid_events, end),
		cmocka_unit_test_teardown(somebody_debugs_qemu, end),
		cmocka_unit_test_teardown(writable_text_stays_protected, end),
		cmocka_unit_test_teardown(guard_killed_amid_apply, end),
		cmocka_unit_test_teardown(crash_loop, end),
		cmocka_unit_test_teardown(both_killed, end),
		cmocka_unit_test_teardown(without_a_processor, end),
		cmocka_unit_test_teardown(told_to_end, end),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, setup, teardown);
}
