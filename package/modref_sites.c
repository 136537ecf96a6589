// SPDX-License-Identifier: Apache-2.0
/*
 * The places of a module that the kernel rewrites while it loads it, from the
 * module's own lists: module_finalize(), arch/x86/kernel/module.c. Each list is
 * a section whose relocations name the places; each must name an instruction of
 * the kind that it lists, as in package/kernel/ksites.c.
 */
#include <errno.h>
#include <stdlib.h>

#include "package/modref_make.h"

#define MAX_ALTERNATIVE 254

/* A place that an entry of a list names. */
struct place {
	uint8_t part;
	uint32_t off;
	uint32_t left; /* bytes to the part's end */
};

static int misread(struct modmake *m, const char *list)
{
	return xerr_set(m->err, XO_EOBJECT, "module: %s names a place where there is no such thing",
			list);
}

static bool place_of(const struct modmake *m, uint8_t part, uint32_t off, bool relative,
		     struct place *ret)
{
	const struct modref_reloc *r = modmake_reloc_at(m, part, off);

	if (!r || r->target >= MODREF_PARTS || modreloc_is_relative(r->type) != relative ||
	    r->addend < 0 || (uint64_t)r->addend >= m->ref->bytes[r->target])
		return false;
	*ret = (struct place){.part = r->target,
			      .off = (uint32_t)r->addend,
			      .left = m->ref->bytes[r->target] - (uint32_t)r->addend};
	return true;
}

static bool is_code(const struct place *p)
{
	return p->part == MODREF_TEXT || p->part == MODREF_INIT_TEXT;
}

static const uint8_t *bytes_at(const struct modmake *m, const struct place *p)
{
	return m->image[p->part] + p->off;
}

static int add_any(struct modmake *m, const char *list, const struct place *at, uint32_t len,
		   struct modref_site site)
{
	int rc;

	if (!len || len > UINT8_MAX || len > at->left)
		return misread(m, list);
	site.part = at->part;
	site.off = at->off;
	site.len_bytes = (uint8_t)len;
	site.orig = (uint32_t)m->orig.len_bytes;
	rc = xbuf_add(&m->orig, bytes_at(m, at), len);
	if (!rc)
		rc = xbuf_add(&m->sites, &site, sizeof(site));
	return rc ? xerr_set(m->err, rc, "module: %s: %s", list, xo_code_text(rc)) : 0;
}

static int add(struct modmake *m, const char *list, const struct place *at, uint32_t len,
	       struct modref_site site)
{
	return is_code(at) ? add_any(m, list, at, len, site) : misread(m, list);
}

/* ---- what must stand there; each returns the length that is rewritten, or 0 ---- */

static uint32_t branch_bytes(const uint8_t *b, uint32_t left)
{
	uint32_t i = 0;

	while (i < 2 && i < left && b[i] == 0x2e)
		i++;
	if (i + 6 > left)
		return i + 5 == left && (b[i] == 0xe8 || b[i] == 0xe9) ? left : 0;
	if (b[i] == 0xe8 || b[i] == 0xe9)
		return i + 5;
	return b[i] == 0x0f && (b[i + 1] & 0xf0) == 0x80 ? i + 6 : 0;
}

static uint32_t return_bytes(const uint8_t *b, uint32_t left)
{
	return left >= 5 && b[0] == 0xe9 ? 5 : 0;
}

static uint32_t endbr_bytes(const uint8_t *b, uint32_t left)
{
	static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};

	return left >= 4 && !memcmp(b, endbr64, sizeof(endbr64)) ? 4 : 0;
}

static uint32_t lock_bytes(const uint8_t *b, uint32_t left)
{
	return left >= 1 && (b[0] == 0xf0 || b[0] == 0x3e);
}

static bool is_nop5(const uint8_t *b)
{
	static const uint8_t nop5[] = {0x0f, 0x1f, 0x44, 0x00, 0x00};

	return !memcmp(b, nop5, sizeof(nop5));
}

static uint32_t fentry_bytes(const uint8_t *b, uint32_t left)
{
	return left >= 5 && (b[0] == 0xe8 || is_nop5(b)) ? 5 : 0;
}

static uint32_t jump_label_bytes(const uint8_t *b, uint32_t left)
{
	if (left >= 2 && (b[0] == 0xeb || (b[0] == 0x66 && b[1] == 0x90)))
		return 2;
	return left >= 5 && (b[0] == 0xe9 || is_nop5(b)) ? 5 : 0;
}

/* ---- the lists ---- */

struct list {
	const char *name;
	enum modref_site_kind kind;
	uint32_t entry; /* bytes; the place is at its start */
	bool relative;
	uint32_t (*bytes)(const uint8_t *b, uint32_t left);
};

