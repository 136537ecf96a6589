// SPDX-License-Identifier: Apache-2.0
#include "package/manifest.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "package/kernel/kimage.h"

#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define UPPER  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

#define CHARS_ID       LOWER DIGITS "._-"
#define CHARS_VERSION  LOWER UPPER DIGITS "._+~:-"
#define CHARS_ADVISORY LOWER UPPER DIGITS "._:-"
#define CHARS_SYMBOL   LOWER UPPER DIGITS "_.$"
#define CHARS_GRAPHIC  LOWER UPPER DIGITS "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

#define SYMBOL_SIZE 128

/* Where we are, for messages; reasons go to @why. */
struct at {
	struct refusal *why;
	char path[64]; /* "", "kernel.", "targets[3]." */
};

static void bad(const struct at *at, const char *key, const char *rule)
{
	size_t n = strlen(at->path);

	if (!key[0] && n)
		n--; /* the dot */
	refusal_add(at->why, XO_EMANIFEST, "%.*s%s: must be %s", (int)n, at->path, key, rule);
}

/* All keys of @keys (NULL-terminated) and no others. An absent object has been reported already.
 * Return: whether @o is an object at all */
static bool object_keys(const struct at *at, const json_t *o, const char *const *keys)
{
	char shown[128];
	const char *key;
	json_t *value;

	if (!o)
		return false;
	if (!json_is_object(o)) {
		bad(at, "", "an object");
		return false;
	}
	json_object_foreach((json_t *)(uintptr_t)o, key, value)
	{
		size_t i = 0;

		while (keys[i] && strcmp(keys[i], key) != 0)
			i++;
		if (!keys[i])
			refusal_add(at->why, XO_EUNKNOWNKEY, "%s%s: this version does not know it",
				    at->path,
				    xo_escape(SPAN(key, strlen(key)), shown, sizeof(shown)));
	}
	for (size_t i = 0; keys[i]; i++)
		if (!json_object_get(o, keys[i]))
			refusal_add(at->why, XO_EMANIFEST, "%s%s: is missing", at->path, keys[i]);
	return true;
}

/* A string of 1 to @size - 1 bytes out of @chars. An absent one has been reported already. */
static void word(const struct at *at, const json_t *v, const char *key, const char *chars,
		 char *out, size_t size)
{
	const char *s = json_string_value(v);
	size_t n = s ? strlen(s) : 0;
	char rule[96];

	if (!v)
		return;
	if (!s || !n || n >= size || strspn(s, chars) != n) {
		snprintf(rule, sizeof(rule), "a string of 1 to %zu of its permitted characters",
			 size - 1);
		bad(at, key, rule);
		return;
	}
	memcpy(out, s, n + 1);
}

static void hex(const struct at *at, const json_t *v, const char *key, uint8_t *out, size_t len)
{
	const char *s = json_string_value(v);
	char rule[64];

	if (!v)
		return;
	if (!s || !xo_unhex(s, out, len)) {
		snprintf(rule, sizeof(rule), "a string of %zu hex digits", 2 * len);
		bad(at, key, rule);
	}
}

static uint64_t integer(const struct at *at, const json_t *v, const char *key, uint64_t min,
			uint64_t max)
{
	json_int_t n = json_integer_value(v);
	char rule[80];

	if (!v)
		return 0;
	if (!json_is_integer(v) || n < 0 || (uint64_t)n < min || (uint64_t)n > max) {
		snprintf(rule, sizeof(rule), "an integer from %llu to %llu",
			 (unsigned long long)min, (unsigned long long)max);
		bad(at, key, rule);
		return 0;
	}
	return (uint64_t)n;
}

/* An array of @min to @max. Return: its length, 0 if it is none */
static size_t array(const struct at *at, const json_t *v, const char *key, size_t min, size_t max)
{
	size_t n = json_array_size(v);
	char rule[80];

	if (!v)
		return 0;
	if (!json_is_array(v) || n < min || n > max) {
		snprintf(rule, sizeof(rule), "an array of %zu to %zu", min, max);
		bad(at, key, rule);
		return 0;
	}
	return n;
}

