/* SPDX-License-Identifier: Apache-2.0 */
/* Making signatures: docs/formats/xpatch.md section 3. */
#ifndef EXOPATCH_PACKAGE_BUILD_SIGN_H
#define EXOPATCH_PACKAGE_BUILD_SIGN_H

#include "package/container.h"

/**
 * sign_content - make one detached signature
 * @out:     the CMS, appended
 * @keyid:   of the signer
 * @format:  CMS_PACKAGE, CMS_MODULES (package/cms.h)
 * @role:    as container_role_ok() wants it
 * @content: the bytes to sign
 * @cert:    path of a PEM file: the signer's certificate, then intermediates to carry along
 * @key:     path of its private key, PEM; asks for a passphrase on the terminal if it has one
 * Return: 0, -XO_ESIGNATURE (key kind, key and certificate differ), -errno
 */
int sign_content(struct xbuf *out, char keyid[XO_SHA256_HEX_SIZE], const char *format,
		 const char *role, struct span content, const char *cert, const char *key,
		 struct xerr *err) XO_MUST_CHECK;

#endif
