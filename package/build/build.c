// SPDX-License-Identifier: Apache-2.0
#include "package/build/build.h"

#include <errno.h>
#include <string.h>

#include "package/build/object.h"
#include "package/build/output.h"
#include "package/build/sign.h"
#include "package/build/target.h"
#include "package/cms.h"
#include "package/container.h"
#include "package/manifest.h"
#include "package/payload.h"

/* Everything a package is made from; build_free it. */
struct build {
	struct xbuf kernel_file, object_file, payload_file, provenance, manifest_file;
	struct kfile *kernel;
	struct ksites sites;
	struct payload payload;
	struct manifest manifest;
};

static void build_free(struct build *b)
{
	xbuf_free(&b->kernel_file);
	xbuf_free(&b->object_file);
	xbuf_free(&b->payload_file);
	xbuf_free(&b->provenance);
	xbuf_free(&b->manifest_file);
	ksites_free(&b->sites);
	kfile_free(b->kernel);
	payload_free(&b->payload);
	manifest_free(&b->manifest);
}

static int read_input(struct xbuf *b, const char *path, size_t cap, struct xerr *err)
{
	int rc;

	*b = XBUF(cap);
	rc = xbuf_read_file(b, path);
	return rc ? xerr_set(err, -rc, "%s: %s", path, xo_code_text(rc)) : 0;
}

static int read_inputs(struct build *b, const struct build_options *o, struct refusal *why,
		       struct xerr *err)
{
	int rc;

	rc = read_input(&b->kernel_file, o->kernel, KFILE_MAX_BYTES, err);
	if (!rc)
		rc = read_input(&b->object_file, o->object, PKG_MAX_BYTES, err);
	if (!rc)
		rc = kfile_open(&b->kernel, xbuf_span(&b->kernel_file), err);
	if (!rc)
		rc = ksites_read(&b->sites, b->kernel, err);
	b->payload_file = XBUF(PAYLOAD_MAX_BYTES);
	if (!rc)
		rc = object_normalise(&b->payload_file, xbuf_span(&b->object_file), why, err);
	if (!rc && !why->nr)
		rc = payload_parse(&b->payload, xbuf_span(&b->payload_file), why);
	return rc ? xerr_set(err, -rc, "%s: %s", o->object, xo_code_text(rc)) : 0;
}

/* ---- targets ---- */

static void set_target(struct pkg_target *t, const char *symbol, uint32_t sympos,
		       const char *replacement)
{
	snprintf(t->symbol, sizeof(t->symbol), "%s", symbol);
	snprintf(t->replacement, sizeof(t->replacement), "%s", replacement);
	t->sympos = sympos;
}

static void named_targets(struct pkg_manifest *m, const struct build *b,
			  const struct build_options *o, struct refusal *why)
{
	for (size_t i = 0; i < o->nr_targets; i++) {
		const struct build_target *t = &o->target[i];
		const char *new = t->replacement[0] ? t->replacement : t->symbol;

		if (!payload_find(&b->payload, new))
			refusal_add(why, XO_ENOSYMBOL, "%s: the object has no such function", new);
		set_target(&m->target[m->nr_targets++], t->symbol, t->sympos, new);
	}
}

/* Without --target: functions of the object whose names are unique in the kernel's code. */
static void default_targets(struct pkg_manifest *m, const struct build *b, struct refusal *why)
{
	const struct ksyms *k = &b->kernel->syms;

	for (size_t i = 0; i < b->payload.nr_funcs; i++) {
		const char *name = b->payload.func[i].name;
		size_t at;

		if (ksyms_lookup(k, name, &at, 1) != 1 || !target_is_code(k->sym[at].type))
			continue;
		if (m->nr_targets == PKG_MAX_TARGETS) {
			refusal_add(why, XO_ELIMIT, "more than %d functions to replace",
				    PKG_MAX_TARGETS);
			return;
		}
		set_target(&m->target[m->nr_targets++], name, 0, name);
	}
	if (!m->nr_targets)
		refusal_add(why, XO_ENOSYMBOL,
			    "no function of the object is unique by name in Linux %s; say with "
			    "--target what to replace",
			    b->kernel->release);
}

static int describe_targets(struct build *b, const struct build_options *o, struct refusal *why,
			    struct xerr *err)
{
	struct pkg_manifest *m = &b->manifest.m;
	int rc = 0;

	m->target = calloc(PKG_MAX_TARGETS, sizeof(*m->target));
	if (!m->target)
		return xerr_set(err, ENOMEM, "out of memory");
	if (o->nr_targets)
		named_targets(m, b, o, why);
	else
		default_targets(m, b, why);
	for (size_t i = 0; !rc && i < m->nr_targets; i++)
		rc = target_describe(&m->target[i], b->kernel, &b->sites, why, err);
	return rc;
}

/* ---- imports ---- */

