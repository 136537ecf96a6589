// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/atttrial.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/lib/proc.h"

struct trial_world trial_world;

const char *in_world(const char *name)
{
	static char path[4][TRIAL_PATH];
	static unsigned int turn;
	char *p = path[turn++ % 4];

	(void)snprintf(p, TRIAL_PATH, "%s/%s", trial_world.dir, name);
	return p;
}

static void path_of(char out[2 * TRIAL_PATH], const char *dir, const char *name)
{
	(void)snprintf(out, (size_t)2 * TRIAL_PATH, "%s/%s", dir, name);
}

void trial_drop(const char *dir, const char *name)
{
	char path[2 * TRIAL_PATH];

	path_of(path, dir, name);
	assert_int_equal(unlink(path), 0);
}

/* Put file @name of evidence @from into the trial's place of @to. */
void trial_bring(struct trial *t, const char *from, const char *name, const char *to)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(TRIAL_FILE_MAX);

	attfix_read(in_world(from), name, &b);
	attfix_write(t->ev, to, xbuf_span(&b));
}

/* Replace the first @from in file @name by @to. */
void trial_edit(struct trial *t, const char *name, const char *from, const char *to)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(TRIAL_FILE_MAX), out = XBUF(TRIAL_FILE_MAX);
	const uint8_t *at;
	size_t head;

	attfix_read(t->ev, name, &b);
	at = memmem(b.data, b.len_bytes, from, strlen(from));
	if (!at)
		fail_msg("no %s in %s", from, name);
	head = (size_t)(at - b.data);
	assert_int_equal(xbuf_add(&out, b.data, head), 0);
	assert_int_equal(xbuf_add(&out, to, strlen(to)), 0);
	assert_int_equal(xbuf_add(&out, at + strlen(from), b.len_bytes - head - strlen(from)), 0);
	attfix_write(t->ev, name, xbuf_span(&out));
}

/* ---- the world ---- */

static void other_machine(struct att_recorder *r)
{
	struct att_statement *s = attfix_action(ATT_GUARD_ON);

	memcpy(s->vm_uuid, ATTFIX_OTHER, sizeof(ATTFIX_OTHER));
	attfix_record(r, s);
}

static void openssl(const char *script)
{
	const char *const argv[] = {"sh", "-ec", script, "sh", trial_world.dir, NULL};
	_cleanup_run_ struct run_result res = {0};

	assert_int_equal(run_program(argv, NULL, 20000, &res), 0);
	if (res.rc)
		fail_msg("%s", res.err);
}

/* A CA, and its certificates for a statement key: one good until 2030, one that ended in 2023. */
static const char ca_script[] =
	"cd \"$1\"; mkdir ca; cd ca\n"
	"openssl ecparam -name prime256v1 -genkey -noout -out ca.key\n"
	"openssl req -new -key ca.key -subj /CN=ca -out ca.csr\n"
	"openssl req -new -key ../soft/statement.key -subj /CN=host -out host.csr\n"
	"touch index.txt; echo 01 > serial\n"
	"printf "
	"'[ca]\\ndefault_ca=d\\n[d]\\ndatabase=index.txt\\nserial=serial\\nnew_certs_dir=.\\n"
	"default_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n"
	"[x]\nbasicConstraints=critical,CA:TRUE\n' > ca.cnf\n"
	"openssl ca -batch -notext -config ca.cnf -selfsign -extensions x -keyfile ca.key"
	" -in ca.csr -startdate 20200101000000Z -enddate 20400101000000Z -out ca.pem\n"
	"for e in good:20300101000000Z ended:20230601000000Z; do\n"
	"openssl ca -batch -notext -config ca.cnf -cert ca.pem -keyfile ca.key -in host.csr"
	" -startdate 20220101000000Z -enddate ${e#*:} -out ${e%:*}.pem; done\n";

static void reboot_lies(struct att_statement *s)
{
	memset(s->boot, 2, sizeof(s->boot));
}

static void reboot_seen(struct att_statement *s)
{
	reboot_lies(s);
	s->resets = 1;
}

static void other_process(struct att_statement *s)
{
	memset(s->process, 7, sizeof(s->process));
}

static void started_anew(struct att_statement *s)
{
	reboot_lies(s);
	other_process(s);
}

static void record_changed(struct att_recorder *r, enum att_act act,
			   void (*change)(struct att_statement *s))
{
	struct att_statement *s = attfix_action(act);

	if (change)
		change(s);
	attfix_record(r, s);
}

/* A violation in the first boot, one in the second, and the first boot again. */
static void shed_violations(struct att_recorder *r)
{
	record_changed(r, ATT_VIOLATION, NULL);
	record_changed(r, ATT_VIOLATION, reboot_lies);
	attfix_appraise(r, in_world("boots-shed"), false, NULL);
}

/* @act in the first boot, then what the guest or the host says is another. */
static void one_boot_after(enum att_act act, const char *name,
			   void (*change)(struct att_statement *s))
{
	struct att_recorder *r;
	char dir[2 * TRIAL_PATH];

	(void)snprintf(dir, sizeof(dir), "%s/rec-%s", trial_world.dir, name);
	r = attfix_open(dir, NULL);
	record_changed(r, ATT_GUARD_ON, NULL);
	record_changed(r, act, NULL);
	attfix_appraise(r, in_world(name), false, change);
	att_recorder_close(r);
}

