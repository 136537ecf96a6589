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
#define CALL_TAIL	 1u /* STATIC_CALL_SITE_TAIL, include/linux/static_call_types.h */
#define CALL_FLAGS	 3u
#define SHORT_BYTES	 5
#define ENDBR_BYTES	 4

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

size_t gsite_unit(enum gsite_kind kind)
{
	return kind == GSITE_JUMP_LABEL	   ? sizeof(struct jump_entry)
	       : kind == GSITE_STATIC_CALL ? sizeof(struct call_site)
					   : sizeof(uint64_t);
}

struct gsite gsite_parse(const struct gsite_table *t, uint32_t i)
{
	const uint8_t *p = t->bytes + i * gsite_unit(t->kind);
	uint64_t at = t->at + i * gsite_unit(t->kind);
	struct gsite s = {.kind = t->kind};
	struct jump_entry jump;
	struct call_site call;

	switch (t->kind) {
	case GSITE_JUMP_LABEL:
		memcpy(&jump, p, sizeof(jump));
		s.addr = relative(at, jump.code);
		s.ref = relative(at + offsetof(struct jump_entry, target), jump.target);
		break;
	case GSITE_STATIC_CALL:
		memcpy(&call, p, sizeof(call));
		s.addr = relative(at, call.addr);
		/* The flags are the address's: a module's table may stand at an odd place. */
		s.ref = relative(at + offsetof(struct call_site, key), call.key);
		s.tail = s.ref & CALL_TAIL;
		s.ref &= ~(uint64_t)CALL_FLAGS;
		break;
	default:
		memcpy(&s.addr, p, sizeof(s.addr));
	}
	return s;
}

static int add(struct xbuf *all, enum gsite_kind kind, uint64_t addr, uint64_t ref)
{
	const struct gsite s = {.addr = addr, .ref = ref, .kind = kind};

	return xbuf_add(all, &s, sizeof(s));
}

/* A static call may be a conditional jump of 6 bytes, all else has 5 at most. */
static bool covers(const struct gsite *s, uint64_t addr)
{
	return addr - s->addr < (s->kind == GSITE_STATIC_CALL ? GSITE_MAX_BYTES : SHORT_BYTES);
}

static int add_table(struct xbuf *all, const struct gkernel *k, const char *start, const char *stop,
		     enum gsite_kind kind, struct xerr *err)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	struct gsite_table t = {.kind = kind, .at = gkernel_symbol(k, start)};
	size_t len;
	int rc = gkernel_table(k, start, stop, MAX_TABLE_BYTES, &bytes, &len, err);

	if (rc)
		return rc;
	t.bytes = bytes;
	t.nr = (uint32_t)(len / gsite_unit(kind));
	for (uint32_t i = 0; !rc && i < t.nr; i++) {
		const struct gsite s = gsite_parse(&t, i);

		if (s.addr - k->base < k->text_end - k->base)
			rc = xbuf_add(all, &s, sizeof(s));
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

		if (strncmp(name, GSITE_TRAMPOLINE_PREFIX, strlen(GSITE_TRAMPOLINE_PREFIX)) != 0 ||
		    s->addr - k->base >= k->text_end - k->base)
			continue;
		snprintf(key, sizeof(key), GSITE_KEY_PREFIX "%s",
			 name + strlen(GSITE_TRAMPOLINE_PREFIX));
		rc = add(all, GSITE_TRAMPOLINE, s->addr, gkernel_symbol(k, key));
	}
	return rc;
}

static bool is_text(char type)
{
	return type == 't' || type == 'T' || type == 'w' || type == 'W';
}

bool gsites_starts(const struct ksyms *k, uint64_t addr)
{
	ssize_t i = ksyms_at(k, addr);

	for (; i >= 0 && k->sym[i].addr == addr; i--)
		if (is_text(k->sym[i].type))
			return true;
	return false;
}

/* The records are on the heap: one that is elsewhere than where a function begins, behind its
 * endbr64 at most, is none. */
static bool is_entry(const struct gkernel *k, uint64_t ip)
{
	return ip - k->base < k->text_end - k->base &&
	       (gsites_starts(&k->syms, ip) || gsites_starts(&k->syms, ip - ENDBR_BYTES));
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
		if (is_entry(k, ip))
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

int gsite_by_addr(const void *a, const void *b)
{
	const struct gsite *x = a, *y = b;

	return (x->addr > y->addr) - (x->addr < y->addr);
}

int gsites_load(struct gsites *ret, const struct gkernel *k, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf all = XBUF(MAX_SITES * sizeof(struct gsite));
	int rc = add_table(&all, k, "__start___jump_table", "__stop___jump_table", GSITE_JUMP_LABEL,
			   err);

	if (!rc)
		rc = add_table(&all, k, "__start_static_call_sites", "__stop_static_call_sites",
			       GSITE_STATIC_CALL, err);
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
		qsort(ret->site, ret->nr, sizeof(struct gsite), gsite_by_addr);
	return 0;
}

size_t gsites_in(const struct gsite *sites, size_t nr_sites, uint64_t addr, struct gsite *ret,
		 size_t max)
{
	size_t lo = 0, hi = nr_sites, nr = 0;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (sites[mid].addr <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo && nr < max && addr - sites[lo - 1].addr < GSITE_MAX_BYTES; lo--)
		if (covers(&sites[lo - 1], addr))
			ret[nr++] = sites[lo - 1];
	return nr;
}

size_t gsites_at(const struct gsites *s, uint64_t addr, struct gsite *ret, size_t max)
{
	return gsites_in(s->site, s->nr, addr, ret, max);
}

uint64_t gsites_trampoline(const struct gsite *sites, size_t nr, uint64_t addr)
{
	struct gsite near[GSITE_MAX_BYTES];
	size_t found = gsites_in(sites, nr, addr, near, XO_ARRAY_SIZE(near));

	for (size_t i = 0; i < found; i++)
		if (near[i].addr == addr && near[i].kind == GSITE_TRAMPOLINE)
			return near[i].ref;
	return 0;
}

void gsites_free(struct gsites *s)
{
	free(s->site);
	*s = (struct gsites){0};
}
