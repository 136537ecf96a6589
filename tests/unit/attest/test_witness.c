// SPDX-License-Identifier: Apache-2.0
/* The witness: every answer of C2SP tlog-witness, then over HTTP with curl, then in a verdict. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

#include "attest/names.h"
#include "attest/witness/witness.h"
#include "tests/lib/attfix.h"
#include "tests/lib/proc.h"

#define PATH  (ATTFIX_PATH + 32)
#define NAME  "witness.example/w1"
#define NOW_S 1704067205
#define BODY  32768

struct env {
	char dir[ATTFIX_PATH];
	char rec[PATH], wit[PATH], ev[PATH], trust[PATH];
	struct att_recorder *r;
};

static int setup(void **state)
{
	_cleanup_xbuf_ struct xbuf vkey = XBUF(NOTE_VKEY_MAX), b = XBUF(BODY);
	struct env *e = calloc(1, sizeof(*e));
	struct xerr err = {0};

	attfix_dir(e->dir);
	(void)snprintf(e->rec, PATH, "%s/rec", e->dir);
	(void)snprintf(e->wit, PATH, "%s/witness", e->dir);
	(void)snprintf(e->ev, PATH, "%s/ev", e->dir);
	(void)snprintf(e->trust, PATH, "%s/trust", e->dir);
	if (mkdir(e->wit, 0700))
		return -1;
	e->r = attfix_open(e->rec, NULL);
	attfix_record(e->r, attfix_action(ATT_APPLY));
	assert_int_equal(att_log_key(e->r, &vkey), 0);
	attfix_write(e->wit, "log/host.vkey", xbuf_span(&vkey));
	assert_int_equal(att_checkpoint(e->r, &b, &err), 0);
	*state = e;
	return 0;
}

static int teardown(void **state)
{
	struct env *e = *state;

	att_recorder_close(e->r);
	attfix_remove(e->dir);
	free(e);
	return 0;
}

static struct witness *open_witness(const struct env *e)
{
	struct witness *w = NULL;
	struct xerr err = {0};

	if (witness_open(&w, e->wit, NAME, &err))
		fail_msg("%s", err.text);
	return w;
}

/* Send @body. Return: the status */
static unsigned int ask(struct witness *w, struct span body, struct xbuf *ret_body)
{
	struct witness_answer a;
	unsigned int status;

	witness_add_checkpoint(w, body, NOW_S, &a);
	status = a.status;
	if (ret_body)
		assert_int_equal(xbuf_add(ret_body, a.body.data, a.body.len_bytes), 0);
	xbuf_free(&a.body);
	return status;
}

/* An honest request from tree size @old. */
static void request(const struct env *e, uint64_t old, struct xbuf *out)
{
	struct xerr err = {0};

	out->len_bytes = 0;
	if (att_log_consistency(e->rec, old, out, &err))
		fail_msg("%s", err.text);
}

static void grow(struct env *e, int n)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(BODY);
	struct xerr err = {0};

	for (int i = 0; i < n; i++)
		attfix_record(e->r, attfix_action(ATT_GUARD_ON));
	assert_int_equal(att_checkpoint(e->r, &b, &err), 0);
}

static void test_answers(void **state)
{
	_cleanup_xbuf_ struct xbuf body = XBUF(BODY), got = XBUF(BODY);
	struct env *e = *state;
	struct witness *w = open_witness(e);
	uint8_t *at, was;

	assert_int_equal(ask(w, SPAN("old 0\n", 6), NULL), 400);
	request(e, 0, &body);
	assert_int_equal(ask(w, xbuf_span(&body), &got), 200);
	assert_memory_equal(got.data, "\xe2\x80\x94 " NAME " ", strlen(NAME) + 5);
	/* The same again is not from size 0 any more; from its own size it is. */
	got.len_bytes = 0;
	assert_int_equal(ask(w, xbuf_span(&body), &got), 409);
	assert_memory_equal(got.data, "1\n", 2);
	request(e, 1, &body);
	assert_int_equal(ask(w, xbuf_span(&body), NULL), 200);
	grow(e, 6);
	request(e, 2, &body);
	assert_int_equal(ask(w, xbuf_span(&body), NULL), 409);
	request(e, 1, &body);
	was = body.data[8]; /* in the first hash of the proof */
	body.data[8] = was == 'A' ? 'B' : 'A';
	assert_int_equal(ask(w, xbuf_span(&body), NULL), 422);
	body.data[8] = was;
	assert_int_equal(ask(w, xbuf_span(&body), NULL), 200);
	/* Signed by nobody known; of a log that is not known. */
	grow(e, 1);
	request(e, 7, &body);
	at = memmem(body.data, body.len_bytes, "\n8\n", 3);
	assert_non_null(at);
	at[1] = '9';
	assert_int_equal(ask(w, xbuf_span(&body), NULL), 403);
	at[1] = '6';
	assert_int_equal(ask(w, xbuf_span(&body), NULL), 403);
	at[1] = '8';
	at = memmem(body.data, body.len_bytes, ATTFIX_ORIGIN, 4);
	*at = 'H';
	assert_int_equal(ask(w, xbuf_span(&body), NULL), 404);
	*at = 'h';
	assert_int_equal(ask(w, xbuf_span(&body), NULL), 200);
	witness_close(w);
	/* It remembers over a restart. */
	w = open_witness(e);
	got.len_bytes = 0;
	assert_int_equal(ask(w, xbuf_span(&body), &got), 409);
	assert_memory_equal(got.data, "8\n", 2);
	witness_close(w);
}

