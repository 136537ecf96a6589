// SPDX-License-Identifier: Apache-2.0
/*
 * A module in memory against its reference: each relocation recomputed, each
 * place that the kernel rewrites held against what it may make of it, each list
 * that it sorts as a set; what is left, page by page.
 */
#include <errno.h>
#include <stdlib.h>

#include "package/modref_core.h"
#include "package/modref_forms.h"

struct compare {
	const struct modref *r;
	enum modref_when when;
	struct modref_image *im;
	const struct modref_guest *guest;
	struct modref_difference *d;
};

static bool differs(struct compare *c, uint8_t part, uint32_t off, const char *what)
{
	*c->d = (struct modref_difference){.differs = true, .part = part, .off = off, .what = what};
	return true;
}

static bool in_scope(const struct compare *c, uint8_t part)
{
	return c->when == MODREF_LOADING || part == MODREF_TEXT || part == MODREF_RODATA;
}

/* A part that is freed once the module lives; what led there is left as it is. */
static bool is_gone(const struct compare *c, uint8_t part)
{
	return c->when == MODREF_LIVE &&
	       (part == MODREF_INIT_TEXT || part == MODREF_INIT_DATA || part == MODREF_INIT_RODATA);
}

static uint8_t *bytes_at(const struct compare *c, uint8_t part, uint32_t off)
{
	return c->im->part[part].bytes + off;
}

static uint64_t address(const struct compare *c, uint8_t part, uint64_t off)
{
	return c->im->part[part].base + off;
}

/* ---- relocations ---- */

static uint64_t target(const struct compare *c, const struct modref_reloc *l)
{
	uint64_t base = 0;

	if (l->target < MODREF_PARTS)
		base = c->im->part[l->target].base;
	else if (l->target == MODREF_PERCPU)
		base = c->im->percpu;
	else if (l->target == MODREF_IMPORT)
		base = c->im->import[l->import].addr;
	return base + (uint64_t)l->addend;
}

/* What the loader writes: apply_relocate_add(), arch/x86/kernel/module.c */
static uint64_t value(const struct compare *c, const struct modref_reloc *l)
{
	uint64_t v = target(c, l);

	return modreloc_is_relative(l->type) ? v - address(c, l->part, l->off) : v;
}

static void put_value(const struct compare *c, const struct modref_reloc *l, uint8_t *field)
{
	uint64_t v = value(c, l);

	memcpy(field, &v, modreloc_bytes(l->type));
}

static bool is_missing(const struct compare *c, const struct modref_reloc *l)
{
	return l->target == MODREF_IMPORT && !c->im->import[l->import].found;
}

/* Does a place that the kernel rewrites cover it? Sites from *@at on. */
static bool is_covered(const struct modref *r, const struct modref_reloc *l, size_t *at)
{
	while (*at < r->nr_sites && (r->site[*at].part < l->part ||
				     (r->site[*at].part == l->part &&
				      r->site[*at].off + r->site[*at].len_bytes <= l->off)))
		(*at)++;
	return *at < r->nr_sites && r->site[*at].part == l->part && r->site[*at].off <= l->off;
}

static bool relocs_differ(struct compare *c)
{
	const struct modref *r = c->r;
	size_t site = 0;

	for (size_t i = 0; i < r->nr_relocs; i++) {
		const struct modref_reloc *l = &r->reloc[i];
		uint8_t want[8];

		if (!in_scope(c, l->part) || is_gone(c, l->target) || is_covered(r, l, &site))
			continue;
		if (is_missing(c, l)) {
			differs(c, l->part, l->off, "a relocation");
			c->d->import = r->import[l->import];
			return true;
		}
		put_value(c, l, want);
		if (memcmp(bytes_at(c, l->part, l->off), want, modreloc_bytes(l->type)) != 0)
			return differs(c, l->part, l->off, "a relocation");
	}
	return false;
}

/* ---- places that the kernel rewrites ---- */

/* The only relocation inside a place, or NULL. */
static const struct modref_reloc *reloc_in(const struct modref *r, const struct modref_site *s)
{
	size_t i = modref_first_reloc(r, s->part, s->off);

	return i < r->nr_relocs && r->reloc[i].part == s->part &&
			       r->reloc[i].off - s->off < s->len_bytes
		       ? &r->reloc[i]
		       : NULL;
}

