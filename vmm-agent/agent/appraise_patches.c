// SPDX-License-Identifier: Apache-2.0
/*
 * Our own patches: each record of the journal's active rows must still be what was written. The
 * vendor's bytes where a detour should be are no difference from the vendor's file, and yet they
 * take the fix out.
 */
#include <errno.h>
#include <string.h>

#include "vmm-agent/agent/appraise_core.h"

#define WINDOW		  "window"
#define ACCESSED_OR_DIRTY 0x60 /* of a page-table entry: CPUs set them */

bool appraise_row(const struct session *s, const struct jrow *row)
{
	return row->state == J_ACTIVE && session_same_kernel(s, row);
}

struct check {
	struct session *s;
	struct att_area *area;
	struct xbuf want;
	json_t *places;
};

static void tell(struct check *c, const struct jrow *r, const char *what, uint64_t gpa,
		 uint64_t bytes)
{
	c->area->unexplained_bytes += bytes;
	if (!bytes || json_array_size(c->places) >= APPRAISE_MAX_FOUND)
		return;
	json_array_append_new(c->places, json_pack("{s:o,s:I,s:o,s:I}", "symbol",
						   json_sprintf("%s:%s", r->patch_id, what),
						   "offset", (json_int_t)0, "address",
						   json_sprintf("0x%llx", (unsigned long long)gpa),
						   "bytes", (json_int_t)bytes));
}

static uint64_t differing(const struct jwrite *w, const uint8_t *have)
{
	uint64_t n = 0;

	for (size_t i = 0; i < w->len_bytes; i++) {
		uint8_t mask = w->kind == J_MAP && !i ? (uint8_t)~ACCESSED_OR_DIRTY : UINT8_MAX;

		n += ((have[i] ^ w->after[i]) & mask) != 0;
	}
	return n;
}

/* Does the kernel run these bytes, and not others? */
static int is_mapped(struct session *s, const struct jwrite *w, bool *ret, struct xerr *err)
{
	struct xerr found = {0};
	struct gpa gpa;
	uint64_t left;
	int rc;

	*ret = true;
	if (!w->gva.v)
		return 0;
	rc = lens_translate(s->lens, w->gva, &gpa, &left, &found);
	*ret = !rc && gpa.v == w->gpa.v && left >= w->len_bytes;
	return !rc || rc == -XO_ENOTMAPPED || rc == -XO_EPAGETABLE
		       ? 0
		       : xerr_set(err, rc, "%s", found.text);
}

static int check_write(struct check *c, const struct jrow *r, const struct jwrite *w,
		       struct xerr *err)
{
	_cleanup_free_ uint8_t *have = malloc(w->len_bytes + 1u);
	bool mapped;
	int rc = have ? session_read(c->s, w->gpa, have, w->len_bytes, err) : -ENOMEM;

	if (!rc)
		rc = is_mapped(c->s, w, &mapped, err);
	if (rc)
		return rc;
	c->area->size_bytes += w->len_bytes;
	tell(c, r, jkind_name(w->kind), w->gpa.v, mapped ? differing(w, have) : w->len_bytes);
	return xbuf_add(&c->want, w->after, w->len_bytes);
}

/* ---- what else is in a page of ours ---- */

static bool is_code_in(const struct jwrite *w, uint64_t page)
{
	return w->kind == J_CODE && (w->gpa.v & ~XO_PAGE_MASK) == page;
}

/* The first of all that has code in @page: that one has it looked at. */
static bool is_first(const struct session *s, const struct jwrite *w, uint64_t page)
{
	for (size_t i = 0; i < s->nr_rows; i++)
		for (size_t k = 0; appraise_row(s, &s->row[i]) && k < s->row[i].nr_writes; k++)
			if (is_code_in(&s->row[i].write[k], page))
				return &s->row[i].write[k] == w;
	return false;
}

/* A page of the firmware's window was empty: all of it is executable now, and only code of active
 * patches may be there. */
static int check_page(struct check *c, const struct jrow *r, uint64_t page, struct xerr *err)
{
	const struct session *s = c->s;
	uint8_t have[XO_PAGE_SIZE];
	uint64_t n = 0, rest = XO_PAGE_SIZE;
	int rc = session_read(c->s, (struct gpa){page}, have, sizeof(have), err);

	for (size_t i = 0; !rc && i < s->nr_rows; i++) {
		for (size_t k = 0; appraise_row(s, &s->row[i]) && k < s->row[i].nr_writes; k++) {
			const struct jwrite *w = &s->row[i].write[k];
			uint64_t off = w->gpa.v & XO_PAGE_MASK;

			if (!is_code_in(w, page) || w->len_bytes > XO_PAGE_SIZE - off ||
			    w->len_bytes > rest)
				continue;
			memset(have + off, 0, w->len_bytes);
			rest -= w->len_bytes;
		}
	}
	for (size_t i = 0; !rc && i < sizeof(have); i++)
		n += have[i] != 0;
	c->area->size_bytes += rest;
	tell(c, r, "page", page, n < rest ? n : rest);
	return rc;
}

static int check_row(struct check *c, const struct jrow *r, struct xerr *err)
{
	int rc = 0;

	for (size_t k = 0; !rc && k < r->nr_writes; k++) {
		const struct jwrite *w = &r->write[k];
		uint64_t page = w->gpa.v & ~XO_PAGE_MASK;

		rc = check_write(c, r, w, err);
		if (!rc && w->kind == J_CODE && !strcmp(r->home_kind, WINDOW) &&
		    is_first(c->s, w, page))
			rc = check_page(c, r, page, err);
	}
	return rc;
}

int appraise_patches(struct session *s, struct att_appraisal *ret, json_t *detail, struct xerr *err)
{
	struct att_area *area = &ret->area[ret->nr_areas];
	struct check c = {.s = s,
			  .area = area,
			  .want = XBUF(SIZE_MAX),
			  .places = json_object_get(detail, "unexplained")};
	int rc = 0;

	snprintf(area->name, sizeof(area->name), "patches");
	for (size_t i = 0; !rc && i < s->nr_rows; i++)
		if (appraise_row(s, &s->row[i]))
			rc = check_row(&c, &s->row[i], err);
	if (!rc && c.want.len_bytes) {
		ret->nr_areas++;
		json_array_append_new(json_object_get(detail, "areas"),
				      json_pack("{s:s,s:I}", "name", area->name,
						"unexplained_bytes",
						(json_int_t)area->unexplained_bytes));
		rc = xo_sha256(xbuf_span(&c.want), area->sha256);
	}
	xbuf_free(&c.want);
	return rc;
}
