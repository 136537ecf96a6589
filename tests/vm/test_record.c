// SPDX-License-Identifier: Apache-2.0
/* Each action on a guest is recorded: once, with what it did, whoever dies in between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "tests/lib/patching.h"
#include "tests/lib/polfix.h"
#include "tests/lib/proc.h"
#include "tests/lib/reclog.h"

static struct guest *g;
static char package[256], log_dir[200];

static int setup(void **state)
{
	static const char *const extra[] = {"--advisory", "CVE-2026-0001", NULL};

	(void)state;
	if (patching_setup() || guest_boot(&g, &(struct guest_opts){.package = GUEST_6_1}))
		return -1;
	snprintf(log_dir, sizeof(log_dir), "%s/state/attest", patching_dir());
	return patch_build(GUEST_6_1, "cmdline", "cmdline", extra, package, sizeof(package));
}

static int teardown(void **state)
{
	(void)state;
	guest_free(g);
	patching_teardown();
	return 0;
}

static uint64_t log_size(void)
{
	return reclog_size(log_dir);
}

static struct att_statement *statement(int64_t index)
{
	return reclog_statement(log_dir, index);
}

static void expect(int64_t index, enum att_act act, enum att_verdict verdict, const char *reason)
{
	reclog_expect(log_dir, index, act, verdict, reason);
}

static void an_apply_and_its_revert(void **state)
{
	_cleanup_free_ struct att_statement *a = NULL, *r = NULL;

	(void)state;
	assert_true(exo_done(g, "apply", package));
	assert_int_equal(log_size(), 1);
	assert_true(exo_done(g, "revert", "cmdline"));
	assert_int_equal(log_size(), 2);
	a = statement(0);
	r = statement(1);
	assert_int_equal(a->action.act, ATT_APPLY);
	assert_int_equal(a->action.verdict, ATT_DONE);
	assert_string_equal(a->action.package.id, "cmdline");
	assert_int_equal(a->nr_patches, 1);
	assert_string_equal(a->patch[0].id, "cmdline");
	assert_true(a->action.held_us > 0);
	assert_int_equal(a->action.nr_advisories, 1);
	assert_string_equal(a->action.advisory[0], "CVE-2026-0001");
	assert_true(a->started_s <= a->finished_s);
	assert_int_equal(r->action.act, ATT_REVERT);
	assert_int_equal(r->action.verdict, ATT_DONE);
	assert_int_equal(r->nr_patches, 0);
	assert_int_equal(r->sequence, 1);
	assert_memory_equal(a->boot, r->boot, sizeof(a->boot));
	assert_memory_equal(a->action.before, r->action.after, XO_SHA256_BYTES);
	assert_memory_equal(a->action.after, r->action.before, XO_SHA256_BYTES);
}

/* ---- refusals and policy ---- */

static void refusals(void **state)
{
	_cleanup_exo_ struct exo twice = {0}, unknown = {0}, garbage = {0};
	uint64_t before = log_size();

	(void)state;
	assert_true(exo_done(g, "apply", package));
	assert_int_equal(EXO(&twice, g, "apply", package), 0);
	assert_true(EXO_REFUSED(&twice, "already-applied"));
	assert_int_equal(EXO(&unknown, g, "revert", "nobody"), 0);
	assert_true(EXO_REFUSED(&unknown, "not-applied"));
	assert_int_equal(EXO(&garbage, g, "apply", "/etc/passwd"), 0);
	assert_true(EXO_REFUSED(&garbage, "not-a-package"));
	assert_true(exo_done(g, "revert", "cmdline"));
	assert_int_equal(log_size(), before + 5);
	expect(-4, ATT_APPLY, ATT_REFUSED, "already-applied");
	expect(-3, ATT_REFUSE, ATT_REFUSED, "not-applied");
	expect(-2, ATT_REFUSE, ATT_REFUSED, "not-a-package");
}

static void policy_decisions(void **state)
{
	static const char deny[] =
		POLFIX_OPEN "deny:\n  - name: not-that\n    patches: {packages: [cmdline]}\n";
	_cleanup_free_ struct att_statement *no = NULL, *yes = NULL, *apply = NULL;
	_cleanup_exo_ struct exo refused = {0}, done = {0};
	char path[200], hex[XO_SHA256_HEX_SIZE];
	uint64_t before = log_size();

	(void)state;
	snprintf(path, sizeof(path), "%s/policy.yaml", patching_dir());
	patching_write(path, deny);
	assert_int_equal(EXO(&refused, g, "apply", package, "--policy", path), 0);
	assert_true(EXO_REFUSED(&refused, "policy"));
	patching_write(path, POLFIX_OPEN);
	assert_int_equal(EXO(&done, g, "apply", package, "--policy", path), 0);
	assert_int_equal(done.rc, 0);
	assert_true(exo_done(g, "revert", "cmdline"));
	assert_int_equal(log_size(), before + 5);
	expect(-5, ATT_POLICY, ATT_REFUSED, "policy");
	expect(-4, ATT_APPLY, ATT_REFUSED, "policy");
	expect(-3, ATT_POLICY, ATT_DONE, "");
	expect(-2, ATT_APPLY, ATT_DONE, "");
	no = statement(-5);
	yes = statement(-3);
	apply = statement(-2);
	xo_hex(SPAN(no->action.decision, XO_SHA256_BYTES), hex);
	assert_string_equal(hex, exo_str(&refused, "decision", "sha256", NULL));
	xo_hex(SPAN(yes->action.decision, XO_SHA256_BYTES), hex);
	assert_string_equal(hex, exo_str(&done, "decision", "sha256", NULL));
	assert_memory_equal(apply->action.decision, yes->action.decision, XO_SHA256_BYTES);
	assert_memory_equal(apply->policy, yes->policy, XO_SHA256_BYTES);
	assert_memory_not_equal(no->policy, yes->policy, XO_SHA256_BYTES);
}