/* The file's bytes at a place with their relocations, as the loader left them at first. */
static bool original(const struct compare *c, const struct modref_site *s, uint8_t *out)
{
	const struct modref *r = c->r;

	memcpy(out, r->orig + s->orig, s->len_bytes);
	for (size_t i = modref_first_reloc(r, s->part, s->off);
	     i < r->nr_relocs && r->reloc[i].part == s->part &&
	     r->reloc[i].off - s->off < s->len_bytes;
	     i++) {
		const struct modref_reloc *l = &r->reloc[i];
		uint32_t at = l->off - s->off;

		if (modreloc_bytes(l->type) > s->len_bytes - at || is_gone(c, l->target))
			return false;
		put_value(c, l, out + at);
	}
	return true;
}

/* The replacement, which is part of the text that is compared, moved to the place. */
static bool replacement(const struct compare *c, const struct modref_site *s, uint8_t *out)
{
	const struct modref *r = c->r;
	uint64_t moved = address(c, s->repl_part, s->repl_off) - address(c, s->part, s->off);

	if (is_gone(c, s->repl_part))
		return false;
	memcpy(out, bytes_at(c, s->repl_part, s->repl_off), s->repl_bytes);
	for (size_t i = modref_first_reloc(r, s->repl_part, s->repl_off);
	     i < r->nr_relocs && r->reloc[i].part == s->repl_part &&
	     r->reloc[i].off - s->repl_off < s->repl_bytes;
	     i++) {
		const struct modref_reloc *l = &r->reloc[i];
		uint32_t at = l->off - s->repl_off;
		uint32_t v;

		if (l->type != MODREF_PC32)
			continue;
		if (sizeof(v) > s->repl_bytes - at)
			return false;
		memcpy(&v, out + at, sizeof(v));
		v += (uint32_t)moved;
		memcpy(out + at, &v, sizeof(v));
	}
	return true;
}

/* A call through a member of pv_ops became a call of what that holds; or what that would do, where
 * it is nothing, or gives back what it is given. */
static bool is_direct_call(const struct compare *c, const struct modref_site *s,
			   const uint8_t *have)
{
	static const uint8_t identity[] = {0x48, 0x89, 0xf8}; /* mov %rdi,%rax */
	const uint8_t *orig = c->r->orig + s->orig;
	const struct modref_reloc *l = reloc_in(c->r, s);
	uint64_t slot, func, to;

	if (!l || l->target != MODREF_IMPORT || strcmp(c->r->import[l->import], "pv_ops") != 0 ||
	    s->len_bytes < 6 || orig[0] != 0xff)
		return false;
	slot = target(c, l) + (orig[1] == 0x15 ? 4 : 0);
	if (!c->guest->read(c->guest->arg, slot, &func, sizeof(func)))
		return false;
	if (modform_nops(have, s->len_bytes))
		return c->guest->pv_nop && func == c->guest->pv_nop;
	if (modform_padded(have, s->len_bytes, identity, sizeof(identity)))
		return c->guest->pv_identity && func == c->guest->pv_identity;
	return modform_branch(have, s->len_bytes, 0xe8, address(c, s->part, s->off), &to) &&
	       modform_nops(have + 5, s->len_bytes - 5u) && func == to;
}

/* @len: of the place, of which this alternative may be only the beginning */
static bool fits_alternative(const struct compare *c, const struct modref_site *s,
			     const uint8_t *have, uint8_t len)
{
	uint8_t want[UINT8_MAX];

	if (s->len_bytes == len && original(c, s, want) && modform_padded(have, len, want, len))
		return true;
	if (s->kind == MODREF_SITE_ALTERNATIVE && replacement(c, s, want) &&
	    modform_short_jump(have, len, want, s->repl_bytes))
		return true;
	return s->len_bytes == len && is_direct_call(c, s, have);
}

/* A thunk of another kind, which is nothing but a jump through the same register. */
static bool leads_to_jump(const struct compare *c, const uint8_t *have, uint64_t at,
			  unsigned int reg)
{
	uint8_t code[4], *p = code;
	uint64_t to;

	if ((!modform_branch(have, 5, 0xe8, at, &to) && !modform_branch(have, 5, 0xe9, at, &to)) ||
	    !c->guest->read(c->guest->arg, to, code, sizeof(code)))
		return false;
	if (reg >= 8 && *p++ != 0x41)
		return false;
	return p[0] == 0xff && p[1] == (0xe0 | (reg & 7));
}

