/* SPDX-License-Identifier: Apache-2.0 */
/* Have enough of the right people signed? docs/formats/xpatch.md section 3. */
#ifndef EXOPATCH_PACKAGE_SIGNERS_H
#define EXOPATCH_PACKAGE_SIGNERS_H

#include "package/cms.h"

/**
 * signers_check - check all signatures, and that each role of @trust has its threshold
 * @format:  CMS_PACKAGE, CMS_MODULES
 * @sig:     @nr of them, at most PKG_MAX_SIGNERS, none twice; hostile
 * @content: what is signed
 * @ret:     room for PKG_MAX_SIGNERS: those that count; *@ret_nr how many
 * @why:     every reason against it
 * Return: 0 (look at @why), -ENOMEM, -XO_EINTERNAL
 */
int signers_check(const char *format, const struct container_sig *sig, size_t nr,
		  struct span content, const struct pkg_trust *trust, time_t now,
		  struct pkg_signer *ret, size_t *ret_nr, struct refusal *why) XO_MUST_CHECK;

#endif
