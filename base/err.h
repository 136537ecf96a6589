/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors and refusals.
 *
 * An error says that something did not work; a refusal is a verdict on an
 * operation that would have worked. Both have a stable code from the one table
 * in err.def, and a text for people that names the thing, the cause and the
 * next step. Functions return 0 or the negative code.
 */
#ifndef EXOPATCH_BASE_ERR_H
#define EXOPATCH_BASE_ERR_H

#include <stddef.h>

#include "base/cleanup.h"

/* Codes start past every errno value (MAX_ERRNO is 4095 in include/linux/err.h). */
#define XO_ERR_FIRST 10000

enum xo_code {
	XO_OK = 0,
	XO_CODE_BEFORE_FIRST = XO_ERR_FIRST - 1,
#define XO_CODE(name, key, text) XO_##name,
#include "base/err.def"
#undef XO_CODE
	XO_CODE_END,
};

/** struct xerr - the first error met; zero-initialise ({0}), no ownership of anything */
struct xerr {
	int code; /* 0, or the negative code */
	char text[512];
};

/**
 * xerr_set - record an error unless one is recorded already
 * @err:  where to; may be NULL
 * @code: positive enum xo_code or errno value
 * @fmt:  thing, cause, next step; guest strings escaped by the caller (xo_escape)
 * Return: -@code, so that callers can `return xerr_set(...)`.
 */
int xerr_set(struct xerr *err, int code, const char *fmt, ...) XO_PRINTF(3, 4);

/** xerr_wrap - put "@fmt: " in front of a recorded text, keeping its code. Return: that code. */
int xerr_wrap(struct xerr *err, const char *fmt, ...) XO_PRINTF(2, 3);

/** xo_code_key - stable machine-readable name ("preimage-differs"), or "errno" names for errno */
const char *xo_code_key(int code);

/** xo_code_text - one fixed sentence for a code of either sign; never NULL */
const char *xo_code_text(int code);

#define XO_REFUSAL_MAX 64

/** struct refusal - all the reasons why not, in the order found; zero-initialise, refusal_free */
struct refusal {
	size_t nr;
	size_t dropped; /* reasons beyond XO_REFUSAL_MAX */
	struct {
		int code; /* positive enum xo_code */
		char *detail;
	} reason[XO_REFUSAL_MAX];
};

/** refusal_add - add a reason (@code positive); a repeated code+detail is kept once */
void refusal_add(struct refusal *r, int code, const char *fmt, ...) XO_PRINTF(3, 4);
void refusal_free(struct refusal *r);

#define _cleanup_refusal_ XO_CLEANUP(refusal_free)

#endif
