/* SPDX-License-Identifier: Apache-2.0 */
/* Recorders, software TPMs, evidence and trust directories for tests. Failures fail the test. */
#ifndef EXOPATCH_TESTS_LIB_ATTFIX_H
#define EXOPATCH_TESTS_LIB_ATTFIX_H

#include <sys/types.h>

#include "attest/attest.h"

#define ATTFIX_UUID	  "5f2c1d5e-8a51-4a7e-9f5e-0d2f6a1b3c4d"
#define ATTFIX_OTHER	  "11111111-2222-4333-8444-555555555555"
#define ATTFIX_INIT_BYTES 4711 /* that an appraisal takes on trust */
#define ATTFIX_NONCE	  "00112233445566778899aabbccddeeff"
#define ATTFIX_ORIGIN	  "host.example/exopatch"
#define ATTFIX_NOW_S	  INT64_C(1704067200) /* 2024-01-01T00:00:00Z */
#define ATTFIX_PATH	  256

/** struct attfix_tpm - a swtpm of its own: directory, socket, process */
struct attfix_tpm {
	char dir[ATTFIX_PATH];
	char tcti[ATTFIX_PATH + 64];
	pid_t pid;
};

/** attfix_dir - a new temporary directory; attfix_remove it */
void attfix_dir(char path[ATTFIX_PATH]);
void attfix_remove(const char *path);

/** attfix_tpm_start - start a TPM, with the state left by an earlier one in the same directory.
 *  Return: false if there is no swtpm (the test is skipped then) */
bool attfix_tpm_start(struct attfix_tpm *t);
void attfix_tpm_stop(struct attfix_tpm *t);   /* as a power-off: PCRs are lost, seeds are not */
void attfix_tpm_remove(struct attfix_tpm *t); /* stop, and remove the directory */

/** attfix_open - open the recorder in @dir; @tcti may be NULL */
struct att_recorder *attfix_open(const char *dir, const char *tcti);

/** attfix_statement - a statement of @kind about ATTFIX_UUID, boot 1, at ATTFIX_NOW_S;
 *  free() it */
struct att_statement *attfix_statement(enum att_kind kind);

/** attfix_action - the same for an action; apply and revert are of the patch "demo-fix" */
struct att_statement *attfix_action(enum att_act act);

/** attfix_largest - an action with as much in it as a statement can hold */
struct att_statement *attfix_largest(void);

/** attfix_record - record @s, and free it. Return: its leaf */
uint64_t attfix_record(struct att_recorder *r, struct att_statement *s);

/** attfix_appraise - write evidence to @dir that ends in an appraisal, with "demo-fix" active if
 *  @patched; @change, if any, may change the appraisal first */
void attfix_appraise(struct att_recorder *r, const char *dir, bool patched,
		     void (*change)(struct att_statement *s));

/** attfix_appraise_since - the same, for an asker who remembers tree size @since */
void attfix_appraise_since(struct att_recorder *r, const char *dir, bool patched, uint64_t since);

/** attfix_trust - write the trust directory @dir that trusts the recorder which wrote @evidence */
void attfix_trust(const char *dir, const char *evidence);

/** attfix_reference - the reference of attfix_appraise's kernel, appended to @out */
void attfix_reference(struct xbuf *out);

/** attfix_copy - cp -r. attfix_write - replace file @name of directory @dir */
void attfix_copy(const char *from, const char *to);
void attfix_write(const char *dir, const char *name, struct span bytes);

/** attfix_read - append file @name of directory @dir */
void attfix_read(const char *dir, const char *name, struct xbuf *out);

#endif
