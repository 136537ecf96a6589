// SPDX-License-Identifier: Apache-2.0
/* From texts to a policy: all of it or nothing. */
#include <errno.h>
#include <string.h>

#include "policy/rules.h"

static void *cyaml_memory(void *ctx, void *p, size_t bytes)
{
	(void)ctx;
	if (bytes)
		return realloc(p, bytes);
	free(p);
	return NULL;
}

static const cyaml_config_t cyaml = {
	.mem_fn = cyaml_memory,
	.flags = CYAML_CFG_NO_ALIAS,
};

/* Every error of shape and meaning of every file. Return: 0 if there are none. */
static int check_all(struct arena *a, struct arena *keep, struct source *s,
		     const struct pol_text *file, size_t nr, struct pol_errors *errors)
{
	size_t nr_good = 0;
	int rc = 0;

	for (size_t i = 0; i < nr; i++) {
		s[i] = (struct source){.name = file[i].name, .text = file[i].text};
		rc = ytree_parse(a, &file[i], &s[i].root, errors);
		if (rc == -ENOMEM)
			return rc;
		if (rc)
			continue;
		ycheck(s[i].name, s[i].root, &pol_schema, errors);
		nr_good++;
	}
	/* A file that is no YAML may hold what the others refer to. */
	if (nr_good == nr)
		rc = meaning_check(s, nr, keep, errors);
	if (rc == -ENOMEM)
		return rc;
	pol_errors_sort(errors);
	return errors->nr || errors->dropped ? -XO_EMALFORMED : rc;
}

static int load_raw(struct pol_policy *p, const struct source *s, size_t nr)
{
	p->raw = arena_get(&p->arena, nr, sizeof(struct raw_policy *));
	if (!p->raw)
		return -ENOMEM;
	for (; p->nr_files < nr; p->nr_files++) {
		cyaml_err_t e = cyaml_load_data(s[p->nr_files].text.p,
						s[p->nr_files].text.len_bytes, &cyaml, &pol_schema,
						(cyaml_data_t **)&p->raw[p->nr_files], NULL);

		if (e != CYAML_OK)
			return e == CYAML_ERR_OOM ? -ENOMEM : -XO_EINTERNAL;
	}
	return 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int digest_all(struct pol_policy *p, const struct source *s, size_t nr)
{
	_cleanup_xbuf_ struct xbuf all = XBUF((size_t)POL_POLICY_MAX_BYTES * 4 * POL_MAX_FILES);
	char **text = calloc(nr, sizeof(*text));
	int rc = text ? 0 : -ENOMEM;

	for (size_t i = 0; !rc && i < nr; i++) {
		_cleanup_xbuf_ struct xbuf b = XBUF((size_t)POL_POLICY_MAX_BYTES * 4);

		rc = ytree_canonical(s[i].root, &b);
		rc = rc ? rc : xbuf_add(&b, "\n", 2);
		if (!rc)
			text[i] = (char *)XO_TAKE_PTR(b.data);
	}
	if (!rc)
		qsort(text, nr, sizeof(*text), by_text);
	for (size_t i = 0; !rc && i < nr; i++)
		rc = xbuf_add(&all, text[i], strlen(text[i]));
	for (size_t i = 0; text && i < nr; i++)
		free(text[i]);
	free(text);
	return rc ? rc : xo_sha256(xbuf_span(&all), p->digest);
}

int pol_policy_load(const struct pol_text *file, size_t nr, struct pol_policy **ret,
		    struct pol_errors *errors)
{
	_cleanup_pol_policy_ struct pol_policy *p = calloc(1, sizeof(*p));
	struct source source[POL_MAX_FILES];
	struct arena trees = {0};
	int rc;

	if (!p)
		return -ENOMEM;
	if (!nr || nr > POL_MAX_FILES) {
		pol_errors_add(errors, "policy", 0, 0, "needs 1 to %d files", POL_MAX_FILES);
		return -XO_EMALFORMED;
	}
	rc = check_all(&trees, &p->arena, source, file, nr, errors);
	rc = rc ? rc : load_raw(p, source, nr);
	rc = rc ? rc : rules_compile(p, source);
	rc = rc ? rc : digest_all(p, source, nr);
	arena_free(&trees);
	if (!rc)
		*ret = XO_TAKE_PTR(p);
	return rc;
}

void pol_policy_free(struct pol_policy *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->nr_files; i++)
		cyaml_free(&cyaml, &pol_schema, p->raw[i], 0);
	arena_free(&p->arena);
	free(p);
}

const uint8_t *pol_policy_digest(const struct pol_policy *p)
{
	return p->digest;
}
