/* SPDX-License-Identifier: Apache-2.0 */
/* Which VMs and patches a rule names. */
#ifndef EXOPATCH_POLICY_MATCH_H
#define EXOPATCH_POLICY_MATCH_H

#include "policy/fleet.h"
#include "policy/rules.h"

/** glob_match - '*' is any text, '?' any one byte; takes at most length times length steps */
bool glob_match(const char *pattern, const char *s);

/** match_group - is the VM in the group? Included, and not excluded */
bool match_group(const struct raw_group *g, const struct vm *vm);

/** match_patches - does @m name the patch? Every key that is given must match; NULL names all */
bool match_patches(const struct raw_patches *m, const struct patch *p);

/** match_any - is one of @nr patterns the text? */
bool match_any(char *const *pattern, uint32_t nr, const char *s);

#endif
