// SPDX-License-Identifier: Apache-2.0
#include <errno.h>

#include "attest/json.h"
#include "attest/statement.h"
#include "attest/verify.h"

#define MAX_PLACES 8   /* of unexplained bytes that are named */
#define MAX_SYMBOL 512 /* KSYM_NAME_LEN, include/linux/kallsyms.h */
#define MAX_OFFSET (UINT64_C(1) << 40)

static bool same32(const uint8_t *a, const uint8_t *b)
{
	return !memcmp(a, b, XO_SHA256_BYTES);
}

static void check_freshness(struct verify *v)
{
	const struct att_expect *x = v->expect;
	const struct att_statement *s = v->last;
	uint64_t limit_s = x->max_age_s ? x->max_age_s : ATT_MAX_AGE_S;

	if (x->nonce) {
		if (x->nonce_len != s->appraisal.nonce_len ||
		    memcmp(x->nonce, s->appraisal.nonce, x->nonce_len) != 0)
			refusal_add(v->why, XO_ENONCE,
				    "the appraisal is for a nonce that was not sent");
		return;
	}
	if (x->now_s > s->finished_s && (uint64_t)(x->now_s - s->finished_s) > limit_s)
		refusal_add(v->why, XO_ETOOOLD, "the appraisal is %llu s old, %llu are allowed",
			    (unsigned long long)(x->now_s - s->finished_s),
			    (unsigned long long)limit_s);
}

/* A guard that enforces now, and has since it began to in this boot. */
static void check_guarded(struct verify *v)
{
	char at[21];

	if (v->last->appraisal.guard != ATT_GUARD_ENFORCE)
		refusal_add(v->why, XO_EGUARDOFF, "no guard enforced when it was appraised");
	else if (!v->ret->guarded_since_s)
		refusal_add(v->why, XO_EGUARDOFF, "no statement says that a guard enforces");
	else if (v->ret->guard_lapsed)
		refusal_add(v->why, XO_EGUARDOFF,
			    "guarded since %s; before that, in the same boot, for a while not",
			    json_time(v->ret->guarded_since_s, at));
}

static void check_machine(struct verify *v)
{
	const struct att_expect *x = v->expect;
	const struct att_statement *s = v->last;

	if (x->vm_uuid && strcmp(x->vm_uuid, s->vm_uuid) != 0)
		refusal_add(v->why, XO_EOTHERVM, "it is about machine %s", s->vm_uuid);
	if (x->boot && !same32(x->boot, s->boot))
		refusal_add(v->why, XO_EREBOOTED, "the guest booted since");
	if (x->require_guard)
		check_guarded(v);
	if (v->ret->tpm_rooted != s->appraisal.tpm_rooted)
		refusal_add(v->why, XO_ESTATEMENT, "the appraisal says that it is rooted in %s",
			    s->appraisal.tpm_rooted ? "a TPM" : "software");
}

static bool has_patch(const struct att_patch *list, size_t nr, const struct att_patch *p)
{
	size_t i = 0;

	while (i < nr && !same32(list[i].manifest, p->manifest))
		i++;
	return i < nr;
}

/* Patches found must be those that this boot's statements leave active. */
static void check_patches(struct verify *v)
{
	const struct att_statement *s = v->last;

	if (v->active.too_many || v->missed.too_many) {
		refusal_add(v->why, XO_ELIMIT, "more than %d patches are active", ATT_MAX_PATCHES);
		return;
	}
	for (size_t i = 0; i < s->nr_patches; i++)
		if (!has_patch(v->active.patch, v->active.nr, &s->patch[i]))
			refusal_add(v->why, XO_EPATCHSET,
				    "%s %s is active, and nothing says that it was applied since "
				    "the guest booted",
				    s->patch[i].id, s->patch[i].version);
	for (size_t i = 0; i < v->active.nr; i++)
		if (!has_patch(s->patch, s->nr_patches, &v->active.patch[i]))
			refusal_add(v->why, XO_EPATCHSET, "%s %s was applied and is not active",
				    v->active.patch[i].id, v->active.patch[i].version);
	for (size_t i = 0; i < v->missed.nr; i++)
		if (!has_patch(s->patch, s->nr_patches, &v->missed.patch[i]))
			refusal_add(v->why, XO_EBOOTUNSEEN,
				    "%s %s was applied and is not active; the guest has booted "
				    "since, as it says itself",
				    v->missed.patch[i].id, v->missed.patch[i].version);
}

