// SPDX-License-Identifier: Apache-2.0
#include "package/modlist.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define FORMAT "xmodules/1"

static void json_free(json_t **j)
{
	json_decref(*j);
}
#define _cleanup_json_ XO_CLEANUP(json_free)

/* ---- in memory ---- */

static int compare(const void *a, const void *b)
{
	const struct modlist_entry *x = a, *y = b;
	int d = strcmp(x->name, y->name);

	if (!d)
		d = strcmp(x->release, y->release);
	return d ? d : memcmp(x->sha256, y->sha256, sizeof(x->sha256));
}

void modlist_sort(struct modlist *l)
{
	size_t kept = 0;

	if (l->nr)
		qsort(l->entry, l->nr, sizeof(*l->entry), compare);
	for (size_t i = 0; i < l->nr; i++) {
		if (kept && !compare(&l->entry[kept - 1], &l->entry[i]))
			free(l->entry[i].packed);
		else
			l->entry[kept++] = l->entry[i];
	}
	l->nr = kept;
}

ssize_t modlist_find(const struct modlist *l, const char *name, const char *release, size_t from)
{
	for (size_t i = from; i < l->nr; i++)
		if (!strcmp(l->entry[i].name, name) && !strcmp(l->entry[i].release, release))
			return (ssize_t)i;
	return -1;
}

static struct modlist_entry *new_entry(struct modlist *l)
{
	struct modlist_entry *p;

	if (l->nr % 256 == 0) {
		p = realloc(l->entry, (l->nr + 256) * sizeof(*p));
		if (!p)
			return NULL;
		l->entry = p;
	}
	p = &l->entry[l->nr];
	memset(p, 0, sizeof(*p));
	return p;
}

static int pack(struct modlist_entry *e, struct span code)
{
	uLongf len = compressBound(code.len_bytes);

	e->packed = malloc(len);
	if (!e->packed)
		return -ENOMEM;
	if (compress2(e->packed, &len, code.p, code.len_bytes, Z_BEST_COMPRESSION) != Z_OK)
		return -XO_EINTERNAL;
	e->packed_bytes = (uint32_t)len;
	e->reference_bytes = (uint32_t)code.len_bytes;
	return 0;
}

int modlist_add(struct modlist *l, const struct modref *r, const char *file)
{
	_cleanup_xbuf_ struct xbuf code = XBUF(MODREF_MAX_CODE);
	struct modlist_entry *e;
	int rc = modref_encode(&code, r);

	if (rc)
		return rc;
	if (l->nr == MODLIST_MAX_MODULES)
		return -XO_ELIMIT;
	e = new_entry(l);
	if (!e)
		return -ENOMEM;
	memcpy(e->name, r->name, sizeof(e->name));
	memcpy(e->release, r->release, sizeof(e->release));
	memcpy(e->sha256, r->file, sizeof(e->sha256));
	xo_escape(SPAN(file, strlen(file)), e->file, sizeof(e->file));
	rc = pack(e, xbuf_span(&code));
	if (rc)
		free(e->packed);
	else
		l->nr++;
	return rc;
}

int modlist_unpack(struct modref **ret, const struct modlist_entry *e)
{
	_cleanup_free_ uint8_t *code = NULL;
	_cleanup_modref_ struct modref *r = NULL;
	uLongf len = e->reference_bytes;
	int rc;

	code = malloc((size_t)len + 1);
	if (!code)
		return -ENOMEM;
	if (uncompress(code, &len, e->packed, e->packed_bytes) != Z_OK || len != e->reference_bytes)
		return -XO_EMALFORMED;
	rc = modref_decode(&r, SPAN(code, len));
	if (rc)
		return rc;
	if (strcmp(r->name, e->name) != 0 || strcmp(r->release, e->release) != 0 ||
	    memcmp(r->file, e->sha256, sizeof(r->file)) != 0)
		return -XO_EMALFORMED;
	*ret = XO_TAKE_PTR(r);
	return 0;
}