static void created(const struct at *at, const json_t *v, char *out, size_t size)
{
	static const char form[] = "dddd-dd-ddTdd:dd:ddZ";
	const char *s = json_string_value(v);
	size_t i = 0;

	if (!v)
		return;
	while (s && s[i] && form[i] &&
	       (form[i] == 'd' ? s[i] >= '0' && s[i] <= '9' : s[i] == form[i]))
		i++;
	if (!s || s[i] || form[i] || sizeof(form) > size) {
		bad(at, "created", "a time as YYYY-MM-DDTHH:MM:SSZ");
		return;
	}
	memcpy(out, s, sizeof(form));
}

static void summary(const struct at *at, const json_t *v, char *out, size_t size)
{
	const char *s = json_string_value(v);

	if (!v)
		return;
	if (!s || strlen(s) > 200 || strpbrk(s, "\r\n"))
		bad(at, "summary", "one line of at most 200 bytes");
	else
		xo_escape(SPAN(s, strlen(s)), out, size);
}

static void words(const struct at *at, const json_t *v, const char *key, const char *chars,
		  char (*out)[64], size_t max, size_t *ret_nr)
{
	size_t n = array(at, v, key, 0, max);

	for (size_t i = 0; i < n; i++)
		word(at, json_array_get(v, i), key, chars, out[i], sizeof(out[i]));
	*ret_nr = n;
}

static void id(const struct at *at, const json_t *v, const char *key, char *out, size_t size)
{
	word(at, v, key, CHARS_ID, out, size);
	if (out[0] && strchr("._-", out[0]))
		bad(at, key, "a string that starts with a letter or digit");
}

static void parse_kernel(struct pkg_manifest *m, const json_t *o, struct refusal *why)
{
	static const char *const keys[] = {"arch", "build_id", "release", "link_base", NULL};
	const struct at at = {.why = why, .path = "kernel."};
	const char *s;
	uint8_t be[8];

	if (!object_keys(&at, o, keys))
		return;
	word(&at, json_object_get(o, "arch"), "arch", CHARS_ID, m->arch, sizeof(m->arch));
	if (m->arch[0] && strcmp(m->arch, "x86_64") != 0)
		bad(&at, "arch", "x86_64");
	word(&at, json_object_get(o, "release"), "release", CHARS_GRAPHIC, m->kernel_release,
	     sizeof(m->kernel_release));
	s = json_string_value(json_object_get(o, "build_id"));
	m->build_id_bytes = s ? (uint32_t)(strnlen(s, 64) / 2) : 0;
	if (m->build_id_bytes < 8 || m->build_id_bytes > sizeof(m->build_id) ||
	    !xo_unhex(s, m->build_id, m->build_id_bytes))
		bad(&at, "build_id", "hex of 8 to 20 bytes");
	s = json_string_value(json_object_get(o, "link_base"));
	if (!s || strncmp(s, "0x", 2) != 0 || !xo_unhex(s + 2, be, sizeof(be))) {
		bad(&at, "link_base", "a string: 0x and 16 hex digits");
		return;
	}
	for (size_t i = 0; i < sizeof(be); i++)
		m->link_base = m->link_base << 8 | be[i];
}

static void parse_pin(struct member_pin *ret, const json_t *o, const char *path,
		      struct refusal *why)
{
	static const char *const keys[] = {"sha256", "size", NULL};
	struct at at = {.why = why};

	snprintf(at.path, sizeof(at.path), "%s.", path);
	if (!object_keys(&at, o, keys))
		return;
	hex(&at, json_object_get(o, "sha256"), "sha256", ret->sha256, sizeof(ret->sha256));
	ret->size_bytes = integer(&at, json_object_get(o, "size"), "size", 1, PKG_MAX_BYTES);
}

static uint8_t kind_of(const char *name)
{
	for (unsigned int k = KSITE_ALTERNATIVE; name && k <= KSITE_RELOC_INVERSE; k++)
		if (!strcmp(name, ksite_kind_name((enum ksite_kind)k)))
			return (uint8_t)k;
	return 0;
}

/* One [offset, length, kind] that starts at @from or later. Return: whether it is sound */
static bool parse_mask(struct pkg_mask *ret, const json_t *v, uint32_t from, uint32_t size)
{
	json_int_t off = json_integer_value(json_array_get(v, 0));
	json_int_t len = json_integer_value(json_array_get(v, 1));
	uint8_t kind = kind_of(json_string_value(json_array_get(v, 2)));

	if (json_array_size(v) != 3 || !json_is_integer(json_array_get(v, 0)) || !kind || off < 0 ||
	    off < from || off >= size || len < 1 || len > UINT16_MAX || len > size - off)
		return false;
	if ((kind == KSITE_RELOC && len != 4 && len != 8) ||
	    (kind == KSITE_RELOC_INVERSE && len != 4))
		return false;
	*ret = (struct pkg_mask){.off = (uint32_t)off, .len_bytes = (uint16_t)len, .kind = kind};
	return true;
}

