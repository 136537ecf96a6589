/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A YAML text as a tree with the place of every node. Bounded, and strict where
 * YAML is generous: one document, no aliases, tags or duplicate keys, keys are
 * scalars.
 */
#ifndef EXOPATCH_POLICY_YTREE_H
#define EXOPATCH_POLICY_YTREE_H

#include "base/buf.h"
#include "policy/arena.h"
#include "policy/errors.h"

enum ynode_type { YNODE_SCALAR, YNODE_SEQUENCE, YNODE_MAPPING };

/** struct ynode - borrowed from the tree's arena */
struct ynode {
	enum ynode_type type;
	unsigned int line, column;
	bool plain;	  /* a scalar without quotes */
	const char *text; /* of a scalar; no NUL inside */
	const char *key;  /* of a mapping's child, else NULL */
	unsigned int key_line, key_column;
	struct ynode *next; /* sibling */
	struct ynode *child;
	unsigned int nr_children;
};

#define YTREE_MAX_DEPTH 12
#define YTREE_MAX_NODES 50000
#define YTREE_MAX_KEYS	64 /* of one mapping */

/**
 * ytree_parse - @ret is set if the text is such a tree; else @errors got at least one
 * Return: 0, -XO_EMALFORMED, -ENOMEM
 */
int ytree_parse(struct arena *a, const struct pol_text *file, struct ynode **ret,
		struct pol_errors *errors) XO_MUST_CHECK;

/** ynode_get - the value of @key in mapping @n; NULL if it has none or is no mapping */
const struct ynode *ynode_get(const struct ynode *n, const char *key);

/** ynode_item - child @i of @n, or NULL */
const struct ynode *ynode_item(const struct ynode *n, size_t i);

/** ytree_canonical - append the tree as text that does not depend on the order of keys or items.
 *  Return: 0, -ENOMEM, -XO_ELIMIT */
int ytree_canonical(const struct ynode *n, struct xbuf *out) XO_MUST_CHECK;

#endif
