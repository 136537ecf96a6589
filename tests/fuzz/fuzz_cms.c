// SPDX-License-Identifier: Apache-2.0
/* One signature member, against a trust directory without roots: never accepted. */
#include "package/cms.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pkg_trust trust = {.nr_roles = 1,
				  .role = {{.name = "release", .threshold = 1, .any = true}},
				  .store = X509_STORE_new(),
				  .intermediates = sk_X509_new_null()};
	struct container_sig sig = {.role = "release", .bytes = SPAN(data, size)};
	struct cms_verdict v = {0};

	if (!trust.store || !trust.intermediates)
		abort();
	memset(sig.keyid, '0', XO_SHA256_HEX_SIZE - 1);
	if (size && size <= CONTAINER_SIG_MAX) {
		if (!cms_check(&v, CMS_PACKAGE, &sig, SPAN("{}", 2), &trust, 1800000000) &&
		    !v.broken.nr && !v.distrust.nr)
			abort();
		cms_verdict_free(&v);
	}
	X509_STORE_free(trust.store);
	sk_X509_free(trust.intermediates);
	return 0;
}
