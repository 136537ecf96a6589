// SPDX-License-Identifier: Apache-2.0
/*
 * A whole evidence directory, judged. The input is a list of files: u8 length and name, u32 length
 * (little-endian) and content; those whose names begin with "trust/" are the trust directory, and
 * "ref.json" is the reference. Whatever it is, there is a verdict, and it has its reasons.
 */
#include "attest/attest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	struct att_files evidence, trust;
	struct span reference;
};

static void add(struct input *in, const char *name, struct span bytes)
{
	int rc;

	if (!strcmp(name, "ref.json")) {
		in->reference = bytes;
		return;
	}
	rc = strncmp(name, "trust/", 6) ? att_files_add(&in->evidence, name, bytes)
					: att_files_add(&in->trust, name + 6, bytes);
	(void)rc; /* a name twice, or none: it is left out */
}

static void take_apart(struct input *in, struct span s)
{
	char name[256];
	uint8_t n;
	uint32_t len;
	struct span f;

	while (span_u8(s, 0, &n) && span_copy(s, 1, name, n) && span_u32(s, 1U + n, &len) &&
	       span_sub(s, 5U + n, len, &f)) {
		name[n] = '\0';
		add(in, name, f);
		s = SPAN(s.p + 5 + n + len, s.len_bytes - 5 - n - len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t nonce[16] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
					  0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
	struct att_expect x = {.now_s = 1767225610, .nonce = nonce, .nonce_len = sizeof(nonce)};
	_cleanup_refusal_ struct refusal why = {0};
	struct xerr err = {0};
	static struct att_result res;
	struct input in = {0};

	take_apart(&in, SPAN(data, size));
	x.reference = in.reference;
	if (!att_verify(&res, &in.evidence, &in.trust, &x, &why, &err) &&
	    (res.verdict == ATT_TRUSTED) != !why.nr)
		abort();
	att_files_free(&in.evidence);
	att_files_free(&in.trust);
	return 0;
}
