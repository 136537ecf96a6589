// SPDX-License-Identifier: Apache-2.0
/* The recorder over deaths, reboots of the host and strangers at its PCR. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "attest/tpm.h"
#include "tests/lib/attfix.h"
#include "tests/lib/proc.h"

struct env {
	char dir[ATTFIX_PATH];
	char rec[ATTFIX_PATH + 16], ev[ATTFIX_PATH + 16], trust[ATTFIX_PATH + 16];
	struct attfix_tpm tpm;
	bool have_tpm;
};

static int setup(void **state)
{
	struct env *e = calloc(1, sizeof(*e));

	attfix_dir(e->dir);
	(void)snprintf(e->rec, sizeof(e->rec), "%s/rec", e->dir);
	(void)snprintf(e->ev, sizeof(e->ev), "%s/ev", e->dir);
	(void)snprintf(e->trust, sizeof(e->trust), "%s/trust", e->dir);
	e->have_tpm = attfix_tpm_start(&e->tpm);
	*state = e;
	return 0;
}

static int teardown(void **state)
{
	struct env *e = *state;

	attfix_tpm_remove(&e->tpm);
	attfix_remove(e->dir);
	free(e);
	return 0;
}

/* Evidence written now is trusted. Return: how many statements it has */
static size_t assert_trusted(const struct env *e, const char *tcti, bool patched)
{
	struct att_recorder *r = attfix_open(e->rec, tcti);
	_cleanup_xbuf_ struct xbuf ref = XBUF(65536);
	_cleanup_refusal_ struct refusal why = {0};
	struct att_files evidence = {0}, trust = {0};
	struct att_expect x = {.now_s = ATTFIX_NOW_S + 10};
	static struct att_result res;
	struct xerr err = {0};

	attfix_remove(e->ev);
	attfix_appraise(r, e->ev, patched, NULL);
	att_recorder_close(r);
	if (mkdir(e->trust, 0755) == 0)
		attfix_trust(e->trust, e->ev);
	attfix_reference(&ref);
	x.reference = xbuf_span(&ref);
	assert_int_equal(att_files_load(&evidence, e->ev, &err), 0);
	assert_int_equal(att_files_load(&trust, e->trust, &err), 0);
	assert_int_equal(att_verify(&res, &evidence, &trust, &x, &why, &err), 0);
	att_files_free(&evidence);
	att_files_free(&trust);
	for (size_t i = 0; i < why.nr; i++)
		print_error("%s: %s\n", xo_code_key(why.reason[i].code), why.reason[i].detail);
	assert_int_equal(res.verdict, ATT_TRUSTED);
	assert_int_equal(res.tpm_rooted, tcti != NULL);
	return res.nr_statements;
}

/* Record one guard-on in a child that dies at @fault. */
static void die_at(const struct env *e, const char *tcti, const char *fault)
{
	char armed[64];
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		(void)snprintf(armed, sizeof(armed), "%s=kill", fault);
		setenv("EXOPATCH_FAULT", armed, 1);
		attfix_record(attfix_open(e->rec, tcti), attfix_action(ATT_GUARD_ON));
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("%s was not passed", fault);
}

static void die_everywhere(const struct env *e, const char *tcti)
{
	/* What a statement survives once it is in the log, and what it does not. */
	static const struct {
		const char *fault;
		bool kept;
	} at[] = {{"log_written", true},
		  {"log_synced", true},
		  {"rec_logged", true},
		  {"rec_measured", true},
		  {"rec_extended", true}};
	size_t nr;

	att_recorder_close(attfix_open(e->rec, tcti));
	nr = assert_trusted(e, tcti, false);
	for (size_t i = 0; i < XO_ARRAY_SIZE(at); i++) {
		die_at(e, tcti, at[i].fault);
		/* The statement that was in the making, and the new appraisal. */
		assert_int_equal(assert_trusted(e, tcti, false), nr + 1 + at[i].kept);
		nr += 1 + at[i].kept;
	}
}