void modlist_free(struct modlist *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->nr; i++)
		free(l->entry[i].packed);
	free(l->entry);
	free(l);
}

/* ---- writing ---- */

static json_t *entry_json(const struct modlist_entry *e)
{
	_cleanup_free_ char *text = malloc(4 * (((size_t)e->packed_bytes + 2) / 3) + 1);
	char hex[XO_SHA256_HEX_SIZE];

	if (!text)
		return NULL;
	EVP_EncodeBlock((unsigned char *)text, e->packed, (int)e->packed_bytes);
	xo_hex(SPAN(e->sha256, sizeof(e->sha256)), hex);
	return json_pack("{ss,ss,ss,ss,sI,ss}", "name", e->name, "release", e->release, "file",
			 e->file, "sha256", hex, "size", (json_int_t)e->reference_bytes,
			 "reference", text);
}

static int add_text(const char *buffer, size_t size, void *data)
{
	return xbuf_add(data, buffer, size) ? -1 : 0;
}

int modlist_format(struct xbuf *out, const struct modlist *l)
{
	json_t *list = json_array();
	_cleanup_json_ json_t *root =
		json_pack("{ss,ss,so}", "format", FORMAT, "created", l->created, "modules", list);
	size_t before = out->len_bytes;

	for (size_t i = 0; i < l->nr; i++)
		if (json_array_append_new(list, entry_json(&l->entry[i])))
			return -ENOMEM;
	if (!root)
		return -ENOMEM;
	if (json_dump_callback(root, add_text, out, JSON_INDENT(1) | JSON_PRESERVE_ORDER)) {
		out->len_bytes = before;
		return -XO_ELIMIT;
	}
	return xbuf_add(out, "\n", 1);
}

/* ---- reading ---- */

/* Exactly these keys. */
static bool has_keys(const json_t *o, const char *what, const char *const *keys,
		     struct refusal *why)
{
	char shown[128];
	const char *key;
	json_t *value;
	size_t before = why->nr;

	if (!json_is_object(o)) {
		refusal_add(why, XO_EMANIFEST, "%s: is not an object", what);
		return false;
	}
	json_object_foreach((json_t *)(uintptr_t)o, key, value)
	{
		size_t i = 0;

		while (keys[i] && strcmp(keys[i], key) != 0)
			i++;
		if (!keys[i])
			refusal_add(why, XO_EUNKNOWNKEY, "%s: unknown key \"%s\"", what,
				    xo_escape(SPAN(key, strlen(key)), shown, sizeof(shown)));
	}
	for (size_t i = 0; keys[i]; i++)
		if (!json_object_get(o, keys[i]))
			refusal_add(why, XO_EMANIFEST, "%s: %s is missing", what, keys[i]);
	return why->nr == before;
}

static bool text(const json_t *o, const char *key, char *out, size_t size)
{
	const char *s = json_string_value(json_object_get(o, key));

	if (!s || !s[0] || strlen(s) >= size)
		return false;
	for (const char *c = s; *c; c++)
		if (*c <= ' ' || *c > '~')
			return false;
	memcpy(out, s, strlen(s) + 1);
	return true;
}

/* Base64 in its one form; Return: 0, -XO_EMALFORMED, -ENOMEM */
static int unbase64(const char *s, size_t len, uint8_t **ret, uint32_t *ret_bytes)
{
	size_t pad = len && s[len - 1] == '=' ? (len > 1 && s[len - 2] == '=' ? 2 : 1) : 0;
	_cleanup_free_ uint8_t *p = NULL;
	_cleanup_free_ char *again = NULL;
	int n;

	if (!len || len % 4 || len > MODLIST_MAX_BYTES)
		return -XO_EMALFORMED;
	p = malloc(len / 4 * 3 + 1);
	again = malloc(len + 1);
	if (!p || !again)
		return -ENOMEM;
	n = EVP_DecodeBlock(p, (const unsigned char *)s, (int)len);
	if (n < 0 || (size_t)n != len / 4 * 3)
		return -XO_EMALFORMED;
	EVP_EncodeBlock((unsigned char *)again, p, n - (int)pad);
	if (memcmp(again, s, len) != 0)
		return -XO_EMALFORMED;
	*ret = XO_TAKE_PTR(p);
	*ret_bytes = (uint32_t)((size_t)n - pad);
	return 0;
}

