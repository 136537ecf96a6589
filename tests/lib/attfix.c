// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/attfix.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "attest/file.h"
#include "attest/names.h"
#include "tests/lib/patience.h"
#include "tests/lib/proc.h"

#define STOP_MS 5000

void attfix_dir(char path[ATTFIX_PATH])
{
	const char *tmp = getenv("TMPDIR");

	(void)snprintf(path, ATTFIX_PATH, "%s/attest.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(path));
}

static void run(const char *const argv[])
{
	_cleanup_run_ struct run_result res = {0};

	assert_int_equal(run_program(argv, NULL, 20000, &res), 0);
	if (res.rc)
		fail_msg("%s: %s", argv[0], res.err);
}

void attfix_remove(const char *path)
{
	run((const char *const[]){"rm", "-rf", path, NULL});
}

void attfix_copy(const char *from, const char *to)
{
	run((const char *const[]){"cp", "-r", from, to, NULL});
}

void attfix_write(const char *dir, const char *name, struct span bytes)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(file_replace(fd, name, bytes, 0644), 0);
}

void attfix_read(const char *dir, const char *name, struct xbuf *out)
{
	char path[2 * ATTFIX_PATH];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(xbuf_read_file(out, path), 0);
}

/* The socket's file is there before anybody listens on it. */
static bool listens(const char *path)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	assert_true(fd >= 0);
	assert_true(strlen(path) < sizeof(at.sun_path));
	memcpy(at.sun_path, path, strlen(path));
	return !connect(fd, (const struct sockaddr *)&at, sizeof(at));
}

bool attfix_tpm_start(struct attfix_tpm *t)
{
	char state[ATTFIX_PATH + 16], ctrl[ATTFIX_PATH + 48], server[ATTFIX_PATH + 48],
		path[ATTFIX_PATH + 16];
	const char *const argv[] = {"swtpm",
				    "socket",
				    "--tpm2",
				    "--tpmstate",
				    state,
				    "--ctrl",
				    ctrl,
				    "--server",
				    server,
				    "--flags",
				    "not-need-init,startup-clear",
				    NULL};
	uint64_t until_ns;

	if (access("/usr/bin/swtpm", X_OK))
		return false;
	if (!t->dir[0])
		attfix_dir(t->dir);
	(void)snprintf(state, sizeof(state), "dir=%s", t->dir);
	(void)snprintf(path, sizeof(path), "%s/sock", t->dir);
	(void)snprintf(ctrl, sizeof(ctrl), "type=unixio,path=%s.ctrl", path);
	(void)snprintf(server, sizeof(server), "type=unixio,path=%s", path);
	(void)snprintf(t->tcti, sizeof(t->tcti), "swtpm:path=%s", path);
	t->pid = proc_spawn(argv, NULL, -1, -1, NULL);
	assert_true(t->pid > 0);
	until_ns = patience_ns();
	while (!listens(path)) {
		if (waitpid(t->pid, NULL, WNOHANG) == t->pid) {
			t->pid = 0;
			fail_msg("swtpm has ended at once");
		}
		if (!patience_left(until_ns))
			fail_msg("swtpm listens nowhere");
	}
	return true;
}

void attfix_tpm_stop(struct attfix_tpm *t)
{
	char socket[ATTFIX_PATH + 16];

	if (t->pid <= 0)
		return;
	kill(t->pid, SIGTERM);
	proc_reap(t->pid, STOP_MS);
	t->pid = 0;
	(void)snprintf(socket, sizeof(socket), "%s/sock", t->dir);
	unlink(socket);
	(void)snprintf(socket, sizeof(socket), "%s/sock.ctrl", t->dir);
	unlink(socket);
}

void attfix_tpm_remove(struct attfix_tpm *t)
{
	attfix_tpm_stop(t);
	if (t->dir[0])
		attfix_remove(t->dir);
	t->dir[0] = '\0';
}