/* Of several symbols of a name, the one that is not local is what a linker would take. */
static uint32_t global_sympos(const struct ksyms *k, const char *name)
{
	size_t at[64], nr = ksyms_lookup(k, name, at, XO_ARRAY_SIZE(at));
	uint32_t found = 0;

	for (size_t i = 0; i < nr && i < XO_ARRAY_SIZE(at); i++) {
		char type = k->sym[at[i]].type;

		if (type < 'A' || type > 'Z')
			continue;
		if (found)
			return 0;
		found = (uint32_t)(i + 1);
	}
	return nr <= XO_ARRAY_SIZE(at) ? found : 0;
}

static uint32_t import_sympos(const struct build *b, const struct build_options *o,
			      const char *name)
{
	for (size_t i = 0; i < o->nr_imports; i++)
		if (!strcmp(o->import[i].symbol, name))
			return o->import[i].sympos;
	return ksyms_lookup(&b->kernel->syms, name, NULL, 0) > 1
		       ? global_sympos(&b->kernel->syms, name)
		       : 0;
}

/* Is the symbol in what free_initmem() gives back after boot? kallsyms keeps its name. */
static bool is_init(const struct ksyms *k, const struct ksym *sym)
{
	size_t start, end;

	return ksyms_lookup(k, "__init_begin", &start, 1) == 1 &&
	       ksyms_lookup(k, "__init_end", &end, 1) == 1 && sym->addr >= k->sym[start].addr &&
	       sym->addr < k->sym[end].addr;
}

static int resolve_imports(struct build *b, const struct build_options *o, struct refusal *why,
			   struct xerr *err)
{
	struct pkg_manifest *m = &b->manifest.m;

	m->ref = calloc(b->payload.nr_imports + 1, sizeof(*m->ref));
	if (!m->ref)
		return xerr_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < b->payload.nr_imports; i++) {
		const char *name = b->payload.import[i];
		uint32_t sympos = import_sympos(b, o, name);
		ssize_t at = target_symbol(b->kernel, name, sympos, why);

		if (at >= 0 && is_init(&b->kernel->syms, &b->kernel->syms.sym[at]))
			refusal_add(why, XO_ENOSYMBOL,
				    "%s: Linux %s frees it after boot (init code or data)", name,
				    b->kernel->release);
		if (at < 0 || !sympos)
			continue;
		snprintf(m->ref[m->nr_refs].symbol, sizeof(m->ref[0].symbol), "%s", name);
		m->ref[m->nr_refs++].sympos = sympos;
	}
	return 0;
}

/* ---- manifest ---- */

/* Take a text of the command line; manifest_parse() checks its characters later. */
static void take_text(char *out, size_t size, const char *text, const char *option,
		      struct refusal *why)
{
	if (strlen(text) >= size)
		refusal_add(why, XO_EMANIFEST, "%s: is longer than %zu bytes", option, size - 1);
	else
		memcpy(out, text, strlen(text) + 1);
}

static void set_summary(struct pkg_manifest *m, const char *summary, struct refusal *why)
{
	size_t at;

	if (summary) {
		take_text(m->summary, sizeof(m->summary), summary, "--summary", why);
		return;
	}
	at = (size_t)snprintf(m->summary, sizeof(m->summary), "Replaces");
	for (size_t i = 0; i < m->nr_targets && at < 180; i++)
		at += (size_t)snprintf(m->summary + at, sizeof(m->summary) - at, "%s %.60s",
				       i ? "," : "", m->target[i].symbol);
	m->summary[200] = '\0';
}

static void set_options(struct pkg_manifest *m, const struct build_options *o, struct refusal *why)
{
	take_text(m->id, sizeof(m->id), o->id, "--id", why);
	if (o->version)
		take_text(m->version, sizeof(m->version), o->version, "--pkg-version", why);
	else
		snprintf(m->version, sizeof(m->version), "%llu", (unsigned long long)o->serial);
	set_summary(m, o->summary, why);
	m->serial = o->serial;
	m->security_epoch = o->security_epoch;
	for (size_t i = 0; i < o->nr_advisories; i++)
		take_text(m->advisory[m->nr_advisories++], sizeof(m->advisory[0]), o->advisory[i],
			  "--advisory", why);
	for (size_t i = 0; i < o->nr_requires; i++)
		take_text(m->prereq[m->nr_prereqs++], sizeof(m->prereq[0]), o->requires[i],
			  "--requires", why);
}

static int set_manifest(struct build *b, const struct build_options *o, struct refusal *why,
			struct xerr *err)
{
	struct pkg_manifest *m = &b->manifest.m;
	int rc;

