// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/sites.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define MAX_TABLE_BYTES	 (4u << 20)
#define MAX_FTRACE_PAGES (1u << 12)
#define MAX_FTRACE_BYTES (16u << 20) /* records in all */
#define MAX_SITES	 (1u << 19)
#define TRAMPOLINE	 "__SCT__" /* STATIC_CALL_TRAMP_PREFIX, include/linux/static_call_types.h */
#define KEY		 "__SCK__"
#define CALL_TAIL	 1u /* STATIC_CALL_SITE_TAIL, likewise */
#define CALL_FLAGS	 3u
#define SHORT_BYTES	 5

/* struct jump_entry, include/linux/jump_label.h: addresses relative to their own place */
struct jump_entry {
	int32_t code, target;
	int64_t key;
};

/* struct static_call_site, include/linux/static_call_types.h */
struct call_site {
	int32_t addr, key;
};

static uint64_t relative(uint64_t at, int32_t off)
{
	return at + (uint64_t)(int64_t)off;
}

static int add(struct xbuf *all, enum gsite_kind kind, uint64_t addr, uint64_t ref)
{
	const struct gsite s = {.addr = addr, .ref = ref, .kind = kind};

	return xbuf_add(all, &s, sizeof(s));
}

static struct gsite jump_label(const uint8_t *p, uint64_t at)
{
	struct jump_entry e;

	memcpy(&e, p, sizeof(e));
	return (struct gsite){.kind = GSITE_JUMP_LABEL,
			      .addr = relative(at, e.code),
			      .ref = relative(at + offsetof(struct jump_entry, target), e.target)};
}

static struct gsite static_call(const uint8_t *p, uint64_t at)
{
	struct call_site e;

	memcpy(&e, p, sizeof(e));
	return (struct gsite){.kind = GSITE_STATIC_CALL, .addr = relative(at, e.addr), .ref = at};
}

static struct gsite entry(const uint8_t *p, uint64_t at)
{
	struct gsite s = {.kind = GSITE_FTRACE};

	(void)at;
	memcpy(&s.addr, p, sizeof(s.addr));
	return s;
}

/* A static call may be a conditional jump of 6 bytes, all else has 5 at most. */
static bool covers(const struct gsite *s, uint64_t addr)
{
	return addr - s->addr < (s->kind == GSITE_STATIC_CALL ? GSITE_MAX_BYTES : SHORT_BYTES);
}

typedef struct gsite (*parse_fn)(const uint8_t *p, uint64_t at);

static int add_table(struct xbuf *all, const struct gkernel *k, const char *start, const char *stop,
		     size_t unit, parse_fn parse, struct xerr *err)
{
	_cleanup_free_ uint8_t *table = NULL;
	uint64_t at = gkernel_symbol(k, start);
	size_t bytes;
	int rc = gkernel_table(k, start, stop, MAX_TABLE_BYTES, &table, &bytes, err);

	for (size_t off = 0; !rc && bytes - off >= unit; off += unit) {
		const struct gsite s = parse(table + off, at + off);

		if (s.addr - k->base < k->text_end - k->base)
			rc = add(all, s.kind, s.addr, s.ref);
	}
	return rc;
}

/* __SCT__name calls what __SCK__name says. */
static int add_trampolines(struct xbuf *all, const struct gkernel *k)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < k->syms.nr; i++) {
		const struct ksym *s = &k->syms.sym[i];
		const char *name = ksyms_name(&k->syms, s);
		char key[KSYM_MAX_NAME + 1];

		if (strncmp(name, TRAMPOLINE, strlen(TRAMPOLINE)) != 0 ||
		    s->addr - k->base >= k->text_end - k->base)
			continue;
		snprintf(key, sizeof(key), KEY "%s", name + strlen(TRAMPOLINE));
		rc = add(all, GSITE_TRAMPOLINE, s->addr, gkernel_symbol(k, key));
	}
	return rc;
}

