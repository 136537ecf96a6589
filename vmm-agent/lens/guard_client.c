// SPDX-License-Identifier: Apache-2.0
/* The client's side of guard.h. No count, enumeration or text of an answer is believed. */
#include "vmm-agent/lens/guard.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "vmm-agent/lens/client.h"
#include "vmm-agent/lens/wire.h"

static bool take_area(struct lens_area *a)
{
	lclient_settle(a->module, sizeof(a->module));
	return a->kind >= LENS_AREA_TEXT && a->kind <= LENS_AREA_MODULE_RODATA && a->len_bytes &&
	       a->len_bytes % XO_PAGE_SIZE == 0 && a->gpa.v % XO_PAGE_SIZE == 0 &&
	       a->gva.v % XO_PAGE_SIZE == 0 && a->len_bytes - 1 <= UINT64_MAX - a->gpa.v &&
	       a->len_bytes - 1 <= UINT64_MAX - a->gva.v;
}

/* One part of the list. Return: 0, or a code; *@ret_nr: its length in all */
static int ask_areas(struct lens *l, bool left_out, struct lens_area *ret, size_t first, size_t max,
		     size_t *ret_part, size_t *ret_nr, struct xerr *err)
{
	const struct wire_areas q = {.first = (uint32_t)first, .left_out = left_out};
	_cleanup_msg_ struct msg m = {0};
	struct wire_count count;
	size_t nr;
	int rc = lclient_ask(l, WIRE_AREAS, &q, sizeof(q), &m, err);

	if (rc)
		return rc;
	if (!span_copy(msg_span(&m), 0, &count, sizeof(count)))
		return lclient_broken(l, err);
	nr = (m.head.len_bytes - sizeof(count)) / sizeof(*ret);
	if (m.head.len_bytes != sizeof(count) + nr * sizeof(*ret) || count.nr > LENS_MAX_AREAS ||
	    first > count.nr || nr > count.nr - first || (!nr && first < count.nr))
		return lclient_broken(l, err);
	if (count.nr > max)
		return xerr_set(err, XO_ELIMIT, "lens: %u areas, room for %zu", count.nr, max);
	memcpy(ret + first, m.body + sizeof(count), nr * sizeof(*ret));
	for (size_t i = 0; i < nr; i++)
		if (!take_area(&ret[first + i]))
			return lclient_broken(l, err);
	*ret_part = nr;
	*ret_nr = count.nr;
	return 0;
}

static int all_areas(struct lens *l, bool left_out, struct lens_area *ret, size_t max,
		     size_t *ret_nr, struct xerr *err)
{
	size_t at = 0, nr = 0;

	do {
		size_t part = 0;
		int rc = ask_areas(l, left_out, ret, at, max, &part, &nr, err);

		if (rc)
			return rc;
		at += part;
	} while (at < nr);
	*ret_nr = nr;
	return 0;
}

int lens_areas(struct lens *l, struct lens_area *ret, size_t max, size_t *ret_nr, struct xerr *err)
{
	return all_areas(l, false, ret, max, ret_nr, err);
}

int lens_areas_seed(struct lens *l, const struct lens_area *area, size_t nr, struct xerr *err)
{
	for (size_t at = 0, n; at < nr; at += n) {
		_cleanup_msg_ struct msg m = {0};
		int rc;

		n = nr - at < WIRE_MAX_AREAS ? nr - at : WIRE_MAX_AREAS;
		rc = lclient_ask(l, WIRE_AREAS_SEED, area + at, n * sizeof(*area), &m, err);
		if (rc)
			return rc;
		if (m.head.len_bytes)
			return lclient_broken(l, err);
	}
	return 0;
}

int lens_areas_left_out(struct lens *l, struct lens_area *ret, size_t max, size_t *ret_nr,
			struct xerr *err)
{
	return all_areas(l, true, ret, max, ret_nr, err);
}

/* A request without a body and an answer without one. */
static int order(struct lens *l, uint32_t op, struct xerr *err)
{
	_cleanup_msg_ struct msg m = {0};
	int rc = lclient_ask(l, op, NULL, 0, &m, err);

	return !rc && m.head.len_bytes ? lclient_broken(l, err) : rc;
}

int lens_guard_prepare(struct lens *l, struct xerr *err)
{
	return order(l, WIRE_GUARD, err);
}

