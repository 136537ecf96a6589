/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a distribution says that a kernel is: its packages, read once into a
 * reference file, and into what appraisals need of them, which is kept in the
 * state directory: docs/appraisal.md, "The vendor's files".
 */
#ifndef EXOPATCH_AGENT_VENDOR_H
#define EXOPATCH_AGENT_VENDOR_H

#include "attest/attest.h"
#include "package/kernref.h"
#include "package/modlist.h"

#define VENDOR_MAX_SOURCES 16

/** struct vendor_from - packages: names of installed ones, .deb files, directories, module files */
struct vendor_from {
	size_t nr;
	const char *source[VENDOR_MAX_SOURCES];
};

/** vendor_reference - append the reference file of what @from holds. Return: 0, -XO_EMISSING (there
 *  is no kernel in it, or more than one), -XO_EMALFORMED, ... */
int vendor_reference(const struct vendor_from *from, struct xbuf *out,
		     struct xerr *err) XO_MUST_CHECK;

/**
 * vendor_prepare - have what an appraisal of that kernel needs in @state_dir
 * @release: hostile; without @from, the package of that release is looked for among those installed
 * Return: 0; -XO_EMISSING, with what to do about it
 */
int vendor_prepare(const char *state_dir, const char *build_id, const char *release,
		   const struct vendor_from *from, struct xerr *err) XO_MUST_CHECK;

/** struct vendor - of one kernel; vendor_free it */
struct vendor {
	char build_id[41];
	struct kernref *kernel;
	struct modlist *modules;
	uint8_t reference[XO_SHA256_BYTES]; /* digest of the reference file */
};

/** vendor_open - what was prepared. @step: called between its parts, which take up to a fifth of a
 *  second each; may be NULL. Return: 0, -XO_EMISSING, -XO_EMALFORMED, ..., or what @step said */
int vendor_open(struct vendor **ret, const char *state_dir, const char *build_id,
		int (*step)(void *arg, struct xerr *err), void *arg,
		struct xerr *err) XO_MUST_CHECK;
void vendor_free(struct vendor *v);

#endif
