/* SPDX-License-Identifier: Apache-2.0 */
/* What a schema cannot say: shared by the checks of rules and those of times. */
#ifndef EXOPATCH_POLICY_MEANING_H
#define EXOPATCH_POLICY_MEANING_H

#include "policy/rules.h"

struct meaning {
	const struct source *s;
	size_t nr;
	const struct source *file; /* in hand */
	struct arena *keep;	   /* for calendars */
	unsigned int nr_dry;	   /* rules that never come true, each of them a long search */
	struct pol_errors *errors;
};

#define WRONG(m, n, ...)                                                                           \
	pol_errors_add((m)->errors, (m)->file->name, (n)->line, (n)->column, __VA_ARGS__)

/** text_of - the text under @key; NULL: there is none, or something else */
const char *text_of(const struct ynode *n, const char *key);

/** meaning_calendar - check a window or freeze. @ret: its calendar, empty if it has none
 *  Return: 0, -ENOMEM */
int meaning_calendar(struct meaning *m, const struct ynode *r, struct calendar *ret) XO_MUST_CHECK;

/** meaning_freezes - does every window open outside the freezes, ever? */
void meaning_freezes(struct meaning *m);

#endif
