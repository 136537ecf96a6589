/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shape of a policy file: one table in libcyaml's form. ycheck.c checks a
 * tree against it and reports every error with its place; libcyaml then loads
 * the text by it; a test compares it with policy/schema/policy.schema.json.
 */
#ifndef EXOPATCH_POLICY_SCHEMA_H
#define EXOPATCH_POLICY_SCHEMA_H

#include <cyaml/cyaml.h>
#include <stdbool.h>
#include <stdint.h>

#include "policy/errors.h"
#include "policy/ytree.h"

/* Bits of the flag lists, in the order of their names in schema.c. */
enum { POL_SKIP_WINDOWS = 1, POL_SKIP_DEFERRALS = 2, POL_SKIP_FREEZES = 4, POL_SKIP_RINGS = 8 };
enum { POL_REQUIRE_GUARD = 1, POL_REQUIRE_HOME = 2, POL_REQUIRE_NOT_CONFIDENTIAL = 4 };
enum { POL_RAM_SHARED = 1, POL_RAM_PRIVATE = 2 };
enum { POL_THEN_REVERT = 1, POL_THEN_HALT = 2 };
enum pol_severity {
	POL_LOW = 1,
	POL_MODERATE = 2,
	POL_IMPORTANT = 4,
	POL_CRITICAL = 8,
};
enum pol_signal {
	POL_PANIC = 1,
	POL_OOPS = 2,
	POL_WARN = 4,
	POL_LOCKUP = 8,
	POL_STALL = 16,
	POL_REBOOTED = 32,
	POL_PROBE = 64,
	POL_VIOLATION = 128,
};
enum pol_per { POL_PER_ALL, POL_PER_HOST, POL_PER_GROUP, POL_PER_RING };

/* A list of texts, as libcyaml loads it. */
#define RAW_LIST(name)                                                                             \
	char **name;                                                                               \
	uint32_t name##_count

/** struct raw_head - what every rule starts with */
struct raw_head {
	char *name;
	RAW_LIST(groups); /* none: every VM */
};

/** struct raw_vms - VMs that match every key that is given */
struct raw_vms {
	RAW_LIST(domains);
	RAW_LIST(metadata);
	RAW_LIST(labels);
	RAW_LIST(kernels);
	RAW_LIST(archs);
};

/** struct raw_patches - patches that match every key that is given */
struct raw_patches {
	RAW_LIST(advisories);
	RAW_LIST(packages);
	RAW_LIST(payloads);
	RAW_LIST(signer_roles);
	uint32_t severities;
};

struct raw_group {
	char *name;
	struct raw_vms *include, *exclude;
	uint32_t include_count, exclude_count;
};

struct raw_ring {
	struct raw_head head;
	char *after, *share, *bake;
	uint32_t *count, *min_successes;
	uint32_t max_failures;
};

/** struct raw_calendar - a window or a freeze */
struct raw_calendar {
	struct raw_head head;
	char *zone, *start, *end, *duration, *rrule;
	bool always;
};

struct raw_pause {
	struct raw_head head;
	struct raw_patches *patches;
	char *until, *zone, *reason;
};

struct raw_deferral {
	struct raw_head head;
	struct raw_patches *patches;
	uint32_t days;
};

struct raw_deadline {
	struct raw_head head;
	struct raw_patches *patches;
	char *after, *grace;
	uint32_t skips;
};

struct raw_expedite {
	struct raw_head head;
	struct raw_patches *patches;
	uint32_t skips;
};

/** struct raw_choice - allow or deny */
struct raw_choice {
	struct raw_head head;
	struct raw_patches *patches;
};

struct raw_eligibility {
	struct raw_head head;
	RAW_LIST(build_ids);
	RAW_LIST(archs);
	RAW_LIST(signer_roles);
	uint32_t require, ram;
	uint32_t max_baseline_months;
	uint32_t min_serial, min_security_epoch;
};

struct raw_baseline {
	struct raw_head head;
	uint32_t *months;
	uint32_t months_count;
	char *zone;
};

struct raw_limit {
	struct raw_head head;
	enum pol_per per;
	uint32_t at_once;
	char *spacing;
};

struct raw_health {
	struct raw_head head;
	uint32_t signals, then;
	char *watch, *probe;
};

#define RAW_RULES(type, name)                                                                      \
	type *name;                                                                                \
	uint32_t name##_count

struct raw_policy {
	int format;
	char *zone, *facts_max_age;
	RAW_RULES(struct raw_group, groups);
	RAW_RULES(struct raw_ring, rings);
	RAW_RULES(struct raw_calendar, windows);
	RAW_RULES(struct raw_calendar, freezes);
	RAW_RULES(struct raw_pause, pauses);
	RAW_RULES(struct raw_deferral, deferrals);
	RAW_RULES(struct raw_deadline, deadlines);
	RAW_RULES(struct raw_expedite, expedite);
	RAW_RULES(struct raw_choice, allow);
	RAW_RULES(struct raw_choice, deny);
	RAW_RULES(struct raw_eligibility, eligibility);
	RAW_RULES(struct raw_baseline, baselines);
	RAW_RULES(struct raw_limit, limits);
	RAW_RULES(struct raw_health, health);
};

#define POL_MAX_RULES	 250  /* of one kind, in all files */
#define POL_MAX_WORDS	 1000 /* of one list */
#define POL_MAX_WORD_LEN 255

extern const cyaml_schema_value_t pol_schema;
extern const cyaml_strval_t pol_severities[4], pol_signals[8];

/** ycheck - compare @n with @schema, all of it */
void ycheck(const char *file, const struct ynode *n, const cyaml_schema_value_t *schema,
	    struct pol_errors *errors);

#endif
