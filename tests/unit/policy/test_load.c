// SPDX-License-Identifier: Apache-2.0
/* Bad input: every error at its place, nothing half-loaded, no bombs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "policy/calendar.h"
#include "tests/lib/polfix.h"

static void all_errors_at_once_each_at_its_place(void **state)
{
	static const char yaml[] = "format: policy/1\n"	     /* 1 */
				   "zone: Mars/Base\n"	     /* 2 */
				   "wat: 1\n"		     /* 3 */
				   "rings:\n"		     /* 4 */
				   "  - name: a\n"	     /* 5 */
				   "    after: b\n"	     /* 6 */
				   "    bake: soon\n"	     /* 7 */
				   "    max_failures: -1\n"  /* 8 */
				   "deferrals:\n"	     /* 9 */
				   "  - name: d\n"	     /* 10 */
				   "    groups: [nobody]\n"; /* 11 */
	static const struct {
		unsigned int line, column;
		const char *text;
	} expected[] = {{2, 7, "Mars/Base"}, {3, 1, "'wat'"},	      {6, 12, "no ring 'b'"},
			{7, 11, "soon"},     {8, 19, "whole number"}, {10, 5, "'days' is missing"},
			{11, 14, "nobody"}};
	_cleanup_pol_errors_ struct pol_errors errors = {0};

	(void)state;
	polfix_policy_wrong(yaml, &errors);
	assert_int_equal(errors.nr, XO_ARRAY_SIZE(expected));
	for (size_t i = 0; i < errors.nr; i++) {
		assert_int_equal(errors.error[i].line, expected[i].line);
		assert_int_equal(errors.error[i].column, expected[i].column);
		assert_non_null(strstr(errors.error[i].text, expected[i].text));
	}
}

static void yaml_that_is_no_policy(void **state)
{
	static const struct {
		const char *yaml, *text;
	} rows[] = {
		{"", "empty"},
		{"a: b: c\n", "not YAML"},
		{"a: [1\n", "not YAML"},
		{"format: policy/1\nformat: policy/1\n", "twice"},
		{"a: &x 1\nb: *x\n", "aliases"},
		{"a: !!str b\n", "tags"},
		{"? [a]\n: b\n", "key must be a word"},
		{"format: policy/1\n---\nformat: policy/1\n", "second document"},
		{"a: \"x\\0y\"\n", "zero byte"},
		{"[[[[[[[[[[[[[[[[a]]]]]]]]]]]]]]]]\n", "nested"},
		{"a: \xff\xfe\n", "not YAML"},
	};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(rows); i++) {
		_cleanup_pol_errors_ struct pol_errors errors = {0};
		bool found = false;

		polfix_policy_wrong(rows[i].yaml, &errors);
		for (size_t k = 0; k < errors.nr; k++)
			found = found || strstr(errors.error[k].text, rows[i].text);
		if (!found)
			fail_msg("%s: %s", rows[i].yaml, errors.error[0].text);
	}
}

static void large_files_are_refused_by_size(void **state)
{
	static const size_t bytes = 100U << 20;
	char *big = malloc(bytes);
	_cleanup_pol_errors_ struct pol_errors errors = {0};
	struct pol_text text = {.name = "big"};
	struct pol_policy *p = NULL;

	(void)state;
	assert_non_null(big);
	memset(big, 'a', bytes);
	text.text = SPAN(big, bytes);
	assert_int_equal(pol_policy_load(&text, 1, &p, &errors), -XO_EMALFORMED);
	assert_null(p);
	assert_int_equal(errors.nr, 1);
	free(big);
}

/* A hundred thousand values in a megabyte: refused by count, not by patience. */
static void many_values_are_refused(void **state)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(1U << 20);
	_cleanup_pol_errors_ struct pol_errors errors = {0};
	int rc = xbuf_addf(&b, "groups:\n");

	(void)state;
	for (unsigned int i = 0; !rc && i < 60000; i++)
		rc = xbuf_addf(&b, "- {a: b}\n");
	rc = rc ? rc : xbuf_add(&b, "", 1);
	assert_int_equal(rc, 0);
	polfix_policy_wrong((const char *)b.data, &errors);
}

