// SPDX-License-Identifier: Apache-2.0
/* From facts files to a fleet: all of it or nothing. */
#include "policy/fleet.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "policy/times.h"

/* ---- words ---- */

static uint32_t hash_of(const char *s, size_t len)
{
	uint32_t h = 2166136261U; /* FNV-1a */

	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)s[i]) * 16777619U;
	return h;
}

static bool grow_slots(struct pol_fleet *f)
{
	size_t nr = f->nr_slots ? 2 * f->nr_slots : 1024;
	const struct word **slot = calloc(nr, sizeof(struct word *));

	if (!slot)
		return false;
	for (size_t i = 0; i < f->nr_slots; i++) {
		size_t at = f->slot[i] ? f->slot[i]->hash : 0;

		if (!f->slot[i])
			continue;
		while (slot[at & (nr - 1)])
			at++;
		slot[at & (nr - 1)] = f->slot[i];
	}
	free(f->slot);
	f->slot = slot;
	f->nr_slots = nr;
	return true;
}

const struct word *fleet_word(struct pol_fleet *f, const char *s, size_t len)
{
	uint32_t hash = hash_of(s, len);
	struct word *w;
	size_t at;

	if (2 * f->nr_words >= f->nr_slots && !grow_slots(f))
		return NULL;
	for (at = hash; f->slot[at & (f->nr_slots - 1)]; at++) {
		const struct word *have = f->slot[at & (f->nr_slots - 1)];

		if (have->hash == hash && !strncmp(have->text, s, len) && !have->text[len])
			return have;
	}
	w = arena_get(&f->arena, 1, sizeof(*w) + len + 1);
	if (!w)
		return NULL;
	w->id = (uint32_t)f->nr_words++;
	w->hash = hash;
	memcpy(w->text, s, len);
	f->slot[at & (f->nr_slots - 1)] = w;
	return w;
}

/* ---- files ---- */

struct loader {
	struct fact_reader r;
	json_t *root[POL_MAX_FILES];
	size_t nr_files;
	size_t room_vms, room_patches;
	/* For the digest: one for each VM and patch, in the order they were read. */
	uint8_t (*vm_digest)[XO_SHA256_BYTES];
	uint8_t (*patch_digest)[XO_SHA256_BYTES];
};

static void check_top(struct loader *l, const json_t *root)
{
	static const char *const keys[] = {"format", "at", "vms", "patches"};
	const char *key, *format;
	json_t *v;
	int64_t at;

	json_object_foreach((json_t *)root, key, v)
	{
		bool known = false;

		for (size_t i = 0; i < XO_ARRAY_SIZE(keys); i++)
			known = known || !strcmp(key, keys[i]);
		if (!known)
			pol_errors_add(l->r.errors, l->r.file, 0, 0, "%s is no key of facts", key);
	}
	format = json_string_value(json_object_get(root, "format"));
	if (!format || strcmp(format, "facts/1") != 0)
		pol_errors_add(l->r.errors, l->r.file, 0, 0, "format must be facts/1");
	v = json_object_get(root, "at");
	if (!v || !json_is_string(v) || !pol_parse_time(json_string_value(v), &at))
		pol_errors_add(l->r.errors, l->r.file, 0, 0,
			       "at must be the time of the facts, YYYY-MM-DDTHH:MM:SSZ");
	else if (at > l->r.at)
		pol_errors_add(l->r.errors, l->r.file, 0, 0, "at comes from the future");
	else if (at < l->r.fleet->at)
		l->r.fleet->at = at;
}

/* A list that cannot be read is taken out, so that the rest can be. */
static size_t count_items(struct loader *l, json_t *root, const char *key, size_t have, size_t max)
{
	const json_t *list = json_object_get(root, key);
	size_t nr = json_array_size(list);

	if (!list || (json_is_array(list) && nr <= max - have))
		return have + nr;
	if (!json_is_array(list))
		pol_errors_add(l->r.errors, l->r.file, 0, 0, "%s must be a list of objects", key);
	else
		pol_errors_add(l->r.errors, l->r.file, 0, 0, "%s: more than %zu in all", key, max);
	json_object_del(root, key);
	return have;
}

