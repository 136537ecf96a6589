/* SPDX-License-Identifier: Apache-2.0 */
/* Texts of times and durations. Local times are seconds as if the zone were UTC. */
#ifndef EXOPATCH_POLICY_TIMES_H
#define EXOPATCH_POLICY_TIMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

#define MINUTE_S 60
#define HOUR_S	 3600
#define DAY_S	 86400

/* What zone data are good for: from 2000 up to the end of 2037. */
#define TIME_MIN   INT64_C(946684800)
#define TIME_END   INT64_C(2145916800)
#define YEAR_MIN   2000
#define YEAR_MAX   2037
#define MONTHS_ALL ((size_t)(YEAR_MAX - YEAR_MIN + 1) * 12)

/** time_from_civil - seconds of a date and time of day; any valid civil time */
int64_t time_from_civil(int year, unsigned int month, unsigned int day, unsigned int second);

/** time_to_civil - the date @t falls on */
void time_to_civil(int64_t t, int *year, unsigned int *month, unsigned int *day);

/** time_parse - YYYY-MM-DDTHH:MM[:SS][Z]. @utc: whether it ended in Z.
 *  Return: whether @s is that, a day that exists, 2000 to 2037 */
bool time_parse(const char *s, int64_t *ret, bool *utc) XO_MUST_CHECK;

/** duration_parse - a number and one of s, m, h, d. Return: whether @s is that, at most 3650d */
bool duration_parse(const char *s, int64_t *ret) XO_MUST_CHECK;

/** month_parse - YYYY-MM. @ret: months since January of the year 0 */
bool month_parse(const char *s, uint32_t *ret) XO_MUST_CHECK;

#endif
