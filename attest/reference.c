// SPDX-License-Identifier: Apache-2.0
/* ref.json: docs/formats/reference.md. */
#include <errno.h>

#include "attest/attest.h"
#include "attest/json.h"

#define FORMAT	    "exopatch-reference/1"
#define MAX_MODULES 16384
#define MAX_SIZE    (UINT64_C(1) << 32)

static void parse_package(struct jdoc *d, const json_t *o, struct att_reference *r)
{
	static const char *const keys[] = {"name", "version", "arch", NULL};

	if (!jdoc_object(d, o, "package", keys))
		return;
	jdoc_text(d, o, "name", 1, r->package, sizeof(r->package));
	jdoc_text(d, o, "version", 1, r->version, sizeof(r->version));
	jdoc_text(d, o, "arch", 1, r->arch, sizeof(r->arch));
}

static void parse_kernel(struct jdoc *d, const json_t *o, struct att_reference *r)
{
	static const char *const keys[] = {"build_id", "release", NULL};

	if (!jdoc_object(d, o, "kernel", keys))
		return;
	jdoc_text(d, o, "build_id", 16, r->build_id, sizeof(r->build_id));
	jdoc_text(d, o, "release", 1, r->release, sizeof(r->release));
}

static void parse_areas(struct jdoc *d, const json_t *root, struct att_reference *r)
{
	static const char *const keys[] = {"name", "sha256", "size_bytes", NULL};
	const json_t *list = json_object_get(root, "areas");

	r->nr_areas = jdoc_array(d, root, "areas", ATT_MAX_AREAS);
	if (!r->nr_areas)
		jdoc_bad(d, "areas", "there");
	for (size_t i = 0; i < r->nr_areas && !d->bad; i++) {
		const json_t *o = json_array_get(list, i);
		struct att_area *a = &r->area[i];

		if (!jdoc_object(d, o, "areas", keys))
			return;
		jdoc_text(d, o, "name", 1, a->name, sizeof(a->name));
		jdoc_hex(d, o, "sha256", a->sha256, sizeof(a->sha256));
		a->size_bytes = jdoc_u64(d, o, "size_bytes", MAX_SIZE);
	}
}

static int parse_modules(struct jdoc *d, const json_t *root, struct att_reference *r)
{
	static const char *const keys[] = {"name", "sha256", NULL};
	const json_t *list = json_object_get(root, "modules");
	size_t n = jdoc_array(d, root, "modules", MAX_MODULES);

	if (!n)
		return 0;
	r->module = calloc(n, sizeof(*r->module));
	if (!r->module)
		return -ENOMEM;
	r->nr_modules = n;
	for (size_t i = 0; i < n && !d->bad; i++) {
		const json_t *o = json_array_get(list, i);
		struct att_module *m = &r->module[i];

		if (!jdoc_object(d, o, "modules", keys))
			return 0;
		jdoc_text(d, o, "name", 1, m->name, sizeof(m->name));
		jdoc_hex(d, o, "sha256", m->sha256, sizeof(m->sha256));
		if (!d->bad && i && strcmp(r->module[i - 1].name, m->name) >= 0)
			jdoc_bad(d, "modules", "ascending by name");
	}
	return 0;
}

int att_reference_parse(struct att_reference *ret, struct span bytes, struct refusal *why)
{
	static const char *const keys[] = {"format", "package", "kernel", "areas", "modules", NULL};
	static const char *const formats[] = {FORMAT, NULL};
	struct jdoc d = {.name = "reference", .code = XO_EMALFORMED, .why = why};
	_cleanup_json_ json_t *root = jdoc_load(&d, bytes, ATT_REFERENCE_MAX_BYTES);
	struct att_reference r = {0};
	int rc;

	if (!root || !jdoc_object(&d, root, "", keys))
		return 0;
	(void)jdoc_choice(&d, root, "format", formats);
	parse_package(&d, json_object_get(root, "package"), &r);
	parse_kernel(&d, json_object_get(root, "kernel"), &r);
	parse_areas(&d, root, &r);
	rc = parse_modules(&d, root, &r);
	if (rc || d.bad) {
		att_reference_free(&r);
		return rc;
	}
	*ret = r;
	return 0;
}

static json_t *digest_json(const char *name, const uint8_t digest[XO_SHA256_BYTES])
{
	char hex[XO_SHA256_HEX_SIZE];

	xo_hex(SPAN(digest, XO_SHA256_BYTES), hex);
	return json_pack("{s:s,s:s}", "name", name, "sha256", hex);
}

int att_reference_format(struct xbuf *out, const struct att_reference *r)
{
	json_t *areas = json_array(), *modules = json_array();
	_cleanup_json_ json_t *root = NULL;
	_cleanup_free_ char *text = NULL;

	for (size_t i = 0; i < r->nr_areas; i++) {
		json_t *a = digest_json(r->area[i].name, r->area[i].sha256);

		json_object_set_new(a, "size_bytes",
				    json_integer((json_int_t)r->area[i].size_bytes));
		json_array_append_new(areas, a);
	}
	for (size_t i = 0; i < r->nr_modules; i++)
		json_array_append_new(modules, digest_json(r->module[i].name, r->module[i].sha256));
	root = json_pack("{s:s,s:{s:s,s:s,s:s},s:{s:s,s:s},s:o,s:o}", "format", FORMAT, "package",
			 "name", r->package, "version", r->version, "arch", r->arch, "kernel",
			 "build_id", r->build_id, "release", r->release, "areas", areas, "modules",
			 modules);
	text = root ? json_dumps(root, JSON_INDENT(1) | JSON_PRESERVE_ORDER) : NULL;
	if (!text)
		return -XO_EMALFORMED;
	return xbuf_addf(out, "%s\n", text);
}

void att_reference_free(struct att_reference *r)
{
	free(r->module);
	memset(r, 0, sizeof(*r));
}
