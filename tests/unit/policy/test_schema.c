// SPDX-License-Identifier: Apache-2.0
/*
 * The JSON Schemas agree with the code: the same keys, types and limits; and
 * over a corpus, what the schema refuses the code refuses, and what the code
 * takes the schema takes.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/fleet.h"
#include "tests/lib/polfix.h"
#include "tests/lib/proc.h"

#define MAX_FILES 200

static json_t *load_schema(const char *path)
{
	json_error_t e;
	json_t *o = json_load_file(path, JSON_REJECT_DUPLICATES, &e);

	if (!o)
		fail_msg("%s:%d: %s", path, e.line, e.text);
	return o;
}

static const json_t *resolve(const json_t *root, const json_t *s)
{
	const char *ref = json_string_value(json_object_get(s, "$ref"));

	if (!ref)
		return s;
	assert_memory_equal(ref, "#/$defs/", 8);
	return json_object_get(json_object_get(root, "$defs"), ref + 8);
}

static bool is_required(const json_t *s, const char *key)
{
	const json_t *name;
	size_t i;

	json_array_foreach(json_object_get(s, "required"), i,
			   name) if (!strcmp(json_string_value(name), key)) return true;
	return false;
}

static long long num(const json_t *s, const char *key)
{
	assert_true(json_is_integer(json_object_get(s, key)));
	return json_integer_value(json_object_get(s, key));
}

static void same_names(const json_t *s, const cyaml_strval_t *names, uint32_t nr)
{
	const json_t *list = json_object_get(s, "enum");

	assert_int_equal(json_array_size(list), nr);
	for (uint32_t i = 0; i < nr; i++)
		assert_string_equal(json_string_value(json_array_get(list, i)), names[i].str);
}

static void same_type(const json_t *s, const char *type)
{
	assert_string_equal(json_string_value(json_object_get(s, "type")), type);
}

static void same_policy(const json_t *root, const json_t *s, const cyaml_schema_value_t *v)
{
	s = resolve(root, s);
	assert_non_null(s);
	switch (v->type) {
	case CYAML_MAPPING: {
		const json_t *props = json_object_get(s, "properties");
		size_t nr = 0;

		same_type(s, "object");
		assert_true(json_is_false(json_object_get(s, "additionalProperties")));
		for (const cyaml_schema_field_t *f = v->mapping.fields; f->key; f++, nr++) {
			if (!json_object_get(props, f->key))
				fail_msg("%s: not in the schema", f->key);
			if (is_required(s, f->key) == !!(f->value.flags & CYAML_FLAG_OPTIONAL))
				fail_msg("%s: required, or not", f->key);
			same_policy(root, json_object_get(props, f->key), &f->value);
		}
		assert_int_equal(json_object_size(props), nr);
		break;
	}
	case CYAML_SEQUENCE:
		same_type(s, "array");
		assert_int_equal(num(s, "minItems"), v->sequence.min);
		assert_int_equal(num(s, "maxItems"), v->sequence.max);
		same_policy(root, json_object_get(s, "items"), v->sequence.entry);
		break;
	case CYAML_FLAGS:
		same_type(s, "array");
		assert_int_equal(num(s, "minItems"), 1);
		same_names(json_object_get(s, "items"), v->enumeration.strings,
			   v->enumeration.count);
		break;
	case CYAML_ENUM:
		same_names(s, v->enumeration.strings, v->enumeration.count);
		break;
	case CYAML_STRING:
		same_type(s, "string");
		assert_int_equal(num(s, "minLength"), v->string.min);
		assert_int_equal(num(s, "maxLength"), v->string.max);
		break;
	case CYAML_UINT:
		same_type(s, "integer");
		assert_in_range(num(s, "minimum"), 0, 1);
		break;
	case CYAML_BOOL:
		same_type(s, "boolean");
		break;
	default:
		fail();
	}
}

static void the_policy_schema_is_the_tables(void **state)
{
	json_t *root = load_schema("policy/schema/policy.schema.json");

	(void)state;
	same_policy(root, root, &pol_schema);
	json_decref(root);
}

static void same_facts(const json_t *root, const json_t *s, const struct fact_field *f)
{
	size_t nr = 0;

	s = resolve(root, s);
	same_type(s, "object");
	assert_true(json_is_false(json_object_get(s, "additionalProperties")));
	for (; f->key; f++, nr++) {
		static const char *const types[] = {
			[FACT_TEXT] = "string",	    [FACT_WORD] = "string",
			[FACT_SHA256] = "string",   [FACT_BUILD_ID] = "string",
			[FACT_TEXTS] = "array",	    [FACT_SHA256S] = "array",
			[FACT_BUILD_IDS] = "array", [FACT_PAIRS] = "object",
			[FACT_TIME] = "string",	    [FACT_MONTH] = "string",
			[FACT_NUMBER] = "integer",  [FACT_BOOL] = "boolean",
			[FACT_NOT] = "boolean",	    [FACT_OBJECT] = "object",
			[FACT_OBJECTS] = "array"};
		const json_t *p = json_object_get(json_object_get(s, "properties"), f->key);

		if (!p || is_required(s, f->key) != f->required)
			fail_msg("%s: not in the schema, or required, or not", f->key);
		p = resolve(root, p);
		if (f->type == FACT_NAME)
			same_names(p, f->names, f->nr_names);
		else
			same_type(p, types[f->type]);
		if (f->type == FACT_OBJECT)
			same_facts(root, p, f->fields);
		if (f->type == FACT_OBJECTS)
			same_facts(root, json_object_get(p, "items"), f->fields);
	}
	assert_int_equal(json_object_size(json_object_get(s, "properties")), nr);
}

static void the_facts_schema_is_the_tables(void **state)
{
	json_t *root = load_schema("policy/schema/facts.schema.json");
	const json_t *defs = json_object_get(root, "$defs");

	(void)state;
	same_facts(root, json_object_get(defs, "vm"), vm_fields);
	same_facts(root, json_object_get(defs, "patch"), patch_fields);
	json_decref(root);
}

/* ---- the corpus ---- */

