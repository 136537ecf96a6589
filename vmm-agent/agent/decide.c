// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/decide.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/util.h"
#include "policy/policy.h"
#include "vmm-agent/agent/ops.h"

/* Without facts of its own a package counts as of low severity, released when it was made. */
static json_t *package_facts(const struct pkg *p)
{
	const struct pkg_manifest *m = pkg_manifest(p);
	char build_id[41], payload[XO_SHA256_HEX_SIZE];
	const struct pkg_signer *signer;
	size_t nr = pkg_signers(p, &signer);
	json_t *o, *list;

	xo_hex(SPAN(m->build_id, m->build_id_bytes), build_id);
	xo_hex(SPAN(pkg_payload_digest(p), XO_SHA256_BYTES), payload);
	o = json_pack("{s:s,s:s,s:s,s:I,s:I,s:s,s:s,s:s,s:[s]}", "id", m->id, "kind", "hotpatch",
		      "payload_sha256", payload, "serial", (json_int_t)m->serial, "security_epoch",
		      (json_int_t)m->security_epoch, "released", m->created, "severity", "low",
		      "arch", m->arch, "build_ids", build_id);
	list = json_array();
	for (size_t i = 0; i < nr; i++)
		json_array_append_new(list, json_string(signer[i].role));
	json_object_set_new(o, "signer_roles", list);
	list = json_array();
	for (size_t i = 0; i < m->nr_advisories; i++)
		json_array_append_new(list, json_string(m->advisory[i]));
	json_object_set_new(o, "advisories", list);
	list = json_array();
	for (size_t i = 0; i < m->nr_prereqs; i++)
		json_array_append_new(list, json_string(m->prereq[i]));
	json_object_set_new(o, "requires", list);
	return o;
}

/* ---- facts from files, and what is seen here over them ---- */

static bool same(const json_t *a, const json_t *b, const char *key)
{
	return json_equal(json_object_get(a, key), json_object_get(b, key));
}

/* The object of @list that has the same @key; it is taken out, and owned by the caller. */
static json_t *take_known(json_t *list, const json_t *o, const char *key)
{
	json_t *item, *found = NULL;
	size_t i;

	json_array_foreach(list, i, item)
	{
		if (!same(item, o, key))
			continue;
		found = json_incref(item);
		json_array_remove(list, i);
		break;
	}
	return found;
}

/* What either knows of, both know of. */
static void add_list(json_t *o, const json_t *known, const char *key)
{
	json_t *list = json_object_get(o, key), *item;
	size_t i;

	if (list)
		json_array_foreach(json_object_get(known, key), i, item)
			json_array_append(list, item);
	else if (json_object_get(known, key))
		json_object_set(o, key, json_object_get(known, key));
}

/* What the inventory knows and this host does not: health, labels, the baseline. */
static void complete_vm(json_t *vm, const json_t *known)
{
	static const char *const keys[] = {"labels", "metadata", "since", "host"};
	json_t *baseline = json_object_get(json_object_get(known, "kernel"), "baseline"), *a, *k;
	json_t *applied = json_object_get(vm, "patches");
	size_t i, n;

	for (i = 0; i < XO_ARRAY_SIZE(keys); i++)
		if (json_object_get(known, keys[i]))
			json_object_set(vm, keys[i], json_object_get(known, keys[i]));
	if (baseline &&
	    same(json_object_get(vm, "kernel"), json_object_get(known, "kernel"), "build_id"))
		json_object_set(json_object_get(vm, "kernel"), "baseline", baseline);
	json_array_foreach(json_object_get(known, "patches"), i, k) json_array_foreach(
		applied, n,
		a) if (same(a, k, "id") && same(a, k, "payload_sha256") && same(a, k, "at"))
	{
		add_list(a, k, "signals");
		json_object_update_missing(a, k);
	}
	add_list(vm, known, "rolled_back");
}

static void complete_patch(json_t *patch, const json_t *known)
{
	static const char *const keys[] = {"severity", "released", "baseline"};

	if (!same(patch, known, "payload_sha256"))
		return;
	for (size_t i = 0; i < XO_ARRAY_SIZE(keys); i++)
		if (json_object_get(known, keys[i]))
			json_object_set(patch, keys[i], json_object_get(known, keys[i]));
}

static json_t *list_of(json_t *facts, const char *key)
{
	if (!json_is_array(json_object_get(facts, key)))
		json_object_set_new(facts, key, json_array());
	return json_object_get(facts, key);
}

static void put(json_t *facts, const char *list, json_t *o, const char *key,
		void (*complete)(json_t *o, const json_t *known))
{
	json_t *known = take_known(list_of(facts, list), o, key);

	if (known)
		complete(o, known);
	json_decref(known);
	json_array_append_new(list_of(facts, list), o);
}

static int read_facts_file(const char *path, json_t **ret, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(POL_FACTS_MAX_BYTES);
	int rc = xbuf_read_file(&b, path);
	const char *why;
	json_error_t e;

	if (rc)
		return xerr_set(err, rc, "%s: %s", path, xo_code_text(rc));
	why = pol_facts_too_much(xbuf_span(&b));
	if (why)
		return xerr_set(err, XO_ELIMIT, "%s: %s", path, why);
	*ret = json_loadb((const char *)b.data, b.len_bytes, JSON_REJECT_DUPLICATES, &e);
	if (!*ret)
		return xerr_set(err, XO_EMALFORMED, "%s:%d:%d: not JSON: %s", path, e.line,
				e.column, e.text);
	return json_is_object(*ret) ? 0
				    : xerr_set(err, XO_EMALFORMED, "%s: must be an object", path);
}

