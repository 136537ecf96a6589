/* SPDX-License-Identifier: Apache-2.0 */
/* Strict reading of JSON that somebody else wrote: all the keys, and no others, each of its type.
 */
#ifndef EXOPATCH_ATTEST_JSON_H
#define EXOPATCH_ATTEST_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/util.h"

/** struct jdoc - a document being read; reasons go to @why, under the document's name */
struct jdoc {
	const char *name; /* "statement 3", for messages */
	int code;	  /* of what breaks a rule that has no code of its own */
	struct refusal *why;
	bool bad; /* something was wrong */
};

/** jdoc_load - parse at most @max_bytes. Return: the root, for json_decref; NULL if refused */
json_t *jdoc_load(struct jdoc *d, struct span bytes, size_t max_bytes);

/** jdoc_bad - record that @key breaks @rule */
void jdoc_bad(struct jdoc *d, const char *key, const char *rule);

/** jdoc_object - whether @o is an object with exactly @keys (NULL-terminated; a key that starts
 *  with '?' may be absent) */
bool jdoc_object(struct jdoc *d, const json_t *o, const char *key, const char *const *keys);

/** jdoc_array - the length of array @key of @o, at most @max; 0 if it is none */
size_t jdoc_array(struct jdoc *d, const json_t *o, const char *key, size_t max);

/** jdoc_text - copy string @key of @o: graphic ASCII and spaces, @min to @size - 1 bytes */
void jdoc_text(struct jdoc *d, const json_t *o, const char *key, size_t min, char *out,
	       size_t size);

/** jdoc_hex - exactly @len bytes of lower-case hex */
void jdoc_hex(struct jdoc *d, const json_t *o, const char *key, uint8_t *out, size_t len);

/** jdoc_u64 - an integer from 0 to @max */
uint64_t jdoc_u64(struct jdoc *d, const json_t *o, const char *key, uint64_t max);

/** jdoc_choice - index of string @key of @o in @names (NULL-terminated); 0 if it is none */
unsigned int jdoc_choice(struct jdoc *d, const json_t *o, const char *key,
			 const char *const *names);

/** jdoc_time - seconds since 1970 of YYYY-MM-DDTHH:MM:SSZ, a time that exists */
int64_t jdoc_time(struct jdoc *d, const json_t *o, const char *key);

/** json_time - @when_s (0 to the end of 9999) as YYYY-MM-DDTHH:MM:SSZ. Return: @out */
char *json_time(int64_t when_s, char out[21]);

static inline void jdoc_decref(json_t **j)
{
	json_decref(*j);
}
#define _cleanup_json_ XO_CLEANUP(jdoc_decref)

#endif