static void test_die_software(void **state)
{
	die_everywhere(*state, NULL);
}

static void test_die_tpm(void **state)
{
	const struct env *e = *state;

	if (!e->have_tpm)
		skip();
	die_everywhere(e, e->tpm.tcti);
}

/* What the recorder noted to be quick is believed only where PCR and file say the same. */
static void test_standing(void **state)
{
	static const char *const spoil[] = {
		"rm ima.state", "truncate -s 40 ima.state",
		"printf x | dd of=ima.state bs=1 seek=9 conv=notrunc status=none"};
	const struct env *e = *state;
	char command[ATTFIX_PATH + 128];
	struct att_recorder *r;

	if (!e->have_tpm)
		skip();
	r = attfix_open(e->rec, e->tpm.tcti);
	attfix_record(r, attfix_action(ATT_GUARD_ON));
	att_recorder_close(r);
	assert_int_equal(assert_trusted(e, e->tpm.tcti, false), 2);
	for (size_t i = 0; i < XO_ARRAY_SIZE(spoil); i++) {
		(void)snprintf(command, sizeof(command), "cd %s && %s", e->rec, spoil[i]);
		assert_int_equal(system(command), 0); /* NOLINT: fixed commands */
		assert_int_equal(assert_trusted(e, e->tpm.tcti, false), 3 + i);
	}
}

/* The host boots anew: the PCR is zero, the key is the same, a new measured log begins. */
static void test_host_reboot(void **state)
{
	struct env *e = *state;
	struct att_recorder *r;

	if (!e->have_tpm)
		skip();
	r = attfix_open(e->rec, e->tpm.tcti);
	attfix_record(r, attfix_action(ATT_APPLY));
	attfix_record(r, attfix_action(ATT_GUARD_ON));
	att_recorder_close(r);
	assert_int_equal(assert_trusted(e, e->tpm.tcti, true), 3);
	attfix_tpm_stop(&e->tpm);
	assert_true(attfix_tpm_start(&e->tpm));
	assert_int_equal(assert_trusted(e, e->tpm.tcti, true), 4);
	assert_int_equal(assert_trusted(e, e->tpm.tcti, true), 5);
	attfix_tpm_stop(&e->tpm);
	assert_true(attfix_tpm_start(&e->tpm));
	die_at(e, e->tpm.tcti, "rec_measured");
	attfix_tpm_stop(&e->tpm);
	assert_true(attfix_tpm_start(&e->tpm));
	assert_int_equal(assert_trusted(e, e->tpm.tcti, true), 7);
}

static void test_stranger_at_the_pcr(void **state)
{
	struct env *e = *state;
	struct att_recorder_opts o = {.dir = e->rec, .tcti = e->tpm.tcti, .pcr = ATT_DEFAULT_PCR};
	struct att_recorder *r;
	struct xerr err = {0};
	uint8_t digest[XO_SHA256_BYTES] = {1};
	struct tpm *t = NULL;

	if (!e->have_tpm)
		skip();
	r = attfix_open(e->rec, e->tpm.tcti);
	attfix_record(r, attfix_action(ATT_GUARD_ON));
	att_recorder_close(r);
	assert_int_equal(tpm_open(&t, e->tpm.tcti, ATT_DEFAULT_PCR, &err), 0);
	assert_int_equal(tpm_extend(t, digest, &err), 0);
	tpm_close(t);
	assert_int_equal(att_recorder_open(&r, &o, &err), -XO_EPCR);
}

