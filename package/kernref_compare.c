// SPDX-License-Identifier: Apache-2.0
/* A page of a guest against the reference: byte by byte where they differ. */
#include "package/kernref_core.h"

#include <errno.h>
#include <stdlib.h>

#define INT3	    0xcc
#define JUMP32	    0xe9
#define PROBE_BYTES 5 /* of an optimised kprobe: a jump */

struct compare {
	struct kernref_run *run;
	const struct kernref_area *area;
	const uint8_t *want, *have; /* of the area */
	struct kernref_page *page;
	size_t group;		     /* the first that ends behind where we are */
	uint64_t bad_start, bad_end; /* unexplained bytes not told yet */
};

struct kernref_run *kernref_run_new(const struct kernref *r, const struct kernref_image *image,
				    const struct kernref_guest *guest)
{
	struct kernref_run *run = calloc(1, sizeof(*run));

	if (run)
		*run = (struct kernref_run){.r = r, .image = image, .guest = guest};
	return run;
}

void kernref_run_free(struct kernref_run *run)
{
	if (!run)
		return;
	for (size_t i = 0; i < KERNREF_TABLES; i++)
		free(run->bad[i]);
	free(run);
}

/* First offset from @from on at which they differ, or @to. */
static size_t next_difference(const uint8_t *a, const uint8_t *b, size_t from, size_t to)
{
	while (to - from >= sizeof(uint64_t)) {
		uint64_t x, y;

		memcpy(&x, a + from, sizeof(x));
		memcpy(&y, b + from, sizeof(y));
		if (x != y)
			return from + (size_t)__builtin_ctzll(x ^ y) / 8;
		from += sizeof(x);
	}
	while (from < to && a[from] == b[from])
		from++;
	return from;
}

static void tell_unexplained(struct compare *c)
{
	if (c->bad_end > c->bad_start)
		c->run->guest->unexplained(c->run->guest->arg, c->bad_start + c->run->r->shift,
					   (size_t)(c->bad_end - c->bad_start));
	c->bad_start = c->bad_end = 0;
}

/* Count what differs in [@from, @to). */
static void count(struct compare *c, size_t from, size_t to, enum kernref_why why)
{
	for (size_t i = next_difference(c->want, c->have, from, to); i < to;
	     i = next_difference(c->want, c->have, i + 1, to)) {
		uint64_t addr = c->area->start + i;

		c->page->bytes[why]++;
		if (why != KERNREF_UNEXPLAINED)
			continue;
		if (addr != c->bad_end)
			tell_unexplained(c);
		if (!c->bad_start)
			c->bad_start = addr;
		c->bad_end = addr + 1;
	}
}

/* ---- what was written on purpose ---- */

/* The patch that has the byte at @addr, with all of its bytes in place; or NULL. */
static const struct kernref_patch *patch_at(const struct compare *c, uint64_t addr)
{
	const struct kernref_guest *g = c->run->guest;
	uint64_t in_guest = addr + c->run->r->shift;

	for (size_t i = 0; i < g->nr_patches; i++) {
		const struct kernref_patch *p = &g->patch[i];
		uint64_t off = p->addr - c->run->r->shift - c->area->start;

		if (in_guest - p->addr < p->len_bytes && off < c->area->bytes &&
		    p->len_bytes <= c->area->bytes - off &&
		    !memcmp(c->have + off, p->after, p->len_bytes))
			return p;
	}
	return NULL;
}

/* ---- tables ---- */

struct numbered {
	struct kernref_entry entry;
	size_t i;
};

static int by_number(const void *a, const void *b)
{
	return kernref_by_entry(&((const struct numbered *)a)->entry,
				&((const struct numbered *)b)->entry);
}

/* Which of the guest's entries are none of the file's? */
static int look_at_table(struct compare *c, size_t which)
{
	const struct kernref_table *t = &c->run->r->table[which];
	_cleanup_free_ struct numbered *e = calloc(t->nr + 1, sizeof(*e));
	uint8_t *bad = calloc(t->nr + 1, 1);
	size_t k = 0;

	if (!e || !bad) {
		free(bad);
		return -ENOMEM;
	}
	for (size_t i = 0; i < t->nr; i++) {
		kernref_table_entry(t, c->have + (t->start - c->area->start), i, &e[i].entry);
		e[i].i = i;
	}
	qsort(e, t->nr, sizeof(*e), by_number);
	for (size_t i = 0; i < t->nr; i++) {
		while (k < t->nr && kernref_by_entry(&t->entry[k], &e[i].entry) < 0)
			k++;
		if (k < t->nr && !kernref_by_entry(&t->entry[k], &e[i].entry))
			k++;
		else
			bad[e[i].i] = 1;
	}
	c->run->bad[which] = bad;
	return 0;
}