static const struct list lists[] = {
	{".retpoline_sites", MODREF_SITE_RETPOLINE, 4, true, branch_bytes},
	{".return_sites", MODREF_SITE_RETURN, 4, true, return_bytes},
	{".ibt_endbr_seal", MODREF_SITE_ENDBR, 4, true, endbr_bytes},
	{".smp_locks", MODREF_SITE_LOCK, 4, true, lock_bytes},
	{"__mcount_loc", MODREF_SITE_FTRACE, 8, false, fentry_bytes},
	{".static_call_sites", MODREF_SITE_STATIC_CALL, 8, true, branch_bytes},
};

static int read_list(struct modmake *m, const struct list *l, const struct modmake_section *s)
{
	int rc = 0;

	if (s->bytes % l->entry)
		return misread(m, l->name);
	for (uint32_t off = 0; !rc && off < s->bytes; off += l->entry) {
		struct place p;
		uint32_t len;

		if (!place_of(m, s->part, s->off + off, l->relative, &p))
			return misread(m, l->name);
		/* Some start with an operand-size prefix: the kernel leaves those alone. */
		if (l->kind == MODREF_SITE_LOCK && bytes_at(m, &p)[0] == 0x66)
			continue;
		len = l->bytes(bytes_at(m, &p), p.left);
		rc = add(m, l->name, &p, len, (struct modref_site){.kind = (uint8_t)l->kind});
	}
	return rc;
}

/* struct jump_entry: code and target, relative to themselves, and the key. */
static int read_jump_labels(struct modmake *m, const struct modmake_section *s)
{
	static const char name[] = "__jump_table";
	int rc = 0;

	if (s->bytes % 16)
		return misread(m, name);
	for (uint32_t off = 0; !rc && off < s->bytes; off += 16) {
		struct modref_site site = {.kind = MODREF_SITE_JUMP_LABEL};
		struct place p, to;

		if (!place_of(m, s->part, s->off + off, true, &p) ||
		    !place_of(m, s->part, s->off + off + 4, true, &to) || !is_code(&to))
			return misread(m, name);
		site.repl_part = to.part;
		site.repl_off = to.off;
		rc = add(m, name, &p, jump_label_bytes(bytes_at(m, &p), p.left), site);
	}
	return rc;
}

/* struct alt_instr: place and replacement, relative to themselves, flags, two lengths. */
static int read_alternative(struct modmake *m, const struct modmake_section *s, uint32_t off,
			    uint32_t entry)
{
	static const char name[] = ".altinstructions";
	const uint8_t *e = m->image[s->part] + s->off + off;
	struct modref_site site = {.kind = MODREF_SITE_ALTERNATIVE, .repl_bytes = e[entry - 1]};
	uint8_t len = e[entry - 2];
	struct place p, by = {0};

	if (!place_of(m, s->part, s->off + off, true, &p) || !len || len > MAX_ALTERNATIVE ||
	    site.repl_bytes > len)
		return misread(m, name);
	if (site.repl_bytes) {
		if (!place_of(m, s->part, s->off + off + 4, true, &by) || !is_code(&by) ||
		    site.repl_bytes > by.left)
			return misread(m, name);
		site.repl_part = by.part;
		site.repl_off = by.off;
	}
	return add(m, name, &p, len, site);
}

/* Flags of 16 bits up to Linux 6.2, of 32 from 6.3 on: the entries' own relocations tell. */
static uint32_t alternative_entry(const struct modmake *m, const struct modmake_section *s)
{
	static const uint32_t entries[] = {12, 14};
	uint32_t found = 0;

	for (size_t i = 0; i < XO_ARRAY_SIZE(entries); i++) {
		bool fits = s->bytes % entries[i] == 0;
		struct place p;

		for (uint32_t off = 0; fits && off < s->bytes; off += entries[i])
			fits = place_of(m, s->part, s->off + off, true, &p);
		if (fits && found)
			return 0;
		if (fits)
			found = entries[i];
	}
	return found;
}

/* Entries that follow each other for one place may be given the longest one's length. */
static int read_lengths(struct modmake *m, const struct modmake_section *s, uint32_t entry)
{
	const uint8_t *table = m->image[s->part] + s->off;
	int rc = 0;

	for (uint32_t off = 0, end; !rc && off < s->bytes; off = end) {
		const struct modref_reloc *r = modmake_reloc_at(m, s->part, s->off + off), *next;
		uint8_t longest = 0;

		for (end = off; end < s->bytes; end += entry) {
			next = modmake_reloc_at(m, s->part, s->off + end);
			if (!r || !next || next->target != r->target || next->addend != r->addend)
				break;
			if (table[end + entry - 2] > longest)
				longest = table[end + entry - 2];
		}
		if (end == off)
			return misread(m, ".altinstructions");
		for (; !rc && off < end; off += entry) {
			const struct place at = {
				.part = s->part, .off = s->off + off + entry - 2, .left = 1};

			if (table[off + entry - 2] != longest)
				rc = add_any(m, ".altinstructions", &at, 1,
					     (struct modref_site){.kind = MODREF_SITE_LENGTH,
								  .repl_bytes = longest});
		}
	}
	return rc;
}

