// SPDX-License-Identifier: Apache-2.0
#include "attest/note.h"

#include "attest/b64.h"

#define DASH "\xe2\x80\x94 " /* U+2014 and a space start a signature line */

bool line_take(struct span *s, struct span *ret_line)
{
	const uint8_t *nl = s->len_bytes ? memchr(s->p, '\n', s->len_bytes) : NULL;
	size_t n;

	if (!nl)
		return false;
	n = (size_t)(nl - s->p);
	*ret_line = SPAN(s->p, n);
	*s = SPAN(s->p + n + 1, s->len_bytes - n - 1);
	return true;
}

bool line_number(struct span line, uint64_t *ret)
{
	uint64_t v = 0;

	if (!line.len_bytes || line.len_bytes > 18 || (line.len_bytes > 1 && line.p[0] == '0'))
		return false;
	for (size_t i = 0; i < line.len_bytes; i++) {
		if (line.p[i] < '0' || line.p[i] > '9')
			return false;
		v = v * 10 + (line.p[i] - '0');
	}
	*ret = v;
	return true;
}

/* A key name of ours: graphic ASCII but for '+'. Other names are legal, and never equal to one. */
static bool good_name(struct span s)
{
	if (!s.len_bytes || s.len_bytes >= NOTE_NAME_SIZE)
		return false;
	for (size_t i = 0; i < s.len_bytes; i++)
		if (s.p[i] <= 0x20 || s.p[i] >= 0x7f || s.p[i] == '+')
			return false;
	return true;
}

static void put_be(uint8_t *out, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
}

static uint64_t get_be(const uint8_t *in, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v = v << 8 | in[i];
	return v;
}

int note_key_init(struct note_key *ret, const char *name, uint8_t type,
		  const uint8_t pub[KEY_ED25519_BYTES])
{
	uint8_t bytes[NOTE_NAME_SIZE + 2 + KEY_ED25519_BYTES], digest[XO_SHA256_BYTES];
	size_t n = strnlen(name, NOTE_NAME_SIZE);
	int rc;

	if (!good_name(SPAN(name, n)))
		return -XO_EMALFORMED;
	memcpy(bytes, name, n);
	bytes[n] = '\n';
	bytes[n + 1] = type;
	memcpy(bytes + n + 2, pub, KEY_ED25519_BYTES);
	rc = xo_sha256(SPAN(bytes, n + 2 + KEY_ED25519_BYTES), digest);
	if (rc)
		return rc;
	*ret = (struct note_key){.type = type, .id = (uint32_t)get_be(digest, 4)};
	memcpy(ret->name, name, n + 1);
	memcpy(ret->pub, pub, KEY_ED25519_BYTES);
	return 0;
}

int note_key_format(struct xbuf *out, const struct note_key *k)
{
	uint8_t bytes[1 + KEY_ED25519_BYTES] = {k->type};
	int rc = xbuf_addf(out, "%s+%08x+", k->name, k->id);

	memcpy(bytes + 1, k->pub, KEY_ED25519_BYTES);
	if (!rc)
		rc = b64_add(out, SPAN(bytes, sizeof(bytes)));
	return rc ? rc : xbuf_add(out, "\n", 1);
}

bool note_key_parse(struct note_key *ret, struct span line, uint8_t type)
{
	const uint8_t *plus = line.len_bytes ? memchr(line.p, '+', line.len_bytes) : NULL;
	uint8_t bytes[1 + KEY_ED25519_BYTES], id[4];
	char name[NOTE_NAME_SIZE], hex[9] = "";
	struct note_key k;
	size_t n;

	if (!plus)
		return false;
	n = (size_t)(plus - line.p);
	if (!good_name(SPAN(line.p, n)) || line.len_bytes - n < 10 || line.p[n + 9] != '+')
		return false;
	memcpy(name, line.p, n);
	name[n] = '\0';
	memcpy(hex, line.p + n + 1, 8);
	if (!xo_unhex(hex, id, 4) ||
	    !b64_exactly(SPAN(line.p + n + 10, line.len_bytes - n - 10), bytes, sizeof(bytes)) ||
	    bytes[0] != type || note_key_init(&k, name, type, bytes + 1) || k.id != get_be(id, 4))
		return false;
	*ret = k;
	return true;
}

