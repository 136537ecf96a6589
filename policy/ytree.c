// SPDX-License-Identifier: Apache-2.0
#include "policy/ytree.h"

#include <errno.h>
#include <string.h>
#include <yaml.h>

struct builder {
	struct arena *arena;
	const char *file;
	struct pol_errors *errors;
	struct ynode *root;
	struct ynode *open[YTREE_MAX_DEPTH]; /* from the root down */
	struct ynode *last[YTREE_MAX_DEPTH]; /* newest child of each */
	unsigned int depth;
	unsigned int nr_nodes;
	const char *key; /* waits for its value */
	unsigned int key_line, key_column;
	unsigned int nr_documents;
};

#define WRONG(b, mark, ...)                                                                        \
	pol_errors_add((b)->errors, (b)->file, (unsigned int)(mark).line + 1,                      \
		       (unsigned int)(mark).column + 1, __VA_ARGS__)

static bool is_duplicate(const struct ynode *mapping, const char *key)
{
	for (const struct ynode *n = mapping->child; n; n = n->next)
		if (!strcmp(n->key, key))
			return true;
	return false;
}

/* Return: 0, -ENOMEM, or -XO_EMALFORMED where going on is pointless. */
static int take_key(struct builder *b, const yaml_event_t *ev, const char *text)
{
	const struct ynode *mapping = b->open[b->depth - 1];

	if (ev->type != YAML_SCALAR_EVENT) {
		WRONG(b, ev->start_mark, "a key must be a word");
		return -XO_EMALFORMED;
	}
	if (is_duplicate(mapping, text))
		WRONG(b, ev->start_mark, "key '%s' is here twice", text);
	b->key = text;
	b->key_line = (unsigned int)ev->start_mark.line + 1;
	b->key_column = (unsigned int)ev->start_mark.column + 1;
	return 0;
}

static int link_node(struct builder *b, struct ynode *n, const yaml_event_t *ev)
{
	struct ynode *parent = b->depth ? b->open[b->depth - 1] : NULL;

	if (!parent) {
		b->root = n;
		return 0;
	}
	if (parent->type == YNODE_MAPPING && parent->nr_children == YTREE_MAX_KEYS) {
		WRONG(b, ev->start_mark, "a mapping with more than %d keys", YTREE_MAX_KEYS);
		return -XO_EMALFORMED;
	}
	n->key = b->key;
	n->key_line = b->key_line;
	n->key_column = b->key_column;
	b->key = NULL;
	*(parent->child ? &b->last[b->depth - 1]->next : &parent->child) = n;
	b->last[b->depth - 1] = n;
	parent->nr_children++;
	return 0;
}