static int ask_verdict(struct lens *l, uint32_t op, struct gpa gpa, const uint8_t *before,
		       const uint8_t *after, size_t len_bytes, struct lens_judgement *ret,
		       struct xerr *err)
{
	const struct wire_addr q = {.addr = gpa.v, .len_bytes = len_bytes};
	uint8_t body[sizeof(q) + 2 * XO_PAGE_SIZE];
	_cleanup_msg_ struct msg m = {0};
	struct wire_judgement w;
	int rc;

	if (!len_bytes || len_bytes > XO_PAGE_SIZE)
		return xerr_set(err, XO_ELIMIT, "lens: a write is within a page");
	memcpy(body, &q, sizeof(q));
	memcpy(body + sizeof(q), before, len_bytes);
	memcpy(body + sizeof(q) + len_bytes, after, len_bytes);
	rc = lclient_ask(l, op, body, sizeof(q) + 2 * len_bytes, &m, err);
	if (rc)
		return rc;
	if (m.head.len_bytes != sizeof(w))
		return lclient_broken(l, err);
	memcpy(&w, m.body, sizeof(w));
	if (w.kind < LENS_WRITE_JUMP_LABEL || w.kind > LENS_WRITE_OTHER || w.legal > 1 ||
	    w.intermediate > 1 || w.leads_to > LENS_OWNER_EFI)
		return lclient_broken(l, err);
	lclient_settle(w.reason, sizeof(w.reason));
	lclient_settle(w.where.name, sizeof(w.where.name));
	lclient_settle(w.where.module, sizeof(w.where.module));
	*ret = (struct lens_judgement){.kind = w.kind,
				       .legal = w.legal,
				       .intermediate = w.intermediate,
				       .leads_to = w.leads_to,
				       .gva = {w.gva},
				       .where = {.addr = {w.where.addr},
						 .size_bytes = w.where.size_bytes,
						 .type = w.where.type},
				       .where_off = w.where_off};
	memcpy(ret->reason, w.reason, sizeof(ret->reason));
	memcpy(ret->where.name, w.where.name, sizeof(ret->where.name));
	memcpy(ret->where.module, w.where.module, sizeof(ret->where.module));
	return 0;
}

int lens_probes(struct lens *l, struct lens_probe *ret, size_t *ret_nr, struct xerr *err)
{
	_cleanup_msg_ struct msg m = {0};
	int rc = lclient_ask(l, WIRE_PROBES, NULL, 0, &m, err);
	size_t nr = m.head.len_bytes / sizeof(*ret);

	if (rc)
		return rc;
	if (m.head.len_bytes != nr * sizeof(*ret) || nr > LENS_MAX_PROBES)
		return lclient_broken(l, err);
	if (nr)
		memcpy(ret, m.body, nr * sizeof(*ret));
	*ret_nr = nr;
	return 0;
}

int lens_probes_set(struct lens *l, const struct lens_probe *p, size_t nr, struct xerr *err)
{
	_cleanup_msg_ struct msg m = {0};
	int rc;

	if (nr > LENS_MAX_PROBES)
		return xerr_set(err, XO_ELIMIT, "lens: more than %d probes", LENS_MAX_PROBES);
	rc = lclient_ask(l, WIRE_PROBES_SET, p, nr * sizeof(*p), &m, err);
	return !rc && m.head.len_bytes ? lclient_broken(l, err) : rc;
}

int lens_judge(struct lens *l, struct gpa gpa, const uint8_t *before, const uint8_t *after,
	       size_t len_bytes, struct lens_judgement *ret, struct xerr *err)
{
	return ask_verdict(l, WIRE_JUDGE, gpa, before, after, len_bytes, ret, err);
}

int lens_explain(struct lens *l, struct gpa gpa, const uint8_t *before, const uint8_t *after,
		 size_t len_bytes, struct lens_judgement *ret, struct xerr *err)
{
	return ask_verdict(l, WIRE_EXPLAIN, gpa, before, after, len_bytes, ret, err);
}

int lens_tables_pin(struct lens *l, struct xerr *err)
{
	return order(l, WIRE_TABLES_PIN, err);
}

int lens_tables_accept(struct lens *l, struct xerr *err)
{
	return order(l, WIRE_TABLES_TAKE, err);
}

