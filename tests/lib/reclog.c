// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/reclog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "attest/dsse.h"
#include "attest/statement.h"
#include "tests/lib/proc.h"

#define ENTRY_MAX 65536
#define AUDIT_MS  300000 /* some hundred processes, beside other tests */

uint64_t reclog_size(const char *dir)
{
	struct xerr err = {0};
	uint64_t size = 0;

	return att_log_size(dir, &size, &err) ? 0 : size;
}

struct att_statement *reclog_statement(const char *dir, int64_t index)
{
	_cleanup_xbuf_ struct xbuf entry = XBUF(ENTRY_MAX);
	struct att_statement *s = calloc(1, sizeof(*s));
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_dsse_ struct dsse e = {0};
	int64_t at = index < 0 ? (int64_t)reclog_size(dir) + index : index;
	struct xerr err = {0};

	assert_non_null(s);
	assert_int_equal(att_log_entry(dir, (uint64_t)at, &entry, &err), 0);
	assert_true(dsse_parse(&e, xbuf_span(&entry), "entry", &why));
	assert_true(statement_parse(s, xbuf_span(&e.payload), "entry", &why));
	return s;
}

void reclog_expect(const char *dir, int64_t index, enum att_act act, enum att_verdict verdict,
		   const char *reason)
{
	_cleanup_free_ struct att_statement *s = reclog_statement(dir, index);

	assert_string_equal(att_act_name(s->action.act), att_act_name(act));
	assert_int_equal(s->action.verdict, verdict);
	assert_string_equal(s->action.nr_reasons ? s->action.reason[0].key : "", reason);
}

static const char script[] =
	"EXOPATCH=$1 LOG=$2 TCTI=$3; T=$(mktemp -d); trap 'rm -r $T' EXIT\n"
	"openssl pkey -in $LOG/statement.key -pubout -out $T/pub\n"
	"size=$($EXOPATCH log checkpoint --log $LOG | sed -n 2p); test $size -gt 0; before=\n"
	"for i in $(seq 0 $((size - 1))); do\n"
	"	$EXOPATCH log show $i --log $LOG >$T/entry\n"
	"	jq -j .payload $T/entry | base64 -d >$T/payload\n"
	"	type=$(jq -j .payloadType $T/entry)\n"
	"	{ printf 'DSSEv1 %d %s %d ' ${#type} $type $(stat -c %s $T/payload)\n"
	"	  cat $T/payload; } >$T/signed\n"
	"	jq -j '.signatures[0].sig' $T/entry | base64 -d >$T/sig\n"
	"	openssl dgst -sha256 -verify $T/pub -signature $T/sig $T/signed >/dev/null\n"
	"	test \"$(jq -r '.predicate | \"\\(.sequence) \\(.previous_sha256 // \"\")\"' "
	"$T/payload)\" = \"$i $before\"\n"
	"	before=$(sha256sum <$T/entry | cut -d' ' -f1)\n"
	"done\n"
	"test -n \"$TCTI\" || exit 0\n"
	"tpm2_pcrread -T $TCTI sha256:13 -o $T/pcr >/dev/null\n"
	"for i in $(seq 0 23); do\n"
	"	value=$(printf '%064d' 0); [ $i != 13 ] || value=$(xxd -p -c 64 $T/pcr)\n"
	"	printf 'PCR-%02d: %s\\n' $i $value\n"
	"done >$T/pcrs\n"
	"set -- $LOG/ima-*.log; test $# = 1\n"
	"evmctl ima_measurement --pcrs sha256,$T/pcrs $1\n";

void reclog_audit(const char *dir, const char *tcti)
{
	char exopatch[256];
	const char *const argv[] = {"sh",
				    "-euc",
				    script,
				    "audit",
				    run_build_path("exopatch", exopatch, sizeof(exopatch)),
				    dir,
				    tcti ? tcti : "",
				    NULL};
	_cleanup_run_ struct run_result res = {0};

	assert_int_equal(run_program(argv, NULL, AUDIT_MS, &res), 0);
	if (res.rc)
		print_error("%s%s\n", res.out, res.err);
	assert_int_equal(res.rc, 0);
}