static int add_records(struct xbuf *all, const struct gkernel *k, uint64_t records, uint32_t nr,
		       uint32_t *left, struct xerr *err)
{
	const struct goffs *o = &k->off;
	uint32_t unit = o->dyn_ftrace_size.size_bytes;
	_cleanup_free_ uint8_t *copy = NULL;
	int rc;

	if (nr > *left / unit)
		return -XO_ELIMIT;
	*left -= nr * unit;
	rc = gkernel_copy(k, records, records + (uint64_t)nr * unit, MAX_FTRACE_BYTES, &copy, err);
	for (uint32_t i = 0; !rc && i < nr; i++) {
		uint64_t ip = 0;

		if (!span_u64(SPAN(copy, (size_t)nr * unit),
			      (uint64_t)i * unit + o->dyn_ftrace_ip.off, &ip))
			return -XO_EBTF;
		if (ip - k->base < k->text_end - k->base)
			rc = add(all, GSITE_FTRACE, ip, 0);
	}
	return rc;
}

/* ftrace_pages_start, kernel/trace/ftrace.c: groups of records, linked; modules' are passed over */
static int add_entries(struct xbuf *all, const struct gkernel *k, struct xerr *err)
{
	const struct goffs *o = &k->off;
	uint64_t page = gkernel_symbol(k, "ftrace_pages_start");
	uint32_t left = MAX_FTRACE_BYTES;
	int rc;

	if (!page)
		return 0; /* CONFIG_DYNAMIC_FTRACE is off */
	if (!o->ftrace_next.known || !o->ftrace_records.known || !o->ftrace_index.known ||
	    !o->dyn_ftrace_ip.known || !o->dyn_ftrace_size.size_bytes)
		return -XO_EBTF;
	rc = gspace_u64(k->space, (struct gva){page}, &page);
	for (uint32_t i = 0; !rc && page; i++) {
		uint64_t records;
		uint32_t nr;

		if (i == MAX_FTRACE_PAGES)
			return -XO_ELIMIT;
		rc = gspace_u64(k->space, (struct gva){page + o->ftrace_records.off}, &records);
		if (!rc)
			rc = gspace_u32(k->space, (struct gva){page + o->ftrace_index.off}, &nr);
		if (!rc)
			rc = add_records(all, k, records, nr, &left, err);
		if (!rc)
			rc = gspace_u64(k->space, (struct gva){page + o->ftrace_next.off}, &page);
	}
	return rc;
}

/* Labels in arch/x86/kernel/ftrace_64.S */
static int add_ftrace_calls(struct xbuf *all, const struct gkernel *k)
{
	static const char *const name[] = {"ftrace_call", "ftrace_regs_call", "ftrace_graph_call"};
	int rc = 0;

	for (size_t i = 0; !rc && i < XO_ARRAY_SIZE(name); i++) {
		uint64_t at = gkernel_symbol(k, name[i]);

		if (at - k->base < k->text_end - k->base)
			rc = add(all, GSITE_FTRACE_CALL, at, 0);
	}
	return rc;
}

static int by_addr(const void *a, const void *b)
{
	const struct gsite *x = a, *y = b;

	return (x->addr > y->addr) - (x->addr < y->addr);
}

int gsites_load(struct gsites *ret, const struct gkernel *k, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf all = XBUF(MAX_SITES * sizeof(struct gsite));
	int rc = add_table(&all, k, "__start___jump_table", "__stop___jump_table",
			   sizeof(struct jump_entry), jump_label, err);

	if (!rc)
		rc = add_table(&all, k, "__start_static_call_sites", "__stop_static_call_sites",
			       sizeof(struct call_site), static_call, err);
	if (!rc)
		rc = add_trampolines(&all, k);
	if (!rc)
		rc = add_entries(&all, k, err);
	if (!rc)
		rc = add_ftrace_calls(&all, k);
	if (rc)
		return xerr_set(err, rc, "places that the kernel rewrites: %s", xo_code_text(rc));
	gsites_free(ret);
	ret->nr = all.len_bytes / sizeof(struct gsite);
	ret->site = (struct gsite *)(void *)XO_TAKE_PTR(all.data);
	if (ret->nr)
		qsort(ret->site, ret->nr, sizeof(struct gsite), by_addr);
	return 0;
}

size_t gsites_at(const struct gsites *s, uint64_t addr, struct gsite *ret, size_t max)
{
	size_t lo = 0, hi = s->nr, nr = 0;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->site[mid].addr <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo && nr < max && addr - s->site[lo - 1].addr < GSITE_MAX_BYTES; lo--)
		if (covers(&s->site[lo - 1], addr))
			ret[nr++] = s->site[lo - 1];
	return nr;
}

