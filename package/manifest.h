/* SPDX-License-Identifier: Apache-2.0 */
/* manifest.json: docs/formats/xpatch.md section 2. */
#ifndef EXOPATCH_PACKAGE_MANIFEST_H
#define EXOPATCH_PACKAGE_MANIFEST_H

#include "base/buf.h"
#include "package/package.h"

/** struct member_pin - what the manifest says about another member */
struct member_pin {
	uint8_t sha256[XO_SHA256_BYTES];
	uint64_t size_bytes;
};

struct manifest {
	struct pkg_manifest m;
	struct member_pin payload, provenance;
};

/**
 * manifest_parse - read a manifest whose signatures have been checked
 * @bytes: signed, and hostile all the same
 * @ret: zero-initialised; manifest_free it whatever comes back; good only if @why got nothing
 * @why: -XO_EMANIFEST, -XO_EUNKNOWNKEY, -XO_EDUPKEY
 * Return: 0 (look at @why), -ENOMEM
 */
int manifest_parse(struct manifest *ret, struct span bytes, struct refusal *why) XO_MUST_CHECK;

/**
 * manifest_format - append the JSON of @m to @out; m->m.summary is plain UTF-8 here
 * Return: 0, -XO_EMALFORMED (a text is not UTF-8), -XO_ELIMIT, -ENOMEM
 */
int manifest_format(struct xbuf *out, const struct manifest *m) XO_MUST_CHECK;

/** manifest_pin - take digest and size of a member. Return: 0, -XO_EINTERNAL */
int manifest_pin(struct member_pin *ret, struct span bytes) XO_MUST_CHECK;

void manifest_free(struct manifest *m);

#define _cleanup_manifest_ XO_CLEANUP(manifest_free)

#define MANIFEST_TARGET_MAX_BYTES (1u << 20)

#endif
