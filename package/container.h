/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container: ustar with one permitted encoding, docs/formats/xpatch.md
 * section 1. Reading compares each header with the one that writing would make,
 * so every byte of the file is accounted for.
 */
#ifndef EXOPATCH_PACKAGE_CONTAINER_H
#define EXOPATCH_PACKAGE_CONTAINER_H

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "package/package.h"

#define CONTAINER_ROLE_MAX	 24
#define CONTAINER_MANIFEST_MAX	 (1u << 20)
#define CONTAINER_SIG_MAX	 (16u << 10)
#define CONTAINER_PAYLOAD_MAX	 (8u << 20)
#define CONTAINER_PROVENANCE_MAX (1u << 20)

/** struct container_sig - one sig/ROLE.KEYID.p7s */
struct container_sig {
	char role[CONTAINER_ROLE_MAX + 1];
	char keyid[XO_SHA256_HEX_SIZE];
	struct span bytes;
};

/** struct container - the members, all borrowed from the file's bytes */
struct container {
	struct span manifest, payload, provenance;
	size_t nr_sigs;
	struct container_sig sig[PKG_MAX_SIGNERS]; /* ascending by member name */
};

/**
 * container_read - take a package apart
 * @bytes: hostile
 * @ret: set only if nothing was added to @why
 * @why: -XO_ENOTPACKAGE, -XO_ETRUNCATED, -XO_EARCHIVEPATH
 */
void container_read(struct container *ret, struct span bytes, struct refusal *why);

/**
 * container_write - append the file's bytes to @out
 * @a: sig[] in any order
 * Return: 0, -XO_ELIMIT, -XO_EINTERNAL (a role, key id or size outside the format), -ENOMEM
 */
int container_write(struct xbuf *out, const struct container *a) XO_MUST_CHECK;

/** container_role_ok - whether @role may stand in a member's name */
bool container_role_ok(const char *role);

#endif
