// SPDX-License-Identifier: Apache-2.0
/* Statements: what is written reads back; every broken rule has its reason; envelopes as DSSE says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "attest/dsse.h"
#include "attest/statement.h"
#include "tests/lib/attfix.h"

static void written(struct xbuf *json, const struct att_statement *s)
{
	assert_int_equal(statement_format(json, s), 0);
}

static void test_round_trip(void **state)
{
	_cleanup_xbuf_ struct xbuf json = XBUF(65536), again = XBUF(65536);
	_cleanup_free_ struct att_statement *s = attfix_largest(), *back = attfix_largest();
	_cleanup_refusal_ struct refusal why = {0};

	(void)state;
	s->sequence = 7;
	memset(s->previous, 5, sizeof(s->previous));
	written(&json, s);
	assert_true(statement_parse(back, xbuf_span(&json), "x", &why));
	assert_int_equal(back->sequence, 7);
	assert_int_equal(back->nr_patches, ATT_MAX_PATCHES);
	assert_int_equal(back->action.nr_reasons, ATT_MAX_REASONS);
	assert_string_equal(back->action.reason[31].detail, s->action.reason[31].detail);
	assert_memory_equal(back->previous, s->previous, sizeof(s->previous));
	written(&again, back);
	assert_int_equal(again.len_bytes, json.len_bytes);
	assert_memory_equal(again.data, json.data, json.len_bytes);
}

/* The first @from of an apply's statement replaced by @to: what comes of it? */
static int refused(const char *from, const char *to)
{
	_cleanup_free_ struct att_statement *s = attfix_action(ATT_APPLY);
	_cleanup_xbuf_ struct xbuf json = XBUF(65536), out = XBUF(65536);
	_cleanup_refusal_ struct refusal why = {0};
	const uint8_t *at;
	size_t head;

	written(&json, s);
	at = memmem(json.data, json.len_bytes, from, strlen(from));
	if (!at)
		fail_msg("no %s", from);
	head = (size_t)(at - json.data);
	assert_int_equal(xbuf_add(&out, json.data, head), 0);
	assert_int_equal(xbuf_add(&out, to, strlen(to)), 0);
	assert_int_equal(xbuf_add(&out, at + strlen(from), json.len_bytes - head - strlen(from)),
			 0);
	if (statement_parse(s, xbuf_span(&out), "x", &why))
		return 0;
	assert_true(why.nr > 0);
	return why.reason[0].code;
}

static void test_rules(void **state)
{
	static const struct {
		const char *from, *to;
		int code;
	} broken[] = {
		{"\"_type\"", "\"a\":1,\"_type\"", XO_EUNKNOWNKEY},
		{"\"uuid\"", "\"a\":1,\"uuid\"", XO_EUNKNOWNKEY},
		{"\"action\"", "\"a\":1,\"action\"", XO_EUNKNOWNKEY},
		{"\"uuid\"", "\"uuid\":\"\",\"uuid\"", XO_EDUPKEY},
		{"Statement/v1", "Statement/v0", XO_ESTATEMENT},
		{"action:v1", "action:v2", XO_ESTATEMENT},
		{"action:v1", "appraisal:v1", XO_EUNKNOWNKEY},
		{"\"xpatch:demo-fix@", "\"xpatch:demo-fax@", XO_ESTATEMENT},
		{"\"sha256\":\"ab", "\"sha256\":\"ac", XO_ESTATEMENT},
		{"5f2c1d5e", "5F2C1D5E", XO_ESTATEMENT},
		{"5f2c1d5e-", "5f2c1d5e", XO_ESTATEMENT},
		{"\"boot\":\"01", "\"boot\":\"", XO_ESTATEMENT},
		{"\"sequence\":0", "\"sequence\":-1", XO_ESTATEMENT},
		{"\"sequence\":0", "\"sequence\":0.5", XO_ESTATEMENT},
		{"\"sequence\":0", "\"sequence\":\"0\"", XO_ESTATEMENT},
		{"\"sequence\":0", "\"sequence\":281474976710657", XO_ESTATEMENT},
		{"\"previous_sha256\":null",
		 "\"previous_sha256\":"
		 "\"00000000000000000000000000000000000000000000000000000000000000"
		 "00\"",
		 XO_ESTATEMENT},
		{"\"previous_sha256\":null", "\"previous_sha256\":\"\"", XO_ESTATEMENT},
		{"\"previous_sha256\":null,", "", XO_ESTATEMENT},
		{"2024-01-01T", "2024-02-30T", XO_ESTATEMENT},
		{"2024-01-01T00:00:00Z", "2024-01-01T00:00:00+01", XO_ESTATEMENT},
		{"2024-01-01T", "1024-01-01T", XO_ESTATEMENT},
		{"\"action\":\"apply\"", "\"action\":\"applied\"", XO_ESTATEMENT},
		{"\"verdict\":\"done\"", "\"verdict\":\"fine\"", XO_ESTATEMENT},
		{"CVE-2026-12345", "CVE 2026", XO_ESTATEMENT},
		{"6.1.0-99", "6.1.0\\n99", XO_ESTATEMENT},
		{"\"reasons\":[]", "\"reasons\":{}", XO_ESTATEMENT},
		{"\"reasons\":[]", "\"reasons\":[1]", XO_ESTATEMENT},
	};

	(void)state;
	assert_int_equal(refused("\"held_us\":73", "\"held_us\":74"), 0);
	for (size_t i = 0; i < XO_ARRAY_SIZE(broken); i++) {
		int code = refused(broken[i].from, broken[i].to);

		if (code != broken[i].code)
			fail_msg("%s to %s: %s", broken[i].from, broken[i].to, xo_code_key(code));
	}
}

