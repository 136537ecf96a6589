/* SPDX-License-Identifier: Apache-2.0 */
/* The words of the statement format, shared by its writer and its reader. */
#ifndef EXOPATCH_ATTEST_STATEMENT_WORDS_H
#define EXOPATCH_ATTEST_STATEMENT_WORDS_H

#define STATEMENT_TYPE	"https://in-toto.io/Statement/v1"
#define SUBJECT_PACKAGE "xpatch:" /* ID@VERSION */
#define SUBJECT_KERNEL	"linux:"  /* RELEASE */

/* NULL-terminated, in the order of their enums */
extern const char *const statement_acts[];
extern const char *const statement_verdicts[];
extern const char *const statement_guards[];
extern const char *const statement_roots[]; /* software, tpm */

#endif
