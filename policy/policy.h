/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policy: who may be patched, when, in what order, and why not now.
 *
 * Texts of a policy and of facts go in, and a time; verdicts with reasons come
 * out. No I/O, no clock, no globals (libical reads the zones it is asked for,
 * once, while a policy is loaded): the same policy, facts and time always give
 * the same verdict. docs/policy.md has the rules, docs/formats/policy.md and
 * docs/formats/facts.md the formats.
 *
 * Times are seconds since 1970 in UTC, durations are seconds.
 */
#ifndef EXOPATCH_POLICY_H
#define EXOPATCH_POLICY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"
#include "base/util.h"

#define POL_NEVER INT64_MAX

#define POL_POLICY_MAX_BYTES (1U << 20)	 /* of each policy file */
#define POL_FACTS_MAX_BYTES  (64U << 20) /* of each facts file: some 200,000 VMs */
#define POL_MAX_FILES	     64

/** pol_facts_too_much - why a facts file is not even parsed: static, for people; or NULL */
const char *pol_facts_too_much(struct span text);

/** struct pol_text - one file's name, for messages, and its content; borrowed */
struct pol_text {
	const char *name;
	struct span text;
};

/** struct pol_error - one thing that is wrong with a file */
struct pol_error {
	char *file;		   /* escaped */
	unsigned int line, column; /* from 1; 0 where the file has none */
	char *text;		   /* escaped; what is wrong and what would be right */
};

#define POL_MAX_ERRORS 200

/** struct pol_errors - all errors of a load; zero-initialise, pol_errors_free */
struct pol_errors {
	struct pol_error *error;
	size_t nr;
	size_t dropped; /* beyond POL_MAX_ERRORS */
};

void pol_errors_free(struct pol_errors *e);

struct pol_policy;

/**
 * pol_policy_load - read a policy, all of it or nothing
 * @file: one or more files, hostile, in any order; together they are the policy
 * @ret: set only if no error was found; pol_policy_free
 * @errors: every error of every file, by file and line
 * Return: 0, -XO_EMALFORMED (look at @errors), -ENOMEM
 */
int pol_policy_load(const struct pol_text *file, size_t nr, struct pol_policy **ret,
		    struct pol_errors *errors) XO_MUST_CHECK;
void pol_policy_free(struct pol_policy *p);

/** pol_policy_digest - SHA-256 of what the policy says, whatever the order of files and keys */
const uint8_t *pol_policy_digest(const struct pol_policy *p);

struct pol_fleet;

/**
 * pol_fleet_load - read facts about VMs and patches
 * @file: one or more JSON files, hostile, in any order
 * @at: the time it is; facts from after it are errors
 * @ret: set only if no error was found; pol_fleet_free
 * Return: 0, -XO_EMALFORMED (look at @errors), -ENOMEM
 */
int pol_fleet_load(const struct pol_text *file, size_t nr, int64_t at, struct pol_fleet **ret,
		   struct pol_errors *errors) XO_MUST_CHECK;
void pol_fleet_free(struct pol_fleet *f);
const uint8_t *pol_fleet_digest(const struct pol_fleet *f);
size_t pol_fleet_vms(const struct pol_fleet *f);
size_t pol_fleet_patches(const struct pol_fleet *f);

/** pol_find_vm, pol_find_patch - by name or id. Return: the index, or -1 */
long pol_find_vm(const struct pol_fleet *f, const char *name);
long pol_find_patch(const struct pol_fleet *f, const char *id);
const char *pol_vm_name(const struct pol_fleet *f, size_t vm);
const char *pol_patch_id(const struct pol_fleet *f, size_t patch);

enum pol_state {
	POL_ALLOWED,	/* now */
	POL_WAITING,	/* for a time, for others, or for a person */
	POL_DENIED,	/* by a rule */
	POL_INELIGIBLE, /* the VM or the patch is not fit for it */
	POL_ACTIVE,	/* nothing to do */
};

enum pol_action { POL_APPLY, POL_REBOOT, POL_REVERT };

/* What stands in the way; the first that applies decides. Keys: pol_kind_key. */
enum pol_kind {
	POL_BY_HEALTH,	    /* it did harm here: revert it */
	POL_BY_ACTIVE,	    /* the patch, or a newer one of its id, is active */
	POL_BY_KERNEL,	    /* it is for another kernel */
	POL_BY_DENY,	    /* deny */
	POL_BY_ROLLED_BACK, /* this payload was rolled back on this VM */
	POL_BY_ALLOW,	    /* no allow rule names it */
	POL_BY_SERIAL,	    /* a newer serial or epoch was seen on this VM */
	POL_BY_VERSION,	    /* an older version is active, and must be reverted first */
	POL_BY_ELIGIBILITY, /* eligibility */
	POL_BY_BASELINE,    /* the VM's baseline is too old */
	POL_BY_PREREQUISITE,
	POL_BY_STALE,	 /* the facts are too old to act on */
	POL_BY_PAUSE,	 /* pauses */
	POL_BY_NO_RING,	 /* no ring takes the VM */
	POL_BY_HALT,	 /* the ring halted: too many failures */
	POL_BY_RING,	 /* the ring before has not baked well yet */
	POL_BY_FREEZE,	 /* freezes */
	POL_BY_DEFERRAL, /* deferrals */
	POL_BY_MONTH,	 /* a baseline waits for a baseline month */
	POL_BY_WINDOW,	 /* windows */
	POL_BY_BUSY,	 /* the VM has another patch in hand */
	POL_BY_LIMIT,	 /* limits */
	POL_BY_NOTHING,	 /* allowed */
	POL_KINDS = POL_BY_NOTHING,
};