/* A log that forks: the operator has set it back and goes on differently. */
static void test_fork(void **state)
{
	_cleanup_xbuf_ struct xbuf body = XBUF(BODY);
	struct env *e = *state;
	struct witness *w = open_witness(e);
	char copy[PATH];

	grow(e, 2);
	att_recorder_close(e->r);
	(void)snprintf(copy, PATH, "%s/copy", e->dir);
	attfix_copy(e->rec, copy);
	e->r = attfix_open(e->rec, NULL);
	grow(e, 4);
	request(e, 0, &body);
	assert_int_equal(ask(w, xbuf_span(&body), NULL), 200);
	att_recorder_close(e->r);
	attfix_remove(e->rec);
	attfix_copy(copy, e->rec);
	e->r = attfix_open(e->rec, NULL);
	attfix_record(e->r, attfix_action(ATT_GUARD_OFF));
	grow(e, 3);
	request(e, 7, &body);
	assert_int_equal(ask(w, xbuf_span(&body), NULL), 409);
	grow(e, 5);
	request(e, 7, &body);
	assert_int_equal(ask(w, xbuf_span(&body), NULL), 422);
	witness_close(w);
}

/* Start exopatch-witness. Return: its pid; "127.0.0.1:PORT" in @at */
static pid_t start(const struct env *e, char at[64])
{
	char program[256], line[128] = "";
	const char *const argv[] = {run_build_path("exopatch-witness", program, sizeof(program)),
				    "--name", NAME, e->wit, NULL};
	int sv[2];
	pid_t pid;

	assert_int_equal(pipe(sv), 0);
	pid = proc_spawn(argv, NULL, sv[1], -1, NULL);
	close(sv[1]);
	assert_true(pid > 0);
	assert_true(read(sv[0], line, sizeof(line) - 1) > 0);
	close(sv[0]);
	assert_int_equal(sscanf(line, "listening on %63s", at), 1);
	return pid;
}

/* As of the witness's clock, which is the machine's. */
static enum att_verdict_of_evidence judge(const struct env *e, int64_t now_s,
					  struct att_result *ret)
{
	_cleanup_xbuf_ struct xbuf ref = XBUF(65536);
	_cleanup_refusal_ struct refusal why = {0};
	struct att_files evidence = {0}, trust = {0};
	struct att_expect x = {.now_s = now_s, .max_age_s = UINT32_MAX};
	struct xerr err = {0};

	attfix_reference(&ref);
	x.reference = xbuf_span(&ref);
	assert_int_equal(att_files_load(&evidence, e->ev, &err), 0);
	assert_int_equal(att_files_load(&trust, e->trust, &err), 0);
	assert_int_equal(att_verify(ret, &evidence, &trust, &x, &why, &err), 0);
	att_files_free(&evidence);
	att_files_free(&trust);
	return ret->verdict;
}

static void test_http(void **state)
{
	_cleanup_xbuf_ struct xbuf body = XBUF(BODY), note = XBUF(BODY), vkey = XBUF(BODY);
	_cleanup_run_ struct run_result res = {0};
	static struct att_result verdict;
	struct env *e = *state;
	char at[64], url[128], data[PATH + 16];
	const char *const curl[] = {"curl",	     "-q", "--noproxy", "*", "-sS", "--fail",
				    "--data-binary", data, url,		NULL};
	pid_t pid;

	attfix_appraise(e->r, e->ev, true, NULL);
	assert_int_equal(mkdir(e->trust, 0755), 0);
	attfix_trust(e->trust, e->ev);
	attfix_write(e->trust, TRUST_WITNESSES, SPAN("1\n", 2));
	assert_int_equal(judge(e, ATTFIX_NOW_S, &verdict), ATT_INCOMPLETE);
	request(e, 0, &body);
	attfix_write(e->dir, "request", xbuf_span(&body));
	pid = start(e, at);
	(void)snprintf(url, sizeof(url), "http://%s/add-checkpoint", at);
	(void)snprintf(data, sizeof(data), "@%s/request", e->dir);
	assert_int_equal(run_program(curl, NULL, 60000, &res), 0);
	if (res.rc)
		fail_msg("curl: %s", res.err);
	attfix_read(e->ev, EVIDENCE_CHECKPOINT, &note);
	assert_int_equal(xbuf_add(&note, res.out, strlen(res.out)), 0);
	attfix_write(e->ev, EVIDENCE_CHECKPOINT, xbuf_span(&note));
	attfix_read(e->wit, "witness.vkey", &vkey);
	attfix_write(e->trust, TRUST_WITNESS "w1.vkey", xbuf_span(&vkey));
	run_result_free(&res);
	(void)snprintf(url, sizeof(url), "http://%s/elsewhere", at);
	assert_int_equal(run_program(curl, NULL, 60000, &res), 0);
	assert_int_equal(res.rc, 22);
	kill(pid, SIGTERM);
	assert_int_equal(proc_reap(pid, 60000), 0);
	assert_int_equal(judge(e, time(NULL), &verdict), ATT_TRUSTED);
	assert_int_equal(verdict.nr_witnesses, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fork, setup, teardown),
		cmocka_unit_test_setup_teardown(test_http, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
