/* SPDX-License-Identifier: Apache-2.0 */
/* What a package records of a function that it replaces. */
#ifndef EXOPATCH_PACKAGE_BUILD_TARGET_H
#define EXOPATCH_PACKAGE_BUILD_TARGET_H

#include "package/kernel/kfile.h"
#include "package/package.h"

/**
 * target_masks - the masks of the function at @addr, t->size_bytes long
 * @t: gets mask and nr_masks, owned by the caller
 * Return: 0, -XO_ELIMIT, -XO_EMALFORMED (a relocation crosses its end), -ENOMEM
 */
int target_masks(struct pkg_target *t, const struct ksites *s, uint64_t addr,
		 struct xerr *err) XO_MUST_CHECK;

/**
 * target_describe - size, masks, preimage and cold parts of one function
 * @t:   symbol, sympos and replacement are set; the rest is filled, owned by the caller
 * @why: -XO_ENOSYMBOL, -XO_EAMBIGUOUS, -XO_ELIMIT, -XO_ESECTION
 * Return: 0 (look at @why), or a code
 */
int target_describe(struct pkg_target *t, const struct kfile *k, const struct ksites *s,
		    struct refusal *why, struct xerr *err) XO_MUST_CHECK;

/** target_symbol - the symbol @name, the @sympos-th by address (0: the only one)
 *  Return: its index, or -1 with the reason in @why */
ssize_t target_symbol(const struct kfile *k, const char *name, uint32_t sympos,
		      struct refusal *why);

/** target_is_code - whether a symbol of that type is a function */
bool target_is_code(char type);

#endif
