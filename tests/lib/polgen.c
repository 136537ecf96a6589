// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/polgen.h"

#include <string.h>

static uint64_t seed;

void polgen_seed(uint64_t nr)
{
	seed = nr * UINT64_C(0x9e3779b97f4a7c15);
}

uint32_t polgen_pick(uint32_t n)
{
	seed ^= seed << 13; /* xorshift64 */
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)((seed >> 11) % n);
}

bool polgen_one_in(uint32_t n)
{
	return !polgen_pick(n);
}

/* ---- made-up policies and facts; JSON is YAML ---- */

static json_t *rule(const char *kind, uint32_t i)
{
	json_t *r = json_object();

	json_object_set_new(r, "name", json_sprintf("%s-%u", kind, i));
	if (polgen_one_in(2))
		json_object_set_new(r, "groups",
				    json_pack("[o]", json_sprintf("g%u", polgen_pick(4))));
	return r;
}

void polgen_add_rule(json_t *policy, const char *kind, json_t *r)
{
	if (!json_object_get(policy, kind))
		json_object_set_new(policy, kind, json_array());
	json_array_append_new(json_object_get(policy, kind), r);
}

void polgen_add_calendar(json_t *policy, const char *kind, uint32_t i)
{
	static const char *const rrules[] = {"FREQ=DAILY;UNTIL=20260601",
					     "FREQ=WEEKLY;BYDAY=WE,SA;UNTIL=20260601",
					     "FREQ=MONTHLY;BYMONTHDAY=4;UNTIL=20260601"};
	json_t *r = rule(kind, i);

	json_object_set_new(
		r, "start",
		json_sprintf("2026-01-0%uT%02u:00", 1 + polgen_pick(9), polgen_pick(24)));
	/* shorter than any window, which would never open otherwise */
	json_object_set_new(r, "duration",
			    strcmp(kind, "freezes") ? json_sprintf("%uh", 1 + polgen_pick(20))
						    : json_sprintf("%um", 1 + polgen_pick(59)));
	json_object_set_new(r, "rrule", json_string(rrules[polgen_pick(3)]));
	if (polgen_one_in(2))
		json_object_set_new(r, "zone", json_string("Europe/Berlin"));
	polgen_add_rule(policy, kind, r);
}

static void add_rings(json_t *policy)
{
	uint32_t nr = polgen_pick(4);

	for (uint32_t i = 0; i < nr; i++) {
		json_t *r = rule("ring", i);

		if (i)
			json_object_set_new(r, "after", json_sprintf("ring-%u", i - 1));
		if (polgen_one_in(2))
			json_object_set_new(r, "share", json_sprintf("%u%%", 1 + polgen_pick(60)));
		json_object_set_new(r, "bake", json_sprintf("%uh", polgen_pick(30)));
		json_object_set_new(r, "min_successes", json_integer(polgen_pick(3)));
		json_object_set_new(r, "max_failures", json_integer(polgen_pick(2)));
		polgen_add_rule(policy, "rings", r);
	}
}

static void add_limits(json_t *policy)
{
	static const char *const pers[] = {"all", "host", "group", "ring"};
	uint32_t nr = polgen_pick(4);

	for (uint32_t i = 0; i < nr; i++) {
		json_t *r = rule("limit", i);

		json_object_set_new(r, "per", json_string(pers[polgen_pick(4)]));
		json_object_set_new(r, "at_once", json_integer(1 + polgen_pick(4)));
		if (polgen_one_in(3))
			json_object_set_new(r, "spacing", json_sprintf("%um", 1 + polgen_pick(20)));
		polgen_add_rule(policy, "limits", r);
	}
}