#define POL_NO_RULE UINT16_MAX

/** struct pol_verdict - on one patch for one VM */
struct pol_verdict {
	uint32_t vm, patch; /* indexes in the fleet */
	uint8_t state;	    /* enum pol_state */
	uint8_t action;	    /* enum pol_action */
	uint8_t by;	    /* enum pol_kind: what decided */
	bool overdue;	    /* past its deadline */
	uint16_t rule;	    /* which rule of that kind (of those that allow it the first by name);
			     * POL_NO_RULE: one that is built in */
	uint16_t nr_later;  /* the plan's own: what depends on the verdicts before */
	uint32_t also;	    /* bit mask of 1 << enum pol_kind: all that stands in the way */
	uint32_t later;
	int64_t when;  /* the first time it could be allowed, as things are; POL_NEVER: no
			* time will do by itself. Allowed: the time of the plan */
	int64_t until; /* nothing changes before this by the passing of time alone */
};

struct pol_plan;

/**
 * pol_plan_new - a verdict for every VM and patch
 * @p, @f: borrowed, and outlive the plan
 * @at: the time it is
 * Return: 0, -ENOMEM, -XO_ELIMIT (more than 64 million verdicts, or @at outside 2000 to 2037)
 */
int pol_plan_new(const struct pol_policy *p, const struct pol_fleet *f, int64_t at,
		 struct pol_plan **ret) XO_MUST_CHECK;
void pol_plan_free(struct pol_plan *plan);

/** pol_plan_size - how many verdicts: one for every VM and patch */
size_t pol_plan_size(const struct pol_plan *plan);

/** pol_plan_item - the verdicts in the order they are to be acted on: first what is allowed, as it
 *  starts; then what waits, soonest first; then the rest, by patch and VM. @i < pol_plan_size */
const struct pol_verdict *pol_plan_item(const struct pol_plan *plan, size_t i);

/** pol_plan_verdict - on one pair */
const struct pol_verdict *pol_plan_verdict(const struct pol_plan *plan, size_t vm, size_t patch);

/** pol_plan_empty_group - the name of the @i-th group, by name, that no VM of the facts is in;
 * NULL: there are not so many */
const char *pol_plan_empty_group(const struct pol_plan *plan, size_t i);

/** pol_plan_until - no verdict changes before this by the passing of time alone */
int64_t pol_plan_until(const struct pol_plan *plan);

/**
 * pol_verdict_json - a verdict as docs/formats/policy.md has it; owned by the caller
 * @reasons: with the reasons, each with its rule and line
 * Return: the object, or NULL for want of memory
 */
json_t *pol_verdict_json(const struct pol_plan *plan, const struct pol_verdict *v, bool reasons);

/**
 * pol_statement - the decision as bytes to be signed and kept as evidence: canonical JSON with
 *                 the digests of policy and facts, the time, the verdict and all its reasons
 * @ret: an object; json_dumps(JSON_COMPACT | JSON_SORT_KEYS) gives the bytes
 * @digest: SHA-256 of those bytes
 * Return: 0, -ENOMEM, -XO_EINTERNAL
 */
int pol_statement(const struct pol_plan *plan, const struct pol_verdict *v, json_t **ret,
		  uint8_t digest[XO_SHA256_BYTES]) XO_MUST_CHECK;

/** struct pol_failure - for a simulation: this patch fails on this VM */
struct pol_failure {
	const char *vm, *patch;
};

/**
 * pol_simulate - play the roll-out from the facts on, assuming that all goes well
 * @from: the facts' time or later; @to: when to stop
 * @failure: what does not go well: a panic a minute after the apply
 * @ret: docs/formats/policy.md, owned by the caller
 * Return: 0, -ENOMEM, -XO_ELIMIT (more steps than a simulation takes)
 */
int pol_simulate(const struct pol_policy *p, const struct pol_fleet *f, int64_t from, int64_t to,
		 const struct pol_failure *failure, size_t nr_failures, json_t **ret) XO_MUST_CHECK;

const char *pol_state_key(enum pol_state s);
const char *pol_action_key(enum pol_action a);
const char *pol_kind_key(enum pol_kind k);

#define POL_TIME_SIZE 21 /* YYYY-MM-DDTHH:MM:SSZ and the NUL */

/** pol_format_time - RFC 3339 in UTC, as facts have it; "never" for POL_NEVER */
char *pol_format_time(int64_t t, char out[POL_TIME_SIZE]);

/** pol_parse_time - YYYY-MM-DDTHH:MM:SSZ. Return: whether @s is that, from 2000 to 2037 */
bool pol_parse_time(const char *s, int64_t *ret) XO_MUST_CHECK;

static inline void pol_policy_free_ptr(struct pol_policy **p)
{
	pol_policy_free(*p);
}

static inline void pol_fleet_free_ptr(struct pol_fleet **f)
{
	pol_fleet_free(*f);
}

static inline void pol_plan_free_ptr(struct pol_plan **p)
{
	pol_plan_free(*p);
}

#define _cleanup_pol_errors_ XO_CLEANUP(pol_errors_free)
#define _cleanup_pol_policy_ XO_CLEANUP(pol_policy_free_ptr)
#define _cleanup_pol_fleet_  XO_CLEANUP(pol_fleet_free_ptr)
#define _cleanup_pol_plan_   XO_CLEANUP(pol_plan_free_ptr)

#endif