static void digests_say_the_same_in_any_order(void **state)
{
	static const char one[] = "format: policy/1\nallow: [{name: a, patches: {severities: [low, "
				  "critical]}}, {name: b}]\nwindows: [{name: w, always: true}]\n";
	static const char two[] =
		"windows: [{always: true, name: w}]\nformat: policy/1\nallow:\n"
		"  - name: b\n  - patches:\n      severities: [critical, low]\n    "
		"name: a\n";
	static const char other[] =
		"format: policy/1\nallow: [{name: a, patches: {severities: [low]"
		"}}, {name: b}]\nwindows: [{name: w, always: true}]\n";
	_cleanup_pol_policy_ struct pol_policy *a = polfix_policy(one);
	_cleanup_pol_policy_ struct pol_policy *b = polfix_policy(two);
	_cleanup_pol_policy_ struct pol_policy *c = polfix_policy(other);

	(void)state;
	assert_memory_equal(pol_policy_digest(a), pol_policy_digest(b), XO_SHA256_BYTES);
	assert_memory_not_equal(pol_policy_digest(a), pol_policy_digest(c), XO_SHA256_BYTES);
}

static int load_two(const char *a, const char *b, struct pol_policy **ret)
{
	const struct pol_text texts[] = {{.name = "a", .text = SPAN(a, strlen(a))},
					 {.name = "b", .text = SPAN(b, strlen(b))}};
	_cleanup_pol_errors_ struct pol_errors errors = {0};

	return pol_policy_load(texts, 2, ret, &errors);
}

static void files_make_one_policy_in_any_order(void **state)
{
	static const char groups[] =
		"format: policy/1\ngroups: [{name: g, include: [{domains: [a]}]}]\n";
	static const char rules[] = "format: policy/1\nallow: [{name: a, groups: [g]}]\n";
	_cleanup_pol_policy_ struct pol_policy *one = NULL, *two = NULL, *none = NULL;

	(void)state;
	assert_int_equal(load_two(groups, rules, &one), 0);
	assert_int_equal(load_two(rules, groups, &two), 0);
	assert_memory_equal(pol_policy_digest(one), pol_policy_digest(two), XO_SHA256_BYTES);
	assert_int_equal(load_two(rules, rules, &none), -XO_EMALFORMED);
	assert_null(none);
}

/* What does not load leaves what was loaded before as it was. */
static void the_old_policy_stays(void **state)
{
	static const char *const wrong[] = {"format: policy/1\nallow: [{name: a}, {name: a}]\n",
					    "format: policy/1\nalow: []\n", "{", ""};
	struct pol_policy *p = polfix_policy(POLFIX_OPEN), *old = p;
	struct pol_fleet *f = polfix_facts(polfix_time("2026-03-04T12:00:00Z"), NULL, NULL);
	struct pol_fleet *old_f = f;
	uint8_t digest[XO_SHA256_BYTES];

	(void)state;
	memcpy(digest, pol_policy_digest(p), sizeof(digest));
	for (size_t i = 0; i < XO_ARRAY_SIZE(wrong); i++) {
		const struct pol_text text = {.name = "w",
					      .text = SPAN(wrong[i], strlen(wrong[i]))};
		_cleanup_pol_errors_ struct pol_errors errors = {0};

		assert_int_equal(pol_policy_load(&text, 1, &p, &errors), -XO_EMALFORMED);
		assert_int_equal(pol_fleet_load(&text, 1, 1772625600, &f, &errors), -XO_EMALFORMED);
		assert_ptr_equal(p, old);
		assert_ptr_equal(f, old_f);
		assert_memory_equal(digest, pol_policy_digest(p), sizeof(digest));
	}
	pol_policy_free(p);
	pol_fleet_free(f);
}