/* A value of two bytes becomes one of two hundred in memory: what is too much is seen before. */
const char *pol_facts_too_much(struct span text)
{
	size_t objects = 0, values = 0;
	bool quoted = false;

	if (text.len_bytes > POL_FACTS_MAX_BYTES)
		return "larger than 64 MiB; split the facts into files";
	for (size_t i = 0; i < text.len_bytes; i++) {
		char c = (char)text.p[i];

		if (c == '"')
			quoted = !quoted;
		else if (quoted)
			i += c == '\\';
		else if (c == '{' || c == '[')
			objects++;
		else if (c == ',')
			values++;
	}
	if (objects > FACT_MAX_OBJECTS)
		return "more than 1,000,000 objects; split the facts into files";
	return values > FACT_MAX_VALUES ? "more than 8,000,000 values; split the facts into files"
					: NULL;
}

static void parse_files(struct loader *l, const struct pol_text *file)
{
	for (size_t i = 0; i < l->nr_files; i++) {
		const char *why = pol_facts_too_much(file[i].text);
		json_error_t e;

		l->r.file = file[i].name;
		if (why) {
			pol_errors_add(l->r.errors, file[i].name, 0, 0, "%s", why);
			continue;
		}
		l->root[i] = json_loadb((const char *)file[i].text.p, file[i].text.len_bytes,
					JSON_REJECT_DUPLICATES, &e);
		if (!l->root[i]) {
			pol_errors_add(
				l->r.errors, file[i].name, e.line > 0 ? (unsigned int)e.line : 0,
				e.column > 0 ? (unsigned int)e.column : 0, "not JSON: %s", e.text);
			continue;
		}
		if (!json_is_object(l->root[i])) {
			pol_errors_add(l->r.errors, file[i].name, 1, 1, "must be an object");
			continue;
		}
		check_top(l, l->root[i]);
		l->room_vms = count_items(l, l->root[i], "vms", l->room_vms, FACT_MAX_VMS);
		l->room_patches =
			count_items(l, l->root[i], "patches", l->room_patches, FACT_MAX_PATCHES);
	}
}

#define CANONICAL (JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY)

struct dumped {
	char *text;
	json_t *value;
};

static int by_text(const void *a, const void *b)
{
	return strcmp(((const struct dumped *)a)->text, ((const struct dumped *)b)->text);
}

/* Every list of facts is a set. */
static int sort_list(json_t *list)
{
	size_t nr = json_array_size(list), i;
	struct dumped *d = nr > 1 ? calloc(nr, sizeof(*d)) : NULL;
	json_t *v;
	int rc = nr > 1 && !d ? -ENOMEM : 0;

	if (!d)
		return rc;
	json_array_foreach(list, i, v)
	{
		d[i] = (struct dumped){.text = json_dumps(v, CANONICAL), .value = json_incref(v)};
		rc = d[i].text ? rc : -ENOMEM;
	}
	if (!rc)
		qsort(d, nr, sizeof(*d), by_text);
	for (i = 0; i < nr; i++) {
		if (json_array_set_new(list, i, d[i].value))
			rc = -ENOMEM;
		free(d[i].text);
	}
	free(d);
	return rc;
}

/* From the inside out; as deep as the tables of fields are. */
// NOLINTNEXTLINE(misc-no-recursion)
static int sort_lists(json_t *o)
{
	const char *key;
	json_t *v;
	size_t i;
	int rc = 0;

	if (json_is_object(o))
		json_object_foreach(o, key, v) rc = rc ? rc : sort_lists(v);
	if (!json_is_array(o))
		return rc;
	json_array_foreach(o, i, v) rc = rc ? rc : sort_lists(v);
	return rc ? rc : sort_list(o);
}

