// SPDX-License-Identifier: Apache-2.0
/* A JSON object by a table of fields; every error is reported with the path of the value. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "policy/fleet.h"
#include "policy/times.h"

static const cyaml_strval_t ram_names[] = {{"shared", POL_RAM_SHARED},
					   {"private", POL_RAM_PRIVATE}};
static const cyaml_strval_t kind_names[] = {{"hotpatch", PATCH_HOTPATCH},
					    {"baseline", PATCH_BASELINE}};
static const cyaml_strval_t state_names[] = {{"active", APPLIED_ACTIVE},
					     {"applying", APPLIED_APPLYING},
					     {"reverted", APPLIED_REVERTED},
					     {"failed", APPLIED_FAILED}};

#define FIELD(st, member, key_, type_, required_)                                                  \
	{                                                                                          \
		.key = (key_), .type = (type_), .required = (required_),                           \
		.offset = offsetof(st, member)                                                     \
	}
#define NAMED(st, member, key_, required_, names_)                                                 \
	{                                                                                          \
		.key = (key_), .type = FACT_NAME, .required = (required_),                         \
		.offset = offsetof(st, member), .names = (names_),                                 \
		.nr_names = XO_ARRAY_SIZE(names_)                                                  \
	}
#define OBJECTS(st, member, key_, fields_, each_)                                                  \
	{                                                                                          \
		.key = (key_), .type = FACT_OBJECTS, .offset = offsetof(st, member),               \
		.fields = (fields_), .size = sizeof(each_)                                         \
	}

static const struct fact_field signal_fields[] = {
	NAMED(struct signal, signal, "signal", true, pol_signals),
	FIELD(struct signal, at, "at", FACT_TIME, true),
	{0}};

static const struct fact_field applied_fields[] = {
	FIELD(struct applied, id, "id", FACT_WORD, true),
	FIELD(struct applied, payload, "payload_sha256", FACT_SHA256, true),
	FIELD(struct applied, serial, "serial", FACT_NUMBER, true),
	FIELD(struct applied, security_epoch, "security_epoch", FACT_NUMBER, false),
	FIELD(struct applied, at, "at", FACT_TIME, true),
	NAMED(struct applied, state, "state", true, state_names),
	FIELD(struct applied, watched_until, "watched_until", FACT_TIME, false),
	OBJECTS(struct applied, signals, "signals", signal_fields, struct signal),
	{0}};

static const struct fact_field kernel_fields[] = {
	FIELD(struct vm, kernel, "release", FACT_TEXT, true),
	FIELD(struct vm, build_id, "build_id", FACT_BUILD_ID, true),
	FIELD(struct vm, arch, "arch", FACT_WORD, true),
	FIELD(struct vm, baseline, "baseline", FACT_MONTH, false),
	{0}};

const struct fact_field vm_fields[] = {
	FIELD(struct vm, name, "name", FACT_TEXT, true),
	FIELD(struct vm, host, "host", FACT_TEXT, true),
	FIELD(struct vm, labels, "labels", FACT_PAIRS, false),
	FIELD(struct vm, metadata, "metadata", FACT_PAIRS, false),
	{.key = "kernel", .type = FACT_OBJECT, .required = true, .fields = kernel_fields},
	FIELD(struct vm, guard, "guard", FACT_BOOL, false),
	NAMED(struct vm, ram, "ram", false, ram_names),
	FIELD(struct vm, home, "home", FACT_BOOL, false),
	FIELD(struct vm, not_confidential, "confidential", FACT_NOT, false),
	FIELD(struct vm, since, "since", FACT_TIME, false),
	OBJECTS(struct vm, applied, "patches", applied_fields, struct applied),
	FIELD(struct vm, rolled_back, "rolled_back", FACT_SHA256S, false),
	{0}};

const struct fact_field patch_fields[] = {
	FIELD(struct patch, id, "id", FACT_WORD, true),
	NAMED(struct patch, kind, "kind", true, kind_names),
	FIELD(struct patch, payload, "payload_sha256", FACT_SHA256, true),
	FIELD(struct patch, serial, "serial", FACT_NUMBER, true),
	FIELD(struct patch, security_epoch, "security_epoch", FACT_NUMBER, false),
	FIELD(struct patch, released, "released", FACT_TIME, true),
	NAMED(struct patch, severity, "severity", true, pol_severities),
	FIELD(struct patch, advisories, "advisories", FACT_TEXTS, false),
	FIELD(struct patch, signer_roles, "signer_roles", FACT_TEXTS, false),
	FIELD(struct patch, arch, "arch", FACT_WORD, true),
	FIELD(struct patch, build_ids, "build_ids", FACT_BUILD_IDS, false),
	FIELD(struct patch, kernels, "kernels", FACT_TEXTS, false),
	FIELD(struct patch, kernel, "kernel", FACT_TEXT, false),
	FIELD(struct patch, baseline, "baseline", FACT_MONTH, false),
	FIELD(struct patch, requires, "requires", FACT_TEXTS, false),
	{0}};

#define PATH_MAX_DEPTH 8

/* The place of a value in messages, such as vms[3].kernel.release. */
static void wrong(struct fact_reader *r, const struct fact_path *path, const char *what)
{
	const struct fact_path *step[PATH_MAX_DEPTH];
	char text[256] = "";
	size_t depth = 0, used = 0;

	if (r->errors->nr == POL_MAX_ERRORS) {
		r->errors->dropped++;
		return;
	}
	for (; path && depth < PATH_MAX_DEPTH; path = path->up)
		step[depth++] = path;
	while (depth-- && used < sizeof(text)) {
		int n = step[depth]->key ? snprintf(text + used, sizeof(text) - used, "%s%s",
						    used ? "." : "", step[depth]->key)
					 : snprintf(text + used, sizeof(text) - used, "[%zu]",
						    step[depth]->index);

		used += n > 0 ? (size_t)n : 0;
	}
	pol_errors_add(r->errors, r->file, 0, 0, "%s %s", text, what);
}