/* Is @addr in a table? *@ret_end: where its entry ends; *@ret: what explains it */
static int judge_table(struct compare *c, uint64_t addr, uint64_t *ret_end, enum kernref_why *ret)
{
	for (size_t w = 0; w < KERNREF_TABLES; w++) {
		const struct kernref_table *t = &c->run->r->table[w];
		size_t each = kernref_entry_bytes(t), i;
		int rc;

		if (!t->nr || addr - t->start >= t->nr * each)
			continue;
		rc = c->run->bad[w] ? 0 : look_at_table(c, w);
		if (rc)
			return rc;
		i = (size_t)(addr - t->start) / each;
		*ret_end = t->start + (i + 1) * each;
		*ret = c->run->bad[w][i] ? KERNREF_UNEXPLAINED : KERNREF_TABLE;
	}
	return 0;
}

/* ---- probes ---- */

/* By the guest's list of probes: a breakpoint, or the jump of an optimised one. */
static size_t probe_bytes(const struct compare *c, size_t off)
{
	const uint8_t *want = c->want + off, *have = c->have + off;
	size_t len = *have == INT3 ? 1 : *have == JUMP32 ? PROBE_BYTES : 0;

	if (!len || len > c->area->bytes - off || !memcmp(want, have, len))
		return 0;
	return kernref_ask(c->run, c->area->start + off, want, have, len) ? len : 0;
}

/* A breakpoint in a place that was rewritten: what stood there is known but for that byte. */
static bool fits_but_for_probe(struct compare *c, const struct kernref_group *g)
{
	uint8_t have[KERNREF_MAX_GROUP];
	size_t at = (size_t)(g->addr - c->area->start);
	enum kernref_why why;

	memcpy(have, c->have + at, g->len_bytes);
	for (size_t i = 0; i < g->len_bytes; i++) {
		if (have[i] != INT3 || probe_bytes(c, at + i) != 1)
			continue;
		for (unsigned int v = 0; v <= UINT8_MAX; v++) {
			have[i] = (uint8_t)v;
			if (!memcmp(have, c->want + at, g->len_bytes) ||
			    kernref_fits(c->run, g, have, &why))
				return true;
		}
		have[i] = INT3;
	}
	return false;
}

/* ---- a page ---- */

static const struct kernref_group *group_at(struct compare *c, uint64_t addr)
{
	const struct kernref *r = c->run->r;

	while (c->group < r->nr_groups &&
	       r->group[c->group].addr + r->group[c->group].len_bytes <= addr)
		c->group++;
	return c->group < r->nr_groups && r->group[c->group].addr <= addr ? &r->group[c->group]
									  : NULL;
}

static bool is_ro_after_init(const struct compare *c, uint64_t addr)
{
	const struct kernref *r = c->run->r;

	return addr >= r->ro_start && addr < r->ro_end;
}

/* What explains the byte at @off, and how far that goes. */
static int judge(struct compare *c, size_t off, size_t *ret_end, enum kernref_why *ret)
{
	uint64_t addr = c->area->start + off, end = addr + 1;
	const struct kernref_group *g = group_at(c, addr);
	const struct kernref_patch *p = patch_at(c, addr);
	int rc = 0;

	*ret = KERNREF_UNEXPLAINED;
	if (p) {
		end = p->addr - c->run->r->shift + p->len_bytes;
		*ret = KERNREF_PATCH;
	} else if (g) {
		end = g->addr + g->len_bytes;
		if (!kernref_fits(c->run, g, c->have + (g->addr - c->area->start), ret))
			*ret = fits_but_for_probe(c, g) ? KERNREF_KPROBE : KERNREF_UNEXPLAINED;
	} else if (is_ro_after_init(c, addr)) {
		*ret = KERNREF_RO_AFTER_INIT;
		rc = judge_table(c, addr, &end, ret);
	} else {
		size_t len = probe_bytes(c, off);

		*ret = len ? KERNREF_KPROBE : KERNREF_UNEXPLAINED;
		end = addr + (len ? len : 1);
	}
	*ret_end = (size_t)(end - c->area->start);
	return rc;
}

int kernref_compare(struct kernref_run *run, enum kernref_area_kind k, size_t i,
		    struct kernref_page *ret)
{
	struct compare c = {.run = run,
			    .area = &run->r->part[k].area,
			    .want = run->r->part[k].want,
			    .have = run->image->bytes[k],
			    .page = ret,
			    .group = run->r->group_of[k][i]};
	size_t to = (i + 1) * XO_PAGE_SIZE, off = i * XO_PAGE_SIZE;
	int rc = 0;

	if (to > c.area->bytes)
		to = c.area->bytes;

	*ret = (struct kernref_page){0};
	while (!rc && (off = next_difference(c.want, c.have, off, to)) < to) {
		enum kernref_why why;
		size_t end = to;

		rc = judge(&c, off, &end, &why);
		if (rc)
			break;
		if (end > to)
			end = to;
		count(&c, off, end, why);
		off = end;
	}
	tell_unexplained(&c);
	return rc;
}
