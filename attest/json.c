// SPDX-License-Identifier: Apache-2.0
#include "attest/json.h"

#include <string.h>
#include <time.h>

#define TIME_END_S INT64_C(253402300800) /* the year 10000 */

void jdoc_bad(struct jdoc *d, const char *key, const char *rule)
{
	refusal_add(d->why, d->code, "%s: %s%smust be %s", d->name, key, key[0] ? " " : "", rule);
	d->bad = true;
}

json_t *jdoc_load(struct jdoc *d, struct span bytes, size_t max_bytes)
{
	char shown[JSON_ERROR_TEXT_LENGTH * 4];
	json_error_t je;
	json_t *root;

	if (bytes.len_bytes > max_bytes) {
		refusal_add(d->why, XO_ELIMIT, "%s: %zu bytes, the limit is %zu", d->name,
			    bytes.len_bytes, max_bytes);
		d->bad = true;
		return NULL;
	}
	root = json_loadb((const char *)bytes.p, bytes.len_bytes, JSON_REJECT_DUPLICATES, &je);
	if (!root) {
		refusal_add(d->why,
			    json_error_code(&je) == json_error_duplicate_key ? XO_EDUPKEY : d->code,
			    "%s: line %d, column %d: %s", d->name, je.line, je.column,
			    xo_escape(SPAN(je.text, strlen(je.text)), shown, sizeof(shown)));
		d->bad = true;
	}
	return root;
}

/* Whether @name is one of @keys, optional or not. */
static bool known_key(const char *const *keys, const char *name)
{
	for (size_t i = 0; keys[i]; i++)
		if (!strcmp(keys[i] + (keys[i][0] == '?'), name))
			return true;
	return false;
}

bool jdoc_object(struct jdoc *d, const json_t *o, const char *key, const char *const *keys)
{
	char shown[128];
	const char *name;
	json_t *value;

	if (!json_is_object(o)) {
		jdoc_bad(d, key, "an object");
		return false;
	}
	json_object_foreach((json_t *)(uintptr_t)o, name, value)
	{
		if (known_key(keys, name))
			continue;
		refusal_add(d->why, XO_EUNKNOWNKEY, "%s: %s%s%s: this version does not know it",
			    d->name, key, key[0] ? "." : "",
			    xo_escape(SPAN(name, strlen(name)), shown, sizeof(shown)));
		d->bad = true;
	}
	for (size_t i = 0; keys[i]; i++)
		if (keys[i][0] != '?' && !json_object_get(o, keys[i]))
			jdoc_bad(d, keys[i], "there");
	return !d->bad;
}

size_t jdoc_array(struct jdoc *d, const json_t *o, const char *key, size_t max)
{
	const json_t *v = json_object_get(o, key);
	char rule[64];

	if (json_is_array(v) && json_array_size(v) <= max)
		return json_array_size(v);
	snprintf(rule, sizeof(rule), "an array of at most %zu", max);
	jdoc_bad(d, key, rule);
	return 0;
}

void jdoc_text(struct jdoc *d, const json_t *o, const char *key, size_t min, char *out, size_t size)
{
	const char *s = json_string_value(json_object_get(o, key));
	size_t n = s ? strnlen(s, size) : size;
	char rule[80];
	bool good = n >= min && n < size;

	for (size_t i = 0; good && i < n; i++)
		good = s[i] >= 0x20 && s[i] < 0x7f;
	if (good) {
		memcpy(out, s, n + 1);
		return;
	}
	snprintf(rule, sizeof(rule), "a string of %zu to %zu graphic characters", min, size - 1);
	jdoc_bad(d, key, rule);
}

void jdoc_hex(struct jdoc *d, const json_t *o, const char *key, uint8_t *out, size_t len)
{
	const char *s = json_string_value(json_object_get(o, key));
	char rule[64];

	if (s && strspn(s, "0123456789abcdef") == strlen(s) && xo_unhex(s, out, len))
		return;
	snprintf(rule, sizeof(rule), "a string of %zu lower-case hex digits", 2 * len);
	jdoc_bad(d, key, rule);
}

uint64_t jdoc_u64(struct jdoc *d, const json_t *o, const char *key, uint64_t max)
{
	const json_t *v = json_object_get(o, key);
	json_int_t n = json_integer_value(v);
	char rule[64];

	if (json_is_integer(v) && n >= 0 && (uint64_t)n <= max)
		return (uint64_t)n;
	snprintf(rule, sizeof(rule), "an integer from 0 to %llu", (unsigned long long)max);
	jdoc_bad(d, key, rule);
	return 0;
}

unsigned int jdoc_choice(struct jdoc *d, const json_t *o, const char *key, const char *const *names)
{
	const char *s = json_string_value(json_object_get(o, key));

	for (unsigned int i = 0; s && names[i]; i++)
		if (!strcmp(s, names[i]))
			return i;
	jdoc_bad(d, key, "one of its known values");
	return 0;
}

/* The number in @n digits at @s. */
static int digits(const char *s, size_t n)
{
	int v = 0;

	for (size_t i = 0; i < n; i++)
		v = v * 10 + (s[i] - '0');
	return v;
}

int64_t jdoc_time(struct jdoc *d, const json_t *o, const char *key)
{
	static const char form[] = "dddd-dd-ddTdd:dd:ddZ";
	const char *s = json_string_value(json_object_get(o, key));
	char again[21];
	struct tm tm;
	time_t t;
	size_t i = 0;

	while (s && s[i] && form[i] &&
	       (form[i] == 'd' ? s[i] >= '0' && s[i] <= '9' : s[i] == form[i]))
		i++;
	if (!s || s[i] || form[i])
		goto bad;
	tm = (struct tm){.tm_year = digits(s, 4) - 1900,
			 .tm_mon = digits(s + 5, 2) - 1,
			 .tm_mday = digits(s + 8, 2),
			 .tm_hour = digits(s + 11, 2),
			 .tm_min = digits(s + 14, 2),
			 .tm_sec = digits(s + 17, 2)};
	t = timegm(&tm);
	if (t >= 0 && t < TIME_END_S && !strcmp(json_time(t, again), s))
		return t;
bad:
	jdoc_bad(d, key, "a time as YYYY-MM-DDTHH:MM:SSZ");
	return 0;
}

char *json_time(int64_t when_s, char out[21])
{
	time_t t = when_s < 0 ? 0 : when_s >= TIME_END_S ? TIME_END_S - 1 : when_s;
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(out, 21, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return out;
}
