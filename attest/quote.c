// SPDX-License-Identifier: Apache-2.0
#include "attest/quote.h"

#include <openssl/ec.h>

/* Part 2, tables 9, 19, 7. */
#define TPM_GENERATED_VALUE UINT32_C(0xff544347)
#define TPM_ST_ATTEST_QUOTE 0x8018
#define TPM_ALG_SHA256	    0x000b
#define TPM_ALG_ECDSA	    0x0018

#define NAME_MAX_BYTES 68 /* TPM2B_NAME: algorithm and the longest digest */

/** struct cursor - what is left to read; bad once it was too short */
struct cursor {
	struct span s;
	bool bad;
};

static struct span take(struct cursor *c, size_t n)
{
	struct span got = SPAN("", 0);

	if (c->bad || !span_sub(c->s, 0, n, &got)) {
		c->bad = true;
		return SPAN("", 0);
	}
	c->s = SPAN(c->s.p + n, c->s.len_bytes - n);
	return got;
}

static uint64_t take_be(struct cursor *c, size_t n)
{
	struct span got = take(c, n);
	uint64_t v = 0;

	for (size_t i = 0; i < got.len_bytes; i++)
		v = v << 8 | got.p[i];
	return v;
}

/* A TPM2B: u16 length and at most @max bytes. */
static struct span take_2b(struct cursor *c, size_t max)
{
	size_t n = (size_t)take_be(c, 2);

	if (n > max)
		c->bad = true;
	return take(c, n);
}

bool quote_parse(struct quote *ret, struct span msg)
{
	struct cursor c = {.s = msg, .bad = msg.len_bytes > QUOTE_MAX_BYTES};
	struct quote q = {0};
	struct span extra, digest;
	uint64_t magic, type, banks, algorithm, width;

	magic = take_be(&c, 4);
	type = take_be(&c, 2);
	(void)take_2b(&c, NAME_MAX_BYTES); /* of the signing key: the signature says more */
	extra = take_2b(&c, sizeof(q.extra));
	q.clock_ms = take_be(&c, 8);
	q.reset_count = (uint32_t)take_be(&c, 4);
	q.restart_count = (uint32_t)take_be(&c, 4);
	(void)take_be(&c, 1); /* whether the clock is safe */
	(void)take_be(&c, 8); /* firmware version */
	banks = take_be(&c, 4);
	algorithm = take_be(&c, 2);
	width = take_be(&c, 1);
	for (size_t i = 0; i < width && width <= 3; i++)
		q.pcr_mask |= (uint32_t)take_be(&c, 1) << (8 * i);
	digest = take_2b(&c, XO_SHA256_BYTES);
	if (c.bad || c.s.len_bytes || magic != TPM_GENERATED_VALUE || type != TPM_ST_ATTEST_QUOTE ||
	    banks != 1 || algorithm != TPM_ALG_SHA256 || width > 3 ||
	    digest.len_bytes != XO_SHA256_BYTES)
		return false;
	if (extra.len_bytes)
		memcpy(q.extra, extra.p, extra.len_bytes);
	q.extra_len = extra.len_bytes;
	memcpy(q.pcr_digest, digest.p, sizeof(q.pcr_digest));
	*ret = q;
	return true;
}

/* The two numbers of an ECDSA signature as DER. Return: its length, 0 if that failed */
static size_t ecdsa_der(struct span r, struct span s, uint8_t out[KEY_P256_SIG_MAX])
{
	ECDSA_SIG *sig = ECDSA_SIG_new();
	BIGNUM *br = BN_bin2bn(r.p, (int)r.len_bytes, NULL);
	BIGNUM *bs = BN_bin2bn(s.p, (int)s.len_bytes, NULL);
	int n = 0;

	if (sig && br && bs && ECDSA_SIG_set0(sig, br, bs) == 1) {
		br = bs = NULL;
		if (i2d_ECDSA_SIG(sig, NULL) <= KEY_P256_SIG_MAX)
			n = i2d_ECDSA_SIG(sig, &out);
	}
	BN_free(br);
	BN_free(bs);
	ECDSA_SIG_free(sig);
	return n > 0 ? (size_t)n : 0;
}

bool quote_signed_by(struct span msg, struct span sig, EVP_PKEY *ak)
{
	struct cursor c = {.s = sig};
	uint8_t der[KEY_P256_SIG_MAX];
	uint64_t algorithm = take_be(&c, 2), hash = take_be(&c, 2);
	struct span r = take_2b(&c, 32), s = take_2b(&c, 32);
	size_t n;

	if (c.bad || c.s.len_bytes || algorithm != TPM_ALG_ECDSA || hash != TPM_ALG_SHA256)
		return false;
	n = ecdsa_der(r, s, der);
	return n && key_verify(ak, msg, SPAN(der, n));
}

int quote_over_checkpoint(struct span nonce, struct span note_text, uint8_t ret[XO_SHA256_BYTES])
{
	_cleanup_xbuf_ struct xbuf text = XBUF(4096);
	char hex[2 * 64 + 1];
	int rc;

	if (nonce.len_bytes > 64)
		return -XO_ELIMIT;
	rc = xo_sha256(note_text, ret);
	if (rc)
		return rc;
	xo_hex(nonce, hex);
	rc = xbuf_addf(&text, "exopatch-quote/1\nnonce %s\n", hex);
	if (rc)
		return rc;
	xo_hex(SPAN(ret, XO_SHA256_BYTES), hex);
	rc = xbuf_addf(&text, "checkpoint %s\n", hex);
	return rc ? rc : xo_sha256(xbuf_span(&text), ret);
}

int quote_over_key(EVP_PKEY *statement_key, uint8_t ret[XO_SHA256_BYTES])
{
	_cleanup_xbuf_ struct xbuf text = XBUF(256);
	char hex[XO_SHA256_HEX_SIZE];
	int rc = key_digest(statement_key, ret);

	if (rc)
		return rc;
	xo_hex(SPAN(ret, XO_SHA256_BYTES), hex);
	rc = xbuf_addf(&text, "exopatch-key/1\nstatement %s\n", hex);
	return rc ? rc : xo_sha256(xbuf_span(&text), ret);
}
