/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container: ustar with one permitted encoding, docs/formats/xpatch.md
 * section 1. Reading compares each header with the one that writing would make,
 * so every byte of the file is accounted for.
 */
#ifndef EXOPATCH_PACKAGE_ARCHIVE_H
#define EXOPATCH_PACKAGE_ARCHIVE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "package/package.h"

#define ARCHIVE_ROLE_MAX       24
#define ARCHIVE_MANIFEST_MAX   (1u << 20)
#define ARCHIVE_SIG_MAX	       (16u << 10)
#define ARCHIVE_PAYLOAD_MAX    (8u << 20)
#define ARCHIVE_PROVENANCE_MAX (1u << 20)

/** struct archive_sig - one sig/ROLE.KEYID.p7s */
struct archive_sig {
	char role[ARCHIVE_ROLE_MAX + 1];
	char keyid[XO_SHA256_HEX_SIZE];
	struct span bytes;
};

/** struct archive - the members, all borrowed from the file's bytes */
struct archive {
	struct span manifest, payload, provenance;
	size_t nr_sigs;
	struct archive_sig sig[PKG_MAX_SIGNERS]; /* ascending by member name */
};

/**
 * archive_read - take a package apart
 * @bytes: hostile
 * @ret: set only if nothing was added to @why
 * @why: -XO_ENOTPACKAGE, -XO_ETRUNCATED, -XO_EARCHIVEPATH
 */
void archive_read(struct archive *ret, struct span bytes, struct refusal *why);

/**
 * archive_write - append the file's bytes to @out
 * @a: sig[] in any order
 * Return: 0, -XO_ELIMIT, -XO_EINTERNAL (a role, key id or size outside the format), -ENOMEM
 */
int archive_write(struct xbuf *out, const struct archive *a) XO_MUST_CHECK;

/** archive_role_ok - whether @role may stand in a member's name */
bool archive_role_ok(const char *role);

#endif
