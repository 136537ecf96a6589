// SPDX-License-Identifier: Apache-2.0
/*
 * What a schema cannot say. Each check looks at one tree node and reports what
 * is wrong with it; nodes of the wrong shape are left to ycheck.c.
 */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "policy/meaning.h"

static const char *const sections[] = {"groups",      "rings",	   "windows",  "freezes", "pauses",
				       "deferrals",   "deadlines", "expedite", "allow",	  "deny",
				       "eligibility", "baselines", "limits",   "health"};

const char *text_of(const struct ynode *n, const char *key)
{
	const struct ynode *v = ynode_get(n, key);

	return v && v->type == YNODE_SCALAR ? v->text : NULL;
}

/* ---- single values ---- */

static bool is_name(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-_.");

	return n && n == strlen(s) && n <= 63;
}

static bool is_duration(const char *s)
{
	int64_t v;

	return duration_parse(s, &v);
}

static bool is_lasting(const char *s)
{
	int64_t v;

	return duration_parse(s, &v) && v > 0;
}

static bool is_time(const char *s)
{
	int64_t t;
	bool utc;

	return time_parse(s, &t, &utc);
}

static bool is_share(const char *s)
{
	size_t n = strspn(s, "0123456789");
	long v = strtol(s, NULL, 10);

	return n && n <= 3 && !strcmp(s + n, "%") && v >= 1 && v <= 100 && s[0] != '0';
}

static bool is_hex(const char *s, size_t min, size_t max)
{
	size_t n = strspn(s, "0123456789abcdef");

	return n == strlen(s) && n >= min && n <= max && n % 2 == 0;
}

static bool is_sha256(const char *s)
{
	return is_hex(s, 64, 64);
}

static bool is_build_id(const char *s)
{
	return is_hex(s, 16, 40);
}

static bool is_pair(const char *s)
{
	const char *eq = strchr(s, '=');

	return eq && eq != s;
}

static bool is_small(const char *s)
{
	return strlen(s) <= 2 && strtol(s, NULL, 10) <= 30;
}

static bool is_month(const char *s)
{
	long v = strtol(s, NULL, 10);

	return strlen(s) <= 2 && v >= 1 && v <= 12;
}

static bool is_positive(const char *s)
{
	return strcmp(s, "0") != 0;
}

/* Every text under such a key, wherever it is, must be of that form. */
static const struct {
	const char *section, *key; /* section NULL: any */
	bool (*good)(const char *s);
	const char *form;
} forms[] = {
	{NULL, "name", is_name, "1 to 63 of a-z, 0-9, '-', '_', '.'"},
	{NULL, "zone", zone_exists, "a zone of the zone data, such as Europe/Berlin or UTC"},
	{NULL, "facts_max_age", is_duration, "a duration: a number and s, m, h or d"},
	{NULL, "start", is_time, "YYYY-MM-DDTHH:MM, from 2000 to 2037"},
	{NULL, "end", is_time, "YYYY-MM-DDTHH:MM, from 2000 to 2037"},
	{NULL, "until", is_time, "YYYY-MM-DDTHH:MM, from 2000 to 2037"},
	{NULL, "duration", is_duration, "a duration: a number and s, m, h or d"},
	{NULL, "bake", is_duration, "a duration: a number and s, m, h or d"},
	{NULL, "grace", is_duration, "a duration: a number and s, m, h or d"},
	{NULL, "spacing", is_lasting, "a duration from 1s: a number and s, m, h or d"},
	{NULL, "watch", is_lasting, "a duration from 1s: a number and s, m, h or d"},
	{"deadlines", "after", is_duration, "a duration: a number and s, m, h or d"},
	{NULL, "share", is_share, "a share from 1% to 100%"},
	{NULL, "count", is_positive, "at least 1"},
	{NULL, "at_once", is_positive, "at least 1; to stop everything, use pauses"},
	{NULL, "max_baseline_months", is_positive, "at least 1"},
	{NULL, "days", is_small, "0 to 30 days"},
	{NULL, "months", is_month, "months, 1 to 12"},
	{NULL, "payloads", is_sha256, "SHA-256 digests, 64 lower-case hex digits"},
	{NULL, "build_ids", is_build_id, "build-ids, 16 to 40 lower-case hex digits"},
	{NULL, "labels", is_pair, "key=value"},
	{NULL, "metadata", is_pair, "key=value"},
};