static int digest_of(json_t *o, uint8_t out[XO_SHA256_BYTES])
{
	_cleanup_free_ char *s = NULL;
	int rc = sort_lists(o);

	s = rc ? NULL : json_dumps(o, CANONICAL);
	return s ? xo_sha256(SPAN(s, strlen(s)), out) : -ENOMEM;
}

static void read_items(struct loader *l, const json_t *root, const char *key,
		       const struct fact_field *fields, void *to, size_t size, size_t *nr,
		       uint8_t (*digest)[XO_SHA256_BYTES])
{
	const struct fact_path list = {.key = key};
	json_t *o;
	size_t i;

	json_array_foreach(json_object_get(root, key), i, o)
	{
		const struct fact_path path = {.up = &list, .index = i};

		size_t errors = l->r.errors->nr + l->r.errors->dropped;

		fact_read(&l->r, &path, o, fields, (char *)to + *nr * size);
		if (errors != l->r.errors->nr + l->r.errors->dropped) {
			/* What is left has every value of its type. */
			memset((char *)to + *nr * size, 0, size);
			continue;
		}
		if (!l->r.rc)
			l->r.rc = digest_of(o, digest[*nr]);
		if (l->r.rc)
			return;
		++*nr;
	}
}

static int read_files(struct loader *l, const struct pol_text *file)
{
	struct pol_fleet *f = l->r.fleet;

	f->vm = calloc(l->room_vms + 1, sizeof(*f->vm));
	f->patch = calloc(l->room_patches + 1, sizeof(*f->patch));
	l->vm_digest = calloc(l->room_vms + 1, sizeof(*l->vm_digest));
	l->patch_digest = calloc(l->room_patches + 1, sizeof(*l->patch_digest));
	if (!f->vm || !f->patch || !l->vm_digest || !l->patch_digest)
		return -ENOMEM;
	for (size_t i = 0; !l->r.rc && i < l->nr_files; i++) {
		l->r.file = file[i].name;
		read_items(l, l->root[i], "vms", vm_fields, f->vm, sizeof(*f->vm), &f->nr_vms,
			   l->vm_digest);
		if (!l->r.rc)
			read_items(l, l->root[i], "patches", patch_fields, f->patch,
				   sizeof(*f->patch), &f->nr_patches, l->patch_digest);
	}
	return l->r.rc;
}

/* ---- what a table cannot say ---- */

static int by_vm_name(const void *a, const void *b)
{
	return strcmp(((const struct vm *)a)->name->text, ((const struct vm *)b)->name->text);
}

static int by_patch_id(const void *a, const void *b)
{
	return strcmp(((const struct patch *)a)->id->text, ((const struct patch *)b)->id->text);
}

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, XO_SHA256_BYTES);
}

static int digest_fleet(struct loader *l)
{
	struct pol_fleet *f = l->r.fleet;
	_cleanup_xbuf_ struct xbuf b = XBUF(SIZE_MAX / 2);
	uint8_t head[2][XO_SHA256_BYTES];
	int rc;

	qsort(l->vm_digest, f->nr_vms, XO_SHA256_BYTES, by_bytes);
	qsort(l->patch_digest, f->nr_patches, XO_SHA256_BYTES, by_bytes);
	rc = xo_sha256(SPAN(l->vm_digest, f->nr_vms * XO_SHA256_BYTES), head[0]);
	rc = rc ? rc : xo_sha256(SPAN(l->patch_digest, f->nr_patches * XO_SHA256_BYTES), head[1]);
	rc = rc ? rc : xbuf_addf(&b, "facts/1 %lld ", (long long)f->at);
	rc = rc ? rc : xbuf_add(&b, head, sizeof(head));
	return rc ? rc : xo_sha256(xbuf_span(&b), f->digest);
}

static int by_word(const void *a, const void *b)
{
	return strcmp((*(const struct word *const *)a)->text,
		      (*(const struct word *const *)b)->text);
}

