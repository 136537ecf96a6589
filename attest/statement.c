// SPDX-License-Identifier: Apache-2.0
#include "attest/statement.h"

#include "attest/statement_words.h"

/* A digest that may be null, which reads as zero; a zero digest itself is refused. */
static void hex32_or_null(struct jdoc *d, const json_t *o, const char *key,
			  uint8_t ret[XO_SHA256_BYTES])
{
	static const uint8_t zero[XO_SHA256_BYTES];

	if (json_is_null(json_object_get(o, key)))
		return;
	jdoc_hex(d, o, key, ret, XO_SHA256_BYTES);
	if (!d->bad && !memcmp(ret, zero, sizeof(zero)))
		jdoc_bad(d, key, "null or a digest that is not zero");
}

static void parse_patch(struct jdoc *d, const json_t *o, const char *key, struct att_patch *ret)
{
	static const char *const keys[] = {"id", "version", "manifest_sha256", NULL};

	if (!jdoc_object(d, o, key, keys))
		return;
	jdoc_text(d, o, "id", 1, ret->id, sizeof(ret->id));
	jdoc_text(d, o, "version", 1, ret->version, sizeof(ret->version));
	jdoc_hex(d, o, "manifest_sha256", ret->manifest, sizeof(ret->manifest));
}

static void parse_reasons(struct jdoc *d, const json_t *o, struct att_action *a)
{
	static const char *const keys[] = {"reason", "detail", NULL};

	a->nr_reasons = jdoc_array(d, o, "reasons", ATT_MAX_REASONS);
	for (size_t i = 0; i < a->nr_reasons && !d->bad; i++) {
		const json_t *r = json_array_get(json_object_get(o, "reasons"), i);

		if (!jdoc_object(d, r, "reasons", keys))
			return;
		jdoc_text(d, r, "reason", 1, a->reason[i].key, sizeof(a->reason[i].key));
		jdoc_text(d, r, "detail", 0, a->reason[i].detail, sizeof(a->reason[i].detail));
	}
}

static void parse_advisories(struct jdoc *d, const json_t *o, struct att_action *a)
{
	a->nr_advisories = jdoc_array(d, o, "advisories", ATT_MAX_ADVISORIES);
	for (size_t i = 0; i < a->nr_advisories && !d->bad; i++) {
		const json_t *v = json_array_get(json_object_get(o, "advisories"), i);
		const char *s = json_string_value(v);
		size_t n = s ? strlen(s) : 0;

		if (!n || n >= sizeof(a->advisory[i]) ||
		    strspn(s, "abcdefghijklmnopqrstuvwxyz"
			      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			      "0123456789._:-") != n)
			jdoc_bad(d, "advisories", "names of advisories");
		else
			memcpy(a->advisory[i], s, n + 1);
	}
}

static void parse_action(struct jdoc *d, const json_t *o, struct att_action *a)
{
	static const char *const keys[] = {
		"action",	    "verdict",	    "package", "reasons",
		"before_sha256",    "after_sha256", "held_us", "advisories",
		"?decision_sha256", "?guard",	    NULL};
	const json_t *package;

	if (!jdoc_object(d, o, "act", keys))
		return;
	a->act = (enum att_act)jdoc_choice(d, o, "action", statement_acts);
	a->verdict = (enum att_verdict)jdoc_choice(d, o, "verdict", statement_verdicts);
	package = json_object_get(o, "package");
	a->has_package = !json_is_null(package);
	if (a->has_package)
		parse_patch(d, package, "package", &a->package);
	parse_reasons(d, o, a);
	hex32_or_null(d, o, "before_sha256", a->before);
	hex32_or_null(d, o, "after_sha256", a->after);
	a->held_us = jdoc_u64(d, o, "held_us", STATEMENT_MAX_SEQ);
	parse_advisories(d, o, a);
	if (json_object_get(o, "decision_sha256"))
		jdoc_hex(d, o, "decision_sha256", a->decision, sizeof(a->decision));
	if (json_object_get(o, "guard"))
		a->guard = (enum att_guard)jdoc_choice(d, o, "guard", statement_guards);
	if (!d->bad && !a->has_package && (a->act == ATT_APPLY || a->act == ATT_REVERT))
		jdoc_bad(d, "package", "there for this action");
}

static void parse_areas(struct jdoc *d, const json_t *o, struct att_appraisal *a)
{
	static const char *const keys[] = {"name", "sha256", "size_bytes", "unexplained_bytes",
					   NULL};

	a->nr_areas = jdoc_array(d, o, "areas", ATT_MAX_AREAS);
	for (size_t i = 0; i < a->nr_areas && !d->bad; i++) {
		const json_t *r = json_array_get(json_object_get(o, "areas"), i);
		struct att_area *area = &a->area[i];

		if (!jdoc_object(d, r, "areas", keys))
			return;
		jdoc_text(d, r, "name", 1, area->name, sizeof(area->name));
		jdoc_hex(d, r, "sha256", area->sha256, sizeof(area->sha256));
		area->size_bytes = jdoc_u64(d, r, "size_bytes", STATEMENT_MAX_SEQ);
		area->unexplained_bytes = jdoc_u64(d, r, "unexplained_bytes", area->size_bytes);
		for (size_t j = 0; j < i; j++)
			if (!strcmp(area->name, a->area[j].name))
				jdoc_bad(d, "areas", "areas of different names");
	}
}