	set_options(m, o, why);
	snprintf(m->arch, sizeof(m->arch), "x86_64");
	memcpy(m->build_id, b->kernel->build_id, sizeof(m->build_id));
	m->build_id_bytes = b->kernel->build_id_bytes;
	snprintf(m->kernel_release, sizeof(m->kernel_release), "%s", b->kernel->release);
	m->link_base = b->kernel->text;
	b->provenance = XBUF(CONTAINER_PROVENANCE_MAX);
	rc = build_provenance(&b->provenance, o, xbuf_span(&b->kernel_file),
			      xbuf_span(&b->object_file), xbuf_span(&b->payload_file));
	if (!rc)
		rc = manifest_pin(&b->manifest.payload, xbuf_span(&b->payload_file));
	if (!rc)
		rc = manifest_pin(&b->manifest.provenance, xbuf_span(&b->provenance));
	if (!rc)
		rc = output_time(m->created, sizeof(m->created), err);
	b->manifest_file = XBUF(CONTAINER_MANIFEST_MAX);
	if (!rc)
		rc = manifest_format(&b->manifest_file, &b->manifest);
	return rc ? xerr_set(err, -rc, "manifest: %s", xo_code_text(rc)) : 0;
}

/* What is written must be what readers accept; this also checks the options' texts. */
static int check_manifest(const struct build *b, struct refusal *why, struct xerr *err)
{
	_cleanup_manifest_ struct manifest again = {0};
	int rc = manifest_parse(&again, xbuf_span(&b->manifest_file), why);

	return rc ? xerr_set(err, -rc, "manifest: %s", xo_code_text(rc)) : 0;
}

/* ---- signatures and the file ---- */

static int sign_all(struct container *a, struct xbuf *sig, const struct build_options *o,
		    struct xerr *err)
{
	for (size_t i = 0; i < o->nr_signers; i++) {
		const struct build_signer *s = &o->signer[i];
		struct container_sig *as = &a->sig[a->nr_sigs];
		int rc;

		if (a->nr_sigs == PKG_MAX_SIGNERS)
			return xerr_set(err, XO_ELIMIT, "more than %d signatures", PKG_MAX_SIGNERS);
		sig[i] = XBUF(CONTAINER_SIG_MAX);
		rc = sign_content(&sig[i], as->keyid, CMS_PACKAGE, s->role, a->manifest, s->cert,
				  s->key, err);
		if (rc)
			return xerr_set(err, -rc, "%s: %s", s->cert, xo_code_text(rc));
		snprintf(as->role, sizeof(as->role), "%.24s", s->role);
		as->bytes = xbuf_span(&sig[i]);
		for (size_t k = 0; k < a->nr_sigs; k++)
			if (!strcmp(a->sig[k].role, as->role) &&
			    !strcmp(a->sig[k].keyid, as->keyid))
				return xerr_set(err, XO_EUSAGE, "%s: has signed in role %s already",
						s->cert, as->role);
		a->nr_sigs++;
	}
	return 0;
}

static int sign_and_write(struct container *a, const struct build_options *o, struct xerr *err)
{
	struct xbuf sig[PKG_MAX_SIGNERS] = {0};
	_cleanup_xbuf_ struct xbuf file = XBUF(PKG_MAX_BYTES);
	int rc;

	rc = sign_all(a, sig, o, err);
	if (!rc) {
		rc = container_write(&file, a);
		if (rc)
			xerr_set(err, -rc, "package: %s", xo_code_text(rc));
	}
	if (!rc)
		rc = output_file(o->output, xbuf_span(&file), err);
	for (size_t i = 0; i < XO_ARRAY_SIZE(sig); i++)
		xbuf_free(&sig[i]);
	return rc;
}

int build_package(const struct build_options *o, struct xbuf *manifest, struct refusal *why,
		  struct xerr *err)
{
	XO_CLEANUP(build_free) struct build b = {0};
	struct container a = {0};
	int rc;

	rc = read_inputs(&b, o, why, err);
	if (rc || why->nr)
		return rc;
	rc = describe_targets(&b, o, why, err);
	if (!rc)
		rc = resolve_imports(&b, o, why, err);
	if (rc || why->nr)
		return rc;
	rc = set_manifest(&b, o, why, err);
	if (!rc)
		rc = check_manifest(&b, why, err);
	if (rc || why->nr)
		return rc;
	a.manifest = xbuf_span(&b.manifest_file);
	a.payload = xbuf_span(&b.payload_file);
	a.provenance = xbuf_span(&b.provenance);
	rc = sign_and_write(&a, o, err);
	return rc ? rc : xbuf_add(manifest, a.manifest.p, a.manifest.len_bytes);
}

int build_add_signature(const struct build_options *o, struct xbuf *manifest, struct refusal *why,
			struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf file = {0};
	struct container a = {0};
	int rc;

	rc = read_input(&file, o->add_signature, PKG_MAX_BYTES, err);
	if (rc)
		return rc;
	container_read(&a, xbuf_span(&file), why);
	if (why->nr)
		return 0;
	rc = sign_and_write(&a, o, err);
	return rc ? rc : xbuf_add(manifest, a.manifest.p, a.manifest.len_bytes);
}
