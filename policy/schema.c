// SPDX-License-Identifier: Apache-2.0
#include "policy/schema.h"

#define OPTIONAL     CYAML_FLAG_OPTIONAL
#define OPTIONAL_PTR (CYAML_FLAG_POINTER_NULL | CYAML_FLAG_OPTIONAL)
#define NAMES_FLAGS  (CYAML_FLAG_STRICT | CYAML_FLAG_CASE_SENSITIVE)

#define TEXT(type, key, member, flags)                                                             \
	CYAML_FIELD_STRING_PTR(key, (flags) | CYAML_FLAG_POINTER, type, member, 1, POL_MAX_WORD_LEN)
#define TEXTS(type, key, member)                                                                   \
	CYAML_FIELD_SEQUENCE(key, CYAML_FLAG_POINTER | OPTIONAL, type, member, &word, 1,           \
			     POL_MAX_WORDS)
#define NAMES(type, key, member, names)                                                            \
	CYAML_FIELD_FLAGS(key, NAMES_FLAGS | OPTIONAL, type, member, names, CYAML_ARRAY_LEN(names))
#define HEAD(type)                                                                                 \
	TEXT(type, "name", head.name, CYAML_FLAG_DEFAULT), TEXTS(type, "groups", head.groups)
#define PATCHES(type)                                                                              \
	CYAML_FIELD_MAPPING_PTR("patches", OPTIONAL_PTR, type, patches, patches_fields)
#define RULES(key, member, entry)                                                                  \
	CYAML_FIELD_SEQUENCE(key, CYAML_FLAG_POINTER | OPTIONAL, struct raw_policy, member,        \
			     &(entry), 1, POL_MAX_RULES)
#define ENTRY(name, type, fields)                                                                  \
	static const cyaml_schema_value_t name = {                                                 \
		CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, type, fields)}

static const cyaml_strval_t formats[] = {{"policy/1", 1}};
static const cyaml_strval_t skips[] = {{"windows", POL_SKIP_WINDOWS},
				       {"deferrals", POL_SKIP_DEFERRALS},
				       {"freezes", POL_SKIP_FREEZES},
				       {"rings", POL_SKIP_RINGS}};
static const cyaml_strval_t requirements[] = {{"guard", POL_REQUIRE_GUARD},
					      {"home", POL_REQUIRE_HOME},
					      {"not-confidential", POL_REQUIRE_NOT_CONFIDENTIAL}};
static const cyaml_strval_t rams[] = {{"shared", POL_RAM_SHARED}, {"private", POL_RAM_PRIVATE}};
static const cyaml_strval_t thens[] = {{"revert", POL_THEN_REVERT}, {"halt", POL_THEN_HALT}};
static const cyaml_strval_t pers[] = {{"all", POL_PER_ALL},
				      {"host", POL_PER_HOST},
				      {"group", POL_PER_GROUP},
				      {"ring", POL_PER_RING}};
const cyaml_strval_t pol_severities[4] = {{"low", POL_LOW},
					  {"moderate", POL_MODERATE},
					  {"important", POL_IMPORTANT},
					  {"critical", POL_CRITICAL}};
const cyaml_strval_t pol_signals[8] = {{"panic", POL_PANIC}, {"oops", POL_OOPS},
				       {"warn", POL_WARN},   {"lockup", POL_LOCKUP},
				       {"stall", POL_STALL}, {"reboot", POL_REBOOTED},
				       {"probe", POL_PROBE}, {"violation", POL_VIOLATION}};

static const cyaml_schema_value_t word = {
	CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, POL_MAX_WORD_LEN)};
static const cyaml_schema_value_t number = {CYAML_VALUE_UINT(CYAML_FLAG_DEFAULT, uint32_t)};

static const cyaml_schema_field_t vms_fields[] = {
	TEXTS(struct raw_vms, "domains", domains), TEXTS(struct raw_vms, "metadata", metadata),
	TEXTS(struct raw_vms, "labels", labels),   TEXTS(struct raw_vms, "kernels", kernels),
	TEXTS(struct raw_vms, "archs", archs),	   CYAML_FIELD_END};
ENTRY(vms, struct raw_vms, vms_fields);

