// SPDX-License-Identifier: Apache-2.0
/*
 * What a guard does and sees is recorded and measured by a process of its own: in order, in a few
 * statements whatever the guest does, without a writer waiting for a TPM, whoever is killed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "base/util.h"
#include "tests/lib/attfix.h"
#include "tests/lib/guardrun.h"
#include "tests/lib/patching.h"
#include "tests/lib/polfix.h"
#include "tests/lib/reclog.h"

#define FIND_ATTACK "a=$(/attacks/load -n text_vmap_alias)" /* takes longer than the attack */
#define ATTACK	    "$a; rmmod text_vmap_alias"
#define ROUNDS	    100
#define PATIENT_MS  20000

static struct guest *g;
static struct guardrun *guard;
static struct attfix_tpm tpm;
static bool have_tpm;
static char package[256], log_dir[200];

static int setup(void **state)
{
	(void)state;
	if (patching_setup() ||
	    guest_boot(&g, &(struct guest_opts){.package = GUEST_6_1, .vcpus = 1}))
		return -1;
	have_tpm = attfix_tpm_start(&tpm);
	snprintf(log_dir, sizeof(log_dir), "%s/state/attest", patching_dir());
	return patch_build(GUEST_6_1, "cmdline", "cmdline", NULL, package, sizeof(package));
}

static int teardown(void **state)
{
	(void)state;
	guest_free(g);
	attfix_tpm_remove(&tpm);
	patching_teardown();
	return 0;
}

static int drop(void **state)
{
	(void)state;
	guardrun_drop(guard);
	guard = NULL;
	return 0;
}

static void start(const char *const env[])
{
	const char *const options[] = {"--tpm", tpm.tcti, NULL};

	guard = guardrun_start_with(g, "enforce", have_tpm ? options : NULL, env);
	assert_non_null(guard);
}

/* The guard ends, and with it all is recorded. */
static void stop(void)
{
	assert_true(exo_done(g, "guard", "stop"));
	assert_int_equal(guardrun_wait(guard, PATIENT_MS), 0);
	guardrun_drop(guard);
	guard = NULL;
}

static void attack(unsigned int rounds)
{
	char line[256];

	snprintf(line, sizeof(line),
		 FIND_ATTACK "; n=0; while [ $n -lt %u ]; do { " ATTACK
			     "; } >/dev/null 2>&1; n=$((n + 1)); done",
		 rounds);
	assert_int_equal(guest_run(g, line, rounds * 1000 + PATIENT_MS, NULL, NULL), 0);
}

/* How many violations a statement stands for. */
static uint64_t stands_for(const struct att_action *a)
{
	uint64_t sum = 0;

	for (size_t i = 0; a->act == ATT_VIOLATION && i < a->nr_reasons; i++) {
		uint64_t n = 0;
		char word[8] = "";

		if (sscanf(a->reason[i].detail, "%" SCNu64 " %7[a-z]", &n, word) == 2 &&
		    (!strcmp(word, "times") || !strcmp(word, "more")))
			sum += n;
		else
			sum++;
	}
	return sum;
}

/* The same of all statements from @from on; *@ret_nr: how many tell of violations */
static uint64_t recorded_violations(uint64_t from, uint64_t *ret_nr)
{
	uint64_t sum = 0, size = reclog_size(log_dir);

	*ret_nr = 0;
	for (uint64_t i = from; i < size; i++) {
		_cleanup_free_ struct att_statement *s = reclog_statement(log_dir, (int64_t)i);

		sum += stands_for(&s->action);
		*ret_nr += s->action.act == ATT_VIOLATION;
	}
	return sum;
}

/* The first statement about @act, from number @from on; free() it. *@ret: its number */
static struct att_statement *find(uint64_t from, enum att_act act, uint64_t *ret)
{
	for (*ret = from; *ret < reclog_size(log_dir); (*ret)++) {
		struct att_statement *s = reclog_statement(log_dir, (int64_t)*ret);

		if (s->action.act == act)
			return s;
		free(s);
	}
	fail_msg("no %s from %" PRIu64 " on", att_act_name(act), from);
	return NULL;
}

