// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/guard_server.h"
#include "vmm-agent/lens/modgate_server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TRIES 5 /* a list that changes while it is walked may look broken */

static int bad(struct xerr *err, const char *what)
{
	return xerr_set(err, XO_EPROTO, "lens: %s", what);
}

static int add(struct xbuf *reply, const void *p, size_t len_bytes, struct xerr *err)
{
	int rc = xbuf_add(reply, p, len_bytes);

	return rc ? xerr_set(err, rc, "lens: answer: %s", xo_code_text(rc)) : 0;
}

static int prepare(struct gguard *g, const struct gkernel *k, struct xerr *err)
{
	struct xerr last = {0};
	int rc = 0;

	for (int i = 0; i < TRIES; i++) {
		last = (struct xerr){0};
		rc = gjudge_prepare(&g->judge, k, &last);
		if (rc != -XO_EMODLIST)
			break;
	}
	if (rc)
		return xerr_set(err, rc, "%s", last.text);
	g->prepared = true;
	return 0;
}

static int do_areas(struct gguard *g, const struct gkernel *k, struct span body, struct xbuf *reply,
		    struct xerr *err)
{
	struct wire_count count = {0};
	const struct lens_area *from;
	struct wire_areas q;
	size_t nr;
	int rc = 0;

	if (body.len_bytes != sizeof(q))
		return bad(err, "areas: wrong length");
	memcpy(&q, body.p, sizeof(q));
	if (!q.left_out && !q.first)
		rc = prepare(g, k, err);
	if (rc)
		return rc;
	from = q.left_out ? g->judge.areas.left_out : g->judge.areas.area;
	nr = q.left_out ? g->judge.areas.nr_left_out : g->judge.areas.nr;
	if (q.first > nr)
		return bad(err, "areas: no such part");
	count.nr = (uint32_t)nr;
	nr -= q.first;
	rc = add(reply, &count, sizeof(count), err);
	if (!rc && nr)
		rc = add(reply, from + q.first,
			 (nr < WIRE_MAX_AREAS ? nr : WIRE_MAX_AREAS) * sizeof(*from), err);
	return rc;
}

static int do_seed(struct gguard *g, const struct gkernel *k, struct span body, struct xerr *err)
{
	struct lens_area a;
	int rc = 0;

	if (body.len_bytes % sizeof(a))
		return bad(err, "areas: wrong length");
	if (g->prepared)
		return bad(err, "areas: too late for those of before");
	for (size_t off = 0; off < body.len_bytes && !rc; off += sizeof(a)) {
		memcpy(&a, body.p + off, sizeof(a));
		rc = gareas_seed(&g->judge.areas, k, &a);
	}
	return rc ? xerr_set(err, rc, "areas of before: %s", xo_code_text(rc)) : 0;
}

static int do_judge(struct gguard *g, struct span body, bool explains, struct xbuf *reply,
		    struct xerr *err)
{
	struct wire_judgement w = {0};
	struct lens_judgement v;
	struct wire_addr q;
	int rc;

	if (!span_copy(body, 0, &q, sizeof(q)) || q.len_bytes > XO_PAGE_SIZE ||
	    body.len_bytes != sizeof(q) + 2 * q.len_bytes)
		return bad(err, "judge: wrong length");
	if (!g->prepared)
		return xerr_set(err, XO_ENOKERNEL, "lens: the guard's lists were not read yet");
	g->judge.explains = explains;
	rc = gjudge(&g->judge, (struct gpa){q.addr}, body.p + sizeof(q),
		    body.p + sizeof(q) + q.len_bytes, q.len_bytes, &v, err);
	if (rc)
		return rc;
	w.gva = v.gva.v;
	w.where_off = v.where_off;
	w.kind = v.kind;
	w.legal = v.legal;
	w.intermediate = v.intermediate;
	w.leads_to = v.leads_to;
	memcpy(w.reason, v.reason, sizeof(w.reason));
	w.where.addr = v.where.addr.v;
	w.where.size_bytes = v.where.size_bytes;
	w.where.type = v.where.type;
	memcpy(w.where.name, v.where.name, sizeof(w.where.name));
	memcpy(w.where.module, v.where.module, sizeof(w.where.module));
	return add(reply, &w, sizeof(w), err);
}