json_t *polgen_policy(bool limits)
{
	json_t *p = json_pack("{s:s,s:s}", "format", "policy/1", "zone", "America/New_York");

	for (uint32_t i = 0; i < 4; i++)
		polgen_add_rule(p, "groups",
				json_pack("{s:o,s:[{s:[o]}]}", "name", json_sprintf("g%u", i),
					  "include", "labels", json_sprintf("l=%u*", i)));
	for (uint32_t i = 0; i <= polgen_pick(2); i++)
		polgen_add_rule(p, "allow", rule("allow", i));
	if (polgen_one_in(3))
		polgen_add_rule(p, "windows", json_pack("{s:s,s:b}", "name", "ever", "always", 1));
	for (uint32_t i = 0; i < 1 + polgen_pick(3); i++)
		polgen_add_calendar(p, "windows", i);
	if (polgen_one_in(2))
		polgen_add_calendar(p, "freezes", 0);
	if (polgen_one_in(3)) {
		json_t *r = rule("deferral", 0);

		json_object_set_new(r, "days", json_integer(polgen_pick(31)));
		polgen_add_rule(p, "deferrals", r);
	}
	if (polgen_one_in(3)) {
		json_t *r = rule("deadline", 0);

		json_object_set_new(r, "after", json_sprintf("%ud", 31 + polgen_pick(9)));
		polgen_add_rule(p, "deadlines", r);
	}
	if (polgen_one_in(4))
		polgen_add_rule(p, "expedite", rule("expedite", 0));
	if (polgen_one_in(3)) {
		json_t *r = rule("eligibility", 0);

		json_object_set_new(r, "max_baseline_months", json_integer(1 + polgen_pick(3)));
		polgen_add_rule(p, "eligibility", r);
	}
	if (polgen_one_in(4)) {
		json_t *r = rule("pause", 0);

		json_object_set_new(r, "until",
				    json_sprintf("2026-03-0%uT00:00", 1 + polgen_pick(9)));
		polgen_add_rule(p, "pauses", r);
	}
	if (polgen_one_in(3))
		json_object_set_new(p, "facts_max_age", json_sprintf("%ud", 1 + polgen_pick(40)));
	add_rings(p);
	if (limits)
		add_limits(p);
	polgen_add_rule(p, "health",
			json_pack("{s:s,s:[s,s],s:[s],s:s}", "name", "h", "signals", "oops",
				  "panic", "then", polgen_one_in(2) ? "revert" : "halt", "watch",
				  "10m"));
	return p;
}

static json_t *make_applied(uint32_t patch)
{
	static const char *const states[] = {"active", "active", "applying", "reverted", "failed"};
	json_t *a = json_pack("{s:o,s:o,s:i,s:s,s:s}", "id", json_sprintf("p%u", patch),
			      "payload_sha256", json_sprintf("%064x", patch + 1), "serial", 1, "at",
			      polgen_one_in(2) ? "2026-03-04T11:55:00Z" : "2026-03-01T00:00:00Z",
			      "state", states[polgen_pick(5)]);

	if (polgen_one_in(2))
		json_object_set_new(a, "watched_until", json_string(POLGEN_AT));
	if (polgen_one_in(5))
		json_object_set_new(
			a, "signals",
			json_pack("[{s:s,s:s}]", "signal", "oops", "at", "2026-03-01T00:01:00Z"));
	return a;
}

/* Another version of the same patch that was there once. */
static json_t *make_older(uint32_t patch, uint32_t n)
{
	return json_pack("{s:o,s:o,s:i,s:s,s:s}", "id", json_sprintf("p%u", patch),
			 "payload_sha256", json_sprintf("%064x", 100 * n + patch), "serial",
			 (int)polgen_pick(4), "at", "2026-02-01T00:00:00Z", "state", "reverted");
}

