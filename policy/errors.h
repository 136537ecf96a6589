/* SPDX-License-Identifier: Apache-2.0 */
/* Collecting all that is wrong with a file. */
#ifndef EXOPATCH_POLICY_ERRORS_H
#define EXOPATCH_POLICY_ERRORS_H

#include "policy/policy.h"

/** pol_errors_add - @line 0: the file has no lines to speak of. Strings in @fmt may be hostile */
void pol_errors_add(struct pol_errors *e, const char *file, unsigned int line, unsigned int column,
		    const char *fmt, ...) XO_PRINTF(5, 6);

/** pol_errors_sort - by file, line and column */
void pol_errors_sort(struct pol_errors *e);

#endif