static int parse_masks(struct pkg_target *t, const json_t *v, const struct at *at)
{
	size_t n = array(at, v, "masks", 0, PKG_MAX_MASKS);
	uint32_t from = 0;

	if (!n)
		return 0;
	t->mask = calloc(n, sizeof(*t->mask));
	if (!t->mask)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (!parse_mask(&t->mask[i], json_array_get(v, i), from, t->size_bytes)) {
			bad(at, "masks",
			    "[offset, length, kind] each, ascending, apart, inside the function, "
			    "of a known kind");
			return 0;
		}
		from = t->mask[i].off + t->mask[i].len_bytes;
	}
	t->nr_masks = n;
	return 0;
}

static int parse_extra(struct pkg_target *t, const json_t *v, const struct at *at)
{
	static const char *const keys[] = {"symbol", "sympos", "size", NULL};
	size_t n = array(at, v, "extra", 0, PKG_MAX_TARGETS);

	if (!n)
		return 0;
	t->extra = calloc(n, sizeof(*t->extra));
	if (!t->extra)
		return -ENOMEM;
	t->nr_extra = n;
	for (size_t i = 0; i < n; i++) {
		const json_t *o = json_array_get(v, i);
		struct pkg_extra *x = &t->extra[i];

		if (!object_keys(at, o, keys))
			continue;
		word(at, json_object_get(o, "symbol"), "extra.symbol", CHARS_SYMBOL, x->symbol,
		     sizeof(x->symbol));
		x->sympos = (uint32_t)integer(at, json_object_get(o, "sympos"), "extra.sympos", 0,
					      UINT16_MAX);
		x->size_bytes = (uint32_t)integer(at, json_object_get(o, "size"), "extra.size", 1,
						  MANIFEST_TARGET_MAX_BYTES);
	}
	return 0;
}

static int parse_target(struct pkg_target *t, const json_t *o, const struct at *at)
{
	static const char *const keys[] = {"symbol",   "sympos", "replacement", "size",
					   "preimage", "masks",	 "extra",	NULL};
	int rc;

	if (!object_keys(at, o, keys))
		return 0;
	word(at, json_object_get(o, "symbol"), "symbol", CHARS_SYMBOL, t->symbol,
	     sizeof(t->symbol));
	t->sympos = (uint32_t)integer(at, json_object_get(o, "sympos"), "sympos", 0, UINT16_MAX);
	word(at, json_object_get(o, "replacement"), "replacement", CHARS_SYMBOL, t->replacement,
	     sizeof(t->replacement));
	t->size_bytes = (uint32_t)integer(at, json_object_get(o, "size"), "size", 1,
					  MANIFEST_TARGET_MAX_BYTES);
	hex(at, json_object_get(o, "preimage"), "preimage", t->preimage, sizeof(t->preimage));
	rc = parse_masks(t, json_object_get(o, "masks"), at);
	return rc ? rc : parse_extra(t, json_object_get(o, "extra"), at);
}

static int parse_targets(struct pkg_manifest *m, const json_t *v, const struct at *root)
{
	size_t n = array(root, v, "targets", 1, PKG_MAX_TARGETS);
	int rc;

	if (!n)
		return 0;
	m->target = calloc(n, sizeof(*m->target));
	if (!m->target)
		return -ENOMEM;
	m->nr_targets = n;
	for (size_t i = 0; i < n; i++) {
		struct pkg_target *t = &m->target[i];
		struct at at = {.why = root->why};

		snprintf(at.path, sizeof(at.path), "targets[%zu].", i);
		rc = parse_target(t, json_array_get(v, i), &at);
		if (rc)
			return rc;
		for (size_t j = 0; j < i; j++) {
			const struct pkg_target *u = &m->target[j];

			if (!strcmp(t->replacement, u->replacement) ||
			    (t->sympos == u->sympos && !strcmp(t->symbol, u->symbol)))
				bad(&at, "symbol",
				    "another than that of an earlier target, and so "
				    "must be replacement");
		}
	}
	return 0;
}

