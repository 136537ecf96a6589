// SPDX-License-Identifier: Apache-2.0
/* The gate as a patch: which function is detoured, and the records that make it so. */
#include <errno.h>
#include <string.h>

#include "vmm-agent/agent/gate_code.h"
#include "vmm-agent/agent/gate_core.h"
#include "vmm-agent/agent/home.h"
#include "vmm-agent/agent/resolve.h"

#define EKEYREJECTED_ 129
#define NOTIFY_STOP   0x8000 /* NOTIFY_STOP_MASK, include/linux/notifier.h */
#define NOTIFY_OK_    1
#define MAX_FUNCTION  65536
#define BELL_BYTES    8

/* In order of preference; docs/gate.md says why these. */
static const struct candidate {
	const char *symbol;
	enum gate_entry entry;
	int32_t refusal;
} candidates[] = {
	{"klp_module_coming", GATE_MODULE, -EKEYREJECTED_},
	/* notifier_from_errno(-EKEYREJECTED) */
	{"blocking_notifier_call_chain_robust", GATE_NOTIFIER,
	 NOTIFY_STOP | (NOTIFY_OK_ + EKEYREJECTED_)},
};

/* A function that will do, and where. */
struct place {
	const struct candidate *c;
	struct gva addr;
	uint64_t size_bytes;
	struct lens_site site;
	uint8_t before[GATE_MAX_MOVED];
};

/* The address of the only symbol of that name; 0: none, or several. */
static int find(struct session *s, const char *name, struct lens_symbol *ret, struct xerr *err)
{
	struct lens_lookup q = {0};
	int rc;

	snprintf(q.name, sizeof(q.name), "%s", name);
	rc = lens_lookup(s->lens, &q, 1, err);
	if (rc)
		return rc;
	*ret = q.valid && q.nr_found == 1 ? q.found : (struct lens_symbol){0};
	return 0;
}

/* Why not is added to @no. */
static int try_candidate(struct session *s, const struct candidate *c, struct place *ret,
			 struct refusal *no, struct xerr *err)
{
	struct place p = {.c = c};
	struct lens_symbol sym;
	struct xerr found = {0};
	int rc = find(s, c->symbol, &sym, err);

	if (rc)
		return rc;
	p.addr = sym.addr;
	p.size_bytes = sym.size_bytes;
	if (!p.addr.v || !p.size_bytes || p.size_bytes > MAX_FUNCTION) {
		refusal_add(no, XO_ENOSYMBOL, "%s: not in the guest's kernel", c->symbol);
		return 0;
	}
	rc = lens_site(s->lens, p.addr, p.size_bytes, NULL, 0, &p.site, no, &found);
	if (rc == -XO_ENOROOM)
		return 0;
	if (!rc && p.site.len_bytes <= sizeof(p.before))
		rc = lens_read(s->lens, (struct gva){p.addr.v + p.site.off}, p.before,
			       p.site.len_bytes, &found);
	if (rc)
		return xerr_set(err, rc, "%s: %s", c->symbol, found.text);
	if (!gate_movable(p.before, p.site.len_bytes))
		refusal_add(no, XO_ENOROOM, "%s: its first instructions cannot be moved",
			    c->symbol);
	else
		*ret = p;
	return 0;
}

static int find_place(struct session *s, struct place *ret, struct refusal *why, struct xerr *err)
{
	_cleanup_refusal_ struct refusal no = {0};

	for (size_t i = 0; i < XO_ARRAY_SIZE(candidates); i++) {
		int rc = try_candidate(s, &candidates[i], ret, &no, err);

		if (rc || ret->c)
			return rc;
	}
	for (size_t i = 0; i < no.nr; i++)
		refusal_add(why, no.reason[i].code, "module gate: %s",
			    no.reason[i].detail ? no.reason[i].detail : "");
	return 0;
}

static int find_needed(struct session *s, struct gate_link *l, struct refusal *why,
		       struct xerr *err)
{
	struct lens_symbol printk = {0}, old = {0}, thunk = {0}, list = {0};
	int rc = find(s, "_printk", &printk, err);

