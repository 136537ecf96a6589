/* SPDX-License-Identifier: Apache-2.0 */
/* A world of good evidence, and trials: copies of it for a test to spoil and to have judged. */
#ifndef EXOPATCH_TESTS_LIB_ATTTRIAL_H
#define EXOPATCH_TESTS_LIB_ATTTRIAL_H

#include "attest/names.h"
#include "tests/lib/attfix.h"

#define TRIAL_FILE_MAX (1U << 20)
#define TRIAL_PATH     (ATTFIX_PATH + 32)

/* Files of the statement with a one-digit number in the log. */
#define TRIAL_S(n) "statements/00000000000" n ".json"
#define TRIAL_P(n) "proofs/00000000000" n ".tlog-proof"

/*
 * Entries of the log: 0 another machine, 1 guard-on, 2 apply, 3 refuse, 4 another machine,
 * 5 the appraisal of "early", 6 another machine, 7 the appraisal of "good", 8 a violation,
 * 9 the appraisal of "later". "fork-later" goes on otherwise from 7, under the same key.
 * "soft-...", "boots-..." and "guard-..." are of hosts without a TPM, "ca" holds certificates for
 * its statement key.
 */
struct trial_world {
	char dir[ATTFIX_PATH];
	struct attfix_tpm tpm;
	const char *tcti; /* NULL: there is no swtpm, and nothing is rooted in one */
};
extern struct trial_world trial_world;

/** struct trial - what one attack works on */
struct trial {
	char ev[TRIAL_PATH], trust[TRIAL_PATH];
	struct att_expect expect;
	struct xbuf reference;
	uint8_t nonce[16], boot[32];
};

/** trial_world_setup, trial_world_teardown - for cmocka's group */
int trial_world_setup(void **state);
int trial_world_teardown(void **state);

/** in_world - the path of something in the world; the last four stay valid */
const char *in_world(const char *name);

/** trial_begin - a copy of "good", judged 20 s later with the right nonce and reference */
void trial_begin(struct trial *t);
void trial_end(struct trial *t);

/** trial_judge - @why: all reasons */
void trial_judge(struct trial *t, struct att_result *ret, struct refusal *why);

/** trial_has - whether @code is among the reasons */
bool trial_has(const struct refusal *why, int code);

/** trial_use - take the world's evidence @name instead */
void trial_use(struct trial *t, const char *name);

/** trial_drop - remove file @name of directory @dir */
void trial_drop(const char *dir, const char *name);

/** trial_bring - put file @name of the world's evidence @from into the place of @to */
void trial_bring(struct trial *t, const char *from, const char *name, const char *to);

/** trial_edit - replace the first @from in file @name by @to */
void trial_edit(struct trial *t, const char *name, const char *from, const char *to);

#endif