static int by_time(const void *va, const void *vb)
{
	const struct applied *a = va, *b = vb;
	int c = strcmp(a->id->text, b->id->text);

	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	c = c ? c : strcmp(a->payload->text, b->payload->text);
	if (c)
		return c;
	if (a->serial != b->serial)
		return a->serial < b->serial ? -1 : 1;
	return a->state < b->state ? -1 : a->state > b->state;
}

/* Reasons come in the order of what they are about, and that order is not the file's. */
static void sort_inside(struct pol_fleet *f)
{
	for (size_t i = 0; i < f->nr_vms; i++)
		if (f->vm[i].nr_applied > 1)
			qsort(f->vm[i].applied, f->vm[i].nr_applied, sizeof(*f->vm[i].applied),
			      by_time);
	for (size_t i = 0; i < f->nr_patches; i++)
		if (f->patch[i].requires.nr > 1)
			qsort(f->patch[i].requires.word, f->patch[i].requires.nr,
			      sizeof(struct word *), by_word);
}

static int finish(struct loader *l)
{
	struct pol_fleet *f = l->r.fleet;
	int rc;

	sort_inside(f);
	qsort(f->vm, f->nr_vms, sizeof(*f->vm), by_vm_name);
	qsort(f->patch, f->nr_patches, sizeof(*f->patch), by_patch_id);
	rc = fleet_check(f, l->r.errors);
	return rc ? rc : digest_fleet(l);
}

int pol_fleet_load(const struct pol_text *file, size_t nr, int64_t at, struct pol_fleet **ret,
		   struct pol_errors *errors)
{
	_cleanup_pol_fleet_ struct pol_fleet *f = calloc(1, sizeof(*f));
	struct loader l = {.r = {.fleet = f, .errors = errors, .at = at}, .nr_files = nr};
	int rc;

	if (!f)
		return -ENOMEM;
	f->at = POL_NEVER;
	if (!nr || nr > POL_MAX_FILES) {
		pol_errors_add(errors, "facts", 0, 0, "needs 1 to %d files", POL_MAX_FILES);
		return -XO_EMALFORMED;
	}
	parse_files(&l, file);
	rc = read_files(&l, file);
	rc = rc ? rc : finish(&l);
	for (size_t i = 0; i < nr; i++)
		json_decref(l.root[i]);
	free(l.vm_digest);
	free(l.patch_digest);
	if (!rc && (errors->nr || errors->dropped))
		rc = -XO_EMALFORMED;
	if (!rc)
		*ret = XO_TAKE_PTR(f);
	return rc;
}

void pol_fleet_free(struct pol_fleet *f)
{
	if (!f)
		return;
	arena_free(&f->arena);
	free(f->slot);
	free(f->vm);
	free(f->patch);
	free(f);
}

const uint8_t *pol_fleet_digest(const struct pol_fleet *f)
{
	return f->digest;
}

size_t pol_fleet_vms(const struct pol_fleet *f)
{
	return f->nr_vms;
}

size_t pol_fleet_patches(const struct pol_fleet *f)
{
	return f->nr_patches;
}

const char *pol_vm_name(const struct pol_fleet *f, size_t vm)
{
	return f->vm[vm].name->text;
}

const char *pol_patch_id(const struct pol_fleet *f, size_t patch)
{
	return f->patch[patch].id->text;
}

static int vm_by_name(const void *name, const void *vm)
{
	return strcmp(name, ((const struct vm *)vm)->name->text);
}

static int patch_by_id(const void *id, const void *patch)
{
	return strcmp(id, ((const struct patch *)patch)->id->text);
}

long pol_find_vm(const struct pol_fleet *f, const char *name)
{
	const struct vm *at =
		f->nr_vms ? bsearch(name, f->vm, f->nr_vms, sizeof(*at), vm_by_name) : NULL;

	return at ? at - f->vm : -1;
}

long pol_find_patch(const struct pol_fleet *f, const char *id)
{
	const struct patch *at =
		f->nr_patches ? bsearch(id, f->patch, f->nr_patches, sizeof(*at), patch_by_id)
			      : NULL;

	return at ? at - f->patch : -1;
}