static int take_node(struct builder *b, const yaml_event_t *ev, enum ynode_type type,
		     const char *text, bool plain)
{
	const struct ynode *parent = b->depth ? b->open[b->depth - 1] : NULL;
	struct ynode *n;
	int rc;

	if (parent && parent->type == YNODE_MAPPING && !b->key)
		return take_key(b, ev, text);
	if (++b->nr_nodes > YTREE_MAX_NODES) {
		WRONG(b, ev->start_mark, "more than %d values; split the policy into files",
		      YTREE_MAX_NODES);
		return -XO_EMALFORMED;
	}
	n = arena_get(b->arena, 1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	*n = (struct ynode){.type = type,
			    .line = (unsigned int)ev->start_mark.line + 1,
			    .column = (unsigned int)ev->start_mark.column + 1,
			    .plain = plain,
			    .text = text};
	rc = link_node(b, n, ev);
	if (rc || type == YNODE_SCALAR)
		return rc;
	if (b->depth == YTREE_MAX_DEPTH) {
		WRONG(b, ev->start_mark, "nested more than %d deep", YTREE_MAX_DEPTH);
		return -XO_EMALFORMED;
	}
	b->open[b->depth++] = n;
	return 0;
}

static int take_scalar(struct builder *b, const yaml_event_t *ev)
{
	const char *s = (const char *)ev->data.scalar.value;
	char *text;

	if (memchr(s, 0, ev->data.scalar.length)) {
		WRONG(b, ev->start_mark, "a zero byte in a text");
		return -XO_EMALFORMED;
	}
	text = arena_string(b->arena, s, ev->data.scalar.length);
	if (!text)
		return -ENOMEM;
	return take_node(b, ev, YNODE_SCALAR, text,
			 ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE);
}

/* Anchors without an alias do no harm, but are refused too: they are there for one. */
static bool is_fancy(const yaml_event_t *ev)
{
	switch (ev->type) {
	case YAML_SCALAR_EVENT:
		return ev->data.scalar.anchor || ev->data.scalar.tag;
	case YAML_SEQUENCE_START_EVENT:
		return ev->data.sequence_start.anchor || ev->data.sequence_start.tag;
	case YAML_MAPPING_START_EVENT:
		return ev->data.mapping_start.anchor || ev->data.mapping_start.tag;
	default:
		return ev->type == YAML_ALIAS_EVENT;
	}
}

static int take_event(struct builder *b, const yaml_event_t *ev)
{
	if (is_fancy(ev)) {
		WRONG(b, ev->start_mark, "anchors, aliases and tags are not taken; write it out");
		return -XO_EMALFORMED;
	}
	switch (ev->type) {
	case YAML_SCALAR_EVENT:
		return take_scalar(b, ev);
	case YAML_SEQUENCE_START_EVENT:
		return take_node(b, ev, YNODE_SEQUENCE, NULL, false);
	case YAML_MAPPING_START_EVENT:
		return take_node(b, ev, YNODE_MAPPING, NULL, false);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		b->depth--;
		return 0;
	case YAML_DOCUMENT_START_EVENT:
		if (!b->nr_documents++)
			return 0;
		WRONG(b, ev->start_mark, "a second document in one file");
		return -XO_EMALFORMED;
	default:
		return 0;
	}
}

static int take_all(struct builder *b, yaml_parser_t *parser)
{
	for (bool done = false; !done;) {
		yaml_event_t ev;
		int rc;

		if (!yaml_parser_parse(parser, &ev)) {
			if (parser->error == YAML_MEMORY_ERROR)
				return -ENOMEM;
			WRONG(b, parser->problem_mark, "not YAML: %s",
			      parser->problem ? parser->problem : "unreadable");
			return -XO_EMALFORMED;
		}
		done = ev.type == YAML_STREAM_END_EVENT;
		rc = take_event(b, &ev);
		yaml_event_delete(&ev);
		if (rc)
			return rc;
	}
	return 0;
}

int ytree_parse(struct arena *a, const struct pol_text *file, struct ynode **ret,
		struct pol_errors *errors)
{
	struct builder b = {.arena = a, .file = file->name, .errors = errors};
	size_t errors_before = errors->nr;
	yaml_parser_t parser;
	int rc;

	if (file->text.len_bytes > POL_POLICY_MAX_BYTES) {
		pol_errors_add(errors, file->name, 0, 0, "larger than %u bytes",
			       POL_POLICY_MAX_BYTES);
		return -XO_EMALFORMED;
	}
	if (!yaml_parser_initialize(&parser))
		return -ENOMEM;
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, file->text.p ? file->text.p : (const uint8_t *)"",
				     file->text.len_bytes);
	rc = take_all(&b, &parser);
	yaml_parser_delete(&parser);
	if (rc)
		return rc;
	if (!b.root)
		pol_errors_add(errors, file->name, 1, 1, "empty");
	if (errors->nr != errors_before)
		return -XO_EMALFORMED;
	*ret = b.root;
	return 0;
}

const struct ynode *ynode_get(const struct ynode *n, const char *key)
{
	if (!n || n->type != YNODE_MAPPING)
		return NULL;
	for (const struct ynode *c = n->child; c; c = c->next)
		if (!strcmp(c->key, key))
			return c;
	return NULL;
}

const struct ynode *ynode_item(const struct ynode *n, size_t i)
{
	const struct ynode *c = n ? n->child : NULL;

	while (c && i--)
		c = c->next;
	return c;
}

static int add_quoted(struct xbuf *out, const char *s)
{
	int rc = xbuf_add(out, "\"", 1);

	for (; !rc && *s; s++)
		rc = *s == '"' || *s == '\\' ? xbuf_addf(out, "\\%c", *s) : xbuf_add(out, s, 1);
	return rc ? rc : xbuf_add(out, "\"", 1);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Children as texts in alphabetic order: keys are unique, and every list of a policy is a set. */
static int add_sorted(struct xbuf *out, const struct ynode *n)
{
	_cleanup_free_ char **part = calloc(n->nr_children + 1, sizeof(*part));
	size_t nr = 0;
	int rc = part ? 0 : -ENOMEM;

	for (const struct ynode *c = n->child; !rc && c; c = c->next) {
		_cleanup_xbuf_ struct xbuf b = XBUF(out->cap_bytes);

		if (c->key) {
			rc = add_quoted(&b, c->key);
			rc = rc ? rc : xbuf_add(&b, ":", 1);
		}
		rc = rc ? rc : ytree_canonical(c, &b);
		rc = rc ? rc : xbuf_add(&b, "", 1);
		if (!rc)
			part[nr++] = (char *)XO_TAKE_PTR(b.data);
	}
	if (nr)
		qsort(part, nr, sizeof(*part), by_text);
	for (size_t i = 0; i < nr; i++) {
		if (!rc)
			rc = xbuf_addf(out, i ? ",%s" : "%s", part[i]);
		free(part[i]);
	}
	return rc;
}

int ytree_canonical(const struct ynode *n, struct xbuf *out)
{
	bool map = n->type == YNODE_MAPPING;
	int rc;

	if (n->type == YNODE_SCALAR)
		return add_quoted(out, n->text);
	rc = xbuf_add(out, map ? "{" : "[", 1);
	rc = rc ? rc : add_sorted(out, n);
	return rc ? rc : xbuf_add(out, map ? "}" : "]", 1);
}
