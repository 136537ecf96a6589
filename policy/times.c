// SPDX-License-Identifier: Apache-2.0
#include "policy/times.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "policy/policy.h"

/* Days of the proleptic Gregorian calendar, counted in years that begin in March. */
static int64_t days_from_civil(int year, unsigned int month, unsigned int day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t of_era = y - era * 400;
	int64_t of_year = (153 * ((int64_t)month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

int64_t time_from_civil(int year, unsigned int month, unsigned int day, unsigned int second)
{
	return days_from_civil(year, month, day) * DAY_S + second;
}

void time_to_civil(int64_t t, int *year, unsigned int *month, unsigned int *day)
{
	int64_t z = (t >= 0 ? t : t - (DAY_S - 1)) / DAY_S + 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	int64_t of_era = z - era * 146097;
	int64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * y + y / 4 - y / 100);
	int64_t m = (5 * of_year + 2) / 153;

	*day = (unsigned int)(of_year - (153 * m + 2) / 5 + 1);
	*month = (unsigned int)(m < 10 ? m + 3 : m - 9);
	*year = (int)(y + era * 400 + (*month <= 2));
}

static unsigned int days_of_month(int year, unsigned int month)
{
	static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap ? 1U : 0U);
}

/* @nr digits at @s. */
static bool take_number(const char *s, size_t nr, unsigned int *ret)
{
	unsigned int v = 0;

	for (size_t i = 0; i < nr; i++) {
		if (!isdigit((unsigned char)s[i]))
			return false;
		v = v * 10 + (unsigned int)(s[i] - '0');
	}
	*ret = v;
	return true;
}

static bool take_date(const char *s, int *year, unsigned int *month, unsigned int *day)
{
	unsigned int y;

	if (!take_number(s, 4, &y) || s[4] != '-' || !take_number(s + 5, 2, month) || s[7] != '-' ||
	    !take_number(s + 8, 2, day))
		return false;
	*year = (int)y;
	return y >= YEAR_MIN && y <= YEAR_MAX && *month >= 1 && *month <= 12 && *day >= 1 &&
	       *day <= days_of_month(*year, *month);
}

bool time_parse(const char *s, int64_t *ret, bool *utc)
{
	unsigned int month, day, h, m, sec = 0;
	size_t n = strlen(s), at = 16;
	int year;

	if (n < at || n > 20 || !take_date(s, &year, &month, &day) || s[10] != 'T' ||
	    !take_number(s + 11, 2, &h) || s[13] != ':' || !take_number(s + 14, 2, &m))
		return false;
	if (s[at] == ':') {
		if (n < 19 || !take_number(s + 17, 2, &sec))
			return false;
		at = 19;
	}
	*utc = s[at] == 'Z';
	if (s[at + *utc] || h > 23 || m > 59 || sec > 59)
		return false;
	*ret = time_from_civil(year, month, day, h * HOUR_S + m * MINUTE_S + sec);
	return true;
}

bool pol_parse_time(const char *s, int64_t *ret)
{
	int64_t t;
	bool utc;

	if (!time_parse(s, &t, &utc) || !utc || strlen(s) != POL_TIME_SIZE - 1)
		return false;
	*ret = t;
	return true;
}

char *pol_format_time(int64_t t, char out[POL_TIME_SIZE])
{
	unsigned int month, day, s;
	int year;

	if (t < TIME_MIN || t >= TIME_END) {
		snprintf(out, POL_TIME_SIZE, "never");
		return out;
	}
	time_to_civil(t, &year, &month, &day);
	s = (unsigned int)(t % DAY_S);
	snprintf(out, POL_TIME_SIZE, "%04u-%02u-%02uT%02u:%02u:%02uZ", (unsigned int)year % 10000,
		 month % 100, day % 100, s / HOUR_S % 100, s / MINUTE_S % 60, s % 60);
	return out;
}

bool duration_parse(const char *s, int64_t *ret)
{
	static const struct {
		char letter;
		int64_t s;
	} units[] = {{'s', 1}, {'m', MINUTE_S}, {'h', HOUR_S}, {'d', DAY_S}};
	size_t n = strspn(s, "0123456789");
	unsigned int v;

	if (!n || n > 8 || !take_number(s, n, &v) || !s[n] || s[n + 1])
		return false;
	for (size_t i = 0; i < XO_ARRAY_SIZE(units); i++) {
		if (s[n] != units[i].letter || v * units[i].s > 3650 * INT64_C(86400))
			continue;
		*ret = v * units[i].s;
		return true;
	}
	return false;
}

bool month_parse(const char *s, uint32_t *ret)
{
	unsigned int year, month;

	if (strlen(s) != 7 || !take_number(s, 4, &year) || s[4] != '-' ||
	    !take_number(s + 5, 2, &month) || year < YEAR_MIN || year > YEAR_MAX || month < 1 ||
	    month > 12)
		return false;
	*ret = year * 12 + month - 1;
	return true;
}