/* A module's table: pointer and count in its struct module. */
static size_t scan(const struct gkernel *k, const struct gmodule *m, const struct gmember *table,
		   const struct gmember *count, size_t unit, parse_fn parse, uint64_t addr,
		   struct gsite *ret, size_t max)
{
	_cleanup_free_ uint8_t *copy = NULL;
	struct xerr err = {0};
	size_t found = 0;
	uint64_t at;
	uint32_t nr;

	if (!table->known || !count->known ||
	    gspace_u64(k->space, (struct gva){m->addr + table->off}, &at) ||
	    gspace_u32(k->space, (struct gva){m->addr + count->off}, &nr) || !nr ||
	    gkernel_copy(k, at, at + (uint64_t)nr * unit, MAX_TABLE_BYTES, &copy, &err))
		return 0;
	for (uint32_t i = 0; i < nr && found < max; i++) {
		const struct gsite s = parse(copy + (size_t)i * unit, at + (uint64_t)i * unit);

		if (covers(&s, addr))
			ret[found++] = s;
	}
	return found;
}

/* Its own trampolines are in no table: their names tell. */
static size_t module_trampoline(const struct gkernel *k, const struct gmodule *m, uint64_t addr,
				struct gsite *ret)
{
	struct ksyms syms = {0};
	struct xerr err = {0};
	size_t nr = 0, key;
	ssize_t i;

	if (gmodule_syms(&syms, m, k, &err))
		return 0;
	i = ksyms_at(&syms, addr);
	for (uint64_t at = i < 0 ? 0 : syms.sym[i].addr; i >= 0 && syms.sym[i].addr == at; i--) {
		const char *name = ksyms_name(&syms, &syms.sym[i]);
		char key_name[KSYM_MAX_NAME + 1];

		if (strncmp(name, TRAMPOLINE, strlen(TRAMPOLINE)) != 0 || addr - at >= SHORT_BYTES)
			continue;
		snprintf(key_name, sizeof(key_name), KEY "%s", name + strlen(TRAMPOLINE));
		if (ksyms_lookup(&syms, key_name, &key, 1) != 1)
			continue;
		*ret = (struct gsite){
			.addr = at, .ref = syms.sym[key].addr, .kind = GSITE_TRAMPOLINE};
		nr = 1;
		break;
	}
	ksyms_free(&syms);
	return nr;
}

size_t gsites_module_at(const struct gkernel *k, const struct gguard_types *t,
			const struct gmodule *m, uint64_t addr, struct gsite *ret, size_t max)
{
	size_t nr = scan(k, m, &t->mod_jumps, &t->mod_nr_jumps, sizeof(struct jump_entry),
			 jump_label, addr, ret, max);

	nr += scan(k, m, &t->mod_calls, &t->mod_nr_calls, sizeof(struct call_site), static_call,
		   addr, ret + nr, max - nr);
	nr += scan(k, m, &t->mod_entries, &t->mod_nr_entries, sizeof(uint64_t), entry, addr,
		   ret + nr, max - nr);
	if (!nr && max)
		nr = module_trampoline(k, m, addr, ret);
	if (nr)
		qsort(ret, nr, sizeof(*ret), by_addr);
	/* Nearest first. */
	for (size_t i = 0; i < nr / 2; i++) {
		struct gsite swap = ret[i];

		ret[i] = ret[nr - 1 - i];
		ret[nr - 1 - i] = swap;
	}
	return nr;
}

bool gsite_key(const struct gkernel *k, const struct gsite *s, uint64_t *ret_key, bool *ret_tail)
{
	uint64_t at = s->ref + offsetof(struct call_site, key);
	uint32_t raw;

	if (gspace_u32(k->space, (struct gva){at}, &raw))
		return false;
	/* The flags are the address's: a module's table may stand at an odd place. */
	*ret_key = relative(at, (int32_t)raw);
	*ret_tail = *ret_key & CALL_TAIL;
	*ret_key &= ~(uint64_t)CALL_FLAGS;
	return true;
}

void gsites_free(struct gsites *s)
{
	free(s->site);
	*s = (struct gsites){0};
}