static int do_probes(struct gguard *g, struct span body, struct xbuf *reply, struct xerr *err)
{
	if (body.len_bytes)
		return bad(err, "probes: wrong length");
	return g->judge.nr_probes ? add(reply, g->judge.probe,
					g->judge.nr_probes * sizeof(g->judge.probe[0]), err)
				  : 0;
}

static int do_probes_set(struct gguard *g, struct span body, struct xerr *err)
{
	size_t nr = body.len_bytes / sizeof(struct lens_probe);

	if (body.len_bytes % sizeof(struct lens_probe) || nr > LENS_MAX_PROBES)
		return bad(err, "probes: wrong length");
	return gprobes_set(&g->judge, (const struct lens_probe *)(const void *)body.p, nr, err);
}

static int do_pin(struct gguard *g, const struct gkernel *k, struct span body, struct xerr *err)
{
	int rc = body.len_bytes ? bad(err, "pin: wrong length") : 0;

	if (!rc && !g->prepared)
		rc = prepare(g, k, err);
	return rc ? rc : gtables_pin(&g->tables, &g->judge, err);
}

static int do_tables_get(struct gguard *g, struct span body, struct xbuf *reply, struct xerr *err)
{
	struct wire_count count = {0};
	struct wire_areas q;
	size_t at = reply->len_bytes, nr = 0;
	int rc;

	if (body.len_bytes != sizeof(q))
		return bad(err, "tables: wrong length");
	memcpy(&q, body.p, sizeof(q));
	rc = add(reply, &count, sizeof(count), err);
	if (!rc && gtables_get(&g->tables, q.first, WIRE_MAX_TABLES, reply, &nr))
		rc = xerr_set(err, ENOMEM, "lens: out of memory");
	if (rc)
		return rc;
	count.nr = (uint32_t)nr;
	memcpy(reply->data + at, &count, sizeof(count));
	return 0;
}

/* The last part makes it count. */
static int do_tables_set(struct gguard *g, struct span body, struct xerr *err)
{
	struct lens_table one;
	struct wire_count count;
	int rc = 0;

	if (!span_copy(body, 0, &count, sizeof(count)) ||
	    (body.len_bytes - sizeof(count)) % sizeof(one))
		return bad(err, "tables: wrong length");
	for (size_t off = sizeof(count); off < body.len_bytes && !rc; off += sizeof(one)) {
		memcpy(&one, body.p + off, sizeof(one));
		rc = gtables_put(&g->more, &one, 1);
	}
	if (!rc && count.nr)
		return 0;
	if (!rc && !g->more.nr)
		rc = -XO_EMALFORMED;
	if (!rc) {
		gtables_free(&g->tables);
		g->tables = g->more;
		g->more = (struct gtables){0};
	}
	gtables_free(&g->more);
	return rc ? xerr_set(err, rc, "tables that were remembered: %s", xo_code_text(rc)) : 0;
}

/* Lists of modules that are broken, as a guest may have them, matter to nothing of this. */
static int do_tables_check(struct gguard *g, const struct gkernel *k, struct span body,
			   struct xbuf *reply, struct xerr *err)
{
	struct xerr lists = {0};
	struct gfound found;
	int rc = body.len_bytes ? bad(err, "check of tables: wrong length") : 0;

	if (!rc && !g->judge.k)
		(void)!prepare(g, k, &lists);
	if (!rc)
		rc = gtables_check(&g->tables, &g->judge, &g->seen, &found, err);
	return rc ? rc : add(reply, found.f, found.nr * sizeof(found.f[0]), err);
}