static void facts_lie_and_all_lies_are_named(void **state)
{
	static const char json[] =
		"{\"format\":\"facts/1\",\"at\":\"2026-03-04T12:00:01Z\",\"vms\":[{\"name\":7,"
		"\"host\":\"h\",\"guard\":1,\"since\":\"2027-01-01T00:00:00Z\",\"kernel\":{"
		"\"release\":\"r\",\"build_id\":\"XY\",\"arch\":\"x\",\"wat\":0}}],\"patches\":[{}]"
		"}";
	const struct pol_text text = {.name = "f", .text = SPAN(json, sizeof(json) - 1)};
	_cleanup_pol_errors_ struct pol_errors errors = {0};
	struct pol_fleet *f = NULL;

	(void)state;
	assert_int_equal(pol_fleet_load(&text, 1, polfix_time("2026-03-04T12:00:00Z"), &f, &errors),
			 -XO_EMALFORMED);
	assert_null(f);
	assert_int_equal(errors.nr, 1 + 5 + 7);
	assert_string_equal(errors.error[0].text, "at comes from the future");
	assert_string_equal(errors.error[1].text, "vms[0].name must be a string");
	assert_string_equal(errors.error[4].text,
			    "vms[0].kernel.build_id must be 16 to 40 lower-case hex digits");
}

static void facts_wrong(const char *head, const char *item, size_t nr, const char *tail,
			const char *why)
{
	size_t n = strlen(item), used = strlen(head);
	_cleanup_free_ char *json = malloc(used + n * nr + strlen(tail) + 1);
	_cleanup_pol_errors_ struct pol_errors errors = {0};
	struct pol_text text = {.name = "f"};
	struct pol_fleet *f = NULL;

	assert_non_null(json);
	memcpy(json, head, used); /* NOLINT(bugprone-not-null-terminated-result) */
	for (size_t i = 0; i < nr; i++, used += n)
		memcpy(json + used, item, n); /* NOLINT(bugprone-not-null-terminated-result) */
	memcpy(json + used, tail, strlen(tail) + 1);
	text.text = SPAN(json, used + strlen(tail));
	assert_int_equal(pol_fleet_load(&text, 1, polfix_time("2026-03-04T12:00:00Z"), &f, &errors),
			 -XO_EMALFORMED);
	assert_null(f);
	if (!strstr(errors.error[0].text, why))
		fail_msg("%s", errors.error[0].text);
}

#define PATCH(id, more)                                                                            \
	"{\"id\":\"" id                                                                            \
	"\",\"kind\":\"hotpatch\",\"payload_sha256\":\"1111111111111111111111111111"               \
	"111111111111111111111111111111111111\",\"serial\":1,\"released\":\"2026-02-01T00:00:"     \
	"00Z\","                                                                                   \
	"\"severity\":\"low\",\"arch\":\"x\",\"build_ids\":[\"aabbccddeeff0011\"]" more "}"
#define VM(name, more)                                                                             \
	"{\"name\":\"" name "\",\"host\":\"h\",\"kernel\":{\"release\":\"r\","                     \
	"\"build_id\":\"aabbccddeeff0011\",\"arch\":\"x\"}" more "}"
#define ON_VM(state)                                                                               \
	"{\"id\":\"a\",\"payload_sha256\":\"1111111111111111111111111111111111111111111111111111"  \
	"111111111111\",\"serial\":1,\"at\":\"2026-02-01T00:00:00Z\",\"state\":\"" state "\"}"

/* What is wrong with single values does not hide what is wrong with all of them together. */
static void facts_that_contradict_are_named_with_the_rest(void **state)
{
	static const char json[] =
		"{\"format\":\"facts/1\",\"at\":\"2026-03-04T12:00:00Z\",\"vms\":[" VM("v", "") "," VM("v", ",\"guard\":7") "," VM(
			"w",
			"") "," VM("w",
				   "") "," VM("x",
					      ",\"patches\":[" ON_VM("active") "," ON_VM("reverted") "," ON_VM(
						      "applying") "]") "],\"patches\":"
								       "[" PATCH(
									       "a",
									       ",\"requ"
									       "ires\":"
									       "[\"b\""
									       "]") "," PATCH("b",
											      ",\"r"
											      "equi"
											      "res"
											      "\":["
											      "\"c"
											      "\"]") "," PATCH("c",
													       ",\"requires\":[\"b\"]") "," PATCH("d",
																		  ",\"requires\":[\"d\",\"a\"]") "]}";
	static const char *const expected[] = {
		"vms[1].guard must be true or false", "VM 'w' is there twice",
		"VM 'x': patch 'a' is active twice",  "patches need each other: b, c, b",
		"patches need each other: d, d",
	};
	const struct pol_text text = {.name = "f", .text = SPAN(json, sizeof(json) - 1)};
	_cleanup_pol_errors_ struct pol_errors errors = {0};
	struct pol_fleet *f = NULL;

	(void)state;
	assert_int_equal(pol_fleet_load(&text, 1, polfix_time("2026-03-04T12:00:00Z"), &f, &errors),
			 -XO_EMALFORMED);
	for (size_t i = 0; i < errors.nr; i++)
		assert_string_equal(errors.error[i].text, expected[i]);
	assert_int_equal(errors.nr, XO_ARRAY_SIZE(expected));
}