static int read_alternatives(struct modmake *m, const struct modmake_section *s)
{
	uint32_t entry = alternative_entry(m, s);
	int rc = entry || !s->bytes ? 0 : misread(m, ".altinstructions");

	for (uint32_t off = 0; !rc && off < s->bytes; off += entry)
		rc = read_alternative(m, s, off, entry);
	return rc || !entry ? rc : read_lengths(m, s, entry);
}

/* struct paravirt_patch_site (to 6.7): address, type, length, padded to 16 bytes. */
static int read_paravirt(struct modmake *m, const struct modmake_section *s)
{
	static const char name[] = ".parainstructions";
	int rc = 0;

	for (uint32_t off = 0; !rc && off + 10 <= s->bytes; off += 16) {
		struct place p;

		if (!place_of(m, s->part, s->off + off, false, &p))
			return misread(m, name);
		rc = add(m, name, &p, m->image[s->part][s->off + off + 9],
			 (struct modref_site){.kind = MODREF_SITE_PARAVIRT});
	}
	return rc;
}

/* Trampolines of the module's own static calls are in no list: their names tell. */
static int read_trampolines(struct modmake *m)
{
	static const char prefix[] = "__SCT__";
	int rc = 0;

	for (size_t i = 1; !rc && i < m->symtab.nr; i++) {
		struct modref_reloc r = {0};
		struct place p;
		const char *name;
		Elf64_Sym s;

		if (!elf64_symbol(&m->symtab, i, &s, &name) || s.st_shndx == SHN_UNDEF ||
		    strncmp(name, prefix, strlen(prefix)) != 0)
			continue;
		rc = modmake_target(m, i, 0, &r);
		if (rc)
			return rc;
		if (r.target != MODREF_TEXT || (uint64_t)r.addend >= m->ref->bytes[r.target])
			return misread(m, prefix);
		p = (struct place){.part = r.target,
				   .off = (uint32_t)r.addend,
				   .left = m->ref->bytes[r.target] - (uint32_t)r.addend};
		rc = add(m, prefix, &p, 5, (struct modref_site){.kind = MODREF_SITE_STATIC_CALL});
	}
	return rc;
}

static int read_section(struct modmake *m, const Elf64_Shdr *sh, const struct modmake_section *s)
{
	for (size_t i = 0; i < XO_ARRAY_SIZE(lists); i++)
		if (modmake_is(m, sh, lists[i].name))
			return read_list(m, &lists[i], s);
	if (modmake_is(m, sh, "__jump_table"))
		return read_jump_labels(m, s);
	if (modmake_is(m, sh, ".altinstructions"))
		return read_alternatives(m, s);
	if (modmake_is(m, sh, ".parainstructions"))
		return read_paravirt(m, s);
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct modref_site *x = a, *y = b;

	if (x->part != y->part)
		return x->part < y->part ? -1 : 1;
	if (x->off != y->off)
		return x->off < y->off ? -1 : 1;
	if (x->len_bytes != y->len_bytes) /* the one that covers others first */
		return x->len_bytes > y->len_bytes ? -1 : 1;
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return (x->orig > y->orig) - (x->orig < y->orig);
}

/* Places may lie within one another, from the first byte on or further in, but not overlap
 * otherwise. */
static int check_nesting(struct modmake *m, const struct modref_site *s, size_t nr)
{
	size_t outer = 0;

	for (size_t i = 1; i < nr; i++) {
		uint32_t end = s[outer].off + s[outer].len_bytes;

		if (s[i].part != s[outer].part || s[i].off >= end)
			outer = i;
		else if (s[i].len_bytes > end - s[i].off)
			return modmake_bad(m, "two places that the kernel rewrites overlap");
	}
	return 0;
}

