/* SPDX-License-Identifier: Apache-2.0 */
/* "exopatch guard" beside a whole guest, and what it says. Failures are explained on stderr. */
#ifndef EXOPATCH_TESTS_LIB_GUARDRUN_H
#define EXOPATCH_TESTS_LIB_GUARDRUN_H

#include <jansson.h>

#include "tests/lib/guest.h"

struct guardrun;

/**
 * guardrun_start - start it, wait until it guards
 * @mode:   "enforce" or "audit"
 * @option: one more option, or NULL
 * patching_setup must have been called: the guard uses the journal there.
 * Return: owned by the caller, or NULL
 */
struct guardrun *guardrun_start(struct guest *g, const char *mode,
				const char *option) XO_MUST_CHECK;

/** guardrun_start_on - likewise, the VM named by @vm, which must last: as for exo_run_on */
struct guardrun *guardrun_start_on(const char *const vm[], const char *mode,
				   const char *option) XO_MUST_CHECK;

/** guardrun_start_with - as guardrun_start, with any options and additions to the environment
 *  (NULL-terminated, or NULL) */
struct guardrun *guardrun_start_with(struct guest *g, const char *mode, const char *const options[],
				     const char *const env[]) XO_MUST_CHECK;

/** guardrun_pid - the process that was started: the supervisor, until that is killed */
pid_t guardrun_pid(const struct guardrun *r);

/** guardrun_status - the "guard" of its status, a reference for the caller, or NULL */
json_t *guardrun_status(struct guardrun *r) XO_MUST_CHECK;

/** guardrun_number - a number of its status, or -1 */
json_int_t guardrun_number(struct guardrun *r, const char *key);

/** guardrun_find - the next event of @kind, within @ms; a reference for the caller, or NULL */
json_t *guardrun_find(struct guardrun *r, const char *kind, unsigned int ms) XO_MUST_CHECK;

/** guardrun_saw - as guardrun_find. Return: whether there was one */
bool guardrun_saw(struct guardrun *r, const char *kind, unsigned int ms);

/** guardrun_missing - how many numbers between those of the events read so far were left out */
unsigned int guardrun_missing(const struct guardrun *r);

/** guardrun_wait - until the process that was started has ended, which it must within @ms. Return:
 *  its wait status */
int guardrun_wait(struct guardrun *r, unsigned int ms);

/** guardrun_drop - forget it: its processes have ended, or are ended now */
void guardrun_drop(struct guardrun *r);

/** guardrun_stop - have it stop, which it must do with status 0. NULL is fine. Return: 0 or -EIO */
int guardrun_stop(struct guardrun *r);

/** guardrun_next - the next event, waited for until xo_now_ns() is @end_ns; a reference for the
 *  caller, NULL if none came */
json_t *guardrun_next(struct guardrun *r, uint64_t end_ns) XO_MUST_CHECK;

/** guardrun_settle - read events until none but "kept" ones came for @ms. Return: how many of
 *  those others there were; each goes to stderr */
unsigned int guardrun_settle(struct guardrun *r, unsigned int ms);

/** guardrun_time_ns - when an event was, as CLOCK_REALTIME; 0 if it does not say */
uint64_t guardrun_time_ns(const json_t *event);

/** guardrun_says - a string member of an event, "" if there is none */
const char *guardrun_says(const json_t *event, const char *key);

#endif