static void check_findings(struct verify *v)
{
	const struct att_appraisal *a = &v->last->appraisal;

	for (size_t i = 0; i < a->nr_areas; i++)
		if (a->area[i].unexplained_bytes)
			refusal_add(v->why, XO_EUNEXPLAINED, "%llu bytes of %s",
				    (unsigned long long)a->area[i].unexplained_bytes,
				    a->area[i].name);
	if (a->exec_pages_unapproved)
		refusal_add(v->why, XO_EUNEXPLAINED, "%llu executable pages that nobody approved",
			    (unsigned long long)a->exec_pages_unapproved);
	if (a->registers_changed)
		refusal_add(v->why, XO_EUNEXPLAINED, "%llu pinned registers changed",
			    (unsigned long long)a->registers_changed);
	if (a->modules_unknown)
		refusal_add(v->why, XO_EMODULE, "%llu modules of no package",
			    (unsigned long long)a->modules_unknown);
	if (a->violations)
		refusal_add(v->why, XO_EVIOLATION, "the guard has seen %llu",
			    (unsigned long long)a->violations);
}

/* What is good only because the guest says so. */
static void check_trust(struct verify *v)
{
	const struct att_appraisal *a = &v->last->appraisal;

	if (!v->expect->forbid_runtime)
		return;
	if (!a->tells_trust)
		refusal_add(
			v->why, XO_EMISSING,
			"the appraisal does not say how much code was made while the guest ran");
	else if (a->runtime_pages || a->runtime_bytes)
		refusal_add(v->why, XO_EUNEXPLAINED,
			    "%llu executable pages and %llu bytes that only the guest's own lists "
			    "explain",
			    (unsigned long long)a->runtime_pages,
			    (unsigned long long)a->runtime_bytes);
}

/* A file whose digest the appraisal states, if it states one. */
static const struct att_file *stated_file(struct verify *v, const char *name,
					  const uint8_t digest[XO_SHA256_BYTES])
{
	static const uint8_t none[XO_SHA256_BYTES];
	uint8_t got[XO_SHA256_BYTES];
	const struct att_file *f;

	if (same32(digest, none)) {
		if (att_files_get(v->evidence, name))
			refusal_add(v->why, XO_EDIGEST, "%s: the appraisal knows of none", name);
		return NULL;
	}
	f = verify_file(v, name);
	if (!f)
		return NULL;
	if (xo_sha256(f->bytes, got) || !same32(got, digest)) {
		refusal_add(v->why, XO_EDIGEST, "%s: is not the one that the appraisal is about",
			    name);
		return NULL;
	}
	return f;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct att_module *)a)->name, ((const struct att_module *)b)->name);
}

/* One module that was found in the guest. */
static void check_module(struct verify *v, struct jdoc *d, const json_t *o,
			 const struct att_reference *ref)
{
	struct att_module m = {0};
	const struct att_module *want;

	jdoc_text(d, o, "name", 1, m.name, sizeof(m.name));
	jdoc_hex(d, o, "sha256", m.sha256, sizeof(m.sha256));
	if (d->bad)
		return;
	want = ref->nr_modules ? bsearch(&m, ref->module, ref->nr_modules, sizeof(m), by_name)
			       : NULL;
	if (!want || !same32(want->sha256, m.sha256))
		refusal_add(v->why, XO_EMODULE, "%s is %s", m.name,
			    want ? "not as the reference has it" : "not in the reference");
}

/* Where the bytes are that nothing explains: for people, so that what is malformed is passed over.
 */
