// SPDX-License-Identifier: Apache-2.0
#include <errno.h>

#include "attest/statement.h"
#include "attest/statement_words.h"

const char *const statement_acts[] = {"apply",	   "revert",	"refuse", "guard-on",
				      "guard-off", "violation", "policy", NULL};
const char *const statement_verdicts[] = {"done", "refused", "failed", NULL};
const char *const statement_guards[] = {"none", "audit", "enforce", NULL};
const char *const statement_roots[] = {"software", "tpm", NULL};

const char *att_act_name(enum att_act a)
{
	return statement_acts[a];
}

static json_t *hex32(const uint8_t d[XO_SHA256_BYTES])
{
	char hex[XO_SHA256_HEX_SIZE];

	xo_hex(SPAN(d, XO_SHA256_BYTES), hex);
	return json_string(hex);
}

static bool is_zero(const uint8_t d[XO_SHA256_BYTES])
{
	static const uint8_t zero[XO_SHA256_BYTES];

	return !memcmp(d, zero, sizeof(zero));
}

/* A digest that may be none. */
static json_t *hex32_or_null(const uint8_t d[XO_SHA256_BYTES])
{
	return is_zero(d) ? json_null() : hex32(d);
}

static json_t *when(int64_t s)
{
	char text[21];

	return json_string(json_time(s, text));
}

static json_t *patch_json(const struct att_patch *p)
{
	return json_pack("{s:s,s:s,s:o}", "id", p->id, "version", p->version, "manifest_sha256",
			 hex32(p->manifest));
}

static json_t *patches_json(const struct att_statement *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->nr_patches; i++)
		json_array_append_new(list, patch_json(&s->patch[i]));
	return list;
}

static json_t *subject_json(const struct att_statement *s)
{
	const struct att_patch *p = &s->action.package;
	char name[160];

	if (s->kind == ATT_ACTION && s->action.has_package) {
		(void)snprintf(name, sizeof(name), SUBJECT_PACKAGE "%s@%s", p->id, p->version);
		return json_pack("[{s:s,s:{s:o}}]", "name", name, "digest", "sha256",
				 hex32(p->manifest));
	}
	(void)snprintf(name, sizeof(name), SUBJECT_KERNEL "%s", s->release);
	return json_pack("[{s:s,s:{s:s}}]", "name", name, "digest", "gnuBuildId", s->build_id);
}

static json_t *action_json(const struct att_action *a)
{
	json_t *reasons = json_array(), *advisories = json_array();

	for (size_t i = 0; i < a->nr_reasons; i++)
		json_array_append_new(reasons, json_pack("{s:s,s:s}", "reason", a->reason[i].key,
							 "detail", a->reason[i].detail));
	for (size_t i = 0; i < a->nr_advisories; i++)
		json_array_append_new(advisories, json_string(a->advisory[i]));
	return json_pack("{s:s,s:s,s:o,s:o,s:o,s:o,s:I,s:o,s:o*,s:s*}", "action",
			 statement_acts[a->act], "verdict", statement_verdicts[a->verdict],
			 "package", a->has_package ? patch_json(&a->package) : json_null(),
			 "reasons", reasons, "before_sha256", hex32_or_null(a->before),
			 "after_sha256", hex32_or_null(a->after), "held_us", (json_int_t)a->held_us,
			 "advisories", advisories, "decision_sha256",
			 is_zero(a->decision) ? NULL : hex32(a->decision), "guard",
			 a->act == ATT_GUARD_ON ? statement_guards[a->guard] : NULL);
}

static json_t *trust_json(const struct att_appraisal *a)
{
	return a->tells_trust
		       ? json_pack("{s:I,s:I,s:I}", "runtime_pages", (json_int_t)a->runtime_pages,
				   "runtime_bytes", (json_int_t)a->runtime_bytes, "init_bytes",
				   (json_int_t)a->init_bytes)
		       : NULL;
}

static json_t *appraisal_json(const struct att_appraisal *a)
{
	char nonce[2 * ATT_MAX_NONCE + 1];
	json_t *areas = json_array();

	xo_hex(SPAN(a->nonce, a->nonce_len), nonce);
	for (size_t i = 0; i < a->nr_areas; i++)
		json_array_append_new(
			areas, json_pack("{s:s,s:o,s:I,s:I}", "name", a->area[i].name, "sha256",
					 hex32(a->area[i].sha256), "size_bytes",
					 (json_int_t)a->area[i].size_bytes, "unexplained_bytes",
					 (json_int_t)a->area[i].unexplained_bytes));
	return json_pack(
		"{s:s,s:s,s:o,s:o,s:{s:I,s:I},s:{s:s,s:I},s:{s:I,s:I},s:{s:I,s:I},"
		"s:o*,s:o,s:o}",
		"nonce", nonce, "root", statement_roots[a->tpm_rooted], "reference_sha256",
		hex32(a->reference), "areas", areas, "modules", "total", (json_int_t)a->modules,
		"unknown", (json_int_t)a->modules_unknown, "guard", "mode",
		statement_guards[a->guard], "violations", (json_int_t)a->violations, "registers",
		"pinned", (json_int_t)a->registers, "changed", (json_int_t)a->registers_changed,
		"executable_pages", "audited", (json_int_t)a->exec_pages, "unapproved",
		(json_int_t)a->exec_pages_unapproved, "taken_on_trust", trust_json(a),
		"detail_sha256", hex32_or_null(a->detail), "openvex_sha256", hex32_or_null(a->vex));
}

static json_t *predicate_json(const struct att_statement *s)
{
	return json_pack(
		"{s:{s:s,s:o,s:o,s:I},s:{s:s,s:s},s:I,s:o,s:o,s:o,s:o,s:o,s:o}", "vm", "uuid",
		s->vm_uuid, "boot", hex32(s->boot), "process", hex32_or_null(s->process), "resets",
		(json_int_t)s->resets, "kernel", "build_id", s->build_id, "release", s->release,
		"sequence", (json_int_t)s->sequence, "previous_sha256", hex32_or_null(s->previous),
		"policy_sha256", hex32_or_null(s->policy), "started", when(s->started_s),
		"finished", when(s->finished_s), "patches", patches_json(s),
		s->kind == ATT_ACTION ? "act" : "appraisal",
		s->kind == ATT_ACTION ? action_json(&s->action) : appraisal_json(&s->appraisal));
}

int statement_format(struct xbuf *out, const struct att_statement *s)
{
	_cleanup_free_ struct att_statement *again = NULL;
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *root = NULL;
	struct span bytes;

	root = json_pack("{s:s,s:o,s:s,s:o}", "_type", STATEMENT_TYPE, "subject", subject_json(s),
			 "predicateType",
			 s->kind == ATT_ACTION ? ATT_TYPE_ACTION : ATT_TYPE_APPRAISAL, "predicate",
			 predicate_json(s));
	text = root ? json_dumps(root, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
	again = calloc(1, sizeof(*again));
	if (!again)
		return -ENOMEM;
	if (!text)
		return -XO_EMALFORMED;
	/* What the reader would not take must never be signed. */
	bytes = SPAN(text, strlen(text));
	if (!statement_parse(again, bytes, "statement", &why))
		return why.nr && why.reason[0].code == XO_ELIMIT ? -XO_ELIMIT : -XO_EMALFORMED;
	return xbuf_add(out, bytes.p, bytes.len_bytes);
}
