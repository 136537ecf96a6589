// SPDX-License-Identifier: Apache-2.0
/* manifest.json: what is written reads back; every broken rule has its reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "package/kernel/kimage.h"
#include "tests/lib/pkgfix.h"

static void good(struct xbuf *json)
{
	struct manifest m;

	pkgfix_manifest(&m, SPAN("payload", 7), SPAN("p", 1));
	assert_int_equal(manifest_format(json, &m), 0);
	manifest_free(&m);
}

static void test_round_trip(void **state)
{
	_cleanup_xbuf_ struct xbuf json = XBUF(65536), again = XBUF(65536);
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_manifest_ struct manifest m = {0};

	(void)state;
	good(&json);
	assert_int_equal(manifest_parse(&m, xbuf_span(&json), &why), 0);
	assert_int_equal(why.nr, 0);
	assert_int_equal(m.m.serial, 3);
	assert_int_equal(m.m.link_base, 0xffffffff81000000);
	assert_int_equal(m.m.target[0].mask[3].kind, KSITE_JUMP_LABEL);
	assert_string_equal(m.m.target[0].extra[0].symbol, "f.cold");
	assert_string_equal(m.m.prereq[0], "other-fix");
	assert_int_equal(m.m.ref[0].sympos, 2);
	assert_int_equal(m.payload.size_bytes, 7);
	assert_int_equal(manifest_format(&again, &m), 0);
	assert_int_equal(again.len_bytes, json.len_bytes);
	assert_memory_equal(again.data, json.data, json.len_bytes);
}

/* @json with the first @from replaced by @to. */
static void replaced(struct xbuf *out, const struct xbuf *json, const char *from, const char *to)
{
	const uint8_t *at = memmem(json->data, json->len_bytes, from, strlen(from));
	size_t head;

	if (!at)
		fail_msg("no %s", from);
	head = (size_t)(at - json->data);
	assert_int_equal(xbuf_add(out, json->data, head), 0);
	assert_int_equal(xbuf_add(out, to, strlen(to)), 0);
	assert_int_equal(xbuf_add(out, at + strlen(from), json->len_bytes - head - strlen(from)),
			 0);
}

static void test_rules(void **state)
{
	static const struct {
		const char *from, *to;
		int code;
	} broken[] = {
		{"\"id\":", "\"new_key\":1,\"id\":", XO_EUNKNOWNKEY},
		{"\"arch\":", "\"x\":1,\"arch\":", XO_EUNKNOWNKEY},
		{"\"replacement\":", "\"x\":1,\"replacement\":", XO_EUNKNOWNKEY},
		{"\"id\":", "\"id\":\"a\",\"id\":", XO_EDUPKEY},
		{"\"arch\":", "\"arch\":\"a\",\"arch\":", XO_EDUPKEY},
		{"\"serial\":3,", "", XO_EMANIFEST},
		{"\"serial\":3", "\"serial\":-3", XO_EMANIFEST},
		{"\"serial\":3", "\"serial\":3.0", XO_EMANIFEST},
		{"\"serial\":3", "\"serial\":\"3\"", XO_EMANIFEST},
		{"\"serial\":3", "\"serial\":9223372036854775808", XO_EMANIFEST},
		{"xpatch/1", "xpatch/2", XO_EMANIFEST},
		{"demo-fix", "Demo", XO_EMANIFEST},
		{"demo-fix", "../demo", XO_EMANIFEST},
		{"demo-fix", ".demo", XO_EMANIFEST},
		{"demo-fix", "", XO_EMANIFEST},
		{"for tests", "two\\nlines", XO_EMANIFEST},
		{"for tests", "nul\\u0000", XO_EMANIFEST},
		{"2026-01-02T03:04:05Z", "2026-01-02 03:04:05Z", XO_EMANIFEST},
		{"\"CVE-2026-0001\"", "\"CVE 1\"", XO_EMANIFEST},
		{"[\"other-fix\"]", "\"other-fix\"", XO_EMANIFEST},
		{"x86_64", "arm64", XO_EMANIFEST},
		{"\"build_id\":\"01", "\"build_id\":\"0", XO_EMANIFEST},
		{"\"build_id\":\"01", "\"build_id\":\"zz", XO_EMANIFEST},
		{"0xffffffff81000000", "0xffffffff8100000", XO_EMANIFEST},
		{"\"size\":7}", "\"size\":0}", XO_EMANIFEST},
		{"\"symbol\":\"f\"", "\"symbol\":\"f f\"", XO_EMANIFEST},
		{"\"size\":24", "\"size\":1048577", XO_EMANIFEST},
		{"\"replacement\":\"new_g\"", "\"replacement\":\"new_f\"", XO_EMANIFEST},
		{"\"symbol\":\"g\",\"sympos\":2", "\"symbol\":\"f\",\"sympos\":0", XO_EMANIFEST},
		{"[1,5,\"ftrace\"]", "[1,5,\"other\"]", XO_EMANIFEST},
		{"[1,5,\"ftrace\"]", "[1,5]", XO_EMANIFEST},
		{"[1,5,\"ftrace\"]", "[1,0,\"ftrace\"]", XO_EMANIFEST},
		{"[1,5,\"ftrace\"]", "[1,10,\"ftrace\"]", XO_EMANIFEST},
		{"[10,4,\"reloc\"]", "[10,2,\"reloc\"]", XO_EMANIFEST},
		{"[20,2,\"jump-label\"]", "[20,5,\"jump-label\"]", XO_EMANIFEST},
		{"[20,2,\"jump-label\"]", "[-1,2,\"jump-label\"]", XO_EMANIFEST},
		{"\"refs\":[{\"symbol\":\"_printk\",\"sympos\":2}]",
		 "\"refs\":[{\"symbol\":\"_printk\",\"sympos\":0}]", XO_EMANIFEST},
		{"}\n", "}\n{}", XO_EMANIFEST},
		{"{\"format\"", "[{\"format\"", XO_EMANIFEST},
	};
	_cleanup_xbuf_ struct xbuf json = XBUF(65536);

	(void)state;
	good(&json);
	for (size_t i = 0; i < XO_ARRAY_SIZE(broken); i++) {
		_cleanup_xbuf_ struct xbuf bad = XBUF(65536);
		_cleanup_refusal_ struct refusal why = {0};
		_cleanup_manifest_ struct manifest m = {0};

		replaced(&bad, &json, broken[i].from, broken[i].to);
		assert_int_equal(manifest_parse(&m, xbuf_span(&bad), &why), 0);
		if (!pkgfix_has(&why, broken[i].code))
			fail_msg("%s for %s: not refused as it should", broken[i].to,
				 broken[i].from);
	}
}

static void test_all_reasons(void **state)
{
	static const char text[] = "{\"format\":\"x\",\"zzz\":1,\"serial\":-1,\"targets\":[]}";
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_manifest_ struct manifest m = {0};

	(void)state;
	assert_int_equal(manifest_parse(&m, SPAN(text, sizeof(text) - 1), &why), 0);
	assert_int_equal(why.nr, 11 + 1 + 3);
	assert_true(pkgfix_has(&why, XO_EUNKNOWNKEY));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_all_reasons),
	};

	return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}