static void name_places(struct verify *v, const json_t *root)
{
	const json_t *list = json_object_get(root, "unexplained");
	_cleanup_refusal_ struct refusal ignored = {0};
	size_t i;
	json_t *o;

	if (!json_is_array(list))
		return;
	json_array_foreach(list, i, o)
	{
		struct jdoc d = {.name = EVIDENCE_DETAIL, .code = XO_EMALFORMED, .why = &ignored};
		char symbol[MAX_SYMBOL] = "";
		uint64_t off = jdoc_u64(&d, o, "offset", MAX_OFFSET);
		uint64_t bytes = jdoc_u64(&d, o, "bytes", MAX_OFFSET);

		jdoc_text(&d, o, "symbol", 1, symbol, sizeof(symbol));
		if (i == MAX_PLACES)
			return;
		if (!d.bad)
			refusal_add(v->why, XO_EUNEXPLAINED, "%s+0x%llx, %llu bytes", symbol,
				    (unsigned long long)off, (unsigned long long)bytes);
	}
}

/* The detail's list of modules; its other content is for people. */
static void check_modules(struct verify *v, const struct att_reference *ref)
{
	const struct att_file *f = stated_file(v, EVIDENCE_DETAIL, v->last->appraisal.detail);
	struct jdoc d = {.name = EVIDENCE_DETAIL, .code = XO_EMALFORMED, .why = v->why};
	_cleanup_json_ json_t *root = NULL;
	const json_t *list;
	size_t i;
	json_t *o;

	if (!f) {
		if (v->last->appraisal.modules)
			refusal_add(v->why, XO_EMISSING,
				    EVIDENCE_DETAIL ": there are modules, and no list of them");
		return;
	}
	root = jdoc_load(&d, f->bytes, ATT_MAX_DETAIL);
	if (!root)
		return;
	name_places(v, root);
	list = json_object_get(root, "modules");
	if (!json_is_array(list) || json_array_size(list) != v->last->appraisal.modules) {
		jdoc_bad(&d, "modules", "an array of as many as the appraisal says");
		return;
	}
	json_array_foreach(list, i, o)
	{
		if (ref)
			check_module(v, &d, o, ref);
	}
}

static void check_area(struct verify *v, const struct att_area *want)
{
	const struct att_appraisal *a = &v->last->appraisal;

	for (size_t i = 0; i < a->nr_areas; i++) {
		if (strcmp(a->area[i].name, want->name) != 0)
			continue;
		if (a->area[i].size_bytes != want->size_bytes ||
		    !same32(a->area[i].sha256, want->sha256))
			refusal_add(v->why, XO_EREFERENCE,
				    "%s was held against another image than the reference's",
				    want->name);
		return;
	}
	refusal_add(v->why, XO_EREFERENCE, "%s was not appraised", want->name);
}

static void check_reference(struct verify *v)
{
	const struct att_statement *s = v->last;
	struct att_reference ref = {0};
	size_t before = v->why->nr;
	int rc;

	if (!v->expect->reference.len_bytes) {
		refusal_add(v->why, XO_EMISSING, "no reference to hold the appraisal against");
		check_modules(v, NULL);
		return;
	}
	rc = att_reference_parse(&ref, v->expect->reference, v->why);
	if (rc)
		v->fatal = rc;
	if (!rc && v->why->nr == before) {
		if (strcmp(ref.build_id, s->build_id) != 0)
			refusal_add(v->why, XO_EREFERENCE,
				    "the guest runs kernel %s, the reference is for %s",
				    s->build_id, ref.build_id);
		else
			for (size_t i = 0; i < ref.nr_areas; i++)
				check_area(v, &ref.area[i]);
		check_modules(v, &ref);
	}
	att_reference_free(&ref);
}

void verify_appraisal(struct verify *v)
{
	if (!v->last)
		return;
	check_freshness(v);
	check_machine(v);
	check_patches(v);
	check_findings(v);
	check_trust(v);
	check_reference(v);
	(void)stated_file(v, EVIDENCE_VEX, v->last->appraisal.vex);
}