static void *get(struct fact_reader *r, size_t nr, size_t size)
{
	void *p = arena_get(&r->fleet->arena, nr, size);

	if (!p)
		r->rc = -ENOMEM;
	return p;
}

static const struct word *word_of(struct fact_reader *r, const char *s, size_t len)
{
	const struct word *w = fleet_word(r->fleet, s, len);

	if (!w)
		r->rc = -ENOMEM;
	return w;
}

static bool is_hex(const char *s, size_t min, size_t max)
{
	size_t n = strlen(s);

	return strspn(s, "0123456789abcdef") == n && n >= min && n <= max && n % 2 == 0;
}

static bool is_printable(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)s[i] < ' ' || s[i] == 0x7f)
			return false;
	return true;
}

/* A pair is matched as key=value: where the key ends must be plain. */
static bool is_pair_key(const char *s)
{
	size_t n = strlen(s);

	return n && n < FACT_MAX_TEXT && !strchr(s, '=') && is_printable(s, n);
}

/* What a text must be; NULL if it is. */
static const char *text_wrong(const json_t *v, enum fact_type type)
{
	const char *s = json_string_value(v);

	if (!s)
		return "must be a string";
	if (!s[0] || json_string_length(v) > FACT_MAX_TEXT ||
	    !is_printable(s, json_string_length(v)))
		return "must have 1 to 255 printable characters";
	if (type == FACT_WORD && strchr(s, ' '))
		return "must not have spaces";
	if (type == FACT_SHA256 && !is_hex(s, 64, 64))
		return "must be 64 lower-case hex digits";
	if (type == FACT_BUILD_ID && !is_hex(s, 16, 40))
		return "must be 16 to 40 lower-case hex digits";
	return NULL;
}

static const struct word *read_text(struct fact_reader *r, const struct fact_path *path,
				    const json_t *v, enum fact_type type)
{
	const char *why = text_wrong(v, type);

	if (!why)
		return word_of(r, json_string_value(v), json_string_length(v));
	wrong(r, path, why);
	return NULL;
}

static void read_texts(struct fact_reader *r, const struct fact_path *path, const json_t *v,
		       enum fact_type type, struct words *ret)
{
	size_t n = json_array_size(v);

	if (!json_is_array(v) || n > FACT_MAX_ITEMS) {
		wrong(r, path, "must be a list of strings, at most 4096");
		return;
	}
	ret->word = get(r, n, sizeof(struct word *));
	for (size_t i = 0; ret->word && i < n; i++) {
		const struct fact_path item = {.up = path, .index = i};

		ret->word[ret->nr] = read_text(r, &item, json_array_get(v, i), type);
		if (!ret->word[ret->nr])
			return;
		ret->nr++;
	}
}

static void read_pairs(struct fact_reader *r, const struct fact_path *path, const json_t *v,
		       struct words *ret)
{
	size_t n = json_object_size(v);
	const char *key;
	json_t *value;

	if (!json_is_object(v) || n > FACT_MAX_ITEMS) {
		wrong(r, path, "must be an object of strings");
		return;
	}
	ret->word = get(r, n, sizeof(struct word *));
	json_object_foreach((json_t *)v, key, value)
	{
		char text[2 * FACT_MAX_TEXT];
		int len;

		if (!ret->word)
			return;
		if (!is_pair_key(key) || !json_is_string(value) ||
		    json_string_length(value) >= FACT_MAX_TEXT ||
		    !is_printable(json_string_value(value), json_string_length(value))) {
			wrong(r, path,
			      "must be an object of strings, each up to 254 printable characters, "
			      "no key empty or with '='");
			return;
		}
		len = snprintf(text, sizeof(text), "%s=%s", key, json_string_value(value));
		ret->word[ret->nr] = word_of(r, text, (size_t)len);
		if (!ret->word[ret->nr])
			return;
		ret->nr++;
	}
}

static void read_time(struct fact_reader *r, const struct fact_path *path, const json_t *v,
		      int64_t *ret)
{
	if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v) ||
	    !pol_parse_time(json_string_value(v), ret))
		wrong(r, path, "must be a time, YYYY-MM-DDTHH:MM:SSZ");
	else if (*ret > r->at)
		wrong(r, path, "comes from the future");
}