	if (!rc)
		rc = find(s, "printk", &old, err);
	if (!rc)
		rc = find(s, "__x86_return_thunk", &thunk, err);
	if (!rc)
		rc = find(s, "module_notify_list", &list, err);
	l->printk = printk.addr.v ? printk.addr.v : old.addr.v;
	l->return_thunk = thunk.addr.v;
	l->notify_list = list.addr.v;
	if (!rc && l->return_thunk)
		rc = resolve_return_thunk(s, &l->return_thunk, err);
	if (!rc && (!l->printk || (l->entry == GATE_NOTIFIER && !l->notify_list)))
		refusal_add(why, XO_ENOSYMBOL,
			    "module gate: the guest's kernel lacks _printk or module_notify_list");
	return rc;
}

static int add_bell(const struct lens_bell *b, struct jrow *row)
{
	struct jwrite *w = jrow_add_write(row, J_MAP, b->pte, (struct gva){0}, BELL_BYTES);

	if (!w)
		return -ENOMEM;
	memcpy(w->after, &b->pte_new, sizeof(b->pte_new));
	return 0;
}

static int add_target(const struct place *p, struct gva code, struct jrow *row)
{
	struct jtarget *t = jrow_add_target(row);

	if (!t)
		return -ENOMEM;
	snprintf(t->symbol, sizeof(t->symbol), "%s", p->c->symbol);
	t->addr = p->addr;
	t->size_bytes = p->size_bytes;
	t->detour_off = p->site.off;
	t->replacement = code;
	return 0;
}

/* The code twice: its length is known once it is linked. */
static int link_home(struct guard *g, const struct place *p, struct gate_link *l, struct jrow *row,
		     struct refusal *why, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf code = XBUF(XO_PAGE_SIZE);
	_cleanup_home_ struct home home = {0};
	struct session *s = &g->s;
	struct gva at = {p->addr.v};
	int rc = home_survey(s, AGENT_HOME_WINDOW, &home, why, err);

	if (rc || why->nr)
		return rc;
	l->home = p->addr.v;
	rc = gate_link(&code, l, err);
	if (rc)
		return rc;
	if (home_find(s, &home, code.len_bytes, HOME_ALIGN, &at, why))
		return 0;
	l->home = at.v;
	code.len_bytes = 0;
	rc = gate_link(&code, l, err);
	if (rc)
		return rc;
	rc = add_bell(&g->gate->bell, row);
	if (!rc)
		rc = home_fill(&home, at, xbuf_span(&code), row);
	if (!rc)
		rc = add_target(p, at, row);
	if (rc)
		return xerr_set(err, rc, "out of memory");
	return resolve_detour(s, row, p->c->symbol, (struct gva){p->addr.v + p->site.off}, at,
			      p->before, p->site.len_bytes, why, err);
}

static void describe(const struct session *s, const struct gate *gate, struct jrow *row)
{
	row->state = J_APPLYING;
	snprintf(row->vm, sizeof(row->vm), "%s", s->vm_key);
	snprintf(row->patch_id, sizeof(row->patch_id), "%s", GATE_ROW);
	snprintf(row->version, sizeof(row->version), "1");
	xo_hex(SPAN(gate->list->sha256, XO_SHA256_BYTES), row->manifest_sha256);
	snprintf(row->build_id, sizeof(row->build_id), "%s", s->build_id);
	row->kernel_base = s->kernel.base;
	row->boot_token = s->kernel.boot_token;
}

int gate_plan(struct guard *g, struct jrow *row, struct refusal *why, struct xerr *err)
{
	struct session *s = &g->s;
	struct gate_link l = {0};
	struct place p = {0};
	int rc = find_place(s, &p, why, err);

	if (rc || !p.c)
		return rc;
	l = (struct gate_link){
		.entry = p.c->entry,
		.back = p.addr.v + p.site.off + p.site.len_bytes,
		.moved = p.before,
		.moved_bytes = p.site.len_bytes,
		.bell = g->gate->bell.alias.v,
		.name_off = g->gate->bell.name_off,
		.refusal = p.c->refusal,
	};
	rc = find_needed(s, &l, why, err);
	if (rc || why->nr)
		return rc;
	describe(s, g->gate, row);
	return link_home(g, &p, &l, row, why, err);
}
