// SPDX-License-Identifier: Apache-2.0
/* Windows and freezes: do their times make sense, and does a window ever open? */
#include <errno.h>
#include <string.h>

#include "policy/meaning.h"

#define MAX_DRY 8

static const char *zone_of(const struct meaning *m, const struct ynode *r)
{
	const char *zone = text_of(r, "zone");

	if (!zone)
		zone = text_of(m->file->root, "zone");
	return zone && zone_exists(zone) ? zone : "UTC";
}

/* Seconds that really pass; 0: wrong, and said. */
static int64_t length_of(struct meaning *m, const struct ynode *r, const struct recurrence *rec,
			 bool utc)
{
	const struct ynode *end = ynode_get(r, "end"), *duration = ynode_get(r, "duration");
	const char *lasts = text_of(r, "duration"), *until = text_of(r, "end");
	bool end_utc;
	int64_t v;

	if (!end == !duration)
		WRONG(m, r, "one of end and duration is needed");
	if (duration && lasts && duration_parse(lasts, &v)) {
		if (v >= MINUTE_S && v <= INT64_C(31) * DAY_S)
			return v;
		WRONG(m, duration, "duration must be from 1m to 31d");
	}
	if (!end || !until || !time_parse(until, &v, &end_utc))
		return 0;
	if (utc != end_utc)
		WRONG(m, end, "start and end must both end in Z, or neither");
	else if (v <= rec->start)
		WRONG(m, end, "never opens: it ends before it starts");
	else if (zone_to_utc(rec->zone, v) > zone_to_utc(rec->zone, rec->start))
		return zone_to_utc(rec->zone, v) - zone_to_utc(rec->zone, rec->start);
	else
		WRONG(m, end, "never opens: clocks are put forward between start and end");
	return 0;
}

static int build(struct meaning *m, const struct ynode *r, const struct recurrence *rec,
		 struct calendar *ret)
{
	const struct ynode *rrule = ynode_get(r, "rrule"), *at = rrule ? rrule : r;
	const char *why;
	int rc;

	if (rrule && !ynode_get(r, "duration"))
		WRONG(m, at, "rrule goes with duration");
	if (rec->rrule && m->nr_dry == MAX_DRY) {
		WRONG(m, at, "rrule: not looked at before those above are right");
		return 0;
	}
	rc = calendar_build(m->keep, rec, ret, &why);
	if (rc != -XO_EMALFORMED && rc != -ENOENT)
		return rc;
	m->nr_dry += rc == -ENOENT;
	WRONG(m, at, "rrule: %s", why);
	return 0;
}

int meaning_calendar(struct meaning *m, const struct ynode *r, struct calendar *ret)
{
	const struct ynode *start = ynode_get(r, "start");
	struct recurrence rec = {.rrule = text_of(r, "rrule")};
	bool utc;

	if (r->type != YNODE_MAPPING)
		return 0;
	if (text_of(r, "always") && !strcmp(text_of(r, "always"), "true")) {
		if (start || ynode_get(r, "end") || ynode_get(r, "duration") || rec.rrule ||
		    ynode_get(r, "zone"))
			WRONG(m, r, "always excludes start, end, duration, rrule and zone");
		return 0;
	}
	if (!start) {
		WRONG(m, r, "key 'start' is missing");
		return 0;
	}
	if (!text_of(r, "start") || !time_parse(start->text, &rec.start, &utc))
		return 0;
	if (utc && ynode_get(r, "zone"))
		WRONG(m, start, "start ends in Z, which is UTC; leave out either that or zone");
	rec.zone = utc ? "UTC" : zone_of(m, r);
	rec.duration = length_of(m, r, &rec, utc);
	if (!rec.duration && !rec.rrule)
		return 0;
	return build(m, r, &rec, ret);
}

/* ---- windows that freezes never let open ---- */

static bool has_word(const struct ynode *list, const char *text)
{
	for (const struct ynode *i = list ? list->child : NULL; i; i = i->next)
		if (i->type == YNODE_SCALAR && !strcmp(i->text, text))
			return true;
	return false;
}

/* Does a rule for groups @a hold for every VM that one for groups @b holds for? */
static bool covers(const struct ynode *a, const struct ynode *b)
{
	if (!a)
		return true;
	for (const struct ynode *g = b ? b->child : NULL; g; g = g->next)
		if (g->type != YNODE_SCALAR || !has_word(a, g->text))
			return false;
	return b;
}

/* Does any rule pass freezes by? Then a window inside one may be meant. */
static bool freezes_are_skipped(const struct meaning *m, const char *section)
{
	for (size_t i = 0; i < m->nr; i++) {
		const struct ynode *list = ynode_get(m->s[i].root, section);

		for (const struct ynode *r = list ? list->child : NULL; r; r = r->next)
			if (has_word(ynode_get(r, "skips"), "freezes"))
				return true;
	}
	return false;
}

/* How far the freezes for @groups hold without a gap from @t on. @name: of one of them */
static int64_t frozen_until(const struct meaning *m, const struct ynode *groups, int64_t t,
			    const char **name)
{
	for (int64_t before = -1; before != t;) {
		before = t;
		for (size_t i = 0; i < m->nr; i++) {
			const struct ynode *list = ynode_get(m->s[i].root, "freezes");
			const struct calendar *cal = m->s[i].freezes;

			for (const struct ynode *f = list && cal ? list->child : NULL; f;
			     f = f->next, cal++) {
				const struct interval *iv = calendar_at(cal, t);

				if (!iv || iv->from > t || !covers(ynode_get(f, "groups"), groups))
					continue;
				t = iv->to;
				*name = text_of(f, "name");
			}
		}
	}
	return t;
}

static void check_window(struct meaning *m, const struct ynode *w, const struct calendar *cal)
{
	const char *name = NULL;

	for (size_t i = 0; i < cal->nr; i++)
		if (frozen_until(m, ynode_get(w, "groups"), cal->iv[i].from, &name) < cal->iv[i].to)
			return;
	if (cal->nr)
		WRONG(m, w, "never opens: whenever it would, freeze '%s' holds", name ? name : "?");
}

void meaning_freezes(struct meaning *m)
{
	if (freezes_are_skipped(m, "expedite") || freezes_are_skipped(m, "deadlines"))
		return;
	for (size_t i = 0; i < m->nr; i++) {
		const struct ynode *list = ynode_get(m->s[i].root, "windows");
		const struct calendar *cal = m->s[i].windows;

		m->file = &m->s[i];
		for (const struct ynode *w = list && cal ? list->child : NULL; w; w = w->next)
			check_window(m, w, cal++);
	}
}