/* ---- deaths ---- */

static void run_at(const char *fault, const char *action, struct exo *e, const char *command,
		   const char *operand)
{
	const char *const args[] = {command, operand, NULL};
	char env[64];
	const char *const envp[] = {env, NULL};

	snprintf(env, sizeof(env), "EXOPATCH_FAULT=%s=%s", fault, action);
	assert_int_equal(exo_run(e, g, envp, args), 0);
}

/* Dead between the deed and its statement: the next command on the VM records it, once. */
static void killed_before_it_was_recorded(void **state)
{
	static const char *const faults[] = {"agent_done",    "record_begun", "log_written",
					     "log_synced",    "rec_logged",   "rec_measured",
					     "record_logged", "log_partial",  "log_published"};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(faults); i++) {
		_cleanup_exo_ struct exo e = {0};
		uint64_t before = log_size();

		print_message("%s\n", faults[i]);
		run_at(faults[i], "kill", &e, "apply", package);
		assert_int_equal(e.rc, 128 + SIGKILL);
		assert_true(exo_done(g, "revert", "cmdline"));
		assert_int_equal(log_size(), before + 2);
		expect(-2, ATT_APPLY, ATT_DONE, "");
		expect(-1, ATT_REVERT, ATT_DONE, "");
	}
}

/* Dead amid the deed: recover finds out what became of it, and says so. */
static void killed_amid(void **state)
{
	static const struct {
		const char *fault;
		enum att_verdict verdict;
	} rows[] = {{"agent_intent", ATT_FAILED}, {"agent_released", ATT_DONE}};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(rows); i++) {
		_cleanup_exo_ struct exo e = {0};
		uint64_t before = log_size();

		run_at(rows[i].fault, "kill", &e, "apply", package);
		assert_int_equal(e.rc, 128 + SIGKILL);
		assert_true(exo_done(g, "recover", NULL));
		assert_int_equal(log_size(), before + 1);
		expect(-1, ATT_APPLY, rows[i].verdict, "needs-recover");
		if (rows[i].verdict == ATT_DONE)
			assert_true(exo_done(g, "revert", "cmdline"));
	}
}

/* ---- disks ---- */

static void log_fails_after(void **state)
{
	_cleanup_exo_ struct exo e = {0};
	uint64_t before = log_size();

	(void)state;
	run_at("log_written", "fail", &e, "apply", package);
	assert_int_equal(e.rc, 0);
	assert_string_equal(exo_str(&e, "unrecorded", "code", NULL), "fault-point");
	assert_int_equal(log_size(), before);
	assert_true(exo_done(g, "revert", "cmdline"));
	assert_int_equal(log_size(), before + 2);
}

static void log_cannot_be_opened(void **state)
{
	_cleanup_exo_ struct exo e = {0};

	(void)state;
	assert_int_equal(EXO(&e, g, "apply", package, "--log", "/proc/nowhere"), 0);
	assert_int_equal(e.rc, 1);
	assert_non_null(strstr(exo_str(&e, "error", "detail", NULL), "nothing was done"));
	assert_false(exo_done(g, "revert", "cmdline"));
}

static void full_disk(void **state)
{
	char mount_dir[200], fill[220];
	_cleanup_exo_ struct exo e = {0}, again = {0}, late = {0};
	struct xerr err = {0};
	uint64_t size = 0;
	FILE *f;

	(void)state;
	snprintf(mount_dir, sizeof(mount_dir), "%s/small", patching_dir());
	assert_int_equal(mkdir(mount_dir, 0700), 0);
	assert_int_equal(mount("tmpfs", mount_dir, "tmpfs", 0, "size=256k"), 0);
	assert_int_equal(EXO(&e, g, "apply", package, "--log", mount_dir), 0);
	assert_int_equal(e.rc, 0);
	snprintf(fill, sizeof(fill), "%s/fill", mount_dir);
	f = fopen(fill, "w");
	assert_non_null(f);
	while (fputc('x', f) != EOF && !fflush(f))
		;
	(void)fclose(f);
	assert_int_equal(EXO(&again, g, "revert", "cmdline", "--log", mount_dir), 0);
	print_message("full: exit status %d, %s\n", again.rc,
		      again.rc ? exo_str(&again, "error", "detail", NULL)
			       : exo_str(&again, "unrecorded", "detail", NULL));
	assert_int_equal(unlink(fill), 0);
	if (again.rc)
		assert_int_equal(EXO(&late, g, "revert", "cmdline", "--log", mount_dir), 0);
	else
		assert_int_equal(EXO(&late, g, "recover", "--log", mount_dir), 0);
	assert_int_equal(late.rc, 0);
	assert_int_equal(att_log_size(mount_dir, &size, &err), 0);
	assert_int_equal(size, 2);
	assert_int_equal(umount(mount_dir), 0);
}

/* ---- and all of it ---- */

static void audited_by_others(void **state)
{
	(void)state;
	reclog_audit(log_dir, NULL);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_apply_and_its_revert),
		cmocka_unit_test(refusals),
		cmocka_unit_test(policy_decisions),
		cmocka_unit_test(killed_before_it_was_recorded),
		cmocka_unit_test(killed_amid),
		cmocka_unit_test(log_fails_after),
		cmocka_unit_test(log_cannot_be_opened),
		cmocka_unit_test(full_disk),
		cmocka_unit_test(audited_by_others),
	};

	(void)proc_own_mounts();
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, setup, teardown);
}