static const cyaml_schema_field_t patches_fields[] = {
	TEXTS(struct raw_patches, "advisories", advisories),
	TEXTS(struct raw_patches, "packages", packages),
	TEXTS(struct raw_patches, "payloads", payloads),
	TEXTS(struct raw_patches, "signer_roles", signer_roles),
	NAMES(struct raw_patches, "severities", severities, pol_severities),
	CYAML_FIELD_END};

static const cyaml_schema_field_t group_fields[] = {
	TEXT(struct raw_group, "name", name, CYAML_FLAG_DEFAULT),
	CYAML_FIELD_SEQUENCE("include", CYAML_FLAG_POINTER | OPTIONAL, struct raw_group, include,
			     &vms, 1, POL_MAX_WORDS),
	CYAML_FIELD_SEQUENCE("exclude", CYAML_FLAG_POINTER | OPTIONAL, struct raw_group, exclude,
			     &vms, 1, POL_MAX_WORDS),
	CYAML_FIELD_END};
ENTRY(group, struct raw_group, group_fields);

static const cyaml_schema_field_t ring_fields[] = {
	HEAD(struct raw_ring),
	TEXT(struct raw_ring, "after", after, OPTIONAL),
	TEXT(struct raw_ring, "share", share, OPTIONAL),
	TEXT(struct raw_ring, "bake", bake, OPTIONAL),
	CYAML_FIELD_UINT_PTR("count", OPTIONAL_PTR, struct raw_ring, count),
	CYAML_FIELD_UINT_PTR("min_successes", OPTIONAL_PTR, struct raw_ring, min_successes),
	CYAML_FIELD_UINT("max_failures", OPTIONAL, struct raw_ring, max_failures),
	CYAML_FIELD_END};
ENTRY(ring, struct raw_ring, ring_fields);

#define CALENDAR                                                                                   \
	HEAD(struct raw_calendar), TEXT(struct raw_calendar, "zone", zone, OPTIONAL),              \
		TEXT(struct raw_calendar, "start", start, OPTIONAL),                               \
		TEXT(struct raw_calendar, "end", end, OPTIONAL),                                   \
		TEXT(struct raw_calendar, "duration", duration, OPTIONAL),                         \
		TEXT(struct raw_calendar, "rrule", rrule, OPTIONAL)
static const cyaml_schema_field_t window_fields[] = {
	CALENDAR, CYAML_FIELD_BOOL("always", OPTIONAL, struct raw_calendar, always),
	CYAML_FIELD_END};
ENTRY(window, struct raw_calendar, window_fields);
static const cyaml_schema_field_t freeze_fields[] = {CALENDAR, CYAML_FIELD_END};
ENTRY(freeze, struct raw_calendar, freeze_fields);

static const cyaml_schema_field_t pause_fields[] = {
	HEAD(struct raw_pause),
	PATCHES(struct raw_pause),
	TEXT(struct raw_pause, "until", until, OPTIONAL),
	TEXT(struct raw_pause, "zone", zone, OPTIONAL),
	TEXT(struct raw_pause, "reason", reason, OPTIONAL),
	CYAML_FIELD_END};
ENTRY(pause_rule, struct raw_pause, pause_fields);

static const cyaml_schema_field_t deferral_fields[] = {
	HEAD(struct raw_deferral), PATCHES(struct raw_deferral),
	CYAML_FIELD_UINT("days", CYAML_FLAG_DEFAULT, struct raw_deferral, days), CYAML_FIELD_END};
ENTRY(deferral, struct raw_deferral, deferral_fields);

static const cyaml_schema_field_t deadline_fields[] = {
	HEAD(struct raw_deadline),
	PATCHES(struct raw_deadline),
	TEXT(struct raw_deadline, "after", after, CYAML_FLAG_DEFAULT),
	TEXT(struct raw_deadline, "grace", grace, OPTIONAL),
	NAMES(struct raw_deadline, "skips", skips, skips),
	CYAML_FIELD_END};
ENTRY(deadline, struct raw_deadline, deadline_fields);

