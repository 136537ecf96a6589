// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/places.h"

#include <string.h>

#include "vmm-agent/lens/list.h"

#define MAX_TABLE_BYTES	  (4u << 20)
#define KPROBE_TABLE_SIZE 64 /* kernel/kprobes.c */
#define MAX_KPROBES	  (1u << 16)
#define MAX_FTRACE_PAGES  (1u << 12)
#define MAX_FTRACE_BYTES  (16u << 20)	      /* records in all */
#define FTRACE_IPMODIFY	  (UINT64_C(1) << 26) /* FTRACE_FL_IPMODIFY, include/linux/ftrace.h */

/* struct jump_entry, include/linux/jump_label.h: addresses relative to their own place */
struct jump_entry {
	int32_t code, target;
	int64_t key;
};

/* struct static_call_site, include/linux/static_call_types.h */
struct call_site {
	int32_t addr, key;
};

/* struct exception_table_entry, arch/x86/include/asm/extable.h */
struct ex_entry {
	int32_t insn, fixup, data;
};

struct search {
	struct gplaces *places;
	const struct gkernel *k;
	uint64_t start, end;
};

static int found(struct search *s, enum gplace_kind kind, uint64_t addr)
{
	if (addr < s->start || addr >= s->end)
		return 0;
	if (s->places->nr == GPLACES_MAX)
		return -XO_ELIMIT;
	s->places->place[s->places->nr++] = (struct gplace){.kind = kind, .addr = addr};
	return 0;
}

/* What a 32-bit offset at @at refers to. */
static uint64_t relative(uint64_t at, int32_t off)
{
	return at + (uint64_t)(int64_t)off;
}

static int jump_labels(struct search *s, struct xerr *err)
{
	_cleanup_free_ uint8_t *table = NULL;
	uint64_t at = gkernel_symbol(s->k, "__start___jump_table");
	size_t bytes;
	int rc = gkernel_table(s->k, "__start___jump_table", "__stop___jump_table", MAX_TABLE_BYTES,
			       &table, &bytes, err);

	for (size_t off = 0; !rc && bytes - off >= sizeof(struct jump_entry);
	     off += sizeof(struct jump_entry)) {
		struct jump_entry e;

		memcpy(&e, table + off, sizeof(e));
		rc = found(s, GPLACE_JUMP_LABEL, relative(at + off, e.code));
		if (!rc)
			rc = found(s, GPLACE_JUMP_TARGET, relative(at + off + 4, e.target));
	}
	return rc;
}

static int static_calls(struct search *s, struct xerr *err)
{
	_cleanup_free_ uint8_t *table = NULL;
	uint64_t at = gkernel_symbol(s->k, "__start_static_call_sites");
	size_t bytes;
	int rc = gkernel_table(s->k, "__start_static_call_sites", "__stop_static_call_sites",
			       MAX_TABLE_BYTES, &table, &bytes, err);

	for (size_t off = 0; !rc && bytes - off >= sizeof(struct call_site);
	     off += sizeof(struct call_site)) {
		struct call_site e;

		memcpy(&e, table + off, sizeof(e));
		rc = found(s, GPLACE_STATIC_CALL, relative(at + off, e.addr));
	}
	return rc;
}

static int fixups(struct search *s, struct xerr *err)
{
	_cleanup_free_ uint8_t *table = NULL;
	uint64_t at = gkernel_symbol(s->k, "__start___ex_table");
	size_t bytes;
	int rc = gkernel_table(s->k, "__start___ex_table", "__stop___ex_table", MAX_TABLE_BYTES,
			       &table, &bytes, err);

	for (size_t off = 0; !rc && bytes - off >= sizeof(struct ex_entry);
	     off += sizeof(struct ex_entry)) {
		struct ex_entry e;

		memcpy(&e, table + off, sizeof(e));
		rc = found(s, GPLACE_FIXUP, relative(at + off + 4, e.fixup));
	}
	return rc;
}

