// SPDX-License-Identifier: Apache-2.0
#include "policy/calendar.h"

#include <errno.h>
#include <libical/ical.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define MAX_OCCURRENCES ((YEAR_MAX - YEAR_MIN + 1) * 366)
#define MAX_COUNT	10000
#define MAX_INTERVAL	1000
#define MAX_RRULE	200

bool zone_exists(const char *name)
{
	if (strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/") !=
		    strlen(name) ||
	    name[0] == '/' || strlen(name) > 63)
		return false;
	return !strcmp(name, "UTC") || icaltimezone_get_builtin_timezone(name);
}

/* NULL: UTC. */
static icaltimezone *zone_named(const char *name)
{
	return strcmp(name, "UTC") ? icaltimezone_get_builtin_timezone(name) : NULL;
}

/* Seconds east of UTC at the instant @t. */
static int64_t offset_at(icaltimezone *z, int64_t t)
{
	struct icaltimetype utc;

	if (!z)
		return 0;
	utc = icaltime_from_timet_with_zone(t, 0, icaltimezone_get_utc_timezone());
	return icaltimezone_get_utc_offset_of_utc_time(z, &utc, NULL);
}

static int64_t to_utc(icaltimezone *z, int64_t local)
{
	int64_t before = offset_at(z, local - DAY_S), after = offset_at(z, local + DAY_S);

	if (before == after || offset_at(z, local - before) == before)
		return local - before;
	if (offset_at(z, local - after) == after)
		return local - after;
	return local - before;
}

int64_t zone_to_utc(const char *zone, int64_t local)
{
	return to_utc(zone_named(zone), local);
}

void zone_month_starts(const char *zone, int64_t ret[MONTHS_ALL])
{
	for (unsigned int i = 0; i < MONTHS_ALL; i++)
		ret[i] = zone_to_utc(zone,
				     time_from_civil((int)(YEAR_MIN + i / 12), i % 12 + 1, 1, 0));
}

struct part {
	const char *value;
	size_t len;
};

/* The values of the parts that are taken; the day's time is the start's. */
enum {
	FREQ,
	INTERVAL,
	COUNT,
	UNTIL,
	WKST,
	BYMONTH,
	BYMONTHDAY,
	BYDAY,
	BYSETPOS,
	BYYEARDAY,
	BYWEEKNO,
	NR_PARTS
};

static const char *const part_names[NR_PARTS] = {"FREQ",     "INTERVAL",  "COUNT",	"UNTIL",
						 "WKST",     "BYMONTH",	  "BYMONTHDAY", "BYDAY",
						 "BYSETPOS", "BYYEARDAY", "BYWEEKNO"};

static const char *split_rrule(const char *s, struct part part[NR_PARTS])
{
	if (strlen(s) > MAX_RRULE)
		return "the rule is too long";
	for (;;) {
		const char *eq = strchr(s, '='), *end = strchrnul(s, ';');
		size_t i;

		if (!eq || eq > end || eq + 1 == end)
			return "the rule must be KEY=VALUE;KEY=VALUE...";
		for (i = 0; i < NR_PARTS; i++)
			if (strlen(part_names[i]) == (size_t)(eq - s) &&
			    !memcmp(part_names[i], s, (size_t)(eq - s)))
				break;
		if (i == NR_PARTS)
			return "the rule has a part other than FREQ, INTERVAL, COUNT, UNTIL, WKST, "
			       "BYMONTH, BYMONTHDAY, BYDAY, BYSETPOS, BYYEARDAY and BYWEEKNO; the "
			       "time of day is that of start";
		if (part[i].value)
			return "the rule has a part twice";
		part[i] = (struct part){.value = eq + 1, .len = (size_t)(end - eq - 1)};
		if (!*end)
			return NULL;
		s = end + 1;
	}
}

static bool number_within(const struct part *p, long max)
{
	char *end;
	long v;

	if (!p->value)
		return true;
	v = strtol(p->value, &end, 10);
	return end == p->value + p->len && v >= 1 && v <= max;
}

static bool is_freq(const struct part *p)
{
	static const char *const names[] = {"DAILY", "WEEKLY", "MONTHLY", "YEARLY"};

	for (size_t i = 0; p->value && i < XO_ARRAY_SIZE(names); i++)
		if (strlen(names[i]) == p->len && !memcmp(names[i], p->value, p->len))
			return true;
	return false;
}

/* YYYYMMDD or YYYYMMDDTHHMMSS, in the window's zone. */
static bool is_until(const struct part *p)
{
	size_t digits = p->value ? strspn(p->value, "0123456789") : 8;

	if (!p->value || (digits == 8 && p->len == 8))
		return true;
	return digits == 8 && p->len == 15 && p->value[8] == 'T' &&
	       strspn(p->value + 9, "0123456789") == 6;
}