static int parse_refs(struct pkg_manifest *m, const json_t *v, const struct at *root)
{
	static const char *const keys[] = {"symbol", "sympos", NULL};
	size_t n = array(root, v, "refs", 0, 4096);

	if (!n)
		return 0;
	m->ref = calloc(n, sizeof(*m->ref));
	if (!m->ref)
		return -ENOMEM;
	m->nr_refs = n;
	for (size_t i = 0; i < n; i++) {
		const json_t *o = json_array_get(v, i);
		struct at at = {.why = root->why};

		snprintf(at.path, sizeof(at.path), "refs[%zu].", i);
		if (!object_keys(&at, o, keys))
			continue;
		word(&at, json_object_get(o, "symbol"), "symbol", CHARS_SYMBOL, m->ref[i].symbol,
		     sizeof(m->ref[i].symbol));
		m->ref[i].sympos = (uint32_t)integer(&at, json_object_get(o, "sympos"), "sympos", 1,
						     UINT16_MAX);
	}
	return 0;
}

static int parse_root(struct manifest *ret, const json_t *o, struct refusal *why)
{
	static const char *const keys[] = {
		"format",	  "id",		"version",    "summary",  "serial",
		"security_epoch", "created",	"advisories", "requires", "kernel",
		"payload",	  "provenance", "targets",    "refs",	  NULL};
	const struct at at = {.why = why};
	struct pkg_manifest *m = &ret->m;
	char format[16] = "";
	int rc;

	if (!object_keys(&at, o, keys))
		return 0;
	word(&at, json_object_get(o, "format"), "format", CHARS_GRAPHIC, format, sizeof(format));
	if (strcmp(format, "xpatch/1") != 0)
		bad(&at, "format", "xpatch/1");
	id(&at, json_object_get(o, "id"), "id", m->id, sizeof(m->id));
	word(&at, json_object_get(o, "version"), "version", CHARS_VERSION, m->version,
	     sizeof(m->version));
	summary(&at, json_object_get(o, "summary"), m->summary, sizeof(m->summary));
	m->serial = integer(&at, json_object_get(o, "serial"), "serial", 0, INT64_MAX);
	m->security_epoch =
		integer(&at, json_object_get(o, "security_epoch"), "security_epoch", 0, INT64_MAX);
	created(&at, json_object_get(o, "created"), m->created, sizeof(m->created));
	words(&at, json_object_get(o, "advisories"), "advisories", CHARS_ADVISORY, m->advisory,
	      PKG_MAX_ADVISORIES, &m->nr_advisories);
	words(&at, json_object_get(o, "requires"), "requires", CHARS_ID, m->prereq, PKG_MAX_PREREQS,
	      &m->nr_prereqs);
	parse_kernel(m, json_object_get(o, "kernel"), why);
	parse_pin(&ret->payload, json_object_get(o, "payload"), "payload", why);
	parse_pin(&ret->provenance, json_object_get(o, "provenance"), "provenance", why);
	rc = parse_targets(m, json_object_get(o, "targets"), &at);
	return rc ? rc : parse_refs(m, json_object_get(o, "refs"), &at);
}

int manifest_parse(struct manifest *ret, struct span bytes, struct refusal *why)
{
	char shown[JSON_ERROR_TEXT_LENGTH * 4];
	json_error_t je;
	json_t *root;
	int rc;

	root = json_loadb((const char *)bytes.p, bytes.len_bytes, JSON_REJECT_DUPLICATES, &je);
	if (!root) {
		if (json_error_code(&je) == json_error_out_of_memory)
			return -ENOMEM;
		refusal_add(why,
			    json_error_code(&je) == json_error_duplicate_key ? XO_EDUPKEY
									     : XO_EMANIFEST,
			    "manifest.json: line %d, column %d: %s", je.line, je.column,
			    xo_escape(SPAN(je.text, strlen(je.text)), shown, sizeof(shown)));
		return 0;
	}
	rc = parse_root(ret, root, why);
	json_decref(root);
	return rc;
}

int manifest_pin(struct member_pin *ret, struct span bytes)
{
	ret->size_bytes = bytes.len_bytes;
	return xo_sha256(bytes, ret->sha256);
}

void manifest_free(struct manifest *m)
{
	for (size_t i = 0; i < m->m.nr_targets; i++) {
		free(m->m.target[i].mask);
		free(m->m.target[i].extra);
	}
	free(m->m.target);
	free(m->m.ref);
	memset(m, 0, sizeof(*m));
}
