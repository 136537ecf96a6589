/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A QMP server made of fixed answers, in a thread of the test, for what no real
 * QEMU on the test machine will say.
 */
#ifndef EXOPATCH_TESTS_LIB_FAKE_QMP_H
#define EXOPATCH_TESTS_LIB_FAKE_QMP_H

#include "base/cleanup.h"

/** struct fake_answer - to one command */
struct fake_answer {
	const char *command; /* "query-status", or "hmp:gpa2hva" for HMP lines that begin so */
	const char *value;   /* JSON of "return"; HMP: the text itself. NULL: an error */
};

/** struct fake_opts - {0} apart from the answers is a well-behaved QEMU */
struct fake_opts {
	const struct fake_answer *const *answers; /* lists, NULL-terminated, each ended by a NULL
						     command; the first match counts */
	const char *greeting;	   /* sent instead of QMP's own; "" for none at all */
	const char *hang_up_at;	   /* close the connection instead of answering this command */
	const char *before_answer; /* sent before each answer: events */
	const char *raw_answer;	   /* sent instead of all answers but to qmp_capabilities */
};

struct fake_qmp;

/** fake_qmp_start - listen and serve one client. NULL on failure; @opts must live on */
struct fake_qmp *fake_qmp_start(const struct fake_opts *opts) XO_MUST_CHECK;
const char *fake_qmp_path(const struct fake_qmp *f);
/** fake_qmp_got - commands received so far, separated by spaces; stable after the client closed */
const char *fake_qmp_got(const struct fake_qmp *f);
/** fake_qmp_fds - descriptors received so far */
int fake_qmp_fds(const struct fake_qmp *f);
/** fake_qmp_join - wait until the client has closed */
void fake_qmp_join(struct fake_qmp *f);
/** fake_qmp_free - end the thread, remove the socket. NULL is fine */
void fake_qmp_free(struct fake_qmp *f);

#endif
