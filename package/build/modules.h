/* SPDX-License-Identifier: Apache-2.0 */
/* Making a list of modules (docs/formats/modules.md) from packages and directories. */
#ifndef EXOPATCH_PACKAGE_BUILD_MODULES_H
#define EXOPATCH_PACKAGE_BUILD_MODULES_H

#include "package/build/build.h"
#include "package/modlist.h"

#define MODULES_MAX_SOURCES 64

struct modules_options {
	size_t nr_from;
	const char *from[MODULES_MAX_SOURCES]; /* .deb files, directories, module files */
	const char *output;		       /* signatures go beside it: OUTPUT.ROLE.KEYID.p7s */
	size_t nr_signers;
	struct build_signer signer[PKG_MAX_SIGNERS];
};

/**
 * modules_allow - make the list, sign it, write it
 * @ret: what was written; modlist_free it
 * @why: a module that cannot be listed, and why; nothing is written then
 * Return: 0 (look at @why), or a negative code
 */
int modules_allow(struct modlist **ret, const struct modules_options *o, struct refusal *why,
		  struct xerr *err) XO_MUST_CHECK;

/** modules_add_from - add every module of a .deb, a directory or a file to @l */
int modules_add_from(struct modlist *l, const char *path, struct refusal *why,
		     struct xerr *err) XO_MUST_CHECK;

#endif
