// SPDX-License-Identifier: Apache-2.0
/*
 * A tree against the schema. libcyaml would stop at the first error and takes
 * more than JSON Schema does (any word as a boolean, octal numbers); what passes
 * here loads there.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "policy/schema.h"

struct check {
	const char *file;
	struct pol_errors *errors;
};

#define WRONG(c, n, ...) pol_errors_add((c)->errors, (c)->file, (n)->line, (n)->column, __VA_ARGS__)
#define CALLED(n)	 ((n)->key ? (n)->key : "item")

static void check_value(const struct check *c, const struct ynode *n,
			const cyaml_schema_value_t *schema);

static bool is_one_of(const char *s, const char *const *word, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		if (!strcmp(s, word[i]))
			return true;
	return false;
}

static const char *skip_digits(const char *s)
{
	while (isdigit((unsigned char)*s))
		s++;
	return s;
}

static bool is_number(const char *s)
{
	const char *from, *mid;

	if (!strncmp(s, "0x", 2) && s[2] &&
	    strspn(s + 2, "0123456789abcdefABCDEF") == strlen(s + 2))
		return true;
	if (!strncmp(s, "0o", 2) && s[2] && strspn(s + 2, "01234567") == strlen(s + 2))
		return true;
	if (*s == '-' || *s == '+')
		s++;
	if (!strcasecmp(s, ".inf") || !strcasecmp(s, ".nan"))
		return true;
	from = s;
	s = skip_digits(s);
	mid = s;
	if (*s == '.')
		s = skip_digits(s + 1);
	if (s == from || (mid == from && s == from + 1))
		return false;
	if (*s == 'e' || *s == 'E') {
		s++;
		if (*s == '-' || *s == '+')
			s++;
		if (!isdigit((unsigned char)*s))
			return false;
		s = skip_digits(s);
	}
	return !*s;
}

/* Does YAML 1.2's core schema take this word for something else than a text? */
static bool is_no_text(const char *s)
{
	static const char *const words[] = {"",	    "~",    "null",  "Null",  "NULL", "true",
					    "True", "TRUE", "false", "False", "FALSE"};

	return is_one_of(s, words, XO_ARRAY_SIZE(words)) || is_number(s);
}

static void check_text(const struct check *c, const struct ynode *n,
		       const cyaml_schema_value_t *schema)
{
	if (n->type != YNODE_SCALAR)
		WRONG(c, n, "%s must be a text", CALLED(n));
	else if (n->plain && is_no_text(n->text))
		WRONG(c, n, "%s must be a text; write \"%s\", with quotes", CALLED(n), n->text);
	else if (strlen(n->text) < schema->string.min || strlen(n->text) > schema->string.max)
		WRONG(c, n, "%s must have %u to %u characters", CALLED(n), schema->string.min,
		      schema->string.max);
}

static void check_number(const struct check *c, const struct ynode *n)
{
	const char *s = n->type == YNODE_SCALAR && n->plain ? n->text : "";

	if (!*s || *skip_digits(s) || (s[0] == '0' && s[1]) || strlen(s) > 9)
		WRONG(c, n, "%s must be a whole number from 0 to 999999999", CALLED(n));
}

static void check_bool(const struct check *c, const struct ynode *n)
{
	if (n->type != YNODE_SCALAR || !n->plain ||
	    (strcmp(n->text, "true") != 0 && strcmp(n->text, "false") != 0))
		WRONG(c, n, "%s must be true or false", CALLED(n));
}

static void list_names(const cyaml_schema_value_t *schema, char *out, size_t size)
{
	size_t used = 0;

	out[0] = '\0';
	for (uint32_t i = 0; i < schema->enumeration.count && used < size; i++)
		used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "",
					 schema->enumeration.strings[i].str);
}

static void check_name(const struct check *c, const struct ynode *n, const char *called,
		       const cyaml_schema_value_t *schema)
{
	char names[256];

	for (uint32_t i = 0; n->type == YNODE_SCALAR && i < schema->enumeration.count; i++)
		if (!strcmp(n->text, schema->enumeration.strings[i].str))
			return;
	list_names(schema, names, sizeof(names));
	WRONG(c, n, "%s: '%s' is none of %s", called, n->type == YNODE_SCALAR ? n->text : "list",
	      names);
}

static void check_names(const struct check *c, const struct ynode *n,
			const cyaml_schema_value_t *schema)
{
	if (n->type != YNODE_SEQUENCE || !n->nr_children) {
		WRONG(c, n, "%s must be a list with at least one word", CALLED(n));
		return;
	}
	for (const struct ynode *i = n->child; i; i = i->next)
		check_name(c, i, CALLED(n), schema);
}

static void check_sequence(const struct check *c, const struct ynode *n,
			   const cyaml_schema_value_t *schema)
{
	if (n->type != YNODE_SEQUENCE) {
		WRONG(c, n, "%s must be a list", CALLED(n));
		return;
	}
	if (n->nr_children < schema->sequence.min)
		WRONG(c, n, "%s is empty; leave it out", CALLED(n));
	if (n->nr_children > schema->sequence.max)
		WRONG(c, n, "%s has more than %u items", CALLED(n), schema->sequence.max);
	for (const struct ynode *i = n->child; i; i = i->next)
		check_value(c, i, schema->sequence.entry);
}

static const cyaml_schema_field_t *find_field(const cyaml_schema_field_t *f, const char *key)
{
	for (; f->key; f++)
		if (!strcmp(f->key, key))
			return f;
	return NULL;
}

static void check_mapping(const struct check *c, const struct ynode *n,
			  const cyaml_schema_field_t *fields)
{
	if (n->type != YNODE_MAPPING) {
		WRONG(c, n, "%s must be a mapping (key: value)", CALLED(n));
		return;
	}
	for (const struct ynode *i = n->child; i; i = i->next) {
		const cyaml_schema_field_t *f = find_field(fields, i->key);

		if (f)
			check_value(c, i, &f->value);
		else
			pol_errors_add(c->errors, c->file, i->key_line, i->key_column,
				       "there is no key '%s' here", i->key);
	}
	for (const cyaml_schema_field_t *f = fields; f->key; f++)
		if (!(f->value.flags & CYAML_FLAG_OPTIONAL) && !ynode_get(n, f->key))
			WRONG(c, n, "key '%s' is missing", f->key);
}

static void check_value(const struct check *c, const struct ynode *n,
			const cyaml_schema_value_t *schema)
{
	switch (schema->type) {
	case CYAML_STRING:
		check_text(c, n, schema);
		break;
	case CYAML_UINT:
		check_number(c, n);
		break;
	case CYAML_BOOL:
		check_bool(c, n);
		break;
	case CYAML_ENUM:
		check_name(c, n, CALLED(n), schema);
		break;
	case CYAML_FLAGS:
		check_names(c, n, schema);
		break;
	case CYAML_SEQUENCE:
		check_sequence(c, n, schema);
		break;
	case CYAML_MAPPING:
		check_mapping(c, n, schema->mapping.fields);
		break;
	default:
		WRONG(c, n, "the schema has a type that is not handled");
	}
}

void ycheck(const char *file, const struct ynode *n, const cyaml_schema_value_t *schema,
	    struct pol_errors *errors)
{
	const struct check c = {.file = file, .errors = errors};

	check_value(&c, n, schema);
}