static bool parse_sig_line(struct note_sig *ret, struct span line)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(NOTE_MAX_BYTES);
	const size_t dash = sizeof(DASH) - 1;
	const uint8_t *space;
	size_t n;

	if (line.len_bytes <= dash || memcmp(line.p, DASH, dash) != 0)
		return false;
	line = SPAN(line.p + dash, line.len_bytes - dash);
	space = memchr(line.p, ' ', line.len_bytes);
	if (!space || space == line.p)
		return false;
	n = (size_t)(space - line.p);
	if (b64_decode(&b, SPAN(line.p + n + 1, line.len_bytes - n - 1)) || b.len_bytes < 5)
		return false;
	*ret = (struct note_sig){.id = (uint32_t)get_be(b.data, 4)};
	if (good_name(SPAN(line.p, n)))
		memcpy(ret->name, line.p, n);
	if (b.len_bytes - 4 <= sizeof(ret->sig)) {
		ret->sig_len = b.len_bytes - 4;
		memcpy(ret->sig, b.data + 4, ret->sig_len);
	}
	return true;
}

bool note_parse_sigs(struct note *ret, struct span lines)
{
	struct span line;

	ret->nr_sigs = 0;
	while (lines.len_bytes) {
		if (ret->nr_sigs == NOTE_MAX_SIGS || !line_take(&lines, &line) ||
		    !parse_sig_line(&ret->sig[ret->nr_sigs], line))
			return false;
		ret->nr_sigs++;
	}
	return ret->nr_sigs > 0;
}

bool note_parse(struct note *ret, struct span bytes)
{
	size_t split = 0;

	if (bytes.len_bytes > NOTE_MAX_BYTES)
		return false;
	for (size_t i = 0; i < bytes.len_bytes; i++) {
		if (bytes.p[i] < 0x20 && bytes.p[i] != '\n')
			return false;
		if (i && bytes.p[i] == '\n' && bytes.p[i - 1] == '\n')
			split = i; /* the last empty line */
	}
	if (!split)
		return false;
	ret->text = SPAN(bytes.p, split);
	return note_parse_sigs(ret, SPAN(bytes.p + split + 1, bytes.len_bytes - split - 1));
}

/* What is signed: the text itself, or the text behind a cosignature's two lines. */
static int signed_message(struct xbuf *out, struct span text, uint8_t type, uint64_t when_s)
{
	int rc = 0;

	if (type == NOTE_SIG_COSIGNED)
		rc = xbuf_addf(out, "cosignature/v1\ntime %llu\n", (unsigned long long)when_s);
	return rc ? rc : xbuf_add(out, text.p, text.len_bytes);
}

static bool sig_holds(const struct note *n, const struct note_sig *s, const struct note_key *k,
		      uint64_t *ret_time_s)
{
	_cleanup_key_ EVP_PKEY *key =
		EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, k->pub, sizeof(k->pub));
	_cleanup_xbuf_ struct xbuf msg = XBUF(2 * NOTE_MAX_BYTES);
	size_t head = k->type == NOTE_SIG_COSIGNED ? 8 : 0;
	uint64_t when_s = get_be(s->sig, head);

	if (!key || s->sig_len != head + KEY_ED25519_SIG || when_s > INT64_MAX ||
	    signed_message(&msg, n->text, k->type, when_s) ||
	    !key_verify(key, xbuf_span(&msg), SPAN(s->sig + head, KEY_ED25519_SIG)))
		return false;
	if (ret_time_s)
		*ret_time_s = when_s;
	return true;
}

bool note_signed_by(const struct note *n, const struct note_key *k, uint64_t *ret_time_s)
{
	for (size_t i = 0; i < n->nr_sigs; i++)
		if (n->sig[i].id == k->id && !strcmp(n->sig[i].name, k->name))
			return sig_holds(n, &n->sig[i], k, ret_time_s);
	return false;
}