static void on_violation_apply_off(void **state)
{
	_cleanup_free_ struct att_statement *on = NULL, *bad = NULL, *off = NULL;
	_cleanup_free_ struct att_statement *apply = NULL, *revert = NULL;
	_cleanup_exo_ struct exo e = {0};
	uint64_t from = reclog_size(log_dir), at;
	json_t *event;

	(void)state;
	start(NULL);
	attack(1);
	event = guardrun_find(guard, "violation", PATIENT_MS);
	assert_non_null(event);
	for (int i = 0; i < PATIENT_MS / 50 && reclog_size(log_dir) < from + 2; i++)
		xo_sleep_ns(50000000);
	if (have_tpm)
		assert_int_equal(EXO(&e, g, "apply", package, "--tpm", tpm.tcti), 0);
	else
		assert_int_equal(EXO(&e, g, "apply", package), 0);
	assert_int_equal(e.rc, 0);
	assert_true(exo_done(g, "revert", "cmdline"));
	stop();
	on = find(from, ATT_GUARD_ON, &at);
	bad = find(at + 1, ATT_VIOLATION, &at);
	apply = find(at + 1, ATT_APPLY, &at);
	revert = find(at + 1, ATT_REVERT, &at);
	off = find(at + 1, ATT_GUARD_OFF, &at);
	assert_int_equal(at, reclog_size(log_dir) - 1);
	assert_int_equal(on->sequence, from);
	assert_int_equal(on->action.guard, ATT_GUARD_ENFORCE);
	assert_int_equal(bad->action.verdict, ATT_REFUSED);
	assert_string_equal(bad->action.reason[0].key, "violation");
	assert_non_null(strstr(bad->action.reason[0].detail, guardrun_says(event, "reason")));
	assert_int_equal(apply->nr_patches, 1);
	assert_int_equal(revert->nr_patches, 0);
	assert_memory_equal(on->boot, apply->boot, sizeof(on->boot));
	assert_memory_equal(on->boot, bad->boot, sizeof(on->boot));
	assert_memory_equal(on->boot, off->boot, sizeof(on->boot));
	json_decref(event);
}

static void a_storm_is_few_statements(void **state)
{
	uint64_t from = reclog_size(log_dir), nr;
	json_int_t violations;

	(void)state;
	start(NULL);
	attack(ROUNDS);
	violations = guardrun_number(guard, "violations") + guardrun_number(guard, "findings");
	assert_true(violations >= ROUNDS);
	stop();
	assert_int_equal(recorded_violations(from, &nr), violations);
	print_message("%lld violations, %" PRIu64 " statements\n", (long long)violations, nr);
	assert_true(nr < 12);
}

/* The processes of this guard called @name. */
static pid_t process_called(const char *name)
{
	char path[300], comm[32];
	struct dirent *d;
	pid_t found = -1;
	DIR *proc = opendir("/proc");

	while (proc && found < 0 && (d = readdir(proc))) {
		_cleanup_fclose_ FILE *f = NULL;
		int ppid = 0;

		snprintf(path, sizeof(path), "/proc/%s/stat", d->d_name);
		f = fopen(path, "re");
		if (f && fscanf(f, "%*d (%31[^)]) %*c %d", comm, &ppid) == 2 &&
		    ppid == guardrun_pid(guard) && !strcmp(comm, name))
			found = (pid_t)strtol(d->d_name, NULL, 10);
	}
	if (proc)
		closedir(proc);
	return found;
}

static void waits_until_recorded(uint64_t size)
{
	for (int i = 0; i < PATIENT_MS / 50 && reclog_size(log_dir) < size; i++)
		xo_sleep_ns(50000000);
	assert_true(reclog_size(log_dir) >= size);
}

/* A TPM that does not answer: writers are judged as fast, and what waits is recorded later. */
static void a_slow_tpm_holds_nobody(void **state)
{
	uint64_t from = reclog_size(log_dir), nr;
	json_int_t violations;

	(void)state;
	if (!have_tpm)
		skip();
	start(NULL);
	waits_until_recorded(from + 1);
	assert_int_equal(kill(tpm.pid, SIGSTOP), 0);
	attack(1);
	violations = guardrun_number(guard, "violations") + guardrun_number(guard, "findings");
	assert_true(violations >= 1);
	assert_int_equal(kill(tpm.pid, SIGCONT), 0);
	stop();
	assert_int_equal(recorded_violations(from, &nr), violations);
}

