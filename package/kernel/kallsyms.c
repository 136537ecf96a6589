// SPDX-License-Identifier: Apache-2.0
/*
 * The symbol table that a kernel carries for itself. scripts/kallsyms.c writes
 * it; none of its parts has a header, so they are found from each other:
 *
 *   token_table  256 strings; those of the digits stand in a row, "0\0" "1\0" ...
 *   token_index  256 uint16_t, where each string starts; behind token_table
 *   num_syms     uint32_t
 *   names        per symbol a length (1 or 2 bytes) and that many token numbers; behind num_syms
 *   markers      uint32_t, where every 256th name starts; behind names
 *   seqs_of_names  3 bytes per symbol; Linux 6.2, 6.3 and stable 6.1 have it here, between markers
 *                and token_table
 *   offsets      int32_t per symbol, and relative_base, the 64-bit address they refer to:
 *                before num_syms up to Linux 6.3, behind token_index from 6.4 on
 *
 * Every part is aligned to 8 bytes.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/buf.h"
#include "package/kernel/kimage.h"

#define NR_TOKENS	 256
#define SYMS_PER_MARKER	 256
#define MAX_CANDIDATES	 16 /* places that look like a token table */
#define MARKER_MAX_BYTES (SYMS_PER_MARKER * (2u + 0x3fffu) + 8)
#define WALK_BUDGET	 (64u << 20) /* bytes of names looked at in all */

/* The token strings of the ten digits. */
static const char digits[] = "0\0001\0002\0003\0004\0005\0006\0007\0008\0009";

/* What is known of one table; offsets into .rodata. */
struct table {
	struct span rodata;
	uint64_t budget;
	size_t tokens_off;
	const char *token[NR_TOKENS];
	uint16_t token_len[NR_TOKENS];
	size_t index_end;
	size_t markers_off;
	size_t names_off;
	uint32_t nr_syms;
};

static size_t align8(size_t v)
{
	return (v + 7) & ~(size_t)7;
}

/* From the string of digit 0, find both ends of the table and check it against its index. */
static bool find_tokens(struct table *t, size_t digit_off)
{
	uint16_t index[NR_TOKENS];
	size_t end = digit_off;
	const char *s;
	size_t off = 0;

	for (unsigned int i = '0'; i < NR_TOKENS; i++) {
		if (!span_cstr(t->rodata, end, KSYM_MAX_NAME, &s))
			return false;
		end += strlen(s) + 1;
	}
	end = align8(end);
	if (!span_copy(t->rodata, end, index, sizeof(index)) || index['0'] > digit_off)
		return false;
	t->tokens_off = digit_off - index['0'];
	t->index_end = end + sizeof(index);
	for (unsigned int i = 0; i < NR_TOKENS; i++) {
		if (index[i] != off ||
		    !span_cstr(t->rodata, t->tokens_off + off, KSYM_MAX_NAME, &t->token[i]))
			return false;
		t->token_len[i] = (uint16_t)strlen(t->token[i]);
		off += t->token_len[i] + 1u;
	}
	return t->tokens_off % 8 == 0;
}

/* Length of the name at @off and where its tokens start. Return: whether it lies before @end */
static bool name_head(const struct table *t, size_t off, size_t end, size_t *ret_tokens,
		      size_t *ret_len)
{
	const uint8_t *p = t->rodata.p;
	size_t len;

	if (off >= end)
		return false;
	len = p[off++];
	if (len & 0x80) {
		if (off >= end)
			return false;
		len = (len & 0x7f) | (size_t)p[off++] << 7;
	}
	if (len == 0 || len > end - off)
		return false;
	*ret_tokens = off;
	*ret_len = len;
	return true;
}

static uint32_t marker(const struct table *t, size_t i)
{
	uint32_t v;

	memcpy(&v, t->rodata.p + t->markers_off + i * sizeof(v), sizeof(v));
	return v;
}

/* Do nr_syms names stand at names_off, with every marker true and the last right before markers? */
static bool names_fit(struct table *t)
{
	size_t off = t->names_off;
	size_t tokens, len;

	for (uint32_t i = 0; i < t->nr_syms; i++) {
		if (i % SYMS_PER_MARKER == 0 &&
		    marker(t, i / SYMS_PER_MARKER) != off - t->names_off)
			return false;
		if (!name_head(t, off, t->markers_off, &tokens, &len) || t->budget < len)
			return false;
		off = tokens + len;
		t->budget -= len;
	}
	return align8(off) == t->markers_off;
}

/* Take @nr_syms as num_syms, standing before @names_off; does the rest follow? */
static bool layout_fits(struct table *t, size_t names_off, uint32_t nr_syms, bool seqs)
{
	size_t nr_markers = (nr_syms + SYMS_PER_MARKER - 1) / SYMS_PER_MARKER;
	size_t behind = align8(nr_markers * sizeof(uint32_t)) + (seqs ? align8(nr_syms * 3ul) : 0);
	size_t names_bytes;

	if (behind > t->tokens_off - names_off)
		return false;
	t->names_off = names_off;
	t->nr_syms = nr_syms;
	t->markers_off = t->tokens_off - behind;
	names_bytes = t->markers_off - names_off;
	return marker(t, 0) == 0 && marker(t, nr_markers - 1) < names_bytes &&
	       names_bytes - marker(t, nr_markers - 1) <= MARKER_MAX_BYTES && names_fit(t);
}