static const char *check_rrule(const char *s)
{
	struct part part[NR_PARTS] = {0};
	const char *why = split_rrule(s, part);

	if (why)
		return why;
	if (!is_freq(&part[FREQ]))
		return "FREQ must be one of DAILY, WEEKLY, MONTHLY, YEARLY";
	if (!number_within(&part[COUNT], MAX_COUNT))
		return "COUNT must be from 1 to 10000";
	if (!number_within(&part[INTERVAL], MAX_INTERVAL))
		return "INTERVAL must be from 1 to 1000";
	if (!is_until(&part[UNTIL]))
		return "UNTIL must be YYYYMMDD or YYYYMMDDTHHMMSS, in the zone of start";
	if (part[COUNT].value && part[UNTIL].value)
		return "COUNT and UNTIL exclude each other";
	return NULL;
}

/* Libical searches for centuries for what never comes; the common cases are plain to see. */
static bool never_comes(const struct icalrecurrencetype *r)
{
	static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	if (r->by_month[0] == ICAL_RECURRENCE_ARRAY_MAX ||
	    r->by_month_day[0] == ICAL_RECURRENCE_ARRAY_MAX)
		return false;
	for (size_t m = 0; m < 12 && r->by_month[m] != ICAL_RECURRENCE_ARRAY_MAX; m++)
		for (size_t d = 0; d < 31 && r->by_month_day[d] != ICAL_RECURRENCE_ARRAY_MAX; d++)
			if (r->by_month[m] >= 1 && r->by_month[m] <= 12 &&
			    abs(r->by_month_day[d]) <= days[r->by_month[m] - 1])
				return false;
	return true;
}

static struct icaltimetype to_ical(int64_t local)
{
	return icaltime_from_timet_with_zone(local, 0, NULL);
}

struct list {
	struct interval *iv;
	size_t nr, room;
};

static int add_interval(struct list *l, int64_t from, int64_t to)
{
	/* Local times ascend, and so do the instants but for an hour in autumn. */
	if (l->nr && from <= l->iv[l->nr - 1].to) {
		if (to > l->iv[l->nr - 1].to)
			l->iv[l->nr - 1].to = to;
		return 0;
	}
	if (l->nr == l->room) {
		size_t room = l->room ? 2 * l->room : 64;
		struct interval *grown = reallocarray(l->iv, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		l->iv = grown;
		l->room = room;
	}
	l->iv[l->nr++] = (struct interval){.from = from, .to = to};
	return 0;
}

static int expand(const struct recurrence *r, struct icalrecurrencetype *rule, struct list *l)
{
	icaltimezone *zone = zone_named(r->zone);
	icalrecur_iterator *it;
	int rc = 0;

	if (!rule->count && icaltime_is_null_time(rule->until))
		rule->until = to_ical(TIME_END - 1);
	it = icalrecur_iterator_new(*rule, to_ical(r->start));
	if (!it)
		return 0;
	for (unsigned int i = 0; !rc && i < MAX_OCCURRENCES; i++) {
		struct icaltimetype next = icalrecur_iterator_next(it);
		int64_t local, from;

		if (icaltime_is_null_time(next))
			break;
		local = icaltime_as_timet(next);
		if (local >= TIME_END)
			break;
		from = to_utc(zone, local);
		rc = add_interval(l, from, from + r->duration);
	}
	icalrecur_iterator_free(it);
	return rc;
}

static int recur(const struct recurrence *r, struct list *l, const char **why)
{
	struct icalrecurrencetype rule;
	int rc = 0;

	*why = check_rrule(r->rrule);
	if (*why)
		return -XO_EMALFORMED;
	rule = icalrecurrencetype_from_string(r->rrule);
	if (rule.freq == ICAL_NO_RECURRENCE)
		*why = "the rule is not one of RFC 5545";
	else if (never_comes(&rule))
		*why = "the rule names days that never come";
	else
		rc = expand(r, &rule, l);
	if (rc || *why || l->nr)
		return *why ? -XO_EMALFORMED : rc;
	*why = "the rule never comes true from start to the end of 2037";
	return -ENOENT;
}

int calendar_build(struct arena *a, const struct recurrence *r, struct calendar *ret,
		   const char **why)
{
	struct list l = {0};
	struct interval *iv;
	int64_t from;
	int rc;

	*why = NULL;
	if (r->rrule) {
		rc = recur(r, &l, why);
	} else {
		from = zone_to_utc(r->zone, r->start);
		rc = add_interval(&l, from, from + r->duration);
	}
	if (!rc) {
		iv = arena_get(a, l.nr, sizeof(*iv));
		rc = iv ? 0 : -ENOMEM;
	}
	if (!rc) {
		memcpy(iv, l.iv, l.nr * sizeof(*iv));
		*ret = (struct calendar){.iv = iv, .nr = l.nr};
	}
	free(l.iv);
	return rc;
}

const struct interval *calendar_at(const struct calendar *c, int64_t t)
{
	size_t low = 0, high = c->nr;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (c->iv[mid].to <= t)
			low = mid + 1;
		else
			high = mid;
	}
	return low < c->nr ? &c->iv[low] : NULL;
}
