// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/home.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"

/* One byte after each patch that is not free, so that its trailing zeroes are never taken. */
#define END_MARK_BYTES 1

void home_free(struct home *h)
{
	free(h->bytes);
	memset(h, 0, sizeof(*h));
}

/* Does a live patch of this VM occupy any of [at, at + len)? */
static bool taken(const struct session *s, uint64_t at, uint64_t len)
{
	for (size_t i = 0; i < s->nr_rows; i++) {
		const struct jrow *r = &s->row[i];

		if (session_row_here(s, r) &&
		    (at - r->home.v < r->home_bytes || r->home.v - at < len))
			return true;
	}
	return false;
}

static bool all_fill(const uint8_t *p, size_t len, uint8_t fill)
{
	return len == 0 || (p[0] == fill && !memcmp(p, p + 1, len - 1));
}

static void count_free(const struct session *s, struct home *h)
{
	h->free_bytes = 0;
	for (size_t i = 0; i < h->nr_pages; i++)
		for (uint64_t off = 0; off < XO_PAGE_SIZE; off += HOME_ALIGN)
			if (all_fill(h->bytes + i * XO_PAGE_SIZE + off, HOME_ALIGN, h->fill) &&
			    !taken(s, h->page[i].gva.v + off, HOME_ALIGN))
				h->free_bytes += HOME_ALIGN;
}

/* Pages of the window that the chipset maps as ROM: the guest can execute, not write them. */
static size_t rom_pages(const struct tgt_info *vm, struct lens_window_page *out)
{
	size_t nr = 0;

	for (uint64_t at = HOME_WINDOW_START; at < HOME_WINDOW_END; at += XO_PAGE_SIZE) {
		for (size_t i = 0; i < vm->nr_regions; i++) {
			const struct tgt_region *r = &vm->region[i];
			uint64_t off = at - r->gpa.v;

			if (!r->rom || at < r->gpa.v || off >= r->len_bytes ||
			    r->len_bytes - off < XO_PAGE_SIZE)
				continue;
			out[nr++] = (struct lens_window_page){.gpa = {at}};
			break;
		}
	}
	return nr;
}

static int survey_window(struct session *s, struct home *h, struct refusal *why, struct xerr *err)
{
	struct lens_window_page page[LENS_MAX_WINDOW_PAGES];
	size_t nr = rom_pages(s->vm, page), unusable = 0;
	int rc;

	h->kind = "window";
	h->fill = 0;
	h->bytes = malloc(HOME_MAX_PAGES * XO_PAGE_SIZE);
	if (!h->bytes)
		return xerr_set(err, ENOMEM, "out of memory");
	if (nr) {
		rc = lens_window(s->lens, page, nr, err);
		if (rc)
			return rc;
	}
	for (size_t i = 0; i < nr; i++) {
		uint8_t *bytes = h->bytes + h->nr_pages * XO_PAGE_SIZE;

		if (!page[i].usable) {
			unusable++;
			continue;
		}
		rc = session_read(s, page[i].gpa, bytes, XO_PAGE_SIZE, err);
		if (rc)
			return rc;
		/* A page is ours if it is mapped as we map it; else only an empty one will do. */
		if (page[i].pte_old != page[i].pte_new && !all_fill(bytes, XO_PAGE_SIZE, 0))
			continue;
		h->page[h->nr_pages++] = (struct home_page){.gva = page[i].gva,
							    .gpa = page[i].gpa,
							    .pte = page[i].pte,
							    .pte_new = page[i].pte_new};
	}
	if (!h->nr_pages)
		refusal_add(
			why, XO_ENOHOME,
			"firmware window: %zu ROM pages between 0xc0000 and 0xfffff, none of them "
			"empty and mappable (%zu have their page-table entry in use); load the "
			"shim in the guest and use --home shim",
			nr, unusable);
	return 0;
}

static int survey_shim(struct session *s, struct home *h, struct refusal *why, struct xerr *err)
{
	struct xerr found = {0};
	struct lens_shim shim;
	uint64_t left;
	int rc;

	h->kind = "shim";
	h->fill = 0xcc;
	rc = lens_shim(s->lens, &shim, &found);
	if (rc == -XO_ENOHOME || rc == -XO_ESHIMABI) {
		refusal_add(why, rc, "%s", found.text);
		return 0;
	}
	if (rc)
		return xerr_set(err, rc, "%s", found.text);
	h->bytes = malloc(HOME_MAX_PAGES * XO_PAGE_SIZE);
	if (!h->bytes)
		return xerr_set(err, ENOMEM, "out of memory");
	for (uint64_t off = 0; off < shim.text_bytes && h->nr_pages < HOME_MAX_PAGES;
	     off += XO_PAGE_SIZE) {
		struct home_page *p = &h->page[h->nr_pages];

		p->gva.v = shim.text.v + off;
		rc = lens_translate(s->lens, p->gva, &p->gpa, &left, err);
		if (!rc)
			rc = session_read(s, p->gpa, h->bytes + h->nr_pages * XO_PAGE_SIZE,
					  XO_PAGE_SIZE, err);
		if (rc)
			return rc;
		h->nr_pages++;
	}
	return 0;
}

