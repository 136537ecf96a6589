/* SPDX-License-Identifier: Apache-2.0 */
/* Policies and facts that a seeded generator makes up; JSON, which is YAML. */
#ifndef EXOPATCH_TESTS_POLGEN_H
#define EXOPATCH_TESTS_POLGEN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POLGEN_VMS     14
#define POLGEN_PATCHES 4
#define POLGEN_AT      "2026-03-04T12:00:00Z" /* of the facts */
#define POLGEN_WATCH_S 600		      /* of the policy's health rule */

/** polgen_seed - what is made from here on is the @nr-th of its kind */
void polgen_seed(uint64_t nr);

/** polgen_pick - a number below @n */
uint32_t polgen_pick(uint32_t n);
bool polgen_one_in(uint32_t n);

/** polgen_policy - owned by the caller. @limits: with limits */
json_t *polgen_policy(bool limits);
json_t *polgen_facts(void);

/** polgen_add_rule - take @r in as one of @kind */
void polgen_add_rule(json_t *policy, const char *kind, json_t *r);

/** polgen_add_calendar - one more window or freeze, the @i-th */
void polgen_add_calendar(json_t *policy, const char *kind, uint32_t i);

/** polgen_shuffled - a copy with all keys, and with @items all lists, in another order */
json_t *polgen_shuffled(const json_t *o, bool items);

/** polgen_split - the sections of @doc as the texts of two files; free() both */
void polgen_split(const json_t *doc, char *text[2]);

#endif
