// SPDX-License-Identifier: Apache-2.0
#include "package/container.h"

#include <string.h>

#define BLOCK	  512u
#define END_BYTES UINT64_C(1024)
#define NAME_SIZE 101 /* the header's 100 bytes, and a NUL */

/* POSIX.1-2017, pax: ustar Interchange Format. */
struct ustar {
	char name[100];
	char mode[8];
	char uid[8];
	char gid[8];
	char size[12];
	char mtime[12];
	char chksum[8];
	char typeflag;
	char linkname[100];
	char magic[6];
	char version[2];
	char uname[32];
	char gname[32];
	char devmajor[8];
	char devminor[8];
	char prefix[155];
	char pad[12];
};
_Static_assert(sizeof(struct ustar) == BLOCK, "ustar header");

static void put_octal(char *field, size_t digits, uint64_t v)
{
	for (size_t i = digits; i-- > 0; v >>= 3)
		field[i] = (char)('0' + (v & 7));
}

/* The one permitted header for a member of this name and size. */
static void header_for(struct ustar *h, const char *name, uint64_t size_bytes)
{
	const uint8_t *raw = (const uint8_t *)h;
	uint32_t sum = 0;

	memset(h, 0, sizeof(*h));
	memcpy(h->name, name, strnlen(name, sizeof(h->name)));
	put_octal(h->mode, 7, 0644);
	put_octal(h->uid, 7, 0);
	put_octal(h->gid, 7, 0);
	put_octal(h->size, 11, size_bytes);
	put_octal(h->mtime, 11, 0);
	h->typeflag = '0';
	memcpy(h->magic, "ustar", sizeof(h->magic));
	memcpy(h->version, "00", sizeof(h->version));
	put_octal(h->devmajor, 7, 0);
	put_octal(h->devminor, 7, 0);
	memset(h->chksum, ' ', sizeof(h->chksum));
	for (size_t i = 0; i < sizeof(*h); i++)
		sum += raw[i];
	put_octal(h->chksum, 6, sum);
	h->chksum[6] = '\0';
}