static void check_form(struct meaning *m, const char *section, const struct ynode *n,
		       const char *key)
{
	if (n->type != YNODE_SCALAR || !n->text[0])
		return;
	for (size_t i = 0; i < XO_ARRAY_SIZE(forms); i++)
		if (!strcmp(forms[i].key, key) &&
		    (!forms[i].section || !strcmp(forms[i].section, section)) &&
		    !forms[i].good(n->text))
			WRONG(m, n, "%s: '%s' is not %s", key, n->text, forms[i].form);
}

/* The tree is at most YTREE_MAX_DEPTH deep. */
// NOLINTNEXTLINE(misc-no-recursion)
static void check_forms(struct meaning *m, const char *section, const struct ynode *n,
			const char *key)
{
	if (n->type == YNODE_SCALAR)
		check_form(m, section, n, key);
	for (const struct ynode *c = n->child; c; c = c->next)
		check_forms(m, section, c, c->key ? c->key : key);
}

/* ---- names and references ---- */

/* The rule of that name in a section of any file, other than @self. */
static const struct ynode *find_rule(const struct meaning *m, const char *section, const char *name,
				     const struct ynode *self)
{
	for (size_t i = 0; i < m->nr; i++) {
		const struct ynode *list = ynode_get(m->s[i].root, section);

		for (const struct ynode *r = list ? list->child : NULL; r; r = r->next)
			if (r != self && text_of(r, "name") && !strcmp(text_of(r, "name"), name))
				return r;
	}
	return NULL;
}

static void check_names(struct meaning *m, const char *section, const struct ynode *r)
{
	const struct ynode *groups = ynode_get(r, "groups"), *name = ynode_get(r, "name");

	if (text_of(r, "name") && find_rule(m, section, text_of(r, "name"), r))
		WRONG(m, name, "%s: two rules have the name '%s'", section, name->text);
	for (const struct ynode *g = groups ? groups->child : NULL; g; g = g->next)
		if (g->type == YNODE_SCALAR && !find_rule(m, "groups", g->text, NULL))
			WRONG(m, g, "there is no group '%s'", g->text);
}

static void check_ring_after(struct meaning *m, const struct ynode *r)
{
	const struct ynode *after = ynode_get(r, "after"), *at = r;

	if (!text_of(r, "after"))
		return;
	if (!find_rule(m, "rings", after->text, NULL)) {
		WRONG(m, after, "there is no ring '%s'", after->text);
		return;
	}
	for (size_t steps = 0; steps <= POL_MAX_RULES * m->nr; steps++) {
		at = text_of(at, "after") ? find_rule(m, "rings", text_of(at, "after"), NULL)
					  : NULL;
		if (!at)
			return;
		if (at == r)
			break;
	}
	if (at == r)
		WRONG(m, after, "ring '%s' comes after itself",
		      text_of(r, "name") ? text_of(r, "name") : "?");
}

/* ---- rules of one section ---- */

static bool same_text(const struct ynode *a, const struct ynode *b, int *rc)
{
	_cleanup_xbuf_ struct xbuf ta = XBUF(POL_POLICY_MAX_BYTES), tb = XBUF(POL_POLICY_MAX_BYTES);

	if (!a || !b)
		return a == b;
	*rc = ytree_canonical(a, &ta);
	*rc = *rc ? *rc : ytree_canonical(b, &tb);
	return !*rc && ta.len_bytes == tb.len_bytes && !memcmp(ta.data, tb.data, ta.len_bytes);
}

static void check_matcher(struct meaning *m, const struct ynode *n)
{
	if (n && n->type == YNODE_MAPPING && !n->nr_children)
		WRONG(m, n, "matches everything; leave it out or say what");
}

/* Patterns of which one is as wide as can be. */
static bool matches_all(const struct ynode *matcher)
{
	const struct ynode *list = matcher->child;

	if (matcher->nr_children != 1 || list->type != YNODE_SEQUENCE ||
	    !strcmp(list->key, "labels") || !strcmp(list->key, "metadata"))
		return false;
	for (const struct ynode *i = list->child; i; i = i->next)
		if (i->type == YNODE_SCALAR && i->text[0] && !i->text[strspn(i->text, "*")])
			return true;
	return false;
}

#define MAX_COMPARED 50 /* matchers; a group of more than those is no slip of the pen */

