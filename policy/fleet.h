/* SPDX-License-Identifier: Apache-2.0 */
/* Facts as they are evaluated: equal texts are one word, times are numbers. */
#ifndef EXOPATCH_POLICY_FLEET_H
#define EXOPATCH_POLICY_FLEET_H

#include "policy/arena.h"
#include "policy/errors.h"
#include "policy/schema.h"

/** struct word - a text that is there once: equal texts have the same address */
struct word {
	uint32_t id; /* from 0, without gaps */
	uint32_t hash;
	char text[];
};

struct words {
	const struct word **word;
	uint32_t nr;
};

struct signal {
	uint32_t signal; /* enum pol_signal */
	int64_t at;
};

enum applied_state { APPLIED_ACTIVE, APPLIED_APPLYING, APPLIED_REVERTED, APPLIED_FAILED };

/** struct applied - what became of a patch on a VM */
struct applied {
	const struct word *id, *payload;
	uint64_t serial, security_epoch;
	int64_t at;
	uint32_t state;
	int64_t watched_until; /* health was watched from @at up to here */
	struct signal *signals;
	uint32_t nr_signals;
};

/** applied_is_there - its code is in the guest, or may be */
static inline bool applied_is_there(const struct applied *a)
{
	return a->state == APPLIED_ACTIVE || a->state == APPLIED_APPLYING;
}

enum { RAM_UNKNOWN = 0 };

struct vm {
	const struct word *name, *host, *kernel, *build_id, *arch;
	struct words labels, metadata;	    /* key=value */
	uint32_t baseline;		    /* month, 0: unknown */
	uint32_t ram;			    /* POL_RAM_*, RAM_UNKNOWN */
	bool guard, home, not_confidential; /* false: no, or not known */
	int64_t since;			    /* when it last became reachable; 0: unknown */
	struct applied *applied;
	uint32_t nr_applied;
	struct words rolled_back; /* payload digests */
};

enum patch_kind { PATCH_HOTPATCH, PATCH_BASELINE };

struct patch {
	const struct word *id, *payload, *arch, *kernel;
	struct words advisories, signer_roles, build_ids, kernels, requires;
	uint32_t kind, severity;
	uint32_t baseline; /* month, 0: by its release */
	uint64_t serial, security_epoch;
	int64_t released;
};

struct pol_fleet {
	struct arena arena;
	const struct word **slot; /* hash table of the words */
	size_t nr_slots, nr_words;
	int64_t at; /* of the oldest file */
	uint8_t digest[XO_SHA256_BYTES];
	struct vm *vm; /* sorted by name */
	size_t nr_vms;
	struct patch *patch; /* sorted by id */
	size_t nr_patches;
};

/** fleet_word - the word of @len bytes at @s. Return: NULL: no memory */
const struct word *fleet_word(struct pol_fleet *f, const char *s, size_t len) XO_MUST_CHECK;

static inline bool words_have(const struct words *w, const struct word *x)
{
	for (uint32_t i = 0; i < w->nr; i++)
		if (w->word[i] == x)
			return true;
	return false;
}

/* ---- reading: tables of fields ---- */

enum fact_type {
	FACT_TEXT,   /* const struct word * */
	FACT_WORD,   /* the same, a name: no space */
	FACT_SHA256, /* the same, 64 hex digits */
	FACT_BUILD_ID,
	FACT_TEXTS, /* struct words */
	FACT_SHA256S,
	FACT_BUILD_IDS,
	FACT_PAIRS,   /* struct words of key=value, from an object of strings */
	FACT_TIME,    /* int64_t, not after the time it is */
	FACT_MONTH,   /* uint32_t */
	FACT_NUMBER,  /* uint64_t */
	FACT_BOOL,    /* bool */
	FACT_NOT,     /* bool, whether it is there and false */
	FACT_NAME,    /* uint32_t, of names */
	FACT_OBJECT,  /* its fields go into the same struct */
	FACT_OBJECTS, /* pointer to structs, with a uint32_t after it that counts them */
};

struct fact_field {
	const char *key; /* NULL ends the table */
	enum fact_type type;
	bool required;
	size_t offset;
	const cyaml_strval_t *names;
	uint32_t nr_names;
	const struct fact_field *fields;
	size_t size; /* of one struct of a FACT_OBJECTS */
};

extern const struct fact_field vm_fields[], patch_fields[];

struct fact_reader {
	struct pol_fleet *fleet;
	struct pol_errors *errors;
	const char *file;
	int64_t at;
	int rc; /* -ENOMEM */
};

/** struct fact_path - where a value is: a key, or an index where @key is NULL */
struct fact_path {
	const struct fact_path *up;
	const char *key;
	size_t index;
};

/** fact_read - the object @o, which is at @path, by its table into @to */
void fact_read(struct fact_reader *r, const struct fact_path *path, const json_t *o,
	       const struct fact_field *fields, void *to);

/** fleet_check - @f is sorted, each value is of its type: is it also without contradictions?
 *  Return: 0 (look at @errors), -ENOMEM */
int fleet_check(const struct pol_fleet *f, struct pol_errors *errors) XO_MUST_CHECK;

#define FACT_MAX_ITEMS	 4096
#define FACT_MAX_TEXT	 255
#define FACT_MAX_OBJECTS 1000000 /* of each file; lists count too */
#define FACT_MAX_VALUES	 8000000 /* of each file */
#define FACT_MAX_VMS	 1000000
#define FACT_MAX_PATCHES 10000

#endif