/* Every aligned 64-bit word before the token table that could be num_syms, backwards. */
static bool find_names(struct table *t)
{
	for (size_t off = t->tokens_off; off >= 8; off -= 8) {
		uint64_t nr;

		memcpy(&nr, t->rodata.p + off - 8, sizeof(nr));
		if (nr == 0 || nr > KSYMS_MAX)
			continue;
		if (layout_fits(t, off, (uint32_t)nr, true) ||
		    layout_fits(t, off, (uint32_t)nr, false))
			return true;
	}
	return false;
}

/* Spell out every name; the first character is the symbol's type. */
static int decode_names(const struct table *t, struct ksyms_builder *b)
{
	size_t off = t->names_off;
	size_t tokens, len;
	char text[1 + KSYM_MAX_NAME];

	for (size_t i = 0; i < t->nr_syms; i++) {
		size_t n = 0;
		int rc;

		if (!name_head(t, off, t->markers_off, &tokens, &len))
			return -XO_EKALLSYMS;
		for (size_t j = 0; j < len; j++) {
			uint8_t tok = t->rodata.p[tokens + j];

			if (t->token_len[tok] > sizeof(text) - 1 - n)
				return -XO_EKALLSYMS;
			memcpy(text + n, t->token[tok], t->token_len[tok]);
			n += t->token_len[tok];
		}
		if (n < 2)
			return -XO_EKALLSYMS;
		text[n] = '\0';
		rc = ksyms_add(b, 0, text[0], text + 1);
		if (rc)
			return rc;
		off = tokens + len;
	}
	return 0;
}

/*
 * CONFIG_KALLSYMS_ABSOLUTE_PERCPU (SMP, up to Linux 6.14): per-CPU symbols have
 * their value as it is, all others count down from relative_base - 1. Without
 * it all count up from relative_base.
 */
static uint64_t sym_addr(int32_t offset, uint64_t relative_base, bool absolute_percpu)
{
	if (!absolute_percpu)
		return relative_base + (uint32_t)offset;
	return offset >= 0 ? (uint64_t)offset : relative_base - 1 - (uint64_t)(int64_t)offset;
}

/* Give every symbol its address by one of the layouts; true if _text is where it should be. */
static bool decode_addrs(const struct table *t, struct ksyms_builder *b, size_t offsets_off,
			 size_t base_off, bool absolute_percpu, uint64_t base, uint64_t limit)
{
	struct ksym *sym = (struct ksym *)(void *)b->sym.data;
	uint64_t relative_base;
	struct span offsets;
	bool found = false;

	if (!span_u64(t->rodata, base_off, &relative_base) ||
	    !span_sub(t->rodata, offsets_off, (uint64_t)t->nr_syms * sizeof(int32_t), &offsets))
		return false;
	for (size_t i = 0; i < t->nr_syms; i++) {
		int32_t offset;

		memcpy(&offset, offsets.p + i * sizeof(offset), sizeof(offset));
		sym[i].addr = sym_addr(offset, relative_base, absolute_percpu);
		if (sym[i].addr > limit)
			return false;
		found = found || (sym[i].addr == base &&
				  !strcmp((char *)b->names.data + sym[i].name_off, "_text"));
	}
	return found;
}

/* Both places for the offsets, both ways to read them. */
static bool find_addrs(const struct table *t, struct ksyms_builder *b, uint64_t base,
		       uint64_t limit)
{
	size_t offsets_bytes = align8((size_t)t->nr_syms * sizeof(int32_t));
	size_t before = t->names_off - 8;
	size_t after = align8(t->index_end);

	for (int percpu = 1; percpu >= 0; percpu--) {
		if (decode_addrs(t, b, after, after + offsets_bytes, percpu, base, limit))
			return true;
		if (before >= 8 + offsets_bytes &&
		    decode_addrs(t, b, before - 8 - offsets_bytes, before - 8, percpu, base, limit))
			return true;
	}
	return false;
}

static int try_table(struct ksyms *ret, struct span rodata, size_t digit_off, uint64_t *budget,
		     uint64_t base, uint64_t limit)
{
	struct table t = {.rodata = rodata, .budget = *budget};
	bool fits = find_tokens(&t, digit_off) && find_names(&t);
	struct ksyms_builder b = KSYMS_BUILDER;
	int rc;

	*budget = t.budget;
	rc = fits ? decode_names(&t, &b) : -XO_EKALLSYMS;
	if (!rc)
		rc = find_addrs(&t, &b, base, limit) ? ksyms_build(ret, &b) : -XO_EKALLSYMS;
	ksyms_builder_free(&b);
	return rc;
}

int ksyms_find(struct ksyms *ret, struct span rodata, uint64_t base, uint64_t limit,
	       struct xerr *err)
{
	uint64_t budget = WALK_BUDGET;
	size_t off = 0;

	if (rodata.len_bytes > KSYMS_MAX_RODATA)
		return xerr_set(err, XO_ELIMIT,
				"kallsyms: %zu bytes of read-only data are too many",
				rodata.len_bytes);
	for (int i = 0; i < MAX_CANDIDATES; i++) {
		const uint8_t *hit =
			memmem(rodata.p + off, rodata.len_bytes - off, digits, sizeof(digits));
		int rc;

		if (!hit)
			break;
		off = (size_t)(hit - rodata.p);
		rc = try_table(ret, rodata, off, &budget, base, limit);
		if (!rc)
			return 0;
		if (rc != -XO_EKALLSYMS)
			return xerr_set(err, rc, "kallsyms: %s", xo_code_text(rc));
		off++;
	}
	return xerr_set(err, XO_EKALLSYMS,
			"kallsyms: no well-formed symbol table whose _text is at %#llx",
			(unsigned long long)base);
}