/* A log that lost an entry which was measured is not written to. */
static void test_log_set_back(void **state)
{
	struct env *e = *state;
	struct att_recorder_opts o = {.dir = e->rec, .pcr = ATT_DEFAULT_PCR};
	struct att_recorder *r = attfix_open(e->rec, NULL);
	char log[ATTFIX_PATH + 32], copy[ATTFIX_PATH + 32];
	struct xerr err = {0};

	(void)snprintf(log, sizeof(log), "%s/log", e->rec);
	(void)snprintf(copy, sizeof(copy), "%s/copy", e->dir);
	attfix_record(r, attfix_action(ATT_GUARD_ON));
	att_recorder_close(r);
	attfix_copy(log, copy);
	r = attfix_open(e->rec, NULL);
	attfix_record(r, attfix_action(ATT_GUARD_OFF));
	att_recorder_close(r);
	attfix_remove(log);
	attfix_copy(copy, log);
	assert_int_equal(att_recorder_open(&r, &o, &err), -XO_ELOG);
}

/* Only statements that can be read again are signed. */
static void test_refuses_nonsense(void **state)
{
	struct env *e = *state;
	struct att_recorder *r = attfix_open(e->rec, NULL);
	struct att_statement *s = attfix_action(ATT_APPLY);
	struct xerr err = {0};

	s->action.has_package = false;
	assert_int_equal(att_record(r, s, NULL, &err), -XO_EMALFORMED);
	free(s);
	s = attfix_action(ATT_APPLY);
	(void)snprintf(s->release, sizeof(s->release), "6.1\n");
	assert_int_equal(att_record(r, s, NULL, &err), -XO_EMALFORMED);
	free(s);
	s = attfix_action(ATT_APPLY);
	s->vm_uuid[0] = '/';
	assert_int_equal(att_record(r, s, NULL, &err), -XO_EMALFORMED);
	free(s);
	att_recorder_close(r);
	assert_int_equal(assert_trusted(e, NULL, false), 1);
}

/* A disk that fills up while statements are recorded: each is refused or kept, none is lost, none
 * is there twice; and when there is room it goes on. */
static void test_full_disk(void **state)
{
	struct env *e = *state;
	const char *tcti = e->have_tpm ? e->tpm.tcti : NULL;
	struct att_recorder *r;
	uint64_t size = 0, kept;
	struct xerr err = {0};
	int failures = 0;

	assert_int_equal(mkdir(e->rec, 0700), 0);
	if (mount("tmpfs", e->rec, "tmpfs", 0, "size=400k"))
		skip();
	r = attfix_open(e->rec, tcti);
	for (kept = 0; failures < 5; kept += !failures) {
		struct att_statement *s = attfix_action(ATT_GUARD_ON);

		err = (struct xerr){0};
		failures += att_record(r, s, NULL, &err) != 0;
		free(s);
	}
	assert_int_equal(mount("tmpfs", e->rec, "tmpfs", MS_REMOUNT, "size=8m"), 0);
	attfix_record(r, attfix_action(ATT_GUARD_OFF));
	att_recorder_close(r);
	/* Those recorded, perhaps one that failed after it was logged, guard-off, the appraisal. */
	assert_in_range(assert_trusted(e, tcti, false), kept + 2, kept + 3);
	assert_int_equal(att_log_size(e->rec, &size, &err), 0);
	assert_in_range(size, kept + 2, kept + 3);
	assert_int_equal(umount2(e->rec, MNT_DETACH), 0);
}

/* The largest statement there can be fits. */
static void test_largest(void **state)
{
	struct env *e = *state;
	struct att_recorder *r = attfix_open(e->rec, NULL);

	attfix_record(r, attfix_largest());
	att_recorder_close(r);
	assert_int_equal(assert_trusted(e, NULL, false), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_die_software, setup, teardown),
		cmocka_unit_test_setup_teardown(test_die_tpm, setup, teardown),
		cmocka_unit_test_setup_teardown(test_standing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_host_reboot, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stranger_at_the_pcr, setup, teardown),
		cmocka_unit_test_setup_teardown(test_log_set_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refuses_nonsense, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_largest, setup, teardown),
	};

	(void)proc_own_mounts();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
