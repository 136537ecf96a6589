// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/polfix.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char base_vm[] =
	"{\"name\":\"vm\",\"host\":\"h1\",\"kernel\":{\"release\":\"6.1.0-30-amd64\","
	"\"build_id\":\"aabbccddeeff0011\",\"arch\":\"x86_64\",\"baseline\":\"2026-01\"},"
	"\"guard\":true,\"ram\":\"shared\",\"home\":true}";
static const char base_patch[] =
	"{\"id\":\"fix\",\"kind\":\"hotpatch\",\"payload_sha256\":"
	"\"1111111111111111111111111111111111111111111111111111111111111111\","
	"\"serial\":5,\"security_epoch\":1,\"released\":\"2026-02-01T00:00:00Z\","
	"\"severity\":\"important\",\"advisories\":[\"CVE-2026-1\"],"
	"\"signer_roles\":[\"author\",\"release\"],\"arch\":\"x86_64\","
	"\"build_ids\":[\"aabbccddeeff0011\"]}";

static void die(const char *what)
{
	(void)fprintf(stderr, "polfix: %s\n", what);
	abort();
}

int64_t polfix_time(const char *s)
{
	int64_t t;

	if (!pol_parse_time(s, &t))
		die(s);
	return t;
}

struct pol_policy *polfix_policy(const char *yaml)
{
	const struct pol_text text = {.name = "policy.yaml", .text = SPAN(yaml, strlen(yaml))};
	_cleanup_pol_errors_ struct pol_errors errors = {0};
	struct pol_policy *p = NULL;

	if (pol_policy_load(&text, 1, &p, &errors)) {
		for (size_t i = 0; i < errors.nr; i++)
			(void)fprintf(stderr, "%u:%u: %s\n", errors.error[i].line,
				      errors.error[i].column, errors.error[i].text);
		die(yaml);
	}
	return p;
}

void polfix_policy_wrong(const char *yaml, struct pol_errors *errors)
{
	const struct pol_text text = {.name = "policy.yaml", .text = SPAN(yaml, strlen(yaml))};
	struct pol_policy *p = NULL;

	if (pol_policy_load(&text, 1, &p, errors) != -XO_EMALFORMED || p || !errors->nr)
		die(yaml);
}

static json_t *parse(const char *s)
{
	json_error_t e;
	json_t *o = json_loads(s, JSON_REJECT_DUPLICATES, &e);

	if (!o) {
		(void)fprintf(stderr, "%s: %s\n", s, e.text);
		abort();
	}
	return o;
}

/* @more: an object, or an array of objects, each over a copy of @base. */
static json_t *merge(const char *base, const char *more)
{
	json_t *list = json_array(), *over = parse(more ? more : "[{}]"), *o;
	size_t i;

	if (json_is_object(over)) {
		o = over;
		over = json_array();
		json_array_append_new(over, o);
	}
	json_array_foreach(over, i, o)
	{
		json_t *copy = parse(base);

		json_object_update_recursive(copy, o);
		json_array_append_new(list, copy);
	}
	json_decref(over);
	return list;
}

char *polfix_facts_text(const char *at, const char *vms, const char *patches)
{
	json_t *o = json_pack("{s:s,s:s,s:o,s:o}", "format", "facts/1", "at", at, "vms",
			      merge(base_vm, vms), "patches", merge(base_patch, patches));
	char *text = json_dumps(o, JSON_COMPACT);

	json_decref(o);
	return text;
}

struct pol_fleet *polfix_facts(int64_t at, const char *vms, const char *patches)
{
	char when[POL_TIME_SIZE];
	_cleanup_free_ char *json = polfix_facts_text(pol_format_time(at, when), vms, patches);
	const struct pol_text text = {.name = "facts.json", .text = SPAN(json, strlen(json))};
	_cleanup_pol_errors_ struct pol_errors errors = {0};
	struct pol_fleet *f = NULL;

	if (pol_fleet_load(&text, 1, at, &f, &errors)) {
		for (size_t i = 0; i < errors.nr; i++)
			(void)fprintf(stderr, "%s\n", errors.error[i].text);
		die(json);
	}
	return f;
}
