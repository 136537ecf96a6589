/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests that patch whole guests: packages made from images/patches, and
 * exopatch's answers as JSON. Failures are explained on stderr.
 */
#ifndef EXOPATCH_TESTS_LIB_PATCHING_H
#define EXOPATCH_TESTS_LIB_PATCHING_H

#include <jansson.h>

#include "tests/lib/guest.h"

/** patching_setup - a directory for packages and journal, and dev keys in build/dev-keys; once a
 *  program. Return: 0 or a negative errno value */
int patching_setup(void) XO_MUST_CHECK;
void patching_teardown(void);

/**
 * patch_build - make an .xpatch from images/patches/@source.c
 * @kernel: GUEST_6_1 or GUEST_6_12
 * @id:     patch id; also the file's name
 * @extra:  further arguments for exopatch-build, NULL-terminated, or NULL
 * @path:   set to the package's path, @size bytes
 * Return: exit status of exopatch-build (its message is on stderr), or a negative errno value
 */
int patch_build(const char *kernel, const char *source, const char *id, const char *const extra[],
		char *path, size_t size) XO_MUST_CHECK;

/** patch_build_says - as patch_build; *@message: what exopatch-build wrote to stderr, owned by the
 *  caller, NULL if it did not get to run */
int patch_build_says(const char *kernel, const char *source, const char *id,
		     const char *const extra[], char *path, size_t size,
		     char **message) XO_MUST_CHECK;

/**
 * modules_allow - make a signed list of the modules that Debian has for a kernel
 * @kernel: GUEST_6_1 or GUEST_6_12
 * @path:   set to the list's path, @size bytes
 * Return: 0 or -1
 */
int modules_allow(const char *kernel, char *path, size_t size) XO_MUST_CHECK;

/** patch_manifest - manifest.json of a package; a reference for the caller, or NULL */
json_t *patch_manifest(const char *path) XO_MUST_CHECK;

/** struct exo - one run of exopatch; zero-initialise, exo_free */
struct exo {
	int rc;	     /* exit status, 128 + signal */
	json_t *doc; /* NULL if it printed none */
};

/**
 * exo_run - run exopatch on a guest with --json, its own state and the dev keys' trust
 * @env:  additions to the environment ("NAME=VALUE", NULL-terminated), or NULL
 * @args: command and arguments, NULL-terminated
 * Return: 0 or a negative errno value
 */
int exo_run(struct exo *ret, struct guest *g, const char *const env[],
	    const char *const args[]) XO_MUST_CHECK;

/** exo_run_on - as exo_run, the VM named by @vm ("--domain", "x", "--connect", "y", NULL) */
int exo_run_on(struct exo *ret, const char *const vm[], const char *const env[],
	       const char *const args[]) XO_MUST_CHECK;
void exo_free(struct exo *e);
#define _cleanup_exo_ XO_CLEANUP(exo_free)

#define EXO(ret, g, ...) exo_run(ret, g, NULL, (const char *const[]){__VA_ARGS__, NULL})

/** exo_refused - whether exopatch refused, and for just these reasons (stable keys,
 *  NULL-terminated, any order); explains a difference */
bool exo_refused(const struct exo *e, const char *const reasons[]);

#define EXO_REFUSED(e, ...) exo_refused(e, (const char *const[]){__VA_ARGS__, NULL})

/** exo_str - a string at a path of keys and indices: exo_str(e, "patches", "0", "state", NULL) */
const char *exo_str(const struct exo *e, ...) __attribute__((sentinel));

/** exo_done - run a command with one operand (or NULL) that has to succeed. Return: whether it did
 */
bool exo_done(struct guest *g, const char *command, const char *operand) XO_MUST_CHECK;

/** struct meeting - a process of exopatch that waits for the test at a fault point */
struct meeting {
	char file[192];
	char env[256]; /* for the process: "EXOPATCH_FAULT=..." */
};

/** meeting_plan - at fault point @point, which the agent gets to */
void meeting_plan(struct meeting *m, const char *point);

/** meeting_reached - wait until it is there; or the test fails */
void meeting_reached(const struct meeting *m);

/** meeting_over - it goes on */
void meeting_over(const struct meeting *m);

/** patching_dir - where packages and the journal ("state") are */
const char *patching_dir(void);

/** patching_write - a file with just this text; or the test fails */
void patching_write(const char *path, const char *text);

/**
 * guest_text - copy of the kernel's text as QEMU sees it, not as exopatch does
 * @ret_bytes: how many
 * Return: owned by the caller, or NULL
 */
uint8_t *guest_text(struct guest *g, size_t *ret_bytes) XO_MUST_CHECK;

#endif