static void read_month(struct fact_reader *r, const struct fact_path *path, const json_t *v,
		       uint32_t *ret)
{
	if (!json_is_string(v) || !month_parse(json_string_value(v), ret))
		wrong(r, path, "must be a month, YYYY-MM");
}

static void read_number(struct fact_reader *r, const struct fact_path *path, const json_t *v,
			uint64_t *ret)
{
	if (!json_is_integer(v) || json_integer_value(v) < 0)
		wrong(r, path, "must be a whole number from 0 on");
	else
		*ret = (uint64_t)json_integer_value(v);
}

static void read_name(struct fact_reader *r, const struct fact_path *path, const json_t *v,
		      const struct fact_field *f, uint32_t *ret)
{
	char what[256];
	size_t used;

	for (uint32_t i = 0; json_is_string(v) && i < f->nr_names; i++) {
		if (!strcmp(json_string_value(v), f->names[i].str)) {
			*ret = (uint32_t)f->names[i].val;
			return;
		}
	}
	used = (size_t)snprintf(what, sizeof(what), "must be one of");
	for (uint32_t i = 0; i < f->nr_names && used < sizeof(what); i++)
		used += (size_t)snprintf(what + used, sizeof(what) - used, "%s %s", i ? "," : "",
					 f->names[i].str);
	wrong(r, path, what);
}

/* Objects nest as deep as the tables do. */
// NOLINTNEXTLINE(misc-no-recursion)
static void read_objects(struct fact_reader *r, const struct fact_path *path, const json_t *v,
			 const struct fact_field *f, void *to)
{
	size_t n = json_array_size(v);
	char *list;
	uint32_t nr = (uint32_t)n;

	if (!json_is_array(v) || n > FACT_MAX_ITEMS) {
		wrong(r, path, "must be a list of objects, at most 4096");
		return;
	}
	list = get(r, n, f->size);
	for (size_t i = 0; list && i < n; i++) {
		const struct fact_path item = {.up = path, .index = i};

		fact_read(r, &item, json_array_get(v, i), f->fields, list + i * f->size);
	}
	memcpy(to, &list, sizeof(list));
	memcpy((char *)to + sizeof(list), &nr, sizeof(nr));
}

// NOLINTNEXTLINE(misc-no-recursion)
static void read_field(struct fact_reader *r, const struct fact_path *path, const json_t *v,
		       const struct fact_field *f, void *base)
{
	void *to = (char *)base + f->offset;

	switch (f->type) {
	case FACT_TEXT:
	case FACT_WORD:
	case FACT_SHA256:
	case FACT_BUILD_ID:
		*(const struct word **)to = read_text(r, path, v, f->type);
		break;
	case FACT_TEXTS:
		read_texts(r, path, v, FACT_TEXT, to);
		break;
	case FACT_SHA256S:
		read_texts(r, path, v, FACT_SHA256, to);
		break;
	case FACT_BUILD_IDS:
		read_texts(r, path, v, FACT_BUILD_ID, to);
		break;
	case FACT_PAIRS:
		read_pairs(r, path, v, to);
		break;
	case FACT_TIME:
		read_time(r, path, v, to);
		break;
	case FACT_MONTH:
		read_month(r, path, v, to);
		break;
	case FACT_NUMBER:
		read_number(r, path, v, to);
		break;
	case FACT_BOOL:
	case FACT_NOT:
		if (!json_is_boolean(v))
			wrong(r, path, "must be true or false");
		*(bool *)to = f->type == FACT_BOOL ? json_is_true(v) : json_is_false(v);
		break;
	case FACT_NAME:
		read_name(r, path, v, f, to);
		break;
	case FACT_OBJECT:
		fact_read(r, path, v, f->fields, base);
		break;
	case FACT_OBJECTS:
		read_objects(r, path, v, f, to);
		break;
	}
}

static const struct fact_field *find_field(const struct fact_field *f, const char *key)
{
	for (; f->key; f++)
		if (!strcmp(f->key, key))
			return f;
	return NULL;
}

// NOLINTNEXTLINE(misc-no-recursion)
void fact_read(struct fact_reader *r, const struct fact_path *path, const json_t *o,
	       const struct fact_field *fields, void *to)
{
	const char *key;
	json_t *v;

	if (!json_is_object(o)) {
		wrong(r, path, "must be an object");
		return;
	}
	json_object_foreach((json_t *)o, key, v)
	{
		const struct fact_field *f = find_field(fields, key);
		const struct fact_path item = {.up = path, .key = key};

		if (f)
			read_field(r, &item, v, f, to);
		else
			wrong(r, &item, "is no key of facts");
	}
	for (const struct fact_field *f = fields; f->key; f++) {
		const struct fact_path item = {.up = path, .key = f->key};

		if (f->required && !json_object_get(o, f->key))
			wrong(r, &item, "is missing");
	}
}