static bool fits_retpoline(const struct compare *c, const struct modref_site *s,
			   const uint8_t *have)
{
	const uint8_t *orig = c->r->orig + s->orig;
	const struct modref_reloc *l = reloc_in(c->r, s);
	uint8_t want[UINT8_MAX];
	uint32_t skip = 0;
	int reg;

	if (original(c, s, want) && !memcmp(have, want, s->len_bytes))
		return true;
	reg = l && l->target == MODREF_IMPORT ? modform_register(c->r->import[l->import]) : -1;
	if (reg < 0)
		return false;
	if (modform_indirect(have, s->len_bytes, orig, (unsigned int)reg))
		return true;
	while (skip + 5 < s->len_bytes && have[skip] == 0x2e)
		skip++;
	return have[skip] == orig[skip] &&
	       leads_to_jump(c, have + skip, address(c, s->part, s->off + skip), (unsigned int)reg);
}

static bool fits_return(const struct compare *c, const struct modref_site *s, const uint8_t *have)
{
	const struct modref_reloc *l = reloc_in(c->r, s);
	uint64_t to;

	if (modform_plain_return(have))
		return true;
	if (!modform_branch(have, 5, 0xe9, address(c, s->part, s->off), &to))
		return false;
	return (c->guest->return_thunk && to == c->guest->return_thunk) ||
	       (l && !is_missing(c, l) && l->addend == -4 && to == target(c, l) + 4);
}

static bool fits_ftrace(const struct compare *c, const struct modref_site *s, const uint8_t *have)
{
	const struct modref_reloc *l = reloc_in(c->r, s);
	uint64_t at = address(c, s->part, s->off), to;

	if (modform_nop5(have))
		return true;
	if (!modform_branch(have, 5, 0xe8, at, &to))
		return false;
	return (l && !is_missing(c, l) && to == target(c, l) + 4) ||
	       c->guest->is_traced(c->guest->arg, at, have);
}

static bool fits_jump_label(const struct compare *c, const struct modref_site *s,
			    const uint8_t *have)
{
	uint64_t at = address(c, s->part, s->off);
	uint64_t want = address(c, s->repl_part, s->repl_off), to;

	if (s->len_bytes == 2)
		return (have[0] == 0x66 && have[1] == 0x90) ||
		       (have[0] == 0xeb && at + 2 + (uint64_t)(int64_t)(int8_t)have[1] == want);
	return modform_nop5(have) || (modform_branch(have, 5, 0xe9, at, &to) && to == want);
}

/* What a site of a static call leads to. Of the kernel's own it is known, by name. */
struct callee {
	bool known;
	uint64_t func; /* 0: nothing is called */
};

static struct callee callee_of(const struct compare *c, const struct modref_site *s)
{
	static const char prefix[] = "__SCT__";
	const struct modref_reloc *l = reloc_in(c->r, s);
	const char *name = l && l->target == MODREF_IMPORT ? c->r->import[l->import] : "";
	struct callee ret = {0};

	ret.known = !strncmp(name, prefix, sizeof(prefix) - 1) && c->guest->static_call &&
		    c->guest->static_call(c->guest->arg, name + sizeof(prefix) - 1, &ret.func);
	return ret;
}

static bool may_call(const struct compare *c, const struct callee *k, uint64_t to)
{
	return k->known ? k->func && to == k->func : c->guest->is_function(c->guest->arg, to);
}

static bool may_do_nothing(const struct callee *k)
{
	return !k->known || !k->func;
}

static bool may_return0(const struct compare *c, const struct callee *k)
{
	return !k->known || (k->func && k->func == c->guest->return0);
}

/* The tail of a call that may be left out, and so return: or of a trampoline. */
static bool fits_tail(const struct compare *c, const struct callee *k, const uint8_t *have,
		      uint64_t at)
{
	uint64_t to;

	if (modform_plain_return(have))
		return may_do_nothing(k);
	if (!modform_branch(have, 5, 0xe9, at, &to))
		return false;
	return (c->guest->return_thunk && to == c->guest->return_thunk && may_do_nothing(k)) ||
	       may_call(c, k, to);
}

/* Once it lives: what __static_call_transform() makes of it, for what its key holds. */
static bool fits_static_call(const struct compare *c, const struct modref_site *s,
			     const uint8_t *have)
{
	static const uint8_t xor5[] = {0x2e, 0x2e, 0x2e, 0x31, 0xc0};
	const uint8_t *orig = c->r->orig + s->orig;
	uint64_t at = address(c, s->part, s->off), to;
	uint8_t want[UINT8_MAX];
	struct callee k;

	if (original(c, s, want) && !memcmp(have, want, s->len_bytes))
		return true;
	if (c->when != MODREF_LIVE)
		return false;
	k = callee_of(c, s);
	if (s->len_bytes == 6) /* as long as a jump with a condition: which stays */
		return have[0] == orig[0] && have[1] == orig[1] &&
		       modform_branch(have + 1, 5, orig[1], at + 1, &to) && may_call(c, &k, to);
	if (s->len_bytes != 5)
		return false;
	if (orig[0] != 0xe8)
		return fits_tail(c, &k, have, at);
	if (modform_nop5(have))
		return may_do_nothing(&k);
	if (!memcmp(have, xor5, sizeof(xor5)))
		return may_return0(c, &k);
	return modform_branch(have, 5, 0xe8, at, &to) && may_call(c, &k, to);
}

