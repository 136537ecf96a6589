// SPDX-License-Identifier: Apache-2.0
/*
 * The binary form of a reference: docs/formats/modules.md. Numbers are LEB128,
 * offsets differences to the one before. Reading checks every offset against the
 * part it is in, so that comparing need not.
 */
#include <errno.h>
#include <stdlib.h>

#include "package/modref_core.h"

#define MAGIC "xmodref1"

/* ---- writing ---- */

static int put(struct xbuf *out, uint64_t v)
{
	uint8_t b[10];
	size_t n = 0;

	do {
		b[n++] = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
		v >>= 7;
	} while (v);
	return xbuf_add(out, b, n);
}

static int put_signed(struct xbuf *out, int64_t v)
{
	return put(out, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}

static int put_text(struct xbuf *out, const char *s)
{
	int rc = put(out, strlen(s));

	return rc ? rc : xbuf_add(out, s, strlen(s));
}

static int put_relocs(struct xbuf *out, const struct modref *r)
{
	uint32_t last[MODREF_PARTS] = {0};
	int rc = put(out, r->nr_relocs);

	for (size_t i = 0; !rc && i < r->nr_relocs; i++) {
		const struct modref_reloc *l = &r->reloc[i];

		rc = put(out,
			 (uint64_t)l->part | (uint64_t)l->type << 3 | (uint64_t)l->target << 6);
		if (!rc)
			rc = put(out, l->off - last[l->part]);
		if (!rc && l->target == MODREF_IMPORT)
			rc = put(out, l->import);
		if (!rc)
			rc = put_signed(out, l->addend);
		last[l->part] = l->off;
	}
	return rc;
}

/* Only these need the file's bytes, or lead somewhere. */
static bool has_orig(uint8_t kind)
{
	return kind == MODREF_SITE_ALTERNATIVE || kind == MODREF_SITE_PARAVIRT ||
	       kind == MODREF_SITE_RETPOLINE || kind == MODREF_SITE_STATIC_CALL ||
	       kind == MODREF_SITE_LOCK || kind == MODREF_SITE_LENGTH;
}

static bool has_repl(uint8_t kind)
{
	return kind == MODREF_SITE_ALTERNATIVE || kind == MODREF_SITE_JUMP_LABEL ||
	       kind == MODREF_SITE_LENGTH;
}

static int put_sites(struct xbuf *out, const struct modref *r)
{
	uint32_t last[MODREF_PARTS] = {0};
	int rc = put(out, r->nr_sites);

	for (size_t i = 0; !rc && i < r->nr_sites; i++) {
		const struct modref_site *s = &r->site[i];

		rc = put(out, (uint64_t)s->part | (uint64_t)s->kind << 3);
		if (!rc)
			rc = put(out, s->off - last[s->part]);
		if (!rc)
			rc = put(out, s->len_bytes);
		if (!rc && has_repl(s->kind)) {
			rc = put(out, (uint64_t)s->repl_part | (uint64_t)s->repl_bytes << 3);
			if (!rc)
				rc = put(out, s->repl_off);
		}
		if (!rc && has_orig(s->kind))
			rc = xbuf_add(out, r->orig + s->orig, s->len_bytes);
		last[s->part] = s->off;
	}
	return rc;
}

static int put_tables(struct xbuf *out, const struct modref *r)
{
	int rc = put(out, r->nr_tables);

	for (size_t i = 0; !rc && i < r->nr_tables; i++) {
		const struct modref_table *t = &r->table[i];

		rc = put(out, t->kind);
		if (!rc)
			rc = put(out, t->part);
		if (!rc)
			rc = put(out, t->off);
		if (!rc)
			rc = put(out, t->nr);
		if (!rc)
			rc = put(out, t->off2);
		if (!rc)
			rc = xbuf_add(out, t->sha256, sizeof(t->sha256));
	}
	return rc;
}

int modref_encode(struct xbuf *out, const struct modref *r)
{
	int rc = xbuf_add(out, MAGIC, strlen(MAGIC));

	if (!rc)
		rc = put_text(out, r->name);
	if (!rc)
		rc = put_text(out, r->release);
	if (!rc)
		rc = put_text(out, r->depends);
	if (!rc)
		rc = xbuf_add(out, r->file, sizeof(r->file));
	for (int p = 0; !rc && p < MODREF_PARTS; p++) {
		rc = put(out, r->bytes[p]);
		if (!rc)
			rc = xbuf_add(out, r->page[p],
				      modref_pages(r->bytes[p]) * sizeof(*r->page[p]));
	}
	if (!rc)
		rc = put(out, r->self_off);
	if (!rc)
		rc = put(out, r->self_bytes);
	if (!rc)
		rc = put(out, r->nr_imports);
	for (size_t i = 0; !rc && i < r->nr_imports; i++)
		rc = put_text(out, r->import[i]);
	if (!rc)
		rc = put_relocs(out, r);
	if (!rc)
		rc = put_sites(out, r);
	return rc ? rc : put_tables(out, r);
}

/* ---- reading ---- */

/* Nothing is read after the first thing that does not fit. */
struct in {
	struct span s;
	size_t at;
	int rc;
};

static uint64_t fail(struct in *in, int rc)
{
	if (!in->rc)
		in->rc = rc;
	return 0;
}

static uint64_t get(struct in *in, uint64_t max)
{
	uint64_t v = 0;

	for (unsigned int shift = 0; !in->rc; shift += 7) {
		uint8_t b;

		if (shift > 63 || !span_u8(in->s, in->at, &b) || (shift == 63 && b > 1))
			return fail(in, -XO_EMALFORMED);
		in->at++;
		v |= (uint64_t)(b & 0x7f) << shift;
		if (b & 0x80)
			continue;
		if ((shift && !b) || v > max) /* one way to write each number */
			return fail(in, -XO_EMALFORMED);
		return v;
	}
	return 0;
}

static int64_t get_signed(struct in *in)
{
	uint64_t v = get(in, UINT64_MAX);

	return (int64_t)((v >> 1) ^ (0 - (v & 1)));
}

static void get_bytes(struct in *in, void *out, size_t len)
{
	if (in->rc)
		return;
	if (!span_copy(in->s, in->at, out, len))
		fail(in, -XO_EMALFORMED);
	else
		in->at += len;
}

static void get_text(struct in *in, char *out, size_t size)
{
	size_t len = (size_t)get(in, size - 1);

	memset(out, 0, size);
	get_bytes(in, out, len);
	for (size_t i = 0; i < len && !in->rc; i++)
		if (out[i] <= ' ' || out[i] > '~')
			fail(in, -XO_EMALFORMED);
}

/* A count of items of which each takes at least @least bytes of what is left. */
static size_t get_count(struct in *in, size_t max, size_t least)
{
	size_t nr = (size_t)get(in, max);

	if (!in->rc && nr > (in->s.len_bytes - in->at) / least)
		return (size_t)fail(in, -XO_EMALFORMED);
	return nr;
}

static void *room(struct in *in, size_t nr, size_t each)
{
	void *p = in->rc ? NULL : calloc(nr + 1, each);

	if (!p)
		fail(in, -ENOMEM);
	return p;
}

static bool fits(const struct modref *r, uint8_t part, uint32_t off, size_t len)
{
	return part < MODREF_PARTS && off <= r->bytes[part] && len <= r->bytes[part] - off;
}

static void get_reloc(struct in *in, const struct modref *r, struct modref_reloc *l,
		      uint32_t last[MODREF_PARTS], const struct modref_reloc *before)
{
	uint64_t head = get(in, UINT16_MAX);
	bool same;

	l->part = head & 7;
	l->type = (head >> 3) & 7;
	l->target = (uint8_t)(head >> 6);
	if (head >> 6 >= MODREF_TARGETS || l->part >= MODREF_PARTS || !l->type ||
	    l->type >= MODREF_TYPES)
		fail(in, -XO_EMALFORMED);
	if (in->rc)
		return;
	same = before && before->part == l->part;
	l->off = last[l->part] + (uint32_t)get(in, MODREF_MAX_PART);
	if (l->target == MODREF_IMPORT)
		l->import = (uint32_t)get(in, r->nr_imports ? r->nr_imports - 1 : 0);
	l->addend = get_signed(in);
	if ((l->target == MODREF_IMPORT && !r->nr_imports) ||
	    !fits(r, l->part, l->off, modreloc_bytes(l->type)) ||
	    (before && before->part > l->part) ||
	    (same && l->off - before->off < modreloc_bytes(before->type)))
		fail(in, -XO_EMALFORMED);
	last[l->part] = l->off;
}

static void get_relocs(struct in *in, struct modref *r)
{
	uint32_t last[MODREF_PARTS] = {0};

	r->nr_relocs = get_count(in, MODREF_MAX_ITEMS, 3);
	r->reloc = room(in, r->nr_relocs, sizeof(*r->reloc));
	for (size_t i = 0; i < r->nr_relocs && !in->rc; i++)
		get_reloc(in, r, &r->reloc[i], last, i ? &r->reloc[i - 1] : NULL);
}

static void get_site(struct in *in, struct modref *r, struct modref_site *s,
		     uint32_t last[MODREF_PARTS], struct xbuf *orig)
{
	uint8_t bytes[UINT8_MAX];
	uint64_t head = get(in, UINT8_MAX), repl;

	s->part = head & 7;
	s->kind = (uint8_t)(head >> 3);
	if (!s->kind || s->kind >= MODREF_SITE_KINDS || s->part >= MODREF_PARTS)
		fail(in, -XO_EMALFORMED);
	if (in->rc)
		return;
	s->off = last[s->part] + (uint32_t)get(in, MODREF_MAX_PART);
	s->len_bytes = (uint8_t)get(in, UINT8_MAX);
	if (has_repl(s->kind)) {
		repl = get(in, UINT16_MAX);
		s->repl_part = repl & 7;
		if (repl >> 3 > (s->kind == MODREF_SITE_LENGTH ? UINT8_MAX : s->len_bytes))
			fail(in, -XO_EMALFORMED);
		s->repl_bytes = (uint8_t)(repl >> 3);
		s->repl_off = (uint32_t)get(in, MODREF_MAX_PART);
		/* Code that is there whenever it is looked at, or known not to be. */
		if (s->kind != MODREF_SITE_LENGTH &&
		    ((s->repl_part != MODREF_TEXT && s->repl_part != MODREF_INIT_TEXT) ||
		     !fits(r, s->repl_part, s->repl_off, s->repl_bytes)))
			fail(in, -XO_EMALFORMED);
	}
	s->orig = (uint32_t)orig->len_bytes;
	if (has_orig(s->kind)) {
		get_bytes(in, bytes, s->len_bytes);
		if (!in->rc && xbuf_add(orig, bytes, s->len_bytes))
			fail(in, -ENOMEM);
	}
	if (!s->len_bytes || !fits(r, s->part, s->off, s->len_bytes))
		fail(in, -XO_EMALFORMED);
	last[s->part] = s->off;
}

/* Nested, never just overlapping: as modmake_sites() leaves them. */
static bool nests(const struct modref_site *outer, const struct modref_site *s)
{
	uint32_t end = outer->off + outer->len_bytes;

	return s->part != outer->part || s->off >= end || s->len_bytes <= end - s->off;
}

/* The bytes that a kind must have are looked at later without asking how many there are. */
static bool long_enough(const struct modref_site *s)
{
	switch (s->kind) {
	case MODREF_SITE_RETPOLINE:
	case MODREF_SITE_STATIC_CALL:
		return s->len_bytes >= 5;
	case MODREF_SITE_RETURN:
	case MODREF_SITE_FTRACE:
		return s->len_bytes == 5;
	case MODREF_SITE_ENDBR:
		return s->len_bytes == 4;
	case MODREF_SITE_LOCK:
	case MODREF_SITE_LENGTH:
		return s->len_bytes == 1;
	case MODREF_SITE_JUMP_LABEL:
		return s->len_bytes == 2 || s->len_bytes == 5;
	default:
		return true;
	}
}

static void get_sites(struct in *in, struct modref *r)
{
	struct xbuf orig = XBUF(MODREF_MAX_CODE);
	uint32_t last[MODREF_PARTS] = {0};
	size_t outer = 0;

	r->nr_sites = get_count(in, MODREF_MAX_ITEMS, 3);
	r->site = room(in, r->nr_sites, sizeof(*r->site));
	for (size_t i = 0; i < r->nr_sites && !in->rc; i++) {
		const struct modref_site *s = &r->site[i];

		get_site(in, r, &r->site[i], last, &orig);
		if (in->rc)
			break;
		if (!long_enough(s) ||
		    (i && (s->part < r->site[i - 1].part || !nests(&r->site[outer], s))))
			fail(in, -XO_EMALFORMED);
		if (s->part != r->site[outer].part ||
		    s->off - r->site[outer].off >= r->site[outer].len_bytes)
			outer = i;
	}
	r->orig = orig.data;
	r->nr_orig = orig.len_bytes;
}

static void get_tables(struct in *in, struct modref *r)
{
	r->nr_tables = get_count(in, XO_ARRAY_SIZE(r->table), 5);
	for (size_t i = 0; i < r->nr_tables && !in->rc; i++) {
		struct modref_table *t = &r->table[i];

		t->kind = (uint8_t)get(in, MODREF_TABLE_MCOUNT);
		t->part = (uint8_t)get(in, MODREF_PARTS - 1);
		t->off = (uint32_t)get(in, MODREF_MAX_PART);
		t->nr = (uint32_t)get(in, MODREF_MAX_ITEMS);
		t->off2 = (uint32_t)get(in, MODREF_MAX_PART);
		get_bytes(in, t->sha256, sizeof(t->sha256));
		if (in->rc)
			return;
		if (!t->kind ||
		    !fits(r, t->part, t->off, (size_t)t->nr * modtable_bytes(t->kind)) ||
		    (t->kind == MODREF_TABLE_ORC &&
		     !fits(r, t->part, t->off2, (size_t)t->nr * MODREF_ORC_BYTES)))
			fail(in, -XO_EMALFORMED);
	}
}

static void get_parts(struct in *in, struct modref *r)
{
	for (int p = 0; p < MODREF_PARTS && !in->rc; p++) {
		size_t pages;

		r->bytes[p] = (uint32_t)get(in, MODREF_MAX_PART);
		pages = modref_pages(r->bytes[p]);
		if (!in->rc && pages > (in->s.len_bytes - in->at) / XO_SHA256_BYTES)
			fail(in, -XO_EMALFORMED);
		r->page[p] = room(in, pages, sizeof(*r->page[p]));
		get_bytes(in, r->page[p], pages * sizeof(*r->page[p]));
	}
}

static void get_all(struct in *in, struct modref *r)
{
	char magic[sizeof(MAGIC)] = "";

	get_bytes(in, magic, strlen(MAGIC));
	if (strcmp(magic, MAGIC) != 0)
		fail(in, -XO_EMALFORMED);
	get_text(in, r->name, sizeof(r->name));
	get_text(in, r->release, sizeof(r->release));
	get_text(in, r->depends, sizeof(r->depends));
	get_bytes(in, r->file, sizeof(r->file));
	get_parts(in, r);
	r->self_off = (uint32_t)get(in, MODREF_MAX_PART);
	r->self_bytes = (uint32_t)get(in, MODREF_MAX_PART);
	if (!r->name[0] || !fits(r, MODREF_DATA, r->self_off, r->self_bytes))
		fail(in, -XO_EMALFORMED);
	r->nr_imports = get_count(in, MODREF_MAX_NAMES, 1);
	r->import = room(in, r->nr_imports, sizeof(*r->import));
	for (size_t i = 0; i < r->nr_imports && !in->rc; i++)
		get_text(in, r->import[i], MODREF_SYM_SIZE);
	get_relocs(in, r);
	get_sites(in, r);
	get_tables(in, r);
	if (in->at != in->s.len_bytes)
		fail(in, -XO_EMALFORMED);
}

int modref_decode(struct modref **ret, struct span code)
{
	_cleanup_modref_ struct modref *r = calloc(1, sizeof(*r));
	struct in in = {.s = code};

	if (!r)
		return -ENOMEM;
	if (code.len_bytes > MODREF_MAX_CODE)
		return -XO_ELIMIT;
	get_all(&in, r);
	if (in.rc)
		return in.rc;
	*ret = XO_TAKE_PTR(r);
	return 0;
}
