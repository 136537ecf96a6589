/* SPDX-License-Identifier: Apache-2.0 */
/* Packages for tests: good ones, and the pieces to make bad ones from. */
#ifndef EXOPATCH_TESTS_PKGFIX_H
#define EXOPATCH_TESTS_PKGFIX_H

#include "base/buf.h"
#include "package/build/objwrite.h"
#include "package/container.h"
#include "package/manifest.h"

/** pkgfix_keys - path of a file in the throw-away keys, made when first asked for (not thread-safe,
 *  valid until asked eight more times) */
const char *pkgfix_keys(const char *file);

/** pkgfix_trust - load one of their trust directories ("trust", "trust-any", "trust-two") */
struct pkg_trust *pkgfix_trust(const char *name);

/** pkgfix_payload - append a small good payload: functions new_f (jumps to the return thunk) and
 *  new_g; imports printk and __x86_return_thunk; 32 bytes of constants */
void pkgfix_payload(struct xbuf *out);

/** pkgfix_manifest - a good manifest for payload and provenance; manifest_free it */
void pkgfix_manifest(struct manifest *ret, struct span payload, struct span provenance);

/** struct pkgfix_signer - role, and name in the throw-away keys ("author", "bad/expired") */
struct pkgfix_signer {
	const char *role, *name;
};

/** pkgfix_pack - append a package with these signers, up to the first without a role */
void pkgfix_pack(struct xbuf *out, struct span manifest, struct span payload,
		 struct span provenance, const struct pkgfix_signer *signer);

/** pkgfix_good - append the good package of the above, signed by author and release-1 */
void pkgfix_good(struct xbuf *out);

/** pkgfix_has - whether @r has a reason of this code */
bool pkgfix_has(const struct refusal *r, int code);

#endif