static bool fits(const struct compare *c, const struct modref_site *s, const uint8_t *have,
		 uint8_t len)
{

	if (s->len_bytes != len && s->kind != MODREF_SITE_ALTERNATIVE)
		return false;

	switch (s->kind) {
	case MODREF_SITE_ALTERNATIVE:
	case MODREF_SITE_PARAVIRT:
		return fits_alternative(c, s, have, len);
	case MODREF_SITE_RETPOLINE:
		return fits_retpoline(c, s, have);
	case MODREF_SITE_RETURN:
		return fits_return(c, s, have);
	case MODREF_SITE_ENDBR:
		return modform_endbr(have);
	case MODREF_SITE_LOCK:
		return have[0] == 0xf0 || have[0] == 0x3e;
	case MODREF_SITE_LENGTH:
		return have[0] == c->r->orig[s->orig] || have[0] == s->repl_bytes;
	case MODREF_SITE_FTRACE:
		return fits_ftrace(c, s, have);
	case MODREF_SITE_JUMP_LABEL:
		return fits_jump_label(c, s, have);
	case MODREF_SITE_STATIC_CALL:
		return fits_static_call(c, s, have);
	default:
		return false;
	}
}

static const char *site_name(uint8_t kind)
{
	static const char *const names[] = {
		[MODREF_SITE_ALTERNATIVE] = "an alternative",
		[MODREF_SITE_PARAVIRT] = "a paravirtual call",
		[MODREF_SITE_RETPOLINE] = "a retpoline",
		[MODREF_SITE_RETURN] = "a return",
		[MODREF_SITE_ENDBR] = "an endbr",
		[MODREF_SITE_LOCK] = "a lock prefix",
		[MODREF_SITE_FTRACE] = "an ftrace entry",
		[MODREF_SITE_JUMP_LABEL] = "a jump label",
		[MODREF_SITE_STATIC_CALL] = "a static call",
		[MODREF_SITE_LENGTH] = "the length of an alternative",
	};

	return names[kind];
}

/* With one CPU, lock prefixes become segment prefixes: as the file has them, for the comparison of
 * what is around. */
static void restore_locks(const struct compare *c)
{
	for (size_t i = 0; i < c->r->nr_sites; i++) {
		const struct modref_site *s = &c->r->site[i];

		if (s->kind == MODREF_SITE_LOCK && in_scope(c, s->part) &&
		    *bytes_at(c, s->part, s->off) == 0x3e)
			*bytes_at(c, s->part, s->off) = c->r->orig[s->orig];
	}
}

/* Places one in another: those that start where the outer does are further forms of the same place,
 * of which one must fit; what lies further in is covered by it. */
static bool sites_differ(struct compare *c)
{
	const struct modref *r = c->r;

	restore_locks(c);
	for (size_t i = 0; i < r->nr_sites;) {
		const struct modref_site *s = &r->site[i];
		uint8_t *have = bytes_at(c, s->part, s->off);
		bool right = !in_scope(c, s->part);
		size_t k = i;

		for (; k < r->nr_sites && r->site[k].part == s->part &&
		       r->site[k].off - s->off < s->len_bytes;
		     k++)
			right = right || (r->site[k].off == s->off &&
					  fits(c, &r->site[k], have, s->len_bytes));
		if (!right)
			return differs(c, s->part, s->off, site_name(s->kind));
		i = k;
	}
	return false;
}

/* ---- tables ---- */

static bool locate(const struct compare *c, uint64_t addr, uint8_t *ret_part, uint64_t *ret_off)
{
	static const uint8_t parts[] = {MODREF_TEXT, MODREF_INIT_TEXT};

	for (size_t i = 0; i < XO_ARRAY_SIZE(parts); i++) {
		uint64_t off = addr - c->im->part[parts[i]].base;

		if (off > c->r->bytes[parts[i]] || !c->r->bytes[parts[i]])
			continue;
		*ret_part = parts[i];
		*ret_off = off;
		return true;
	}
	return false;
}