bool container_role_ok(const char *role)
{
	size_t n = strspn(role, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return n && n <= CONTAINER_ROLE_MAX && !role[n] && role[0] >= 'a' && role[0] <= 'z';
}

static bool keyid_ok(const char *keyid)
{
	return strspn(keyid, "0123456789abcdef") == XO_SHA256_HEX_SIZE - 1 &&
	       strlen(keyid) == XO_SHA256_HEX_SIZE - 1;
}

/* Take "sig/ROLE.KEYID.p7s" apart. */
static bool sig_name_ok(const char *name, struct container_sig *sig)
{
	static const char head[] = "sig/", tail[] = ".p7s";
	const size_t keyid_len = XO_SHA256_HEX_SIZE - 1;
	size_t len = strlen(name), role_len;
	const char *dot;

	if (len < sizeof(head) + keyid_len + sizeof(tail) ||
	    strncmp(name, head, strlen(head)) != 0 || strcmp(name + len - strlen(tail), tail) != 0)
		return false;
	dot = name + len - strlen(tail) - keyid_len - 1;
	role_len = (size_t)(dot - name) - strlen(head);
	if (*dot != '.' || !role_len || role_len > CONTAINER_ROLE_MAX)
		return false;
	memset(sig, 0, sizeof(*sig));
	memcpy(sig->role, name + strlen(head), role_len);
	memcpy(sig->keyid, dot + 1, keyid_len);
	return container_role_ok(sig->role) && keyid_ok(sig->keyid);
}

static void sig_name(const struct container_sig *sig, char name[NAME_SIZE])
{
	snprintf(name, NAME_SIZE, "sig/%.24s.%.64s.p7s", sig->role, sig->keyid);
}

/* One header: its name and size, if it has the permitted form. */
static bool read_header(struct span bytes, uint64_t off, char name[NAME_SIZE], uint64_t *size_bytes,
			struct refusal *why)
{
	struct ustar got, want;
	char shown[2 * NAME_SIZE];
	uint64_t size = 0;

	if (!span_copy(bytes, off, &got, sizeof(got))) {
		refusal_add(why, XO_ETRUNCATED, "the file ends at byte %zu, within a header",
			    bytes.len_bytes);
		return false;
	}
	memcpy(name, got.name, sizeof(got.name));
	name[NAME_SIZE - 1] = '\0';
	for (size_t i = 0; i < 11; i++) {
		if (got.size[i] < '0' || got.size[i] > '7')
			break;
		size = size << 3 | (uint64_t)(got.size[i] - '0');
	}
	header_for(&want, name, size);
	if (memcmp(&got, &want, sizeof(got)) != 0) {
		refusal_add(why, off ? XO_EARCHIVEPATH : XO_ENOTPACKAGE,
			    "%s: the header at byte %llu is not in the one permitted form",
			    xo_escape(SPAN(got.name, sizeof(got.name)), shown, sizeof(shown)),
			    (unsigned long long)off);
		return false;
	}
	*size_bytes = size;
	return true;
}

/* One member at *@off: checked header, content, zero padding. */
static bool read_member(struct span bytes, uint64_t *off, char name[NAME_SIZE], struct span *ret,
			struct refusal *why)
{
	char shown[4 * NAME_SIZE];
	uint64_t at = *off, size, padded;
	struct span pad;

	if (!read_header(bytes, at, name, &size, why))
		return false;
	xo_escape(SPAN(name, strlen(name)), shown, sizeof(shown));
	at += BLOCK;
	padded = xo_align_up(size, BLOCK);
	if (!span_has(bytes, at, padded)) {
		refusal_add(why, XO_ETRUNCATED, "%s: the file ends at byte %zu, within the member",
			    shown, bytes.len_bytes);
		return false;
	}
	if (!span_sub(bytes, at, size, ret) || !span_sub(bytes, at + size, padded - size, &pad))
		return false;
	for (size_t i = 0; i < pad.len_bytes; i++) {
		if (pad.p[i]) {
			refusal_add(why, XO_EARCHIVEPATH, "%s: the padding is not zero", shown);
			return false;
		}
	}
	*off = at + padded;
	return true;
}

static bool within(const char *name, struct span s, size_t max, struct refusal *why)
{
	if (s.len_bytes && s.len_bytes <= max)
		return true;
	refusal_add(why, XO_EARCHIVEPATH, "%s: %zu bytes; 1 to %zu are permitted", name,
		    s.len_bytes, max);
	return false;
}

static bool expect(const char *want, size_t max, const char *name, struct span s,
		   struct refusal *why)
{
	char shown[4 * NAME_SIZE];

	if (strcmp(name, want) != 0) {
		refusal_add(why, XO_EARCHIVEPATH, "%s: the member here must be %s",
			    xo_escape(SPAN(name, strlen(name)), shown, sizeof(shown)), want);
		return false;
	}
	return within(want, s, max, why);
}

static bool read_end(struct span bytes, uint64_t off, struct refusal *why)
{
	if (!span_has(bytes, off, END_BYTES)) {
		refusal_add(why, XO_ETRUNCATED, "the file ends at byte %zu, before its end mark",
			    bytes.len_bytes);
		return false;
	}
	for (uint64_t i = off; i < bytes.len_bytes; i++) {
		if (bytes.p[i] || i >= off + END_BYTES) {
			refusal_add(why, XO_EARCHIVEPATH,
				    "byte %llu: nothing may follow provenance.json",
				    (unsigned long long)i);
			return false;
		}
	}
	return true;
}

/* All sig/ members; the first other one's name and content are left in @name and @s. */
static bool read_sigs(struct container *a, struct span bytes, uint64_t *off, char name[NAME_SIZE],
		      struct span *s, struct refusal *why)
{
	char last[NAME_SIZE] = "";
	struct container_sig sig;

	for (;;) {
		if (!read_member(bytes, off, name, s, why))
			return false;
		if (!sig_name_ok(name, &sig))
			return true;
		if (strcmp(name, last) <= 0 || a->nr_sigs == PKG_MAX_SIGNERS) {
			refusal_add(why, XO_EARCHIVEPATH,
				    "%s: signatures must be at most %d, ascending, none twice",
				    name, PKG_MAX_SIGNERS);
			return false;
		}
		if (!within(name, *s, CONTAINER_SIG_MAX, why))
			return false;
		memcpy(last, name, sizeof(last));
		sig.bytes = *s;
		a->sig[a->nr_sigs++] = sig;
	}
}

void container_read(struct container *ret, struct span bytes, struct refusal *why)
{
	struct container a = {0};
	char name[NAME_SIZE];
	uint64_t off = 0;
	struct span s;

	if (!bytes.len_bytes || bytes.len_bytes > PKG_MAX_BYTES) {
		refusal_add(why, XO_ENOTPACKAGE, "%zu bytes; 1 to %u are permitted",
			    bytes.len_bytes, PKG_MAX_BYTES);
		return;
	}
	if (!read_member(bytes, &off, name, &a.manifest, why) ||
	    !expect("manifest.json", CONTAINER_MANIFEST_MAX, name, a.manifest, why) ||
	    !read_sigs(&a, bytes, &off, name, &s, why) ||
	    !expect("payload.o", CONTAINER_PAYLOAD_MAX, name, s, why))
		return;
	a.payload = s;
	if (!read_member(bytes, &off, name, &a.provenance, why) ||
	    !expect("provenance.json", CONTAINER_PROVENANCE_MAX, name, a.provenance, why) ||
	    !read_end(bytes, off, why))
		return;
	*ret = a;
}

static int write_member(struct xbuf *out, const char *name, struct span s, size_t max)
{
	static const uint8_t zero[BLOCK];
	struct ustar h;
	int rc;

	if (!s.len_bytes || s.len_bytes > max)
		return -XO_EINTERNAL;
	header_for(&h, name, s.len_bytes);
	rc = xbuf_add(out, &h, sizeof(h));
	if (!rc)
		rc = xbuf_add(out, s.p, s.len_bytes);
	if (!rc)
		rc = xbuf_add(out, zero, (BLOCK - s.len_bytes % BLOCK) % BLOCK);
	return rc;
}

static int by_name(const void *x, const void *y)
{
	char a[NAME_SIZE], b[NAME_SIZE];

	sig_name(x, a);
	sig_name(y, b);
	return strcmp(a, b);
}

static int write_sigs(struct xbuf *out, const struct container *a)
{
	struct container_sig sig[PKG_MAX_SIGNERS];
	char name[NAME_SIZE], last[NAME_SIZE] = "";
	int rc = 0;

	if (a->nr_sigs > PKG_MAX_SIGNERS)
		return -XO_ELIMIT;
	memcpy(sig, a->sig, sizeof(sig));
	qsort(sig, a->nr_sigs, sizeof(sig[0]), by_name);
	for (size_t i = 0; !rc && i < a->nr_sigs; i++) {
		sig_name(&sig[i], name);
		if (!container_role_ok(sig[i].role) || !keyid_ok(sig[i].keyid) ||
		    !strcmp(name, last))
			return -XO_EINTERNAL;
		memcpy(last, name, sizeof(last));
		rc = write_member(out, name, sig[i].bytes, CONTAINER_SIG_MAX);
	}
	return rc;
}

int container_write(struct xbuf *out, const struct container *a)
{
	static const uint8_t end[END_BYTES];
	int rc;

	rc = write_member(out, "manifest.json", a->manifest, CONTAINER_MANIFEST_MAX);
	if (!rc)
		rc = write_sigs(out, a);
	if (!rc)
		rc = write_member(out, "payload.o", a->payload, CONTAINER_PAYLOAD_MAX);
	if (!rc)
		rc = write_member(out, "provenance.json", a->provenance, CONTAINER_PROVENANCE_MAX);
	if (!rc)
		rc = xbuf_add(out, end, sizeof(end));
	return rc;
}