/* If there is one just now. */
static void kill_recorder(void)
{
	pid_t pid = process_called("exopatch-record");

	if (pid > 0)
		(void)kill(pid, SIGKILL);
}

/* Killed wherever it may be, the recorder's successor goes on where it was. */
static void a_killed_recorder(void **state)
{
	uint64_t from = reclog_size(log_dir), nr;
	json_int_t violations;

	(void)state;
	start(NULL);
	for (int i = 0; i < 4; i++) {
		attack(1);
		kill_recorder();
		xo_sleep_ns(700000000);
	}
	violations = guardrun_number(guard, "violations") + guardrun_number(guard, "findings");
	/* Also one that dies when no time is left for another. */
	kill_recorder();
	stop();
	assert_int_equal(recorded_violations(from, &nr), violations);
	assert_true(violations >= 4);
	reclog_expect(log_dir, -1, ATT_GUARD_OFF, ATT_DONE, "");
}

/* Guard or supervisor killed with a violation that nobody has recorded yet. */
static void a_killed_guard(void **state)
{
	static const char *const who[] = {"guard_pid", "supervisor_pid"};
	uint64_t from = reclog_size(log_dir), nr;
	json_int_t violations;

	(void)state;
	start(NULL);
	for (size_t i = 0; i < XO_ARRAY_SIZE(who); i++) {
		json_int_t pid = guardrun_number(guard, who[i]);

		attack(2);
		assert_true(pid > 0);
		assert_int_equal(kill((pid_t)pid, SIGKILL), 0);
		xo_sleep_ns(1500000000);
	}
	violations = guardrun_number(guard, "violations") + guardrun_number(guard, "findings");
	assert_true(exo_done(g, "guard", "stop"));
	for (int i = 0; i < PATIENT_MS / 100; i++) {
		_cleanup_free_ struct att_statement *s = reclog_statement(log_dir, -1);

		if (s->action.act == ATT_GUARD_OFF)
			break;
		xo_sleep_ns(100000000);
	}
	reclog_expect(log_dir, -1, ATT_GUARD_OFF, ATT_DONE, "");
	assert_int_equal(recorded_violations(from, &nr), violations);
	assert_true(violations >= 4);
}

/* A patch that is taken out after a violation is not applied here again by a policy. */
static void harm_is_remembered(void **state)
{
	_cleanup_exo_ struct exo inspected = {0}, applied = {0};
	uint64_t from = reclog_size(log_dir), at;
	const char *payload;
	char policy[200];
	FILE *f;

	(void)state;
	snprintf(policy, sizeof(policy), "%s/policy.yaml", patching_dir());
	f = fopen(policy, "w");
	assert_non_null(f);
	assert_true(fputs(POLFIX_OPEN, f) >= 0);
	assert_int_equal(fclose(f), 0);
	start(NULL);
	assert_true(exo_done(g, "apply", package));
	xo_sleep_ns(1000000000);
	attack(1);
	stop();
	free(find(from, ATT_VIOLATION, &at));
	assert_true(exo_done(g, "revert", "cmdline"));
	assert_int_equal(EXO(&inspected, g, "inspect"), 0);
	payload = exo_str(&inspected, "facts", "rolled_back", "0", NULL);
	assert_int_equal(strlen(payload), 64);
	assert_int_equal(EXO(&applied, g, "apply", package, "--policy", policy), 0);
	assert_true(EXO_REFUSED(&applied, "policy"));
	assert_non_null(strstr(exo_str(&applied, "reasons", "0", "detail", NULL), "rolled-back"));
}

static void audited_by_others(void **state)
{
	(void)state;
	reclog_audit(log_dir, have_tpm ? tpm.tcti : NULL);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(on_violation_apply_off, drop),
		cmocka_unit_test_teardown(a_storm_is_few_statements, drop),
		cmocka_unit_test_teardown(a_slow_tpm_holds_nobody, drop),
		cmocka_unit_test_teardown(a_killed_recorder, drop),
		cmocka_unit_test_teardown(a_killed_guard, drop),
		cmocka_unit_test_teardown(harm_is_remembered, drop),
		cmocka_unit_test(audited_by_others),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, setup, teardown);
}