/* Is there for each of @in, or for everything, one of @ex that says the same? */
static bool excludes_all(const struct ynode *in, const struct ynode *ex, int *rc)
{
	for (const struct ynode *e = ex->child; e; e = e->next)
		if (e->type == YNODE_MAPPING && matches_all(e))
			return true;
	if (!in || in->nr_children > MAX_COMPARED || ex->nr_children > MAX_COMPARED)
		return false;
	for (const struct ynode *i = in->child; i; i = i->next) {
		bool out = false;

		for (const struct ynode *e = ex->child; e && !out && !*rc; e = e->next)
			out = same_text(i, e, rc);
		if (!out)
			return false;
	}
	return true;
}

static int check_group(struct meaning *m, const struct ynode *r)
{
	const struct ynode *in = ynode_get(r, "include"), *ex = ynode_get(r, "exclude");
	int rc = 0;

	if (r->type != YNODE_MAPPING)
		return 0;
	if (!in && !ex)
		WRONG(m, r, "an empty group: it has neither include nor exclude");
	else if (ex && excludes_all(in, ex, &rc))
		WRONG(m, ex, "an empty group: it excludes all that it includes");
	for (const struct ynode *i = in ? in->child : NULL; i; i = i->next)
		check_matcher(m, i);
	for (const struct ynode *i = ex ? ex->child : NULL; i; i = i->next)
		check_matcher(m, i);
	return rc;
}

static void check_ring(struct meaning *m, const struct ynode *r)
{
	const char *count = text_of(r, "count"), *need = text_of(r, "min_successes");

	check_ring_after(m, r);
	if (ynode_get(r, "share") && ynode_get(r, "count"))
		WRONG(m, r, "share and count exclude each other");
	if (count && need && strtol(need, NULL, 10) > strtol(count, NULL, 10))
		WRONG(m, ynode_get(r, "min_successes"),
		      "%s successes cannot come from a ring of %s VMs", need, count);
}

static bool is_everything(const struct ynode *r)
{
	return r->type == YNODE_MAPPING && !ynode_get(r, "groups") && !ynode_get(r, "patches");
}

static int check_against_allow(struct meaning *m, const struct ynode *deny)
{
	int rc = 0;

	if (is_everything(deny))
		WRONG(m, deny, "denies everything; to stop for a while, use pauses");
	for (size_t i = 0; !rc && i < m->nr && ynode_get(deny, "patches"); i++) {
		const struct ynode *list = ynode_get(m->s[i].root, "allow");

		for (const struct ynode *a = list ? list->child : NULL; a && !rc; a = a->next)
			if (same_text(ynode_get(a, "patches"), ynode_get(deny, "patches"), &rc) &&
			    same_text(ynode_get(a, "groups"), ynode_get(deny, "groups"), &rc))
				WRONG(m, deny, "contradicts allow '%s', which names the same",
				      text_of(a, "name") ? text_of(a, "name") : "?");
	}
	return rc;
}

/* A deadline that comes before the same patches' deferral ends forces nothing. */
static int check_deadline(struct meaning *m, const struct ynode *r)
{
	int64_t after;
	int rc = 0;

	if (!text_of(r, "after") || !duration_parse(text_of(r, "after"), &after))
		return 0;
	for (size_t i = 0; !rc && i < m->nr; i++) {
		const struct ynode *list = ynode_get(m->s[i].root, "deferrals");

		for (const struct ynode *d = list ? list->child : NULL; d && !rc; d = d->next)
			if (text_of(d, "days") &&
			    strtol(text_of(d, "days"), NULL, 10) * INT64_C(86400) > after &&
			    same_text(ynode_get(d, "patches"), ynode_get(r, "patches"), &rc) &&
			    same_text(ynode_get(d, "groups"), ynode_get(r, "groups"), &rc))
				WRONG(m, ynode_get(r, "after"),
				      "the deadline comes before deferral '%s' of the same ends",
				      text_of(d, "name") ? text_of(d, "name") : "?");
	}
	return rc;
}

static void check_limit(struct meaning *m, const struct ynode *r)
{
	if (r->type == YNODE_MAPPING && !ynode_get(r, "at_once") && !ynode_get(r, "spacing"))
		WRONG(m, r, "limits nothing: give at_once or spacing");
}