int home_survey(struct session *s, enum agent_home kind, struct home *ret, struct refusal *why,
		struct xerr *err)
{
	_cleanup_home_ struct home h = {0};
	int rc = kind == AGENT_HOME_SHIM ? survey_shim(s, &h, why, err)
					 : survey_window(s, &h, why, err);

	if (rc)
		return rc;
	count_free(s, &h);
	*ret = h;
	h = (struct home){0};
	return 0;
}

/* Index of the page at @gva, or -1. */
static ssize_t page_at(const struct home *h, uint64_t gva)
{
	for (size_t i = 0; i < h->nr_pages; i++)
		if (h->page[i].gva.v == (gva & ~XO_PAGE_MASK))
			return (ssize_t)i;
	return -1;
}

/* Are all bytes of [at, at + size) free, page after page? */
static bool is_free(const struct session *s, const struct home *h, uint64_t at, uint64_t size)
{
	if (taken(s, at, size))
		return false;
	while (size) {
		ssize_t i = page_at(h, at);
		uint64_t off = at & XO_PAGE_MASK;
		uint64_t len = size < XO_PAGE_SIZE - off ? size : XO_PAGE_SIZE - off;

		if (i < 0 || !all_fill(h->bytes + (size_t)i * XO_PAGE_SIZE + off, len, h->fill))
			return false;
		at += len;
		size -= len;
	}
	return true;
}

int home_find(const struct session *s, const struct home *h, uint64_t size_bytes,
	      uint64_t align_bytes, struct gva *ret, struct refusal *why)
{
	uint64_t step = align_bytes > HOME_ALIGN ? align_bytes : HOME_ALIGN;
	uint64_t want = size_bytes + END_MARK_BYTES;

	if (size_bytes < h->nr_pages * XO_PAGE_SIZE) {
		for (size_t i = 0; i < h->nr_pages; i++) {
			uint64_t first = xo_align_up(h->page[i].gva.v, step);

			for (uint64_t at = first; at - h->page[i].gva.v < XO_PAGE_SIZE;
			     at += step) {
				if (is_free(s, h, at, want)) {
					ret->v = at;
					return 0;
				}
			}
		}
	}
	refusal_add(
		why, XO_EHOMEFULL,
		"%s: no run of %llu free bytes left (%llu bytes free in all); revert a patch, or "
		"use the other home (--home)",
		h->kind, (unsigned long long)want, (unsigned long long)h->free_bytes);
	return -XO_EHOMEFULL;
}

static int add_map(const struct home_page *p, struct jrow *row)
{
	struct jwrite *w;

	if (!p->pte.v)
		return 0;
	w = jrow_add_write(row, J_MAP, p->pte, (struct gva){0}, sizeof(p->pte_new));
	if (!w)
		return -ENOMEM;
	memcpy(w->after, &p->pte_new, sizeof(p->pte_new));
	return 0;
}

int home_fill(const struct home *h, struct gva at, struct span code, struct jrow *row)
{
	uint64_t len = code.len_bytes + END_MARK_BYTES, done = 0;
	int rc;

	for (uint64_t a = at.v & ~XO_PAGE_MASK; a < at.v + len; a += XO_PAGE_SIZE) {
		ssize_t i = page_at(h, a);

		rc = i < 0 ? -XO_EINTERNAL : add_map(&h->page[i], row);
		if (rc)
			return rc;
	}
	while (done < len) {
		ssize_t i = page_at(h, at.v + done);
		uint64_t off = (at.v + done) & XO_PAGE_MASK;
		uint64_t n = len - done < XO_PAGE_SIZE - off ? len - done : XO_PAGE_SIZE - off;
		uint64_t copy = code.len_bytes - done < n ? code.len_bytes - done : n;
		struct jwrite *w;

		if (i < 0)
			return -XO_EINTERNAL;
		w = jrow_add_write(row, J_CODE, (struct gpa){h->page[i].gpa.v + off},
				   (struct gva){at.v + done}, (uint32_t)n);
		if (!w)
			return -ENOMEM;
		memset(w->before, h->fill, n);
		memset(w->after, (uint8_t)~h->fill, n);
		memcpy(w->after, code.p + done, copy);
		done += n;
	}
	row->home = at;
	row->home_bytes = len;
	snprintf(row->home_kind, sizeof(row->home_kind), "%s", h->kind);
	return 0;
}