static int parse_entry(struct modlist *l, const json_t *o, size_t index, struct refusal *why)
{
	static const char *const keys[] = {"name", "release",	"file", "sha256",
					   "size", "reference", NULL};
	const json_t *size = json_object_get(o, "size"), *ref = json_object_get(o, "reference");
	const char *hex = json_string_value(json_object_get(o, "sha256"));
	struct modlist_entry *e;
	char what[32];
	int rc;

	snprintf(what, sizeof(what), "modules[%zu]", index);
	if (!has_keys(o, what, keys, why))
		return 0;
	e = new_entry(l);
	if (!e)
		return -ENOMEM;
	if (!text(o, "name", e->name, sizeof(e->name)) ||
	    !text(o, "release", e->release, sizeof(e->release)) ||
	    !text(o, "file", e->file, sizeof(e->file)) || !hex ||
	    !xo_unhex(hex, e->sha256, sizeof(e->sha256)) || !json_is_integer(size) ||
	    json_integer_value(size) <= 0 || json_integer_value(size) > MODREF_MAX_CODE ||
	    !json_is_string(ref)) {
		refusal_add(why, XO_EMANIFEST, "%s: a value is not as the format wants it", what);
		return 0;
	}
	e->reference_bytes = (uint32_t)json_integer_value(size);
	rc = unbase64(json_string_value(ref), json_string_length(ref), &e->packed,
		      &e->packed_bytes);
	if (rc == -XO_EMALFORMED) {
		refusal_add(why, XO_EMANIFEST, "%s: reference: is not base64", what);
		return 0;
	}
	if (!rc)
		l->nr++;
	return rc;
}

static int parse(struct modlist *l, const json_t *root, struct refusal *why)
{
	static const char *const keys[] = {"format", "created", "modules", NULL};
	const char *format = json_string_value(json_object_get(root, "format"));
	const json_t *list = json_object_get(root, "modules"), *item;
	size_t i;
	int rc = 0;

	if (!has_keys(root, "list", keys, why))
		return 0;
	if (!format || strcmp(format, FORMAT) != 0 || !json_is_array(list) ||
	    json_array_size(list) > MODLIST_MAX_MODULES ||
	    !text(root, "created", l->created, sizeof(l->created))) {
		refusal_add(why, XO_EMANIFEST, "list: is not of format " FORMAT);
		return 0;
	}
	json_array_foreach(list, i, item)
	{
		rc = parse_entry(l, item, i, why);
		if (rc || why->nr)
			return rc;
	}
	modlist_sort(l);
	return 0;
}

int modlist_parse(struct modlist **ret, struct span bytes, struct refusal *why)
{
	_cleanup_modlist_ struct modlist *l = calloc(1, sizeof(*l));
	_cleanup_json_ json_t *root = NULL;
	size_t before = why->nr;
	json_error_t je;
	int rc;

	*ret = NULL;
	if (!l)
		return -ENOMEM;
	root = json_loadb((const char *)bytes.p, bytes.len_bytes, JSON_REJECT_DUPLICATES, &je);
	if (!root) {
		bool twice = json_error_code(&je) == json_error_duplicate_key;

		refusal_add(why, twice ? XO_EDUPKEY : XO_EMANIFEST, "list: line %d is %s", je.line,
			    twice ? "a key for the second time" : "not JSON");
		return 0;
	}
	rc = parse(l, root, why);
	if (!rc)
		rc = xo_sha256(bytes, l->sha256);
	if (!rc && why->nr == before)
		*ret = XO_TAKE_PTR(l);
	return rc;
}