/* Hash chains of struct kprobe; an empty one in most kernels. */
static int kprobes(struct search *s, struct xerr *err)
{
	const struct goffs *o = &s->k->off;
	uint64_t table = gkernel_symbol(s->k, "kprobe_table");
	uint32_t left = MAX_KPROBES;
	int rc = 0;

	if (!table || !o->kprobe_hlist.known || !o->kprobe_addr.known)
		return 0;
	for (uint64_t i = 0; !rc && i < KPROBE_TABLE_SIZE; i++) {
		struct glist w = {.at = table + i * sizeof(uint64_t), .left = &left};
		uint64_t addr;

		while (!(rc = glist_next(s->k->space, &w)) && w.at) {
			uint64_t probe = w.at - o->kprobe_hlist.off;

			rc = gspace_u64(s->k->space, (struct gva){probe + o->kprobe_addr.off},
					&addr);
			if (!rc)
				rc = found(s, GPLACE_KPROBE, addr);
			if (rc)
				break;
		}
	}
	return rc ? xerr_set(err, rc, "guest kprobes: %s", xo_code_text(rc)) : 0;
}

static int ftrace_records(struct search *s, uint64_t records, int32_t nr, uint32_t *left,
			  struct xerr *err)
{
	const struct goffs *o = &s->k->off;
	uint32_t unit = o->dyn_ftrace_size.size_bytes;
	_cleanup_free_ uint8_t *copy = NULL;
	int rc;

	if (nr < 0 || (uint32_t)nr > *left / unit)
		return -XO_ELIMIT;
	*left -= (uint32_t)nr * unit;
	rc = gkernel_copy(s->k, records, records + (uint64_t)nr * unit, MAX_FTRACE_BYTES, &copy,
			  err);
	for (int32_t i = 0; !rc && i < nr; i++) {
		uint64_t ip = 0, flags = 0;

		if (!span_u64(SPAN(copy, (size_t)nr * unit),
			      (uint64_t)i * unit + o->dyn_ftrace_ip.off, &ip))
			return -XO_EBTF;
		rc = found(s, GPLACE_FTRACE, ip);
		if (!rc && o->dyn_ftrace_flags.known &&
		    span_u64(SPAN(copy, (size_t)nr * unit),
			     (uint64_t)i * unit + o->dyn_ftrace_flags.off, &flags) &&
		    flags & FTRACE_IPMODIFY)
			rc = found(s, GPLACE_REDIRECTED, ip);
	}
	return rc;
}

/* ftrace_pages_start, kernel/trace/ftrace.c: groups of records, linked. */
static int ftrace(struct search *s, struct xerr *err)
{
	const struct goffs *o = &s->k->off;
	uint64_t page = gkernel_symbol(s->k, "ftrace_pages_start");
	uint32_t left = MAX_FTRACE_BYTES;
	int rc;

	if (!page)
		return 0; /* CONFIG_DYNAMIC_FTRACE is off */
	if (!o->ftrace_next.known || !o->ftrace_records.known || !o->ftrace_index.known ||
	    !o->dyn_ftrace_ip.known || !o->dyn_ftrace_size.size_bytes)
		return xerr_set(err, XO_EBTF, "BTF: the ftrace types are missing");
	rc = gspace_u64(s->k->space, (struct gva){page}, &page);
	for (uint32_t i = 0; !rc && page; i++) {
		uint64_t records;
		uint32_t nr;

		if (i == MAX_FTRACE_PAGES)
			rc = -XO_ELIMIT;
		if (!rc)
			rc = gspace_u64(s->k->space, (struct gva){page + o->ftrace_records.off},
					&records);
		if (!rc)
			rc = gspace_u32(s->k->space, (struct gva){page + o->ftrace_index.off}, &nr);
		if (!rc)
			rc = ftrace_records(s, records, (int32_t)nr, &left, err);
		if (!rc)
			rc = gspace_u64(s->k->space, (struct gva){page + o->ftrace_next.off},
					&page);
	}
	return rc ? xerr_set(err, rc, "guest ftrace records: %s", xo_code_text(rc)) : 0;
}

int gplaces_find(struct gplaces *ret, const struct gkernel *k, uint64_t start, uint64_t end,
		 struct xerr *err)
{
	struct search s = {.places = ret, .k = k, .start = start, .end = end};
	int rc;

	ret->nr = 0;
	rc = jump_labels(&s, err);
	if (!rc)
		rc = static_calls(&s, err);
	if (!rc)
		rc = fixups(&s, err);
	if (!rc)
		rc = kprobes(&s, err);
	if (!rc)
		rc = ftrace(&s, err);
	return rc ? xerr_set(err, rc, "places in the function: %s", xo_code_text(rc)) : 0;
}

int gplaces_kprobes(struct gplaces *ret, const struct gkernel *k, uint64_t start, uint64_t end,
		    struct xerr *err)
{
	struct search s = {.places = ret, .k = k, .start = start, .end = end};

	ret->nr = 0;
	return kprobes(&s, err);
}
