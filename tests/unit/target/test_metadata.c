// SPDX-License-Identifier: Apache-2.0
/* What an operator wrote about a domain, as libvirt gives it back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "vmm-agent/target/metadata.h"

static void understood(void **state)
{
	static const struct {
		const char *xml, *json;
	} rows[] = {
		{"<vm/>", "{}"},
		{"<vm tier=\"gold\"/>", "{\"tier\":\"gold\"}"},
		{" \n<vm\n tier = 'gold' owner=\"a b\" >x</vm>",
		 "{\"tier\":\"gold\",\"owner\":\"a b\"}"},
		{"<vm xmlns:x=\"urn:exopatch:vm\" xmlns=\"y\" a=\"1\"/>", "{\"a\":\"1\"}"},
		{"<x:vm a=\"&lt;&gt;&amp;&quot;&apos;\"/>", "{\"a\":\"<>&\\\"'\"}"},
		{"<vm a=\"it's\" b='\"'/>", "{\"a\":\"it's\",\"b\":\"\\\"\"}"},
		{"<vm empty=\"\" a=\"1\"/>", "{\"a\":\"1\"}"},
	};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(rows); i++) {
		json_t *o = NULL;
		char *text;

		assert_int_equal(metadata_parse(rows[i].xml, &o), 0);
		text = json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER);
		assert_string_equal(text, rows[i].json);
		free(text);
		json_decref(o);
	}
}

static void refused(void **state)
{
	static const char *const rows[] = {
		"",
		"vm",
		"<",
		"<>",
		"<vm",
		"<vm a",
		"<vm a=",
		"<vm a=\"",
		"<vm a=1/>",
		"<vm a=\"1\"",
		"<vm a=\"1\"b=\"2\"/>",
		"<vm a=\"1\" a=\"2\"/>",
		"<vm a=\"<\"/>",
		"<vm a=\"&#65;\"/>",
		"<vm a=\"\x01\"/>",
		"<vm a=\"\xc3\xa4\"/>",
		"<vm a=\"&lt\"/>",
		"<?xml?><vm/>",
		"<vm / >",
	};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(rows); i++) {
		json_t *o = NULL;

		if (metadata_parse(rows[i], &o) != -XO_EMALFORMED)
			fail_msg("%s", rows[i]);
	}
}

static void limits(void **state)
{
	char many[4096] = "<vm", longest[400] = "<vm a=\"", *at = many + 3;
	json_t *o = NULL;

	(void)state;
	for (int i = 0; i < 64; i++)
		at += snprintf(at, 40, " k%d='v'", i);
	snprintf(at, 40, "/>");
	assert_int_equal(metadata_parse(many, &o), 0);
	json_decref(o);
	snprintf(at, 40, " one='more'/>");
	assert_int_equal(metadata_parse(many, &o), -XO_ELIMIT);
	memset(longest + 7, 'x', 255);
	snprintf(longest + 7 + 255, 40, "\"/>");
	assert_int_equal(metadata_parse(longest, &o), 0);
	json_decref(o);
	snprintf(longest + 7 + 255, 40, "x\"/>");
	assert_int_equal(metadata_parse(longest, &o), -XO_ELIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(understood),
		cmocka_unit_test(refused),
		cmocka_unit_test(limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
