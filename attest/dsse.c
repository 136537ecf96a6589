// SPDX-License-Identifier: Apache-2.0
#include "attest/dsse.h"

#include "attest/b64.h"
#include "attest/json.h"

int dsse_pae(struct xbuf *out, struct span payload)
{
	int rc = xbuf_addf(out, "DSSEv1 %zu %s %zu ", strlen(DSSE_TYPE), DSSE_TYPE,
			   payload.len_bytes);

	return rc ? rc : xbuf_add(out, payload.p, payload.len_bytes);
}

int dsse_seal(struct xbuf *out, struct span payload, EVP_PKEY *key)
{
	_cleanup_xbuf_ struct xbuf pae = XBUF(DSSE_MAX_BYTES), text = XBUF(DSSE_MAX_BYTES);
	uint8_t digest[XO_SHA256_BYTES], sig[KEY_P256_SIG_MAX];
	char keyid[XO_SHA256_HEX_SIZE];
	size_t sig_len = 0;
	int rc;

	rc = dsse_pae(&pae, payload);
	if (!rc)
		rc = key_sign(key, xbuf_span(&pae), sig, &sig_len);
	if (!rc)
		rc = key_digest(key, digest);
	if (rc)
		return rc;
	xo_hex(SPAN(digest, sizeof(digest)), keyid);
	rc = xbuf_addf(&text, "{\"payload\":\"");
	if (!rc)
		rc = b64_add(&text, payload);
	if (!rc)
		rc = xbuf_addf(&text,
			       "\",\"payloadType\":\"%s\",\"signatures\":[{\"keyid\":\"%s\",",
			       DSSE_TYPE, keyid);
	if (!rc)
		rc = xbuf_addf(&text, "\"sig\":\"");
	if (!rc)
		rc = b64_add(&text, SPAN(sig, sig_len));
	if (!rc)
		rc = xbuf_addf(&text, "\"}]}\n");
	return rc ? rc : xbuf_add(out, text.data, text.len_bytes);
}

static void parse_signature(struct jdoc *d, struct dsse *ret, const json_t *o)
{
	static const char *const keys[] = {"keyid", "sig", NULL};
	_cleanup_xbuf_ struct xbuf sig = XBUF(KEY_P256_SIG_MAX);
	const char *text;

	if (!jdoc_object(d, o, "signatures", keys))
		return;
	jdoc_hex(d, o, "keyid", ret->keyid, sizeof(ret->keyid));
	text = json_string_value(json_object_get(o, "sig"));
	if (!text || b64_decode(&sig, SPAN(text, strlen(text))) || !sig.len_bytes) {
		jdoc_bad(d, "sig", "an ECDSA P-256 signature in base 64");
		return;
	}
	memcpy(ret->sig, sig.data, sig.len_bytes);
	ret->sig_len = sig.len_bytes;
}

bool dsse_parse(struct dsse *ret, struct span bytes, const char *name, struct refusal *why)
{
	static const char *const keys[] = {"payload", "payloadType", "signatures", NULL};
	struct jdoc d = {.name = name, .code = XO_EENVELOPE, .why = why};
	_cleanup_json_ json_t *root = jdoc_load(&d, bytes, DSSE_MAX_BYTES);
	const char *text;

	if (!root || !jdoc_object(&d, root, "", keys))
		return false;
	text = json_string_value(json_object_get(root, "payloadType"));
	if (!text || strcmp(text, DSSE_TYPE) != 0)
		jdoc_bad(&d, "payloadType", DSSE_TYPE);
	if (jdoc_array(&d, root, "signatures", 1) == 1)
		parse_signature(&d, ret, json_array_get(json_object_get(root, "signatures"), 0));
	else
		jdoc_bad(&d, "signatures", "an array of one");
	text = json_string_value(json_object_get(root, "payload"));
	ret->payload = XBUF(DSSE_MAX_BYTES);
	if (!text || b64_decode(&ret->payload, SPAN(text, strlen(text))))
		jdoc_bad(&d, "payload", "base 64");
	return !d.bad;
}

bool dsse_verify(const struct dsse *e, EVP_PKEY *key)
{
	_cleanup_xbuf_ struct xbuf pae = XBUF(2 * DSSE_MAX_BYTES);

	return !dsse_pae(&pae, xbuf_span(&e->payload)) &&
	       key_verify(key, xbuf_span(&pae), SPAN(e->sig, e->sig_len));
}

void dsse_free(struct dsse *e)
{
	xbuf_free(&e->payload);
}