/* An object of two numbers. */
static void parse_counts(struct jdoc *d, const json_t *o, const char *key, const char *first,
			 uint64_t *ret_first, const char *second, uint64_t *ret_second)
{
	const char *const keys[] = {first, second, NULL};
	const json_t *v = json_object_get(o, key);

	if (!jdoc_object(d, v, key, keys))
		return;
	*ret_first = jdoc_u64(d, v, first, STATEMENT_MAX_SEQ);
	*ret_second = jdoc_u64(d, v, second, *ret_first);
}

static void parse_guard(struct jdoc *d, const json_t *o, struct att_appraisal *a)
{
	static const char *const keys[] = {"mode", "violations", NULL};
	const json_t *v = json_object_get(o, "guard");

	if (!jdoc_object(d, v, "guard", keys))
		return;
	a->guard = (enum att_guard)jdoc_choice(d, v, "mode", statement_guards);
	a->violations = jdoc_u64(d, v, "violations", STATEMENT_MAX_SEQ);
}

static void parse_trust(struct jdoc *d, const json_t *o, struct att_appraisal *a)
{
	static const char *const keys[] = {"runtime_pages", "runtime_bytes", "init_bytes", NULL};
	const json_t *v = json_object_get(o, "taken_on_trust");

	if (!v || !jdoc_object(d, v, "taken_on_trust", keys))
		return;
	a->tells_trust = true;
	a->runtime_pages = jdoc_u64(d, v, "runtime_pages", STATEMENT_MAX_SEQ);
	a->runtime_bytes = jdoc_u64(d, v, "runtime_bytes", STATEMENT_MAX_SEQ);
	a->init_bytes = jdoc_u64(d, v, "init_bytes", STATEMENT_MAX_SEQ);
}

static void parse_nonce(struct jdoc *d, const json_t *o, struct att_appraisal *a)
{
	const char *s = json_string_value(json_object_get(o, "nonce"));
	size_t n = s ? strlen(s) : 0;

	if (!n || n > sizeof(a->nonce) * 2 || n % 2) {
		jdoc_bad(d, "nonce", "hex of 1 to 64 bytes");
		return;
	}
	jdoc_hex(d, o, "nonce", a->nonce, n / 2);
	a->nonce_len = n / 2;
}

static void parse_appraisal(struct jdoc *d, const json_t *o, struct att_appraisal *a)
{
	static const char *const keys[] = {
		"nonce",	 "root",	   "reference_sha256", "areas",
		"modules",	 "guard",	   "registers",	       "executable_pages",
		"detail_sha256", "openvex_sha256", "?taken_on_trust",  NULL};

	if (!jdoc_object(d, o, "appraisal", keys))
		return;
	parse_nonce(d, o, a);
	a->tpm_rooted = jdoc_choice(d, o, "root", statement_roots);
	jdoc_hex(d, o, "reference_sha256", a->reference, sizeof(a->reference));
	parse_areas(d, o, a);
	parse_counts(d, o, "modules", "total", &a->modules, "unknown", &a->modules_unknown);
	parse_guard(d, o, a);
	parse_counts(d, o, "registers", "pinned", &a->registers, "changed", &a->registers_changed);
	parse_counts(d, o, "executable_pages", "audited", &a->exec_pages, "unapproved",
		     &a->exec_pages_unapproved);
	parse_trust(d, o, a);
	hex32_or_null(d, o, "detail_sha256", a->detail);
	hex32_or_null(d, o, "openvex_sha256", a->vex);
}

static void parse_vm(struct jdoc *d, const json_t *o, struct att_statement *s)
{
	static const char *const keys[] = {"uuid", "boot", "?process", "?resets", NULL};

	if (!jdoc_object(d, o, "vm", keys))
		return;
	jdoc_text(d, o, "uuid", 36, s->vm_uuid, sizeof(s->vm_uuid));
	if (!d->bad && strspn(s->vm_uuid, "0123456789abcdef-") != 36)
		jdoc_bad(d, "uuid", "a lower-case UUID");
	jdoc_hex(d, o, "boot", s->boot, sizeof(s->boot));
	if (json_object_get(o, "process"))
		hex32_or_null(d, o, "process", s->process);
	if (json_object_get(o, "resets"))
		s->resets = jdoc_u64(d, o, "resets", STATEMENT_MAX_SEQ);
}

static void parse_kernel(struct jdoc *d, const json_t *o, struct att_statement *s)
{
	static const char *const keys[] = {"build_id", "release", NULL};

	if (!jdoc_object(d, o, "kernel", keys))
		return;
	jdoc_text(d, o, "build_id", 16, s->build_id, sizeof(s->build_id));
	if (!d->bad && s->build_id[strspn(s->build_id, "0123456789abcdef")])
		jdoc_bad(d, "build_id", "lower-case hex");
	jdoc_text(d, o, "release", 1, s->release, sizeof(s->release));
}