struct att_recorder *attfix_open(const char *dir, const char *tcti)
{
	struct att_recorder_opts o = {
		.dir = dir, .origin = ATTFIX_ORIGIN, .tcti = tcti, .pcr = ATT_DEFAULT_PCR};
	struct att_recorder *r = NULL;
	struct xerr err = {0};

	if (att_recorder_open(&r, &o, &err))
		fail_msg("%s", err.text);
	return r;
}

struct att_statement *attfix_statement(enum att_kind kind)
{
	struct att_statement *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->kind = kind;
	memcpy(s->vm_uuid, ATTFIX_UUID, sizeof(ATTFIX_UUID));
	memset(s->boot, 1, sizeof(s->boot));
	(void)snprintf(s->build_id, sizeof(s->build_id), "%040d", 7);
	(void)snprintf(s->release, sizeof(s->release), "6.1.0-99-cloud-amd64");
	memset(s->policy, 9, sizeof(s->policy));
	s->started_s = s->finished_s = ATTFIX_NOW_S;
	return s;
}

static void demo_patch(struct att_patch *p)
{
	(void)snprintf(p->id, sizeof(p->id), "demo-fix");
	(void)snprintf(p->version, sizeof(p->version), "1.2");
	memset(p->manifest, 0xab, sizeof(p->manifest));
}

struct att_statement *attfix_action(enum att_act act)
{
	struct att_statement *s = attfix_statement(ATT_ACTION);
	struct att_action *a = &s->action;

	a->act = act;
	a->verdict = act == ATT_REFUSE ? ATT_REFUSED : ATT_DONE;
	a->held_us = 73;
	memset(a->before, 2, sizeof(a->before));
	memset(a->after, 3, sizeof(a->after));
	if (act == ATT_APPLY || act == ATT_REVERT || act == ATT_REFUSE) {
		a->has_package = true;
		demo_patch(&a->package);
		a->nr_advisories = 1;
		(void)snprintf(a->advisory[0], sizeof(a->advisory[0]), "CVE-2026-12345");
	}
	if (act == ATT_GUARD_ON)
		a->guard = ATT_GUARD_ENFORCE;
	if (act == ATT_APPLY) {
		s->nr_patches = 1;
		demo_patch(&s->patch[0]);
	}
	if (act == ATT_REFUSE || act == ATT_VIOLATION) {
		a->nr_reasons = 1;
		(void)snprintf(a->reason[0].key, sizeof(a->reason[0].key), "preimage-differs");
		(void)snprintf(a->reason[0].detail, sizeof(a->reason[0].detail), "vfs_read+0x10");
	}
	return s;
}

struct att_statement *attfix_largest(void)
{
	struct att_statement *s = attfix_action(ATT_REFUSE);
	struct att_action *a = &s->action;

	s->nr_patches = ATT_MAX_PATCHES;
	for (size_t i = 0; i < s->nr_patches; i++) {
		demo_patch(&s->patch[i]);
		memset(s->patch[i].id, 'i', sizeof(s->patch[i].id) - 1);
		memset(s->patch[i].version, 'v', sizeof(s->patch[i].version) - 1);
	}
	a->nr_reasons = ATT_MAX_REASONS;
	for (size_t i = 0; i < a->nr_reasons; i++) {
		memset(a->reason[i].key, 'k', sizeof(a->reason[i].key) - 1);
		/* Twice as long in JSON. */
		memset(a->reason[i].detail, '"', sizeof(a->reason[i].detail) - 1);
	}
	a->nr_advisories = ATT_MAX_ADVISORIES;
	for (size_t i = 0; i < a->nr_advisories; i++)
		memset(a->advisory[i], 'A', sizeof(a->advisory[i]) - 1);
	return s;
}

uint64_t attfix_record(struct att_recorder *r, struct att_statement *s)
{
	struct xerr err = {0};
	uint64_t leaf = 0;

	if (att_record(r, s, &leaf, &err))
		fail_msg("%s", err.text);
	free(s);
	return leaf;
}

