/* SPDX-License-Identifier: Apache-2.0 */
/* One signer's CMS signature: docs/formats/xpatch.md section 3. */
#ifndef EXOPATCH_PACKAGE_CMS_H
#define EXOPATCH_PACKAGE_CMS_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "package/container.h"
#include "package/trust.h"

/** struct cms_verdict - what was found about one signature */
struct cms_verdict {
	struct pkg_signer signer; /* filled as far as known; true only if both lists stay empty */
	struct refusal broken;	  /* -XO_ESIGNATURE: refuses the package */
	struct refusal distrust;  /* -XO_EUNTRUSTED, -XO_EEXPIRED, -XO_EKEYUSAGE: does not count */
};

/**
 * cms_check - check a signature, its role and its signer
 * @format:  what it signs: CMS_PACKAGE, CMS_MODULES
 * @sig:     hostile
 * @content: the signed bytes
 * @now:     when certificates are judged
 * @ret:     zero-initialised; cms_verdict_free it
 * Return: 0 (look at @ret), -ENOMEM, -XO_EINTERNAL
 */
int cms_check(struct cms_verdict *ret, const char *format, const struct container_sig *sig,
	      struct span content, const struct pkg_trust *trust, time_t now) XO_MUST_CHECK;
void cms_verdict_free(struct cms_verdict *v);

/** cms_keyid - SHA-256 of @cert's SubjectPublicKeyInfo, in hex. Return: 0, -XO_EINTERNAL */
int cms_keyid(const X509 *cert, char ret[XO_SHA256_HEX_SIZE]) XO_MUST_CHECK;

/** cms_key_fits - whether @key is EC on P-256; otherwise its kind, for people, in @what */
bool cms_key_fits(const EVP_PKEY *key, char *what, size_t size);

/** cms_namespace - the text that ties a signature to a format and a role. Return: @out */
char *cms_namespace(const char *format, const char *role, char *out, size_t size);

#define CMS_PACKAGE	   "xpatch/1"
#define CMS_MODULES	   "xmodules/1"
#define CMS_NAMESPACE_SIZE 48 /* a format, a space, a role, NUL */

#endif