static void parse_predicate(struct jdoc *d, const json_t *o, struct att_statement *s)
{
	const char *own = s->kind == ATT_ACTION ? "act" : "appraisal";
	const char *const keys[] = {"vm",
				    "kernel",
				    "sequence",
				    "previous_sha256",
				    "policy_sha256",
				    "started",
				    "finished",
				    "patches",
				    own,
				    NULL};
	const json_t *list;

	if (!jdoc_object(d, o, "predicate", keys))
		return;
	parse_vm(d, json_object_get(o, "vm"), s);
	parse_kernel(d, json_object_get(o, "kernel"), s);
	s->sequence = jdoc_u64(d, o, "sequence", STATEMENT_MAX_SEQ);
	hex32_or_null(d, o, "previous_sha256", s->previous);
	hex32_or_null(d, o, "policy_sha256", s->policy);
	s->started_s = jdoc_time(d, o, "started");
	s->finished_s = jdoc_time(d, o, "finished");
	s->nr_patches = jdoc_array(d, o, "patches", ATT_MAX_PATCHES);
	list = json_object_get(o, "patches");
	for (size_t i = 0; i < s->nr_patches && !d->bad; i++)
		parse_patch(d, json_array_get(list, i), "patches", &s->patch[i]);
	if (s->kind == ATT_ACTION)
		parse_action(d, json_object_get(o, own), &s->action);
	else
		parse_appraisal(d, json_object_get(o, own), &s->appraisal);
}

struct boot_seen statement_boot(const struct att_statement *s)
{
	struct boot_seen b = {.resets = s->resets};

	memcpy(b.boot, s->boot, sizeof(b.boot));
	memcpy(b.process, s->process, sizeof(b.process));
	return b;
}

bool boot_is_new(const struct boot_seen *before, const struct boot_seen *now)
{
	if (memcmp(before->process, now->process, sizeof(now->process)) != 0)
		return memcmp(before->boot, now->boot, sizeof(now->boot)) != 0;
	return now->resets > before->resets;
}

/* The subject says again what the predicate says: it must be the same. */
static void check_subject(struct jdoc *d, const json_t *root, const struct att_statement *s)
{
	static const char *const keys[] = {"name", "digest", NULL};
	bool package = s->kind == ATT_ACTION && s->action.has_package;
	const char *const digest_keys[] = {package ? "sha256" : "gnuBuildId", NULL};
	const json_t *o, *digest;
	char want[160], got[160] = "", hex[XO_SHA256_HEX_SIZE], got_hex[XO_SHA256_HEX_SIZE] = "";

	if (jdoc_array(d, root, "subject", 1) != 1) {
		jdoc_bad(d, "subject", "an array of one");
		return;
	}
	o = json_array_get(json_object_get(root, "subject"), 0);
	digest = json_object_get(o, "digest");
	if (!jdoc_object(d, o, "subject", keys) || !jdoc_object(d, digest, "digest", digest_keys))
		return;
	jdoc_text(d, o, "name", 1, got, sizeof(got));
	jdoc_text(d, digest, digest_keys[0], 1, got_hex, sizeof(got_hex));
	if (package)
		(void)snprintf(want, sizeof(want), SUBJECT_PACKAGE "%s@%s", s->action.package.id,
			       s->action.package.version);
	else
		(void)snprintf(want, sizeof(want), SUBJECT_KERNEL "%s", s->release);
	xo_hex(SPAN(s->action.package.manifest, XO_SHA256_BYTES), hex);
	if (strcmp(got, want) != 0 || strcmp(got_hex, package ? hex : s->build_id) != 0)
		jdoc_bad(d, "subject", "what the predicate is about");
}

bool statement_parse(struct att_statement *ret, struct span bytes, const char *name,
		     struct refusal *why)
{
	static const char *const keys[] = {"_type", "subject", "predicateType", "predicate", NULL};
	static const char *const kinds[] = {ATT_TYPE_ACTION, ATT_TYPE_APPRAISAL, NULL};
	struct jdoc d = {.name = name, .code = XO_ESTATEMENT, .why = why};
	_cleanup_json_ json_t *root = jdoc_load(&d, bytes, STATEMENT_MAX_BYTES);
	const char *type;

	if (!root || !jdoc_object(&d, root, "", keys))
		return false;
	memset(ret, 0, sizeof(*ret));
	type = json_string_value(json_object_get(root, "_type"));
	if (!type || strcmp(type, STATEMENT_TYPE) != 0)
		jdoc_bad(&d, "_type", STATEMENT_TYPE);
	ret->kind = (enum att_kind)jdoc_choice(&d, root, "predicateType", kinds);
	if (!d.bad)
		parse_predicate(&d, json_object_get(root, "predicate"), ret);
	if (!d.bad)
		check_subject(&d, root, ret);
	return !d.bad;
}
