// SPDX-License-Identifier: Apache-2.0
#include "attest/ima.h"

#include <inttypes.h>

#include "attest/note.h"

#define TEMPLATE   "ima-buf"
#define ALGO	   "sha256:" /* and a NUL */
#define EVENT	   "exopatch:"
#define D_NG_BYTES (sizeof(ALGO) + XO_SHA256_BYTES)

static int sha1(struct span in, uint8_t out[IMA_SHA1_BYTES])
{
	return EVP_Digest(in.p, in.len_bytes, out, NULL, EVP_sha1(), NULL) == 1 ? 0 : -XO_EINTERNAL;
}

/* u32 length, then the bytes. */
static int add_field(struct xbuf *out, const void *data, size_t len)
{
	uint32_t n = (uint32_t)len;
	int rc = xbuf_add(out, &n, sizeof(n));

	return rc ? rc : xbuf_add(out, data, len);
}

static int template_data(struct xbuf *out, uint64_t leaf, const char *uuid, struct span envelope)
{
	uint8_t d_ng[D_NG_BYTES];
	char name[IMA_NAME_SIZE];
	int n, rc;

	memcpy(d_ng, ALGO, sizeof(ALGO));
	rc = xo_sha256(envelope, d_ng + sizeof(ALGO));
	if (rc)
		return rc;
	n = snprintf(name, sizeof(name), EVENT "%" PRIu64 ":%s", leaf, uuid);
	rc = add_field(out, d_ng, sizeof(d_ng));
	if (!rc)
		rc = add_field(out, name, (size_t)n + 1);
	return rc ? rc : add_field(out, envelope.p, envelope.len_bytes);
}

int ima_format(struct xbuf *out, uint32_t pcr, uint64_t leaf, const char *uuid,
	       struct span envelope)
{
	_cleanup_xbuf_ struct xbuf data = XBUF(IMA_ENTRY_MAX);
	uint8_t digest[IMA_SHA1_BYTES];
	int rc;

	if (strlen(uuid) != 36)
		return -XO_EMALFORMED;
	rc = template_data(&data, leaf, uuid, envelope);
	if (!rc)
		rc = sha1(xbuf_span(&data), digest);
	if (!rc)
		rc = xbuf_add(out, &pcr, sizeof(pcr));
	if (!rc)
		rc = xbuf_add(out, digest, sizeof(digest));
	if (!rc)
		rc = add_field(out, TEMPLATE, strlen(TEMPLATE));
	return rc ? rc : add_field(out, data.data, data.len_bytes);
}

/* Cut a field of at most @max bytes off *@s. */
static bool take_field(struct span *s, size_t max, struct span *ret)
{
	uint32_t n;

	if (!span_u32(*s, 0, &n) || n > max || !span_sub(*s, 4, n, ret))
		return false;
	*s = SPAN(s->p + 4 + n, s->len_bytes - 4 - n);
	return true;
}

/* "exopatch:LEAF:UUID" and a NUL. */
static bool parse_name(struct ima_entry *e, struct span f)
{
	const size_t head = sizeof(EVENT) - 1;
	const char *colon;

	if (f.len_bytes > sizeof(e->name) || f.len_bytes < head + 2 + 37 || f.p[f.len_bytes - 1] ||
	    memchr(f.p, 0, f.len_bytes - 1))
		return false;
	memcpy(e->name, f.p, f.len_bytes);
	colon = e->name + f.len_bytes - 1 - 37;
	if (strncmp(e->name, EVENT, head) != 0 || *colon != ':')
		return false;
	memcpy(e->uuid, colon + 1, sizeof(e->uuid));
	return line_number(SPAN(e->name + head, (size_t)(colon - e->name) - head), &e->leaf);
}

bool ima_next(struct span *log, struct ima_entry *ret)
{
	struct ima_entry e = {0};
	struct span s = *log, name, data, f;

	if (!span_u32(s, 0, &e.pcr) || !span_copy(s, 4, e.sha1, sizeof(e.sha1)))
		return false;
	s = SPAN(s.p + 4 + IMA_SHA1_BYTES, s.len_bytes - 4 - IMA_SHA1_BYTES);
	if (!take_field(&s, strlen(TEMPLATE), &name) || name.len_bytes != strlen(TEMPLATE) ||
	    memcmp(name.p, TEMPLATE, name.len_bytes) != 0 || !take_field(&s, IMA_ENTRY_MAX, &data))
		return false;
	e.template_data = data;
	if (!take_field(&data, D_NG_BYTES, &f) || f.len_bytes != D_NG_BYTES ||
	    memcmp(f.p, ALGO, sizeof(ALGO)) != 0)
		return false;
	memcpy(e.d_ng, f.p + sizeof(ALGO), sizeof(e.d_ng));
	if (!take_field(&data, IMA_NAME_SIZE, &f) || !parse_name(&e, f) ||
	    !take_field(&data, DSSE_MAX_BYTES, &e.buf) || data.len_bytes)
		return false;
	*ret = e;
	*log = s;
	return true;
}

bool ima_consistent(const struct ima_entry *e)
{
	uint8_t d[XO_SHA256_BYTES];

	if (sha1(e->template_data, d) || memcmp(d, e->sha1, IMA_SHA1_BYTES) != 0)
		return false;
	return !xo_sha256(e->buf, d) && !memcmp(d, e->d_ng, sizeof(d));
}

int ima_digest(const struct ima_entry *e, uint8_t ret[XO_SHA256_BYTES])
{
	return xo_sha256(e->template_data, ret);
}

int ima_extend(uint8_t pcr[XO_SHA256_BYTES], const uint8_t digest[XO_SHA256_BYTES])
{
	uint8_t both[2 * XO_SHA256_BYTES];

	memcpy(both, pcr, XO_SHA256_BYTES);
	memcpy(both + XO_SHA256_BYTES, digest, XO_SHA256_BYTES);
	return xo_sha256(SPAN(both, sizeof(both)), pcr);
}
