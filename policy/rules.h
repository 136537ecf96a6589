/* SPDX-License-Identifier: Apache-2.0 */
/* A policy as it is evaluated: names are indexes, texts are numbers. */
#ifndef EXOPATCH_POLICY_RULES_H
#define EXOPATCH_POLICY_RULES_H

#include "policy/calendar.h"
#include "policy/policy.h"
#include "policy/schema.h"

/** struct groupset - a bit for each group */
struct groupset {
	uint64_t word[(POL_MAX_RULES + 63) / 64];
};

/** struct rule - what all rules have */
struct rule {
	const char *name;
	const char *file;
	unsigned int line;
	bool everyone; /* no groups given */
	struct groupset groups;
};

struct group {
	struct rule rule;
	const struct raw_group *raw;
};

#define RING_ALL UINT32_MAX

struct ring {
	struct rule rule;
	int after;		/* index, or -1 */
	uint32_t share;		/* of its groups' VMs, in 1/10000; RING_ALL: all that are left */
	uint32_t count;		/* or that many; RING_ALL: not by count */
	uint32_t min_successes; /* RING_ALL: all members that the patch is for, at least 1 */
	uint32_t max_failures;
	int64_t bake;
};

struct window {
	struct rule rule;
	bool always;
	struct calendar cal;
};

struct pause_rule {
	struct rule rule;
	const struct raw_patches *patches;
	int64_t until;
	const char *reason; /* or NULL */
};

struct deferral {
	struct rule rule;
	const struct raw_patches *patches;
	int64_t wait;
};

struct deadline {
	struct rule rule;
	const struct raw_patches *patches;
	int64_t after, grace;
	uint32_t skips;
};

struct expedite {
	struct rule rule;
	const struct raw_patches *patches;
	uint32_t skips;
};

struct choice {
	struct rule rule;
	const struct raw_patches *patches;
};

struct eligibility {
	struct rule rule;
	const struct raw_eligibility *raw;
};

struct baseline {
	struct rule rule;
	bool month[12];
	int64_t starts[MONTHS_ALL]; /* of each month from January 2000 */
};

struct limit {
	struct rule rule;
	enum pol_per per;
	uint32_t at_once; /* UINT32_MAX: any number */
	int64_t spacing;
};

struct health {
	struct rule rule;
	uint32_t signals, then;
	int64_t watch;
};

#define RULES_OF(type, name)                                                                       \
	struct type *name;                                                                         \
	size_t nr_##name

struct pol_policy {
	struct arena arena;
	struct raw_policy **raw; /* one a file; owns the texts */
	size_t nr_files;
	uint8_t digest[XO_SHA256_BYTES];
	int64_t facts_max_age; /* POL_NEVER: any */
	/* Each sorted by name, so that no order of files or items shows. */
	RULES_OF(group, groups);
	RULES_OF(ring, rings);
	RULES_OF(window, windows);
	RULES_OF(window, freezes);
	RULES_OF(pause_rule, pauses);
	RULES_OF(deferral, deferrals);
	RULES_OF(deadline, deadlines);
	RULES_OF(expedite, expedites);
	RULES_OF(choice, allows);
	RULES_OF(choice, denies);
	RULES_OF(eligibility, eligibilities);
	RULES_OF(baseline, baselines);
	RULES_OF(limit, limits);
	RULES_OF(health, healths);
	uint16_t *ring_order; /* each after the one it follows */
};

/** struct source - one file while it is loaded */
struct source {
	const char *name;
	struct span text;
	struct ynode *root;
	struct calendar *windows, *freezes; /* of each rule, as it was checked */
};

/**
 * meaning_check - what a schema cannot say: names, references, times, contradictions. Trees that
 *                 break the schema are checked as far as they can be
 * @keep: owns the calendars that @s gets
 * Return: 0 (look at @errors), -ENOMEM
 */
int meaning_check(struct source *s, size_t nr, struct arena *keep,
		  struct pol_errors *errors) XO_MUST_CHECK;

/** rules_compile - from p->raw and the trees, both found good. Return: 0, -ENOMEM, -XO_EINTERNAL */
int rules_compile(struct pol_policy *p, const struct source *s) XO_MUST_CHECK;

static inline void groupset_add(struct groupset *g, size_t i)
{
	g->word[i / 64] |= UINT64_C(1) << (i % 64);
}

static inline bool groupset_has(const struct groupset *g, size_t i)
{
	return g->word[i / 64] >> (i % 64) & 1;
}

/** rule_covers - is a VM in groups @of under the rule? */
static inline bool rule_covers(const struct rule *r, const struct groupset *of)
{
	uint64_t common = 0;

	for (size_t i = 0; i < XO_ARRAY_SIZE(of->word); i++)
		common |= r->groups.word[i] & of->word[i];
	return r->everyone || common;
}

#endif
