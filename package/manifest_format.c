// SPDX-License-Identifier: Apache-2.0
/* Writing manifest.json: keys in the order of docs/formats/xpatch.md, one line. */
#include <jansson.h>
#include <string.h>

#include "package/kernel/kimage.h"
#include "package/manifest.h"

static json_t *hex_json(struct span s)
{
	char text[2 * XO_SHA256_BYTES + 1] = "";

	if (s.len_bytes <= XO_SHA256_BYTES)
		xo_hex(s, text);
	return json_string(text);
}

static json_t *int_json(uint64_t v)
{
	return json_integer((json_int_t)v);
}

static json_t *words_json(const char (*word)[64], size_t nr)
{
	json_t *a = json_array();

	for (size_t i = 0; i < nr; i++)
		json_array_append_new(a, json_string(word[i]));
	return a;
}

static json_t *pin_json(const struct member_pin *pin)
{
	return json_pack("{so,so}", "sha256", hex_json(SPAN(pin->sha256, sizeof(pin->sha256))),
			 "size", int_json(pin->size_bytes));
}

static json_t *masks_json(const struct pkg_target *t)
{
	json_t *a = json_array();

	for (size_t i = 0; i < t->nr_masks; i++)
		json_array_append_new(
			a, json_pack("[iis]", (int)t->mask[i].off, (int)t->mask[i].len_bytes,
				     ksite_kind_name((enum ksite_kind)t->mask[i].kind)));
	return a;
}

static json_t *extra_json(const struct pkg_target *t)
{
	json_t *a = json_array();

	for (size_t i = 0; i < t->nr_extra; i++)
		json_array_append_new(a, json_pack("{ss,so,so}", "symbol", t->extra[i].symbol,
						   "sympos", int_json(t->extra[i].sympos), "size",
						   int_json(t->extra[i].size_bytes)));
	return a;
}

static json_t *targets_json(const struct pkg_manifest *m)
{
	json_t *a = json_array();

	for (size_t i = 0; i < m->nr_targets; i++) {
		const struct pkg_target *t = &m->target[i];

		json_array_append_new(a, json_pack("{ss,so,ss,so,so,so,so}", "symbol", t->symbol,
						   "sympos", int_json(t->sympos), "replacement",
						   t->replacement, "size", int_json(t->size_bytes),
						   "preimage",
						   hex_json(SPAN(t->preimage, sizeof(t->preimage))),
						   "masks", masks_json(t), "extra", extra_json(t)));
	}
	return a;
}

static json_t *refs_json(const struct pkg_manifest *m)
{
	json_t *a = json_array();

	for (size_t i = 0; i < m->nr_refs; i++)
		json_array_append_new(a, json_pack("{ss,so}", "symbol", m->ref[i].symbol, "sympos",
						   int_json(m->ref[i].sympos)));
	return a;
}

static json_t *kernel_json(const struct pkg_manifest *m)
{
	char base[19];

	snprintf(base, sizeof(base), "0x%016llx", (unsigned long long)m->link_base);
	return json_pack("{ss,so,ss,ss}", "arch", m->arch, "build_id",
			 hex_json(SPAN(m->build_id, m->build_id_bytes)), "release",
			 m->kernel_release, "link_base", base);
}

int manifest_format(struct xbuf *out, const struct manifest *m)
{
	const struct pkg_manifest *p = &m->m;
	json_t *root;
	char *text;
	int rc;

	root = json_pack("{ss,ss,ss,ss,so,so,ss,so,so,so,so,so,so,so}", "format", "xpatch/1", "id",
			 p->id, "version", p->version, "summary", p->summary, "serial",
			 int_json(p->serial), "security_epoch", int_json(p->security_epoch),
			 "created", p->created, "advisories",
			 words_json(p->advisory, p->nr_advisories), "requires",
			 words_json(p->prereq, p->nr_prereqs), "kernel", kernel_json(p), "payload",
			 pin_json(&m->payload), "provenance", pin_json(&m->provenance), "targets",
			 targets_json(p), "refs", refs_json(p));
	text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	if (!text)
		return -XO_EMALFORMED; /* text that is not UTF-8, or no memory */
	rc = xbuf_addf(out, "%s\n", text);
	free(text);
	return rc;
}