int note_sign_line(struct xbuf *out, struct span text, const struct note_key *k, EVP_PKEY *key,
		   uint64_t when_s)
{
	_cleanup_xbuf_ struct xbuf msg = XBUF(2 * NOTE_MAX_BYTES);
	uint8_t bytes[4 + 8 + KEY_P256_SIG_MAX], sig[KEY_P256_SIG_MAX];
	size_t head = 4, sig_len = 0;
	int rc;

	rc = signed_message(&msg, text, k->type, when_s);
	if (!rc)
		rc = key_sign(key, xbuf_span(&msg), sig, &sig_len);
	if (rc)
		return rc;
	put_be(bytes, k->id, 4);
	if (k->type == NOTE_SIG_COSIGNED) {
		put_be(bytes + 4, when_s, 8);
		head += 8;
	}
	memcpy(bytes + head, sig, sig_len);
	rc = xbuf_addf(out, DASH "%s ", k->name);
	if (!rc)
		rc = b64_add(out, SPAN(bytes, head + sig_len));
	return rc ? rc : xbuf_add(out, "\n", 1);
}

int checkpoint_format(struct xbuf *out, const struct checkpoint *c)
{
	int rc = xbuf_addf(out, "%s\n%llu\n", c->origin, (unsigned long long)c->size);

	if (!rc)
		rc = b64_add(out, SPAN(c->root, sizeof(c->root)));
	return rc ? rc : xbuf_add(out, "\n", 1);
}

bool checkpoint_parse(struct checkpoint *ret, struct span text)
{
	struct checkpoint c = {0};
	struct span line;

	if (!line_take(&text, &line) || !good_name(line))
		return false;
	memcpy(c.origin, line.p, line.len_bytes);
	if (!line_take(&text, &line) || !line_number(line, &c.size) || c.size > MERKLE_MAX_SIZE)
		return false;
	if (!line_take(&text, &line) || !b64_exactly(line, c.root, sizeof(c.root)))
		return false;
	while (text.len_bytes)
		if (!line_take(&text, &line) || !line.len_bytes)
			return false;
	*ret = c;
	return true;
}

int proof_lines(struct xbuf *out, const struct merkle_proof *p)
{
	for (size_t i = 0; i < p->nr; i++) {
		int rc = b64_add(out, SPAN(p->hash[i], MERKLE_BYTES));

		if (!rc)
			rc = xbuf_add(out, "\n", 1);
		if (rc)
			return rc;
	}
	return 0;
}

bool proof_parse_lines(struct merkle_proof *ret, struct span lines, struct span *rest)
{
	struct span line;

	ret->nr = 0;
	while (lines.len_bytes) {
		if (!line_take(&lines, &line))
			return false;
		if (!line.len_bytes)
			break;
		if (ret->nr == MERKLE_MAX_PROOF ||
		    !b64_exactly(line, ret->hash[ret->nr], MERKLE_BYTES))
			return false;
		ret->nr++;
	}
	*rest = lines;
	return true;
}

#define PROOF_HEAD "c2sp.org/tlog-proof@v1"

int tlog_proof_format(struct xbuf *out, uint64_t index, const struct merkle_proof *p,
		      struct span note)
{
	int rc = xbuf_addf(out, PROOF_HEAD "\nindex %llu\n", (unsigned long long)index);

	if (!rc)
		rc = proof_lines(out, p);
	if (!rc)
		rc = xbuf_add(out, "\n", 1);
	return rc ? rc : xbuf_add(out, note.p, note.len_bytes);
}

bool tlog_proof_parse(uint64_t *ret_index, struct merkle_proof *ret, struct span bytes,
		      struct span *ret_note)
{
	struct span line;

	if (!line_take(&bytes, &line) || line.len_bytes != sizeof(PROOF_HEAD) - 1 ||
	    memcmp(line.p, PROOF_HEAD, line.len_bytes) != 0)
		return false;
	if (!line_take(&bytes, &line) || line.len_bytes < 7 || memcmp(line.p, "index ", 6) != 0 ||
	    !line_number(SPAN(line.p + 6, line.len_bytes - 6), ret_index))
		return false;
	return proof_parse_lines(ret, bytes, ret_note);
}