static bool locate_field(const struct compare *c, const struct modref_table *t, uint32_t off,
			 uint8_t *ret_part, uint64_t *ret_off)
{
	uint64_t addr;
	int32_t rel;

	if (t->kind == MODREF_TABLE_MCOUNT) {
		memcpy(&addr, bytes_at(c, t->part, off), sizeof(addr));
	} else {
		memcpy(&rel, bytes_at(c, t->part, off), sizeof(rel));
		addr = address(c, t->part, off) + (uint64_t)(int64_t)rel;
	}
	return locate(c, addr, ret_part, ret_off);
}

static bool read_entry(const struct compare *c, const struct modref_table *t, uint32_t i,
		       struct modentry *e)
{
	uint32_t at = t->off + i * modtable_bytes(t->kind);

	if (!locate_field(c, t, at, &e->part[0], &e->off[0]))
		return false;
	if (t->kind == MODREF_TABLE_ORC)
		memcpy(e->raw, bytes_at(c, t->part, t->off2 + i * MODREF_ORC_BYTES),
		       MODREF_ORC_BYTES);
	if (t->kind != MODREF_TABLE_EX)
		return true;
	memcpy(e->raw, bytes_at(c, t->part, at + 8), 4);
	return locate_field(c, t, at + 4, &e->part[1], &e->off[1]);
}

static int table_differs(struct compare *c, const struct modref_table *t, bool *ret)
{
	_cleanup_free_ struct modentry *e = calloc((size_t)t->nr + 1, sizeof(*e));
	uint8_t digest[XO_SHA256_BYTES];
	int rc;

	if (!e)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->nr; i++)
		if (!read_entry(c, t, i, &e[i])) {
			*ret = differs(c, t->part, t->off + i * modtable_bytes(t->kind),
				       "an entry of a sorted table");
			return 0;
		}
	rc = modentry_digest(e, t->nr, digest);
	if (!rc && memcmp(digest, t->sha256, sizeof(digest)) != 0)
		*ret = differs(c, t->part, t->off, "a sorted table");
	return rc;
}

static int tables_differ(struct compare *c, bool *ret)
{
	int rc = 0;

	/* In a live one they lead to init code too, which is gone. */
	for (size_t i = 0; !rc && !*ret && i < c->r->nr_tables && c->when == MODREF_LOADING; i++)
		rc = table_differs(c, &c->r->table[i], ret);
	return rc;
}

/* ---- the rest ---- */

static int page_differs(struct compare *c, uint8_t part, size_t i, bool *ret)
{
	uint32_t off = (uint32_t)(i * XO_PAGE_SIZE), left = c->r->bytes[part] - off;
	uint8_t page[XO_PAGE_SIZE] = {0}, digest[XO_SHA256_BYTES];
	int rc;

	memcpy(page, bytes_at(c, part, off), left < sizeof(page) ? left : sizeof(page));
	rc = xo_sha256(SPAN(page, sizeof(page)), digest);
	if (!rc && memcmp(digest, c->r->page[part][i].sha256, sizeof(digest)) != 0)
		*ret = differs(c, part, off, "a byte of the page");
	return rc;
}

static int pages_differ(struct compare *c, bool *ret)
{
	int rc = 0;

	for (uint8_t p = 0; p < (uint8_t)MODREF_PARTS; p++) {
		if (!in_scope(c, p) || !c->r->bytes[p])
			continue;
		modref_blank(c->r, p, c->im->part[p].bytes);
		for (size_t i = 0; !rc && !*ret && i < modref_pages(c->r->bytes[p]); i++)
			rc = page_differs(c, p, i, ret);
	}
	return rc;
}

int modref_compare(const struct modref *r, enum modref_when when, struct modref_image *image,
		   const struct modref_guest *guest, struct modref_difference *ret)
{
	struct modref_difference d = {0};
	struct compare c = {.r = r, .when = when, .im = image, .guest = guest, .d = &d};
	bool found = false;
	int rc = 0;

	for (uint8_t p = 0; p < (uint8_t)MODREF_PARTS; p++)
		if (r->bytes[p] && in_scope(&c, p) && !image->part[p].bytes)
			found = differs(&c, p, 0, "the whole part, which is not there");
	if (!found)
		found = relocs_differ(&c) || sites_differ(&c);
	if (!found)
		rc = tables_differ(&c, &found);
	if (!rc && !found)
		rc = pages_differ(&c, &found);
	if (!rc)
		*ret = d;
	return rc;
}
