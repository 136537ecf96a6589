// SPDX-License-Identifier: Apache-2.0
/*
 * Others' tools judge our evidence: the scripts of docs/verify-by-hand.md, run as they stand. Each
 * must accept good evidence, and must reject it after what the table says was done to it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "attest/names.h"
#include "tests/lib/attfix.h"
#include "tests/lib/proc.h"

#define DOC	   "docs/verify-by-hand.md"
#define MAX_BLOCKS 16
#define PATH	   (ATTFIX_PATH + 32)

static struct world {
	char dir[ATTFIX_PATH];
	char good[PATH], ev[PATH], trust[PATH];
	struct attfix_tpm tpm;
	bool ready;
	struct xbuf doc;
	size_t nr;
	char *block[MAX_BLOCKS];
} world = {.doc = {.cap_bytes = 1U << 20}};

/* The fenced sh blocks of the document. */
static void read_blocks(void)
{
	char *at, *end;

	assert_int_equal(xbuf_read_file(&world.doc, DOC), 0);
	assert_int_equal(xbuf_add(&world.doc, "", 1), 0);
	at = (char *)world.doc.data;
	while ((at = strstr(at, "\n```sh\n"))) {
		at += 7;
		end = strstr(at, "\n```");
		assert_non_null(end);
		assert_true(world.nr < MAX_BLOCKS);
		*end = '\0';
		world.block[world.nr++] = at;
		at = end + 1;
	}
}

static int setup(void **state)
{
	struct att_recorder *r;

	(void)state;
	attfix_dir(world.dir);
	(void)snprintf(world.good, PATH, "%s/good", world.dir);
	(void)snprintf(world.ev, PATH, "%s/ev", world.dir);
	(void)snprintf(world.trust, PATH, "%s/trust", world.dir);
	read_blocks();
	if (!attfix_tpm_start(&world.tpm) || access("/usr/bin/evmctl", X_OK) ||
	    access("/usr/bin/tpm2_checkquote", X_OK))
		return 0;
	world.ready = true;
	(void)snprintf(world.ev, PATH, "%s/rec", world.dir);
	r = attfix_open(world.ev, world.tpm.tcti);
	(void)snprintf(world.ev, PATH, "%s/ev", world.dir);
	attfix_record(r, attfix_action(ATT_GUARD_ON));
	for (int i = 0; i < 4; i++) {
		struct att_statement *s = i ? attfix_action(ATT_GUARD_ON) : attfix_largest();

		memcpy(s->vm_uuid, ATTFIX_OTHER, sizeof(ATTFIX_OTHER));
		attfix_record(r, s);
	}
	attfix_record(r, attfix_action(ATT_APPLY));
	attfix_appraise(r, world.good, true, NULL);
	att_recorder_close(r);
	if (mkdir(world.trust, 0755))
		return -1;
	attfix_trust(world.trust, world.good);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	attfix_tpm_remove(&world.tpm);
	attfix_remove(world.dir);
	xbuf_free(&world.doc);
	return 0;
}

/* Run @script in evidence directory @ev. Return: its exit status */
static int run_in(const char *ev, const char *script, bool tell)
{
	char trust[PATH + 8];
	const char *const argv[] = {"sh",   "-c", "cd \"$1\" && exec sh -euc \"$2\"", "sh", ev,
				    script, NULL};
	const char *const env[] = {trust, "NONCE=" ATTFIX_NONCE, NULL};
	_cleanup_run_ struct run_result res = {0};

	(void)snprintf(trust, sizeof(trust), "TRUST=%s", world.trust);
	assert_int_equal(run_program(argv, env, 20000, &res), 0);
	if (tell && res.rc)
		print_error("%s\n---- %d\n%s%s\n", script, res.rc, res.out, res.err);
	return res.rc;
}

static void test_good(void **state)
{
	bool good = true;

	(void)state;
	if (!world.ready)
		skip();
	assert_true(world.nr >= 8);
	for (size_t i = 0; i < world.nr; i++)
		good &= !run_in(world.good, world.block[i], true);
	assert_true(good);
}

static const char *block_called(const char *title)
{
	for (size_t i = 0; i < world.nr; i++)
		if (!strncmp(world.block[i] + 2, title, strlen(title)))
			return world.block[i];
	fail_msg("no block '%s' in " DOC, title);
	return NULL;
}

#define FLIP(file, off)                                                                            \
	"b=$(xxd -p -l 1 -s " off " " file "); printf '%02x' $((0x$b ^ 1)) | xxd -r -p | "         \
	"dd of=" file " bs=1 seek=" off " conv=notrunc status=none"

static void test_spoiled(void **state)
{
	/* The title of a block; what to do to good evidence first. */
	static const char *const table[][2] = {
		{"statement key", FLIP("statement-key.msg", "70")},
		{"statement key", "openssl ecparam -name prime256v1 -genkey -noout | "
				  "openssl pkey -pubout -out statement.pub"},
		{"statement key", FLIP("ak.pub", "80")},
		{"signatures", "cd statements; f=$(ls | head -n 1); jq -c '.payload |= (@base64d | "
			       "sub(\"none\"; \"nine\") | sub(\"guard-on\"; \"guard-in\") | "
			       "@base64)' $f > x; mv x $f"},
		{"order", "rm statements/000000000005.json"},
		{"order", "cd statements; mv 000000000000.json x; mv 000000000005.json "
			  "000000000000.json; mv x 000000000005.json"},
		{"the appraisal", "rm statements/000000000006.json"},
		{"signature of the checkpoint", "sed -i '2s/7/8/' checkpoint"},
		{"signature of the checkpoint", FLIP("checkpoint", "40")},
		{"inclusion", FLIP("statements/000000000005.json", "30")},
		{"inclusion", "cd proofs; mv 000000000000.tlog-proof x; mv 000000000005.tlog-proof "
			      "000000000000.tlog-proof; mv x 000000000005.tlog-proof"},
		{"the quote", FLIP("quote.msg", "50")},
		{"the quote", FLIP("quote.pcr", "3")},
		{"the quote", "cp statement-key.msg quote.msg; cp statement-key.sig quote.sig"},
		{"replay", FLIP("ima.log", "400")},
		{"replay", FLIP("quote.pcr", "3")},
		{"replay", "truncate -s -40 ima.log"},
		{"statements and the measured log", "rm statements/000000000005.json"},
		{"statements and the measured log", FLIP("statements/000000000005.json", "30")},
	};

	(void)state;
	if (!world.ready)
		skip();
	for (size_t i = 0; i < XO_ARRAY_SIZE(table); i++) {
		attfix_copy(world.good, world.ev);
		assert_int_equal(run_in(world.ev, table[i][1], true), 0);
		if (!run_in(world.ev, block_called(table[i][0]), false))
			fail_msg("'%s' accepts evidence after: %s", table[i][0], table[i][1]);
		attfix_remove(world.ev);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_spoiled),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
