/* SPDX-License-Identifier: Apache-2.0 */
/* Making a package: options, the two recipes, and how the outcome is told. */
#ifndef EXOPATCH_PACKAGE_BUILD_BUILD_H
#define EXOPATCH_PACKAGE_BUILD_BUILD_H

#include "base/buf.h"
#include "package/package.h"

/** struct build_target - --target SYMBOL[@SYMPOS][=REPLACEMENT], --import SYMBOL@SYMPOS */
struct build_target {
	char symbol[128];
	uint32_t sympos;
	char replacement[128]; /* "": the symbol's own name */
};

/** struct build_signer - --sign ROLE:CERT:KEY */
struct build_signer {
	char role[32];
	const char *cert, *key;
};

struct build_options {
	bool json;
	const char *output;
	const char *add_signature; /* a package to sign again; then only @signer counts */
	const char *kernel, *object;
	const char *id, *version, *summary;
	uint64_t serial, security_epoch;
	size_t nr_advisories, nr_requires;
	const char *advisory[PKG_MAX_ADVISORIES], *requires[PKG_MAX_PREREQS];
	size_t nr_targets, nr_imports;
	struct build_target target[PKG_MAX_TARGETS], import[PKG_MAX_TARGETS];
	size_t nr_signers;
	struct build_signer signer[PKG_MAX_SIGNERS];
};

/** build_options_parse - the command line; exits with 2 if it is wrong, 0 for --help */
void build_options_parse(struct build_options *ret, int argc, char **argv);

/** build_package - make a package
 *  @manifest: the manifest's bytes, for the report. Return: 0 (look at @why), or a code */
int build_package(const struct build_options *o, struct xbuf *manifest, struct refusal *why,
		  struct xerr *err) XO_MUST_CHECK;

/** build_add_signature - sign a package again, everything else untouched. As build_package */
int build_add_signature(const struct build_options *o, struct xbuf *manifest, struct refusal *why,
			struct xerr *err) XO_MUST_CHECK;

/** build_provenance - append provenance.json: what was made from what */
int build_provenance(struct xbuf *out, const struct build_options *o, struct span kernel,
		     struct span object, struct span payload) XO_MUST_CHECK;

/** build_report - tell the outcome on stdout (also with --json) or stderr. Return: the exit status
 */
int build_report(const struct build_options *o, int rc, struct span manifest,
		 const struct refusal *why, const struct xerr *err);

#endif