/* Two bytes of JSON may ask for hundreds in memory. */
static void facts_that_are_too_much_are_not_even_parsed(void **state)
{
	(void)state;
	facts_wrong("{\"vms\":[", "{},", 1000000, "{}]}", "objects");
	facts_wrong("{\"vms\":[", "1,", 8000001, "1]}", "values");
	facts_wrong("{\"vms\":[\"", "xxxxxxxxxxxxxxxx", 64U << 16, "\"]}", "64 MiB");
	facts_wrong("", "[", 900000, "", "depth");
	/* what stands in a text is no value */
	facts_wrong("{\"format\":\"\\\"", "{,[", 1000001, "\"}", "format must be");
}

/* What libical makes of the zone data is what the C library makes of it. */
static void zones_are_as_the_system_has_them(void **state)
{
	static const char *const zones[] = {
		"Europe/Berlin",    "America/New_York",	 "Australia/Lord_Howe", "Asia/Kolkata",
		"America/Santiago", "Africa/Casablanca", "Pacific/Apia",	"Asia/Jerusalem"};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(zones); i++) {
		setenv("TZ", zones[i], 1);
		tzset();
		/* Every noon of 13 years exists once everywhere. */
		for (int64_t local = 1735732800; local < TIME_END; local += DAY_S) {
			time_t t = (time_t)zone_to_utc(zones[i], local);
			struct tm tm;

			localtime_r(&t, &tm);
			assert_int_equal(t + tm.tm_gmtoff, local);
		}
	}
	assert_false(zone_exists("Europe/Atlantis"));
	assert_false(zone_exists("../../etc/passwd"));
	assert_false(zone_exists(""));
}

static void times_at_their_edges(void **state)
{
	static const struct {
		const char *s;
		bool good;
	} rows[] = {{"2026-02-28T23:59:59Z", true},  {"2026-02-29T00:00:00Z", false},
		    {"2028-02-29T00:00:00Z", true},  {"2000-02-29T00:00:00Z", true},
		    {"2037-12-31T23:59:59Z", true},  {"2038-01-01T00:00:00Z", false},
		    {"1999-12-31T23:59:59Z", false}, {"2026-01-01T24:00:00Z", false},
		    {"2026-01-01T00:00:60Z", false}, {"2026-01-01T00:00:00", false},
		    {"2026-1-1T00:00:00Z", false},   {"2026-01-01 00:00:00Z", false},
		    {"2026-01-01T00:00:00Zx", false}};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(rows); i++) {
		char text[POL_TIME_SIZE];
		int64_t t;

		assert_int_equal(pol_parse_time(rows[i].s, &t), rows[i].good);
		if (rows[i].good)
			assert_string_equal(pol_format_time(t, text), rows[i].s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_errors_at_once_each_at_its_place),
		cmocka_unit_test(yaml_that_is_no_policy),
		cmocka_unit_test(large_files_are_refused_by_size),
		cmocka_unit_test(many_values_are_refused),
		cmocka_unit_test(digests_say_the_same_in_any_order),
		cmocka_unit_test(files_make_one_policy_in_any_order),
		cmocka_unit_test(the_old_policy_stays),
		cmocka_unit_test(facts_lie_and_all_lies_are_named),
		cmocka_unit_test(facts_that_contradict_are_named_with_the_rest),
		cmocka_unit_test(facts_that_are_too_much_are_not_even_parsed),
		cmocka_unit_test(zones_are_as_the_system_has_them),
		cmocka_unit_test(times_at_their_edges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