static const cyaml_schema_field_t expedite_fields[] = {
	HEAD(struct raw_expedite), PATCHES(struct raw_expedite),
	NAMES(struct raw_expedite, "skips", skips, skips), CYAML_FIELD_END};
ENTRY(expedite, struct raw_expedite, expedite_fields);

static const cyaml_schema_field_t choice_fields[] = {HEAD(struct raw_choice),
						     PATCHES(struct raw_choice), CYAML_FIELD_END};
ENTRY(choice, struct raw_choice, choice_fields);

static const cyaml_schema_field_t eligibility_fields[] = {
	HEAD(struct raw_eligibility),
	TEXTS(struct raw_eligibility, "build_ids", build_ids),
	TEXTS(struct raw_eligibility, "archs", archs),
	TEXTS(struct raw_eligibility, "signer_roles", signer_roles),
	NAMES(struct raw_eligibility, "require", require, requirements),
	NAMES(struct raw_eligibility, "ram", ram, rams),
	CYAML_FIELD_UINT("max_baseline_months", OPTIONAL, struct raw_eligibility,
			 max_baseline_months),
	CYAML_FIELD_UINT("min_serial", OPTIONAL, struct raw_eligibility, min_serial),
	CYAML_FIELD_UINT("min_security_epoch", OPTIONAL, struct raw_eligibility,
			 min_security_epoch),
	CYAML_FIELD_END};
ENTRY(eligibility, struct raw_eligibility, eligibility_fields);

static const cyaml_schema_field_t baseline_fields[] = {
	HEAD(struct raw_baseline),
	CYAML_FIELD_SEQUENCE("months", CYAML_FLAG_POINTER | OPTIONAL, struct raw_baseline, months,
			     &number, 1, 12),
	TEXT(struct raw_baseline, "zone", zone, OPTIONAL), CYAML_FIELD_END};
ENTRY(baseline, struct raw_baseline, baseline_fields);

static const cyaml_schema_field_t limit_fields[] = {
	HEAD(struct raw_limit),
	CYAML_FIELD_ENUM("per", NAMES_FLAGS, struct raw_limit, per, pers, CYAML_ARRAY_LEN(pers)),
	CYAML_FIELD_UINT("at_once", OPTIONAL, struct raw_limit, at_once),
	TEXT(struct raw_limit, "spacing", spacing, OPTIONAL), CYAML_FIELD_END};
ENTRY(limit, struct raw_limit, limit_fields);

static const cyaml_schema_field_t health_fields[] = {
	HEAD(struct raw_health),
	CYAML_FIELD_FLAGS("signals", NAMES_FLAGS, struct raw_health, signals, pol_signals,
			  CYAML_ARRAY_LEN(pol_signals)),
	CYAML_FIELD_FLAGS("then", NAMES_FLAGS, struct raw_health, then, thens,
			  CYAML_ARRAY_LEN(thens)),
	TEXT(struct raw_health, "watch", watch, CYAML_FLAG_DEFAULT),
	TEXT(struct raw_health, "probe", probe, OPTIONAL),
	CYAML_FIELD_END};
ENTRY(health, struct raw_health, health_fields);

static const cyaml_schema_field_t policy_fields[] = {
	CYAML_FIELD_ENUM("format", NAMES_FLAGS, struct raw_policy, format, formats,
			 CYAML_ARRAY_LEN(formats)),
	TEXT(struct raw_policy, "zone", zone, OPTIONAL),
	TEXT(struct raw_policy, "facts_max_age", facts_max_age, OPTIONAL),
	RULES("groups", groups, group),
	RULES("rings", rings, ring),
	RULES("windows", windows, window),
	RULES("freezes", freezes, freeze),
	RULES("pauses", pauses, pause_rule),
	RULES("deferrals", deferrals, deferral),
	RULES("deadlines", deadlines, deadline),
	RULES("expedite", expedite, expedite),
	RULES("allow", allow, choice),
	RULES("deny", deny, choice),
	RULES("eligibility", eligibility, eligibility),
	RULES("baselines", baselines, baseline),
	RULES("limits", limits, limit),
	RULES("health", health, health),
	CYAML_FIELD_END};

const cyaml_schema_value_t pol_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_policy, policy_fields)};