static void check_pause(struct meaning *m, const struct ynode *r)
{
	int64_t t;
	bool utc;

	if (ynode_get(r, "zone") && !ynode_get(r, "until"))
		WRONG(m, ynode_get(r, "zone"), "zone goes with until");
	if (text_of(r, "until") && time_parse(text_of(r, "until"), &t, &utc) && utc &&
	    ynode_get(r, "zone"))
		WRONG(m, ynode_get(r, "zone"), "until ends in Z, which is UTC; leave out one");
}

static void check_health(struct meaning *m, const struct ynode *r)
{
	const struct ynode *probe = ynode_get(r, "probe"), *signals = ynode_get(r, "signals");

	for (const struct ynode *s = signals ? signals->child : NULL; s; s = s->next)
		if (s->type == YNODE_SCALAR && !strcmp(s->text, "probe"))
			return;
	if (probe)
		WRONG(m, probe, "a probe that does not count: signals lacks 'probe'");
}

static void check_eligibility(struct meaning *m, const struct ynode *r)
{
	if (r->type == YNODE_MAPPING && r->nr_children <= 1U + !!ynode_get(r, "groups"))
		WRONG(m, r, "asks for nothing");
}

static int check_rule(struct meaning *m, const char *section, const struct ynode *r,
		      struct calendar *cal)
{
	check_forms(m, section, r, "");
	check_names(m, section, r);
	check_matcher(m, ynode_get(r, "patches"));
	if (!strcmp(section, "groups"))
		return check_group(m, r);
	if (cal)
		return meaning_calendar(m, r, cal);
	if (!strcmp(section, "deny"))
		return check_against_allow(m, r);
	if (!strcmp(section, "deadlines"))
		return check_deadline(m, r);
	if (!strcmp(section, "rings"))
		check_ring(m, r);
	if (!strcmp(section, "limits"))
		check_limit(m, r);
	if (!strcmp(section, "pauses"))
		check_pause(m, r);
	if (!strcmp(section, "eligibility"))
		check_eligibility(m, r);
	if (!strcmp(section, "health"))
		check_health(m, r);
	return 0;
}

/* Of one kind in all files together. */
static void check_count(struct meaning *m, const char *section)
{
	size_t nr = 0;

	for (size_t i = 0; i < m->nr; i++) {
		const struct ynode *list = ynode_get(m->s[i].root, section);

		nr += list ? list->nr_children : 0;
	}
	if (nr > POL_MAX_RULES)
		WRONG(m, m->file->root, "%s: more than %d in all", section, POL_MAX_RULES);
}

/* The place for the calendars of a section's rules; NULL: they have none. */
static struct calendar **calendars_of(struct source *s, const char *section)
{
	if (!strcmp(section, "windows"))
		return &s->windows;
	return !strcmp(section, "freezes") ? &s->freezes : NULL;
}

static int check_section(struct meaning *m, struct source *s, const char *section)
{
	const struct ynode *list = ynode_get(s->root, section);
	struct calendar **cal = calendars_of(s, section);
	size_t i = 0;
	int rc = 0;

	if (!list || list->type != YNODE_SEQUENCE || list->nr_children > POL_MAX_RULES)
		return 0;
	if (cal) {
		*cal = arena_get(m->keep, list->nr_children + 1, sizeof(**cal));
		if (!*cal)
			return -ENOMEM;
	}
	check_count(m, section);
	for (const struct ynode *r = list->child; r && !rc; r = r->next)
		rc = check_rule(m, section, r, cal ? &(*cal)[i++] : NULL);
	return rc;
}

static int check_file(struct meaning *m, struct source *s)
{
	int rc = 0;

	m->file = s;
	for (const struct ynode *n = m->file->root->child; n; n = n->next)
		if (n->type == YNODE_SCALAR)
			check_form(m, "", n, n->key ? n->key : "");
	for (size_t i = 0; !rc && i < XO_ARRAY_SIZE(sections); i++)
		rc = check_section(m, s, sections[i]);
	return rc;
}

int meaning_check(struct source *s, size_t nr, struct arena *keep, struct pol_errors *errors)
{
	struct meaning m = {.s = s, .nr = nr, .keep = keep, .errors = errors};
	int rc = 0;

	for (size_t i = 0; !rc && i < nr; i++)
		rc = check_file(&m, &s[i]);
	if (!rc)
		meaning_freezes(&m);
	return rc;
}