static int read_facts(const struct session *s, int64_t now, json_t **ret, struct xerr *err)
{
	char at[POL_TIME_SIZE];

	if (s->opts->facts)
		return read_facts_file(s->opts->facts, ret, err);
	*ret = json_pack("{s:s,s:s}", "format", "facts/1", "at", pol_format_time(now, at));
	return *ret ? 0 : xerr_set(err, ENOMEM, "out of memory");
}

/* ---- the question ---- */

static int wrong(int rc, const struct pol_errors *e, struct xerr *err)
{
	if (e->nr && e->error[0].line)
		return xerr_set(err, rc, "%s:%u:%u: %s; exopatch policy check lists all errors",
				e->error[0].file, e->error[0].line, e->error[0].column,
				e->error[0].text);
	return xerr_set(err, rc, "%s: %s", e->nr ? e->error[0].file : "policy",
			e->nr ? e->error[0].text : xo_code_text(rc));
}

static int load_policy(const char *path, struct pol_policy **ret, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(POL_POLICY_MAX_BYTES);
	_cleanup_pol_errors_ struct pol_errors errors = {0};
	struct pol_text text;
	int rc = xbuf_read_file(&b, path);

	if (rc)
		return xerr_set(err, rc, "%s: %s", path, xo_code_text(rc));
	text = (struct pol_text){.name = path, .text = xbuf_span(&b)};
	rc = pol_policy_load(&text, 1, ret, &errors);
	return rc ? wrong(rc, &errors, err) : 0;
}

static int load_fleet(const char *name, const json_t *facts, int64_t now, struct pol_fleet **ret,
		      struct xerr *err)
{
	_cleanup_pol_errors_ struct pol_errors errors = {0};
	_cleanup_free_ char *json = json_dumps(facts, JSON_COMPACT);
	struct pol_text text;
	int rc;

	if (!json)
		return xerr_set(err, ENOMEM, "out of memory");
	text = (struct pol_text){.name = name, .text = SPAN(json, strlen(json))};
	rc = pol_fleet_load(&text, 1, now, ret, &errors);
	return rc ? wrong(rc, &errors, err) : 0;
}

static const char *str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static int refuse(const struct pol_plan *plan, const struct pol_verdict *v, struct refusal *why)
{
	_cleanup_json_ json_t *o = pol_verdict_json(plan, v, true);
	const json_t *r;
	size_t i;

	if (!o)
		return -ENOMEM;
	json_array_foreach(json_object_get(o, "reasons"), i, r)
	{
		if (json_is_string(json_object_get(r, "rule")))
			refusal_add(why, XO_EPOLICY, "%s '%s' (%s:%lld): %s", str(r, "by"),
				    str(r, "rule"), str(r, "file"),
				    (long long)json_integer_value(json_object_get(r, "line")),
				    str(r, "text"));
		else
			refusal_add(why, XO_EPOLICY, "%s: %s", str(r, "by"), str(r, "text"));
	}
	return 0;
}

static int ask(const struct pol_policy *p, const struct pol_fleet *f, const char *vm,
	       const char *patch, int64_t now, json_t **ret, struct refusal *why)
{
	_cleanup_pol_plan_ struct pol_plan *plan = NULL;
	uint8_t digest[XO_SHA256_BYTES];
	char hex[XO_SHA256_HEX_SIZE];
	const struct pol_verdict *v;
	long at_vm = pol_find_vm(f, vm), at_patch = pol_find_patch(f, patch);
	json_t *statement;
	int rc = pol_plan_new(p, f, now, &plan);

	if (rc || at_vm < 0 || at_patch < 0)
		return rc ? rc : -XO_EINTERNAL;
	v = pol_plan_verdict(plan, (size_t)at_vm, (size_t)at_patch);
	if (v->state != POL_ALLOWED || v->action != POL_APPLY)
		rc = refuse(plan, v, why);
	rc = rc ? rc : pol_statement(plan, v, &statement, digest);
	if (rc)
		return rc;
	xo_hex(SPAN(digest, sizeof(digest)), hex);
	*ret = json_pack("{s:o,s:s}", "statement", statement, "sha256", hex);
	return *ret ? 0 : -ENOMEM;
}

int decide_apply(const struct session *s, const struct pkg *p, bool home, json_t **ret_decision,
		 struct refusal *why, struct xerr *err)
{
	_cleanup_pol_policy_ struct pol_policy *policy = NULL;
	_cleanup_pol_fleet_ struct pol_fleet *fleet = NULL;
	_cleanup_json_ json_t *facts = NULL, *vm = NULL;
	int64_t now = (int64_t)time(NULL);
	int rc;

	if (!s->opts->policy)
		return 0;
	rc = load_policy(s->opts->policy, &policy, err);
	rc = rc ? rc : read_facts(s, now, &facts, err);
	if (rc)
		return rc;
	vm = decide_vm_facts(s, home, err);
	if (!vm)
		return err->code ? -err->code : -ENOMEM;
	put(facts, "vms", json_incref(vm), "name", complete_vm);
	put(facts, "patches", package_facts(p), "id", complete_patch);
	rc = load_fleet(s->opts->facts ? s->opts->facts : "facts", facts, now, &fleet, err);
	if (rc)
		return rc;
	rc = ask(policy, fleet, str(vm, "name"), pkg_manifest(p)->id, now, ret_decision, why);
	return rc ? xerr_set(err, rc, "policy: %s", xo_code_text(rc)) : 0;
}