int modmake_sites(struct modmake *m)
{
	struct modref_site *s;
	Elf64_Shdr sh;
	size_t nr;
	int rc = 0;

	for (size_t i = 1; !rc && elf64_section(&m->elf, i, &sh); i++)
		if (m->section[i].part < MODREF_PARTS)
			rc = read_section(m, &sh, &m->section[i]);
	if (!rc)
		rc = read_trampolines(m);
	if (rc)
		return rc;
	s = (struct modref_site *)(void *)m->sites.data;
	nr = m->sites.len_bytes / sizeof(*s);
	if (nr)
		qsort(s, nr, sizeof(*s), by_place);
	rc = check_nesting(m, s, nr);
	if (rc)
		return rc;
	m->ref->site = s;
	m->ref->nr_sites = nr;
	m->ref->orig = m->orig.data;
	m->ref->nr_orig = m->orig.len_bytes;
	m->sites = m->orig = (struct xbuf){0};
	return 0;
}

/* ---- tables ---- */

static bool entry_part(const struct modmake *m, uint8_t part, uint32_t off, bool relative,
		       uint8_t *ret_part, uint64_t *ret_off)
{
	const struct modref_reloc *r = modmake_reloc_at(m, part, off);

	if (!r || modreloc_is_relative(r->type) != relative || r->addend < 0 ||
	    (r->target != MODREF_TEXT && r->target != MODREF_INIT_TEXT))
		return false;
	*ret_part = r->target;
	*ret_off = (uint64_t)r->addend;
	return true;
}

static bool read_entry(const struct modmake *m, const struct modref_table *t, uint32_t i,
		       struct modentry *e)
{
	uint32_t at = t->off + i * modtable_bytes(t->kind);
	bool relative = t->kind != MODREF_TABLE_MCOUNT;

	*e = (struct modentry){0};
	if (!entry_part(m, t->part, at, relative, &e->part[0], &e->off[0]))
		return false;
	if (t->kind == MODREF_TABLE_ORC)
		memcpy(e->raw, m->image[t->part] + t->off2 + (size_t)i * MODREF_ORC_BYTES,
		       MODREF_ORC_BYTES);
	if (t->kind != MODREF_TABLE_EX)
		return true;
	memcpy(e->raw, m->image[t->part] + at + 8, 4);
	return entry_part(m, t->part, at + 4, relative, &e->part[1], &e->off[1]);
}

static int add_table(struct modmake *m, const char *name, uint8_t kind, const char *second)
{
	struct modref *r = m->ref;
	struct modref_table t = {.kind = kind};
	_cleanup_free_ struct modentry *e = NULL;
	const struct modmake_section *s, *s2 = NULL;
	Elf64_Shdr sh;
	size_t i = elf64_find(&m->elf, name, &sh), i2 = 0;

	if (!i || m->section[i].part >= MODREF_PARTS || !m->section[i].bytes)
		return 0;
	s = &m->section[i];
	t.part = s->part;
	t.off = s->off;
	t.nr = s->bytes / modtable_bytes(kind);
	if (second) {
		i2 = elf64_find(&m->elf, second, &sh);
		s2 = &m->section[i2];
		if (!i2 || s2->part != s->part || s2->bytes != t.nr * MODREF_ORC_BYTES)
			return misread(m, second);
		t.off2 = s2->off;
	}
	if (s->bytes % modtable_bytes(kind) || t.nr > MODREF_MAX_ITEMS)
		return misread(m, name);
	e = calloc(t.nr, sizeof(*e));
	if (!e)
		return modmake_no_memory(m);
	for (uint32_t k = 0; k < t.nr; k++)
		if (!read_entry(m, &t, k, &e[k]))
			return misread(m, name);
	if (modentry_digest(e, t.nr, t.sha256))
		return modmake_no_memory(m);
	r->table[r->nr_tables++] = t;
	return 0;
}

int modmake_tables(struct modmake *m)
{
	int rc = add_table(m, ".orc_unwind_ip", MODREF_TABLE_ORC, ".orc_unwind");

	if (!rc)
		rc = add_table(m, "__ex_table", MODREF_TABLE_EX, NULL);
	return rc ? rc : add_table(m, "__mcount_loc", MODREF_TABLE_MCOUNT, NULL);
}

static bool in_table(const struct modref *r, const struct modref_reloc *l)
{
	for (size_t i = 0; i < r->nr_tables; i++) {
		const struct modref_table *t = &r->table[i];

		if (l->part == t->part && l->off >= t->off &&
		    l->off - t->off < t->nr * modtable_bytes(t->kind))
			return true;
	}
	return false;
}

int modmake_take_relocs(struct modmake *m)
{
	const struct modref_reloc *from = (const void *)m->all.data;
	size_t nr = m->all.len_bytes / sizeof(*from);
	struct modref *r = m->ref;

	r->reloc = calloc(nr + 1, sizeof(*r->reloc));
	if (!r->reloc)
		return modmake_no_memory(m);
	for (size_t i = 0; i < nr; i++)
		if (!in_table(r, &from[i]))
			r->reloc[r->nr_relocs++] = from[i];
	return 0;
}