int lens_tables_get(struct lens *l, struct lens_table *table, size_t *ret_nr, struct xerr *err)
{
	size_t at = 0, nr = 0;

	do {
		const struct wire_areas q = {.first = (uint32_t)at};
		_cleanup_msg_ struct msg m = {0};
		struct wire_count count;
		size_t part;
		int rc = lclient_ask(l, WIRE_TABLES_GET, &q, sizeof(q), &m, err);

		if (rc)
			return rc;
		if (!span_copy(msg_span(&m), 0, &count, sizeof(count)))
			return lclient_broken(l, err);
		part = (m.head.len_bytes - sizeof(count)) / sizeof(*table);
		nr = count.nr;
		if (m.head.len_bytes != sizeof(count) + part * sizeof(*table) ||
		    nr > LENS_MAX_TABLES || part > nr - at || (!part && at < nr))
			return lclient_broken(l, err);
		memcpy(table + at, m.body + sizeof(count), part * sizeof(*table));
		at += part;
	} while (at < nr);
	*ret_nr = nr;
	return 0;
}

int lens_tables_set(struct lens *l, const struct lens_table *table, size_t nr, struct xerr *err)
{
	for (size_t at = 0, n; at < nr; at += n) {
		_cleanup_xbuf_ struct xbuf body = XBUF(MSG_MAX_BYTES);
		_cleanup_msg_ struct msg m = {0};
		struct wire_count left = {0};
		int rc;

		n = nr - at < WIRE_MAX_TABLES ? nr - at : WIRE_MAX_TABLES;
		left.nr = (uint32_t)(nr - at - n);
		rc = xbuf_add(&body, &left, sizeof(left));
		if (!rc)
			rc = xbuf_add(&body, table + at, n * sizeof(*table));
		if (rc)
			return xerr_set(err, rc, "lens: out of memory");
		rc = lclient_ask(l, WIRE_TABLES_SET, body.data, body.len_bytes, &m, err);
		if (rc)
			return rc;
		if (m.head.len_bytes)
			return lclient_broken(l, err);
	}
	return 0;
}

/* What is left of an answer from @off on: findings. */
static int take_findings(struct lens *l, struct span body, size_t off, struct lens_finding *ret,
			 size_t *ret_nr, struct xerr *err)
{
	size_t bytes = body.len_bytes - off, nr = bytes / sizeof(*ret);

	if (bytes % sizeof(*ret) || nr > LENS_MAX_FINDINGS)
		return lclient_broken(l, err);
	if (nr)
		memcpy(ret, body.p + off, bytes);
	for (size_t i = 0; i < nr; i++) {
		lclient_settle(ret[i].what, sizeof(ret[i].what));
		if (ret[i].kind < LENS_FOUND_PTE || ret[i].kind > LENS_FOUND_INCOMPLETE ||
		    ret[i].owner > LENS_OWNER_EFI)
			return lclient_broken(l, err);
	}
	*ret_nr = nr;
	return 0;
}

int lens_tables_check(struct lens *l, struct lens_finding *ret, size_t *ret_nr, struct xerr *err)
{
	_cleanup_msg_ struct msg m = {0};
	int rc = lclient_ask(l, WIRE_TABLES_CHECK, NULL, 0, &m, err);

	return rc ? rc : take_findings(l, msg_span(&m), 0, ret, ret_nr, err);
}

int lens_audit(struct lens *l, const struct lens_approved *extra, size_t nr_extra,
	       struct lens_finding *ret, size_t *ret_nr, struct lens_audit_stats *stats,
	       struct xerr *err)
{
	_cleanup_msg_ struct msg m = {0};
	struct lens_audit_stats s;
	int rc;

	if (nr_extra > LENS_MAX_APPROVED)
		return xerr_set(err, XO_ELIMIT, "lens: more than %d approved ranges",
				LENS_MAX_APPROVED);
	rc = lclient_ask(l, WIRE_AUDIT, extra, nr_extra * sizeof(*extra), &m, err);
	if (rc)
		return rc;
	if (!span_copy(msg_span(&m), 0, &s, sizeof(s)))
		return lclient_broken(l, err);
	rc = take_findings(l, msg_span(&m), sizeof(s), ret, ret_nr, err);
	if (!rc)
		*stats = s;
	return rc;
}