static json_t *make_vm(uint32_t i)
{
	json_t *vm = json_pack(
		"{s:o,s:o,s:{s:o},s:{s:s,s:s,s:s}}", "name", json_sprintf("vm%u", i), "host",
		json_sprintf("h%u", polgen_pick(4)), "labels", "l",
		json_sprintf("%u", polgen_pick(5)), "kernel", "release", "6.1", "build_id",
		polgen_one_in(4) ? "aabbccddeeff0011" : "bbbbccddeeff0011", "arch", "x");

	json_object_set_new(json_object_get(vm, "kernel"), "baseline",
			    json_sprintf("2026-0%u", 1 + polgen_pick(3)));

	for (uint32_t k = 0; k < POLGEN_PATCHES; k++)
		if (polgen_one_in(5)) {
			if (!json_object_get(vm, "patches"))
				json_object_set_new(vm, "patches", json_array());
			json_array_append_new(json_object_get(vm, "patches"), make_applied(k));
			for (uint32_t n = polgen_pick(3); n; n--)
				json_array_append_new(json_object_get(vm, "patches"),
						      make_older(k, n));
		}
	return vm;
}

json_t *polgen_facts(void)
{
	static const char *const severities[] = {"low", "moderate", "important", "critical"};
	json_t *f = json_pack("{s:s,s:s,s:[],s:[]}", "format", "facts/1", "at", POLGEN_AT, "vms",
			      "patches");

	for (uint32_t i = 0; i < POLGEN_VMS; i++)
		json_array_append_new(json_object_get(f, "vms"), make_vm(i));
	for (uint32_t i = 0; i < POLGEN_PATCHES; i++) {
		json_t *p = json_pack("{s:o,s:s,s:o,s:i,s:o,s:s,s:s,s:[s,s]}", "id",
				      json_sprintf("p%u", i), "kind", "hotpatch", "payload_sha256",
				      json_sprintf("%064x", i + 1), "serial", 1, "released",
				      json_sprintf("2026-02-%02uT00:00:00Z", 1 + polgen_pick(28)),
				      "severity", severities[polgen_pick(4)], "arch", "x",
				      "build_ids", "aabbccddeeff0011", "bbbbccddeeff0011");

		if (i && polgen_one_in(3))
			json_object_set_new(p, "requires",
					    json_pack("[o,o]", json_sprintf("p%u", i - 1),
						      json_sprintf("q%u", polgen_pick(2))));
		json_array_append_new(json_object_get(f, "patches"), p);
	}
	return f;
}

/* Keys and items in another order; what lists hold is the same. */
// NOLINTNEXTLINE(misc-no-recursion)
json_t *polgen_shuffled(const json_t *o, bool items)
{
	json_t *ret, *v;
	const char *key;
	size_t nr, i;

	if (json_is_object(o)) {
		const char *keys[32];

		nr = 0;
		json_object_foreach((json_t *)o, key, v) keys[nr++] = key;
		ret = json_object();
		for (; nr; nr--) {
			i = polgen_pick((uint32_t)nr);
			json_object_set_new(ret, keys[i],
					    polgen_shuffled(json_object_get(o, keys[i]), true));
			keys[i] = keys[nr - 1];
		}
		return ret;
	}
	if (!json_is_array(o))
		return json_deep_copy(o);
	ret = json_array();
	json_array_foreach(o, i, v) json_array_insert_new(
		ret, items ? polgen_pick((uint32_t)i + 1) : i, polgen_shuffled(v, items));
	return ret;
}

/* The sections of @doc in two files. */
void polgen_split(const json_t *doc, char *text[2])
{
	json_t *part[] = {json_object(), json_object()}, *v;
	const char *key;

	json_object_foreach((json_t *)doc, key, v)
		json_object_set(part[json_is_array(v) ? polgen_one_in(2) : 0], key, v);
	for (size_t i = 0; i < 2; i++) {
		json_object_set(part[i], "format", json_object_get(doc, "format"));
		json_object_set(part[i], json_object_get(doc, "at") ? "at" : "zone",
				json_object_get(doc, json_object_get(doc, "at") ? "at" : "zone"));
		text[i] = json_dumps(part[i], 0);
		json_decref(part[i]);
	}
}