static bool code_takes(const char *path, bool facts)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(1U << 20);
	_cleanup_pol_errors_ struct pol_errors errors = {0};
	_cleanup_pol_policy_ struct pol_policy *p = NULL;
	_cleanup_pol_fleet_ struct pol_fleet *f = NULL;
	struct pol_text text;
	int rc;

	assert_int_equal(xbuf_read_file(&b, path), 0);
	text = (struct pol_text){.name = path, .text = xbuf_span(&b)};
	if (facts)
		rc = pol_fleet_load(&text, 1, polfix_time("2026-03-04T12:00:00Z"), &f, &errors);
	else
		rc = pol_policy_load(&text, 1, &p, &errors);
	assert_true(rc == 0 || rc == -XO_EMALFORMED);
	for (size_t i = 0; !facts && i < errors.nr; i++)
		assert_true(errors.error[i].line && errors.error[i].column);
	return !rc;
}

static void judge_all(const char *schema, const char *const *dirs, bool facts)
{
	static const struct {
		bool code, schema;
	} expected[] = {{true, true}, {false, false}, {false, true}};
	const char *argv[MAX_FILES + 4] = {"python3", "tests/lib/check_schema.py", schema};
	_cleanup_run_ struct run_result r = {0};
	size_t nr = 0, kind[MAX_FILES];
	char path[MAX_FILES][300], *line, *next;

	for (size_t d = 0; d < 3; d++) {
		DIR *dir = opendir(dirs[d]);
		const struct dirent *e;

		assert_non_null(dir);
		while ((e = readdir(dir))) {
			if (e->d_name[0] == '.')
				continue;
			assert_true(nr < MAX_FILES);
			snprintf(path[nr], sizeof(path[nr]), "%s/%s", dirs[d], e->d_name);
			argv[3 + nr] = path[nr];
			kind[nr++] = d;
		}
		closedir(dir);
	}
	assert_true(nr > 20);
	assert_int_equal(run_program(argv, NULL, 60000, &r), 0);
	if (r.rc)
		fail_msg("%s", r.err);
	line = r.out;
	for (size_t i = 0; i < nr; i++, line = next + 1) {
		next = strchr(line, '\n');
		assert_non_null(next);
		if ((*line == 'g') != expected[kind[i]].schema)
			fail_msg("%s: the schema says %.4s", path[i], line);
		if (code_takes(path[i], facts) != expected[kind[i]].code)
			fail_msg("%s: the code says otherwise", path[i]);
	}
}

static void schema_and_code_judge_policies_alike(void **state)
{
	(void)state;
	judge_all("policy/schema/policy.schema.json",
		  (const char *const[]){"tests/policy/good", "tests/policy/shape",
					"tests/policy/meaning"},
		  false);
}

static void schema_and_code_judge_facts_alike(void **state)
{
	(void)state;
	judge_all("policy/schema/facts.schema.json",
		  (const char *const[]){"tests/policy/facts-good", "tests/policy/facts-shape",
					"tests/policy/facts-meaning"},
		  true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_policy_schema_is_the_tables),
		cmocka_unit_test(the_facts_schema_is_the_tables),
		cmocka_unit_test(schema_and_code_judge_policies_alike),
		cmocka_unit_test(schema_and_code_judge_facts_alike),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