static void build_boots(void)
{
	struct att_recorder *r = attfix_open(in_world("rec-boots"), NULL);

	shed_violations(r);
	att_recorder_close(r);
	one_boot_after(ATT_VIOLATION, "boots-unseen", reboot_lies);
	one_boot_after(ATT_VIOLATION, "boots-seen", reboot_seen);
	one_boot_after(ATT_VIOLATION, "boots-anew", started_anew);
	one_boot_after(ATT_VIOLATION, "boots-restored", other_process);
	one_boot_after(ATT_APPLY, "boots-patched", reboot_lies);
	/* And within a boot: a guard that lapsed, one that ended, one that began again. */
	one_boot_after(ATT_REFUSE, "guard-whole", NULL);
	one_boot_after(ATT_GUARD_OFF, "guard-ended", NULL);
	one_boot_after(ATT_GUARD_ON, "guard-again", NULL);
	one_boot_after(ATT_GUARD_ON, "guard-next-boot", reboot_seen);
}

static void build_world(void)
{
	struct att_recorder *r = attfix_open(in_world("rec"), trial_world.tcti), *fork;

	other_machine(r);
	attfix_record(r, attfix_action(ATT_GUARD_ON));
	attfix_record(r, attfix_action(ATT_APPLY));
	attfix_record(r, attfix_action(ATT_REFUSE));
	other_machine(r);
	attfix_appraise(r, in_world("early"), true, NULL);
	other_machine(r);
	att_recorder_close(r);
	attfix_copy(in_world("rec"), in_world("fork-rec"));
	r = attfix_open(in_world("rec"), trial_world.tcti);
	attfix_appraise(r, in_world("good"), true, NULL);
	attfix_record(r, attfix_action(ATT_VIOLATION));
	attfix_appraise(r, in_world("later"), true, NULL);
	att_recorder_close(r);
	/* The same log key, another history from entry 7 on, without the TPM. */
	fork = attfix_open(in_world("fork-rec"), NULL);
	other_machine(fork);
	attfix_appraise(fork, in_world("fork"), true, NULL);
	attfix_appraise(fork, in_world("fork-later"), true, NULL);
	att_recorder_close(fork);
	/* A host without a TPM. */
	r = attfix_open(in_world("soft"), NULL);
	attfix_record(r, attfix_action(ATT_APPLY));
	attfix_appraise(r, in_world("soft-good"), true, NULL);
	attfix_appraise(r, in_world("soft-rebooted"), true, reboot_lies);
	attfix_appraise(r, in_world("soft-returned"), true, NULL);
	att_recorder_close(r);
	openssl(ca_script);
	build_boots();
}

int trial_world_setup(void **state)
{
	(void)state;
	attfix_dir(trial_world.dir);
	trial_world.tcti = attfix_tpm_start(&trial_world.tpm) ? trial_world.tpm.tcti : NULL;
	build_world();
	return 0;
}

int trial_world_teardown(void **state)
{
	(void)state;
	attfix_tpm_remove(&trial_world.tpm);
	attfix_remove(trial_world.dir);
	return 0;
}

/* ---- trials ---- */

void trial_use(struct trial *t, const char *name)
{
	attfix_remove(t->ev);
	attfix_copy(in_world(name), t->ev);
}

void trial_begin(struct trial *t)
{
	*t = (struct trial){.reference = XBUF(65536)};
	(void)snprintf(t->ev, sizeof(t->ev), "%s/trial-ev", trial_world.dir);
	(void)snprintf(t->trust, sizeof(t->trust), "%s/trial-trust", trial_world.dir);
	attfix_copy(in_world("good"), t->ev);
	assert_int_equal(mkdir(t->trust, 0755), 0);
	attfix_trust(t->trust, t->ev);
	attfix_reference(&t->reference);
	assert_true(xo_unhex(ATTFIX_NONCE, t->nonce, sizeof(t->nonce)));
	t->expect = (struct att_expect){.now_s = ATTFIX_NOW_S + 20,
					.nonce = t->nonce,
					.nonce_len = sizeof(t->nonce),
					.vm_uuid = ATTFIX_UUID,
					.reference = xbuf_span(&t->reference)};
}

void trial_end(struct trial *t)
{
	attfix_remove(t->ev);
	attfix_remove(t->trust);
	xbuf_free(&t->reference);
}

void trial_judge(struct trial *t, struct att_result *ret, struct refusal *why)
{
	struct att_files evidence = {0}, trust = {0};
	struct xerr err = {0};

	assert_int_equal(att_files_load(&evidence, t->ev, &err), 0);
	assert_int_equal(att_files_load(&trust, t->trust, &err), 0);
	assert_int_equal(att_verify(ret, &evidence, &trust, &t->expect, why, &err), 0);
	att_files_free(&evidence);
	att_files_free(&trust);
}

bool trial_has(const struct refusal *why, int code)
{
	for (size_t i = 0; i < why->nr; i++)
		if (why->reason[i].code == code)
			return true;
	return false;
}