static void test_too_long(void **state)
{
	static uint8_t spaces[STATEMENT_MAX_BYTES + 1];
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_free_ struct att_statement *s = attfix_action(ATT_APPLY);

	(void)state;
	memset(spaces, ' ', sizeof(spaces));
	assert_false(statement_parse(s, SPAN(spaces, sizeof(spaces)), "x", &why));
	assert_int_equal(why.reason[0].code, XO_ELIMIT);
}

/* OpenVEX: what scanners look for. */
static void test_vex(void **state)
{
	_cleanup_free_ struct att_statement *s = attfix_action(ATT_APPLY);
	const struct att_statement *one = s;
	_cleanup_xbuf_ struct xbuf vex = XBUF(65536);
	const char *context, *status, *vulnerability, *product;
	json_t *doc;

	(void)state;
	assert_int_equal(vex_format(&vex, &one, 1, ATTFIX_NOW_S), 0);
	doc = json_loadb((char *)vex.data, vex.len_bytes, 0, NULL);
	assert_int_equal(json_unpack(doc, "{s:s,s:[{s:s,s:{s:s},s:[{s:s}]}]}", "@context", &context,
				     "statements", "status", &status, "vulnerability", "name",
				     &vulnerability, "products", "@id", &product),
			 0);
	assert_string_equal(context, "https://openvex.dev/ns/v0.2.0");
	assert_string_equal(status, "fixed");
	assert_string_equal(vulnerability, "CVE-2026-12345");
	assert_non_null(strstr(product, "linux@6.1.0-99-cloud-amd64"));
	json_decref(doc);
}

/* The pre-authentication encoding, byte by byte; and that the signature is over it. */
static void test_envelope(void **state)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "prime256v1");
	EVP_PKEY *other = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "prime256v1");
	_cleanup_xbuf_ struct xbuf pae = XBUF(1024), env = XBUF(DSSE_MAX_BYTES);
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_dsse_ struct dsse e = {0};
	static const char want[] = "DSSEv1 28 application/vnd.in-toto+json 11 hello world";

	(void)state;
	assert_int_equal(dsse_pae(&pae, SPAN("hello world", 11)), 0);
	assert_int_equal(pae.len_bytes, sizeof(want) - 1);
	assert_memory_equal(pae.data, want, pae.len_bytes);
	assert_int_equal(dsse_seal(&env, SPAN("hello world", 11), key), 0);
	assert_true(dsse_parse(&e, xbuf_span(&env), "x", &why));
	assert_int_equal(e.payload.len_bytes, 11);
	assert_true(dsse_verify(&e, key));
	assert_true(key_verify(key, xbuf_span(&pae), SPAN(e.sig, e.sig_len)));
	assert_false(dsse_verify(&e, other));
	e.payload.data[0] ^= 1;
	assert_false(dsse_verify(&e, key));
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_rules),
		cmocka_unit_test(test_too_long),   cmocka_unit_test(test_vex),
		cmocka_unit_test(test_envelope),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
