// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/stacks.h"

#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define UNKNOWN_MAX_BYTES 65536 /* no interrupt or exception stack is larger */

static int by_start(const void *a, const void *b)
{
	const struct grange *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

int granges_set(struct granges *g, const struct lens_range *r, size_t nr, enum lens_range_kind kind)
{
	uint64_t max_end = 0;

	if (nr > LENS_MAX_RANGES)
		return -XO_ELIMIT;
	g->nr = 0;
	for (size_t i = 0; i < nr; i++) {
		if (!r[i].len_bytes || r[i].len_bytes > UINT64_MAX - r[i].start.v ||
		    r[i].kind > LENS_RANGE_WRITTEN)
			return -XO_EMALFORMED;
		if (r[i].kind != kind)
			continue;
		g->r[g->nr++] = (struct grange){
			.start = r[i].start.v,
			.end = r[i].start.v + r[i].len_bytes,
			.safe = {r[i].start.v + r[i].safe_off[0], r[i].start.v + r[i].safe_off[1]},
			.index = (uint32_t)i};
	}
	qsort(g->r, g->nr, sizeof(g->r[0]), by_start);
	for (size_t i = 0; i < g->nr; i++) {
		if (g->r[i].end > max_end)
			max_end = g->r[i].end;
		g->r[i].max_end = max_end;
	}
	return 0;
}

static const struct grange *find(const struct granges *g, uint64_t addr, bool or_safe)
{
	size_t lo = 0, hi = g->nr;

	if (!g->nr || addr < g->r[0].start || addr >= g->r[g->nr - 1].max_end)
		return NULL;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (g->r[mid].start <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (size_t i = lo; i-- > 0 && addr < g->r[i].max_end;)
		if (addr < g->r[i].end &&
		    (or_safe || (addr != g->r[i].safe[0] && addr != g->r[i].safe[1])))
			return &g->r[i];
	return NULL;
}

const struct grange *granges_hit(const struct granges *g, uint64_t addr)
{
	return find(g, addr, false);
}

const struct grange *granges_cover(const struct granges *g, uint64_t addr)
{
	return find(g, addr, true);
}

void gfindings_add(struct gfindings *f, const struct gowner *o, const struct grange *r,
		   uint64_t addr, uint64_t where)
{
	struct lens_busy *b;

	if (f->nr == LENS_MAX_BUSY) {
		f->dropped++;
		return;
	}
	b = &f->busy[f->nr++];
	*b = (struct lens_busy){.kind = o->kind,
				.range = r->index,
				.pid = o->pid,
				.cpu = o->cpu,
				.addr = {addr},
				.where = {where}};
	if (o->comm)
		xo_escape(SPAN(o->comm, LENS_COMM_SIZE), b->comm, sizeof(b->comm));
}

/* The words of one mapped piece; a pointer into one of @stacks is noted there. */
static void scan_piece(const uint8_t *p, size_t nr_words, uint64_t at, const struct granges *g,
		       const struct gowner *o, struct gstack *stacks, size_t nr,
		       struct gfindings *f)
{
	const volatile uint64_t *word = (const volatile uint64_t *)(const void *)p;
	uint64_t low = g->nr ? g->r[0].start : 0;
	uint64_t span_bytes = g->nr ? g->r[g->nr - 1].max_end - low : 0;

	for (size_t i = 0; i < nr_words; i++) {
		uint64_t v = word[i];
		/* Nearly no word is near the ranges: tell those apart with one comparison. */
		const struct grange *r = v - low < span_bytes ? granges_hit(g, v) : NULL;

		if (r)
			gfindings_add(f, o, r, v, at + i * sizeof(v));
		for (size_t j = 0; j < nr; j++)
			if (v >= stacks[j].low && v < stacks[j].from)
				stacks[j].from = v & ~UINT64_C(7);
	}
	f->stack_bytes += nr_words * sizeof(*word);
}

static int scan(struct gspace *s, const struct granges *g, uint64_t from, uint64_t to,
		const struct gowner *o, struct gstack *stacks, size_t nr, struct gfindings *f)
{
	from &= ~UINT64_C(7);
	while (from < to) {
		uint64_t n = XO_PAGE_SIZE - (from & XO_PAGE_MASK);
		uint64_t copy[XO_PAGE_SIZE / sizeof(uint64_t)];
		const uint8_t *p;
		struct gpa gpa;
		uint64_t left;
		int rc = gspace_translate(s, (struct gva){from}, &gpa, &left);

		if (rc)
			return rc;
		if (n > to - from)
			n = to - from;
		p = gmem_view(s->mem, gpa, n, copy);
		if (!p)
			return -XO_EPAGETABLE;
		scan_piece(p, n / sizeof(uint64_t), from, g, o, stacks, nr, f);
		from += n;
	}
	return 0;
}

int gstack_scan(struct gspace *s, const struct granges *g, uint64_t from, uint64_t to,
		const struct gowner *o, struct gfindings *f)
{
	return scan(s, g, from, to, o, NULL, 0, f);
}

void gstack_scan_unknown(struct gspace *s, const struct granges *g, uint64_t from,
			 const struct gowner *o, struct gstack *stacks, size_t nr,
			 struct gfindings *f)
{
	uint64_t end = from > UINT64_MAX - UNKNOWN_MAX_BYTES ? UINT64_MAX & ~XO_PAGE_MASK
							     : from + UNKNOWN_MAX_BYTES;
	uint64_t at = from;

	/* Page by page, so that the first one that is not mapped ends it. */
	while (at < end) {
		uint64_t next = (at & ~XO_PAGE_MASK) + XO_PAGE_SIZE;

		if (next > end)
			next = end;
		if (scan(s, g, at, next, o, stacks, nr, f))
			return;
		at = next;
	}
}