static void areas(struct att_area a[2])
{
	(void)snprintf(a[0].name, sizeof(a[0].name), "text");
	memset(a[0].sha256, 0x11, sizeof(a[0].sha256));
	a[0].size_bytes = 14 << 20;
	(void)snprintf(a[1].name, sizeof(a[1].name), "rodata");
	memset(a[1].sha256, 0x22, sizeof(a[1].sha256));
	a[1].size_bytes = 5 << 20;
}

#define MODULE_DIGEST "3333333333333333333333333333333333333333333333333333333333333333"

static void appraise(struct att_recorder *r, const char *dir, bool patched, uint64_t since,
		     void (*change)(struct att_statement *s))
{
	static const char detail[] =
		"{\"format\": \"exopatch-appraisal/1\", \"modules\": "
		"[{\"name\": \"virtio_net\", \"sha256\": \"" MODULE_DIGEST "\"}]}\n";
	struct att_statement *s = attfix_statement(ATT_APPRAISAL);
	struct att_evidence_opts o = {
		.dir = dir, .detail = SPAN(detail, sizeof(detail) - 1), .since = since};
	struct att_appraisal *a = &s->appraisal;
	struct xerr err = {0};

	a->nonce_len = strlen(ATTFIX_NONCE) / 2;
	assert_true(xo_unhex(ATTFIX_NONCE, a->nonce, a->nonce_len));
	memset(a->reference, 0x44, sizeof(a->reference));
	a->nr_areas = 2;
	areas(a->area);
	a->modules = 1;
	a->guard = ATT_GUARD_ENFORCE;
	a->registers = 6;
	a->exec_pages = 4100;
	a->tells_trust = true;
	a->init_bytes = ATTFIX_INIT_BYTES;
	if (patched) {
		s->nr_patches = 1;
		demo_patch(&s->patch[0]);
	}
	if (change)
		change(s);
	if (att_evidence_write(r, s, &o, &err))
		fail_msg("%s", err.text);
	free(s);
}

void attfix_appraise(struct att_recorder *r, const char *dir, bool patched,
		     void (*change)(struct att_statement *s))
{
	appraise(r, dir, patched, 0, change);
}

void attfix_appraise_since(struct att_recorder *r, const char *dir, bool patched, uint64_t since)
{
	appraise(r, dir, patched, since, NULL);
}

void attfix_reference(struct xbuf *out)
{
	struct att_module m = {.name = "virtio_net"};
	struct att_reference ref = {.package = "linux-image-6.1.0-99-cloud-amd64",
				    .version = "6.1.999-1",
				    .arch = "amd64",
				    .release = "6.1.0-99-cloud-amd64",
				    .nr_areas = 2,
				    .nr_modules = 1,
				    .module = &m};

	(void)snprintf(ref.build_id, sizeof(ref.build_id), "%040d", 7);
	areas(ref.area);
	memset(m.sha256, 0x33, sizeof(m.sha256));
	assert_int_equal(att_reference_format(out, &ref), 0);
}

void attfix_trust(const char *dir, const char *evidence)
{
	_cleanup_xbuf_ struct xbuf log = XBUF(4096), key = XBUF(4096);
	char path[2 * ATTFIX_PATH];

	attfix_read(evidence, EVIDENCE_LOG_KEY, &log);
	attfix_write(dir, TRUST_LOG "host.vkey", xbuf_span(&log));
	(void)snprintf(path, sizeof(path), "%s/%s", evidence, EVIDENCE_AK);
	if (!access(path, R_OK)) {
		attfix_read(evidence, EVIDENCE_AK, &key);
		attfix_write(dir, TRUST_AK "host.pem", xbuf_span(&key));
	} else {
		attfix_read(evidence, EVIDENCE_STATEMENT_KEY, &key);
		attfix_write(dir, TRUST_STATEMENT "host.pem", xbuf_span(&key));
	}
}