static int do_tables_accept(struct gguard *g, struct span body, struct xerr *err)
{
	if (body.len_bytes)
		return bad(err, "acceptance of tables: wrong length");
	if (!g->seen.nr)
		return xerr_set(err, XO_EPAGETABLE, "shared page tables: they cannot be copied");
	gtables_free(&g->tables);
	g->tables = g->seen;
	g->seen = (struct gtables){0};
	return 0;
}

static int do_audit(struct gguard *g, const struct gkernel *k, struct span body, struct xbuf *reply,
		    struct xerr *err)
{
	struct lens_approved extra[LENS_MAX_APPROVED];
	size_t nr = body.len_bytes / sizeof(extra[0]);
	struct lens_audit_stats stats = {0};
	struct gfound found = {0};
	int rc = 0;

	if (body.len_bytes % sizeof(extra[0]) || nr > LENS_MAX_APPROVED)
		return bad(err, "audit: wrong length");
	if (nr)
		memcpy(extra, body.p, nr * sizeof(extra[0]));
	if (!g->prepared)
		rc = prepare(g, k, err);
	for (int i = 0; !rc && i < TRIES; i++) {
		struct xerr last = {0};

		rc = gaudit_run(&g->audit, &g->judge, extra, nr, &found, &stats, &last);
		if (rc != -XO_EMODLIST || i == TRIES - 1) {
			if (rc)
				return xerr_set(err, rc, "%s", last.text);
			break;
		}
		rc = 0;
	}
	if (!rc)
		rc = gprograms_tell(&g->programs, &g->judge, &found, err);
	if (!rc)
		rc = add(reply, &stats, sizeof(stats), err);
	return rc ? rc : add(reply, found.f, found.nr * sizeof(found.f[0]), err);
}

/* There is a gate from now on: what takes time is done before somebody rings. */
static int do_bell(struct gguard *g, const struct gkernel *k, struct span body, struct xbuf *reply,
		   struct xerr *err)
{
	int rc = gmodtables_load(&g->module_tables, k, err);

	return rc ? rc : gmodgate_bell(k, body, reply, err);
}

int gguard_handle(struct gguard *g, const struct gkernel *k, uint32_t op, struct span body,
		  struct xbuf *reply, struct xerr *err)
{
	switch (op) {
	case WIRE_AREAS:
		return do_areas(g, k, body, reply, err);
	case WIRE_GUARD:
		return body.len_bytes ? bad(err, "guard: wrong length") : prepare(g, k, err);
	case WIRE_JUDGE:
	case WIRE_EXPLAIN:
		return do_judge(g, body, op == WIRE_EXPLAIN, reply, err);
	case WIRE_TABLES_PIN:
		return do_pin(g, k, body, err);
	case WIRE_TABLES_CHECK:
		return do_tables_check(g, k, body, reply, err);
	case WIRE_AREAS_SEED:
		return do_seed(g, k, body, err);
	case WIRE_TABLES_GET:
		return do_tables_get(g, body, reply, err);
	case WIRE_TABLES_SET:
		return do_tables_set(g, body, err);
	case WIRE_TABLES_TAKE:
		return do_tables_accept(g, body, err);
	case WIRE_AUDIT:
		return do_audit(g, k, body, reply, err);
	case WIRE_MODULES:
		return gmodgate_modules(&g->listed, &g->module_tables, &g->judge, k, body, reply,
					err);
	case WIRE_BELL:
		return do_bell(g, k, body, reply, err);
	case WIRE_PROBES:
		return do_probes(g, body, reply, err);
	case WIRE_PROBES_SET:
		return do_probes_set(g, body, err);
	default:
		return bad(err, "no such operation");
	}
}

void gguard_free(struct gguard *g)
{
	gjudge_free(&g->judge);
	gmodules_free(&g->listed);
	gtables_free(&g->tables);
	gprograms_free(&g->programs);
	gtables_free(&g->more);
	gtables_free(&g->seen);
	g->audit = (struct gaudit){0};
	g->module_tables = (struct gmodtables){0};
	g->prepared = false;
}
