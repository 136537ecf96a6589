// SPDX-License-Identifier: Apache-2.0
/* A TPM's quote; and its signature, over nothing that was ever signed. */
#include "attest/quote.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A public key for the signature to fail with. */
static EVP_PKEY *any_key(void)
{
	static EVP_PKEY *key;

	if (!key)
		key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "prime256v1");
	return key;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = SPAN(data, size);
	struct quote q;

	if (quote_parse(&q, in) && (q.extra_len > sizeof(q.extra) || q.pcr_mask >> QUOTE_PCRS))
		abort();
	if (quote_signed_by(SPAN("message", 7), in, any_key()))
		abort();
	return 0;
}
