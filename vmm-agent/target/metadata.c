// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/target/metadata.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"

#define MAX_PAIRS 64
#define MAX_TEXT  256

static const char name_chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				 "-_.:";
static const char space[] = " \t\r\n";

static int take_name(const char **at, char out[MAX_TEXT])
{
	size_t n = strspn(*at, name_chars);

	if (!n || n >= MAX_TEXT)
		return -XO_EMALFORMED;
	memcpy(out, *at, n);
	out[n] = '\0';
	*at += n;
	return 0;
}

/* One character of a value, written as it is or as one of XML's five entities. 0: neither. */
static char take_char(const char **at)
{
	static const struct {
		const char *text;
		char c;
	} entity[] = {
		{"&lt;", '<'}, {"&gt;", '>'}, {"&amp;", '&'}, {"&quot;", '"'}, {"&apos;", '\''}};
	char c = **at;

	if (c != '&') {
		(*at)++;
		if (c < 0x20 || c >= 0x7f || c == '<')
			return '\0';
		return c;
	}
	for (size_t i = 0; i < XO_ARRAY_SIZE(entity); i++) {
		if (strncmp(*at, entity[i].text, strlen(entity[i].text)) != 0)
			continue;
		*at += strlen(entity[i].text);
		return entity[i].c;
	}
	return '\0';
}

static int take_value(const char **at, char out[MAX_TEXT])
{
	char quote = **at;
	size_t n = 0;

	if (quote != '"' && quote != '\'')
		return -XO_EMALFORMED;
	(*at)++;
	while (**at && **at != quote) {
		char c = take_char(at);

		if (!c)
			return -XO_EMALFORMED;
		if (n + 1 >= MAX_TEXT)
			return -XO_ELIMIT;
		out[n++] = c;
	}
	out[n] = '\0';
	if (!**at)
		return -XO_EMALFORMED;
	(*at)++;
	return 0;
}

/* " KEY = 'VALUE'" */
static int take_pair(const char **at, json_t *o)
{
	char key[MAX_TEXT], value[MAX_TEXT];
	int rc = take_name(at, key);

	*at += strspn(*at, space);
	if (rc || **at != '=')
		return -XO_EMALFORMED;
	(*at)++;
	*at += strspn(*at, space);
	rc = take_value(at, value);
	if (rc)
		return rc;
	if (!strncmp(key, "xmlns", 5) || !value[0])
		return 0;
	if (json_object_get(o, key))
		return -XO_EMALFORMED;
	if (json_object_size(o) == MAX_PAIRS)
		return -XO_ELIMIT;
	return json_object_set_new(o, key, json_string(value)) ? -ENOMEM : 0;
}

int metadata_parse(const char *xml, json_t **ret)
{
	char name[MAX_TEXT];
	json_t *o = json_object();
	int rc = o ? 0 : -ENOMEM;

	xml += strspn(xml, space);
	if (!rc && *xml++ != '<')
		rc = -XO_EMALFORMED;
	if (!rc)
		rc = take_name(&xml, name);
	while (!rc) {
		size_t n = strspn(xml, space);

		xml += n;
		if (*xml == '>' || (xml[0] == '/' && xml[1] == '>'))
			break;
		rc = n ? take_pair(&xml, o) : -XO_EMALFORMED;
	}
	if (rc) {
		json_decref(o);
		return rc;
	}
	*ret = o;
	return 0;
}
