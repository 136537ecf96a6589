/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a window is open or a freeze holds: worked out once, from 2000 to 2037,
 * as a list of intervals in UTC. libical expands the recurrences and knows the
 * zones; after loading it is not asked again.
 */
#ifndef EXOPATCH_POLICY_CALENDAR_H
#define EXOPATCH_POLICY_CALENDAR_H

#include <stddef.h>

#include "policy/arena.h"
#include "policy/times.h"

/** struct interval - [from, to) */
struct interval {
	int64_t from, to;
};

/** struct calendar - sorted, apart from each other; owned by an arena */
struct calendar {
	const struct interval *iv;
	size_t nr;
};

/** zone_exists - is @name in the zone data? */
bool zone_exists(const char *name);

/** zone_to_utc - a local time of a zone that exists. A time that a clock skips is taken as if the
 *  clock had not been put forward yet (RFC 5545 3.3.5); one that comes twice is the first one */
int64_t zone_to_utc(const char *zone, int64_t local);

/** zone_month_starts - when each month from January 2000 on starts, MONTHS_ALL of them */
void zone_month_starts(const char *zone, int64_t ret[MONTHS_ALL]);

/** struct recurrence - what a window or freeze says */
struct recurrence {
	const char *zone;
	int64_t start;	   /* local */
	int64_t duration;  /* seconds that really pass */
	const char *rrule; /* or NULL: once */
};

/**
 * calendar_build - expand @r
 * @why: what is wrong with the rule, in the first two cases
 * Return: 0, -XO_EMALFORMED, -ENOENT (it never comes true), -ENOMEM
 */
int calendar_build(struct arena *a, const struct recurrence *r, struct calendar *ret,
		   const char **why) XO_MUST_CHECK;

/** calendar_at - the interval that holds @t, or the first after it, or NULL */
const struct interval *calendar_at(const struct calendar *c, int64_t t);

#endif
