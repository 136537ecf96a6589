// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "vmm-agent/lens/find.h"
#include "vmm-agent/lens/shim.h"
#include "vmm-agent/lens/site.h"
#include "vmm-agent/lens/tasks.h"
#include "vmm-agent/lens/window.h"

#define WALK_TRIES 5 /* a list that changes while it is walked may look broken */

static int bad(struct xerr *err, const char *what)
{
	return xerr_set(err, XO_EPROTO, "lens: %s", what);
}

static int add(struct xbuf *reply, const void *p, size_t len_bytes, struct xerr *err)
{
	int rc = xbuf_add(reply, p, len_bytes);

	return rc ? xerr_set(err, rc, "lens: answer: %s", xo_code_text(rc)) : 0;
}

static int add_region(struct gmem *m, const struct wire_region *r, const int *fds)
{
	const struct gpa gpa = {r->gpa};

	if (r->backend == LENS_NO_BACKEND)
		return gmem_add_remote(m, gpa, r->len_bytes, (struct hva){r->off});
	return gmem_map(m, gpa, r->len_bytes, fds[r->backend], r->off);
}

int lserver_start(struct lserver *s, struct span body, const int *fds, size_t nr_fds,
		  struct xerr *err)
{
	struct wire_start w;

	if (body.len_bytes != sizeof(w))
		return bad(err, "start: wrong length");
	memcpy(&w, body.p, sizeof(w));
	if (w.nr_regions > LENS_MAX_REGIONS || w.nr_vcpus > LENS_MAX_VCPUS ||
	    w.nr_backends > LENS_MAX_BACKENDS || w.has_memory > 1 ||
	    w.nr_backends + w.has_memory != nr_fds)
		return bad(err, "start: wrong counts");
	if (w.has_memory) {
		int fd = fcntl(fds[w.nr_backends], F_DUPFD_CLOEXEC, 0);
		int rc = fd < 0 ? -errno : gmem_attach(&s->mem, fd);

		if (rc)
			return xerr_set(err, rc, "lens: QEMU's memory: %s", xo_code_text(rc));
	}
	for (uint32_t i = 0; i < w.nr_regions; i++) {
		const struct wire_region *r = &w.region[i];
		int rc;

		if (r->backend >= w.nr_backends && r->backend != LENS_NO_BACKEND)
			return bad(err, "start: no such backend");
		rc = add_region(&s->mem, r, fds);
		if (rc)
			return xerr_set(err, rc, "lens: guest RAM at %#llx cannot be mapped: %s",
					(unsigned long long)r->gpa, xo_code_text(rc));
	}
	memcpy(s->vcpu, w.vcpu, w.nr_vcpus * sizeof(s->vcpu[0]));
	s->nr_vcpus = w.nr_vcpus;
	return 0;
}

static void forget(struct lserver *s)
{
	if (s->found) {
		gkernel_free(&s->kernel);
		gmodules_free(&s->modules);
	}
	gcheck_free(&s->check);
	gguard_free(&s->guard);
	s->found = false;
}

static int load_modules(struct lserver *s, struct xerr *err)
{
	struct gmodules fresh;
	struct xerr last = {0};
	int rc = 0;

	for (int i = 0; i < WALK_TRIES; i++) {
		last = (struct xerr){0};
		rc = gmodules_load(&fresh, &s->kernel, &last);
		if (rc != -XO_EMODLIST)
			break;
	}
	if (rc)
		return xerr_set(err, rc, "%s", last.text);
	gmodules_free(&s->modules);
	s->modules = fresh;
	return 0;
}

static int count_task(void *ctx, uint64_t task, struct xerr *err)
{
	(void)ctx;
	(void)task;
	(void)err;
	return 0;
}

static int count_tasks(struct lserver *s, uint32_t *ret, struct xerr *err)
{
	struct xerr last = {0};
	int rc = 0;

	for (int i = 0; i < WALK_TRIES; i++) {
		last = (struct xerr){0};
		rc = gtask_walk(&s->kernel, count_task, NULL, ret, &last);
		if (rc != -XO_ETASKLIST)
			break;
	}
	return rc ? xerr_set(err, rc, "%s", last.text) : 0;
}

static int load_lists(struct lserver *s, uint32_t *ret_tasks, struct xerr *err)
{
	int rc = load_modules(s, err);

	return rc ? rc : count_tasks(s, ret_tasks, err);
}

/* A body says that this kernel was found before: lists that are broken by now hide it from nobody.
 */
static int do_discover(struct lserver *s, struct span body, struct xbuf *reply, struct xerr *err)
{
	const struct gkernel *k = &s->kernel;
	struct wire_kernel w = {0};
	struct xerr lists = {0};
	int rc;

	if (body.len_bytes > 1)
		return bad(err, "discover: wrong length");
	forget(s);
	if (!s->space)
		s->space = calloc(1, sizeof(*s->space));
	if (!s->space)
		return xerr_set(err, ENOMEM, "lens: out of memory");
	s->space->mem = &s->mem;
	rc = gfind_kernel(&s->kernel, s->space, s->vcpu, s->nr_vcpus, err);
	if (rc)
		return rc;
	s->found = true;
	rc = load_lists(s, &w.nr_tasks, &lists);
	if (rc && (!body.len_bytes || rc == -ENOMEM)) {
		forget(s);
		return xerr_set(err, rc, "%s", lists.text);
	}
	w.base = k->base;
	w.phys_base = k->phys.v;
	w.text_bytes = k->text_end - k->base;
	memcpy(w.banner, k->banner, sizeof(w.banner));
	memcpy(w.release, k->release, sizeof(w.release));
	memcpy(w.build_id, k->build_id, sizeof(w.build_id));
	w.build_id_bytes = k->build_id_bytes;
	w.nr_symbols = (uint32_t)k->syms.nr;
	w.nr_modules = (uint32_t)s->modules.nr;
	w.nr_cpus = k->nr_online;
	w.paging_levels = (uint8_t)s->space->levels;
	w.pti = k->pti;
	w.boot_token = k->boot_token;
	w.has_shim = gmodules_named(&s->modules, GSHIM_MODULE) != NULL;
	return add(reply, &w, sizeof(w), err);
}

/* One name in one table; sympos counts by address, as livepatch does. */
static struct wire_found look_up(const struct ksyms *k, const char *name, uint32_t sympos)
{
	size_t index[64];
	size_t nr = ksyms_lookup(k, name, index, XO_ARRAY_SIZE(index));
	size_t which = sympos ? sympos - 1 : 0;
	struct wire_found f = {.nr_found = (uint32_t)nr};

	if (nr && which < nr && which < XO_ARRAY_SIZE(index)) {
		f.addr = k->sym[index[which]].addr;
		f.size_bytes = ksyms_size(k, index[which]);
		f.type = k->sym[index[which]].type;
		f.valid = sympos || nr == 1;
	}
	return f;
}

/* The symbols of the module asked for last: most requests name one module. */
struct last_module {
	bool fresh; /* the module list was read for this request */
	const struct gmodule *module;
	struct ksyms syms;
};

static void free_last_module(struct last_module *l)
{
	ksyms_free(&l->syms);
}

static int look_up_in_module(struct lserver *s, const struct wire_name *n, struct last_module *last,
			     struct wire_found *ret, struct xerr *err)
{
	const struct gmodule *m;
	int rc = last->fresh ? 0 : load_modules(s, err);

	if (rc)
		return rc;
	last->fresh = true;
	*ret = (struct wire_found){0};
	m = gmodules_named(&s->modules, n->module);
	if (!m)
		return 0;
	if (m != last->module) {
		ksyms_free(&last->syms);
		last->module = NULL;
		rc = gmodule_syms(&last->syms, m, &s->kernel, err);
	}
	if (rc)
		return rc;
	last->module = m;
	*ret = look_up(&last->syms, n->name, n->sympos);
	return 0;
}

static int do_lookup(struct lserver *s, struct span body, struct xbuf *reply, struct xerr *err)
{
	XO_CLEANUP(free_last_module) struct last_module last = {0};
	size_t nr = body.len_bytes / sizeof(struct wire_name);

	if (body.len_bytes % sizeof(struct wire_name) || nr > LENS_MAX_LOOKUP)
		return bad(err, "lookup: wrong length");
	for (size_t i = 0; i < nr; i++) {
		struct wire_found f;
		struct wire_name n;
		int rc;

		memcpy(&n, body.p + i * sizeof(n), sizeof(n));
		if (!memchr(n.name, 0, sizeof(n.name)) || !memchr(n.module, 0, sizeof(n.module)))
			return bad(err, "lookup: a name does not end");
		if (n.module[0]) {
			rc = look_up_in_module(s, &n, &last, &f, err);
			if (rc)
				return rc;
		} else {
			f = look_up(&s->kernel.syms, n.name, n.sympos);
		}
		rc = add(reply, &f, sizeof(f), err);
		if (rc)
			return rc;
	}
	return 0;
}

static int do_symbolize(struct lserver *s, struct span body, struct xbuf *reply, struct xerr *err)
{
	const struct ksyms *k = &s->kernel.syms;
	const struct gmodule *m;
	struct wire_symbol w = {0};
	struct ksyms own = {0};
	struct wire_addr q;
	ssize_t i;
	int rc;

	if (body.len_bytes != sizeof(q))
		return bad(err, "symbolize: wrong length");
	memcpy(&q, body.p, sizeof(q));
	rc = load_modules(s, err);
	if (rc)
		return rc;
	m = gmodules_at(&s->modules, q.addr);
	if (m) {
		rc = gmodule_syms(&own, m, &s->kernel, err);
		if (rc)
			return rc;
		k = &own;
		xo_escape(SPAN(m->name, sizeof(m->name)), w.module, sizeof(w.module));
	}
	i = q.addr < s->kernel.end || m ? ksyms_at(k, q.addr) : -1;
	if (i >= 0) {
		const struct ksym *sym = &k->sym[i];
		const char *name = ksyms_name(k, sym);

		w.addr = sym->addr;
		w.off = q.addr - sym->addr;
		w.size_bytes = ksyms_size(k, (size_t)i);
		w.type = sym->type;
		xo_escape(SPAN(name, strlen(name)), w.name, sizeof(w.name));
	}
	ksyms_free(&own);
	if (i < 0)
		return xerr_set(err, XO_ENOSYMBOL, "no symbol covers %#llx",
				(unsigned long long)q.addr);
	return add(reply, &w, sizeof(w), err);
}

static int do_read(struct lserver *s, struct span body, bool phys, struct xbuf *reply,
		   struct xerr *err)
{
	struct wire_addr q;
	uint8_t *to;
	int rc;

	if (body.len_bytes != sizeof(q))
		return bad(err, "read: wrong length");
	memcpy(&q, body.p, sizeof(q));
	if (q.len_bytes == 0 || q.len_bytes > WIRE_MAX_READ)
		return bad(err, "read: nothing, or too long");
	rc = xbuf_reserve(reply, q.len_bytes, &to);
	if (!rc)
		rc = phys ? gmem_read(&s->mem, (struct gpa){q.addr}, to, q.len_bytes)
			  : gspace_read(s->space, (struct gva){q.addr}, to, q.len_bytes);
	if (rc)
		return xerr_set(err, rc, "guest-%s %#llx: %s", phys ? "physical" : "virtual",
				(unsigned long long)q.addr, xo_code_text(rc));
	reply->len_bytes += q.len_bytes;
	return 0;
}

static int do_translate(struct lserver *s, struct span body, struct xbuf *reply, struct xerr *err)
{
	struct wire_place w;
	struct wire_addr q;
	struct gpage page;
	int rc;

	if (body.len_bytes != sizeof(q))
		return bad(err, "translate: wrong length");
	memcpy(&q, body.p, sizeof(q));
	rc = gspace_walk(s->space, (struct gva){q.addr}, &page);
	if (rc)
		return xerr_set(err, rc, "guest-virtual %#llx: %s", (unsigned long long)q.addr,
				xo_code_text(rc));
	w = (struct wire_place){.gpa = page.gpa.v, .left = page.left};
	return add(reply, &w, sizeof(w), err);
}

static int add_reasons(struct xbuf *reply, const struct refusal *why, struct xerr *err)
{
	for (size_t i = 0; i < why->nr; i++) {
		const char *text = why->reason[i].detail ? why->reason[i].detail : "";
		const struct wire_reason r = {.code = why->reason[i].code,
					      .len_bytes = (uint32_t)strlen(text)};
		int rc = add(reply, &r, sizeof(r), err);

		if (!rc)
			rc = add(reply, text, r.len_bytes, err);
		if (rc)
			return rc;
	}
	return -XO_ENOROOM;
}

static int do_site(struct lserver *s, struct span body, struct xbuf *reply, struct xerr *err)
{
	_cleanup_refusal_ struct refusal why = {0};
	static struct lens_avoid avoid[LENS_MAX_AVOID];
	struct wire_site_query q;
	struct lens_site site;
	struct wire_site w;
	size_t nr;
	int rc;

	if (!span_copy(body, 0, &q, sizeof(q)))
		return bad(err, "site: wrong length");
	nr = (body.len_bytes - sizeof(q)) / sizeof(avoid[0]);
	if ((body.len_bytes - sizeof(q)) % sizeof(avoid[0]) || nr > LENS_MAX_AVOID)
		return bad(err, "site: wrong length");
	memcpy(avoid, body.p + sizeof(q), nr * sizeof(avoid[0]));
	rc = gsite_choose(&s->kernel, q.addr, q.size_bytes, avoid, nr, &site, &why, err);
	if (rc == -XO_ENOROOM)
		return add_reasons(reply, &why, err);
	if (rc)
		return rc;
	w = (struct wire_site){
		.off = site.off, .len_bytes = site.len_bytes, .behind_ftrace = site.behind_ftrace};
	return add(reply, &w, sizeof(w), err);
}

static int do_window(struct lserver *s, struct span body, struct xbuf *reply, struct xerr *err)
{
	size_t nr = body.len_bytes / sizeof(struct wire_page);

	if (body.len_bytes % sizeof(struct wire_page) || nr > LENS_MAX_WINDOW_PAGES)
		return bad(err, "window: wrong length");
	for (size_t i = 0; i < nr; i++) {
		struct lens_window_page p = {0};
		struct wire_page w;
		int rc;

		memcpy(&w, body.p + i * sizeof(w), sizeof(w));
		p.gpa.v = w.gpa;
		rc = gwindow_page(&s->kernel, &p, err);
		if (rc)
			return rc;
		w = (struct wire_page){.gpa = p.gpa.v,
				       .gva = p.gva.v,
				       .pte = p.pte.v,
				       .pte_old = p.pte_old,
				       .pte_new = p.pte_new,
				       .free_off = p.free_off,
				       .usable = p.usable};
		rc = add(reply, &w, sizeof(w), err);
		if (rc)
			return rc;
	}
	return 0;
}

static int do_shim(struct lserver *s, struct span body, struct xbuf *reply, struct xerr *err)
{
	struct lens_shim shim;
	int rc;

	if (body.len_bytes)
		return bad(err, "shim: wrong length");
	rc = load_modules(s, err);
	if (!rc)
		rc = gshim_find(&s->kernel, &s->modules, &shim, err);
	return rc ? rc : add(reply, &shim, sizeof(shim), err);
}

static int do_prepare(struct lserver *s, struct span body, struct xerr *err)
{
	struct lens_range range[LENS_MAX_RANGES];
	size_t nr = body.len_bytes / sizeof(range[0]);

	if (body.len_bytes % sizeof(range[0]) || nr > LENS_MAX_RANGES)
		return bad(err, "prepare: wrong length");
	memcpy(range, body.p, nr * sizeof(range[0]));
	return gcheck_prepare(&s->check, &s->kernel, range, nr, err);
}

static int do_check(struct lserver *s, struct span body, struct xbuf *reply, struct xerr *err)
{
	struct lens_check_regs regs[LENS_MAX_VCPUS];
	struct lens_busy busy[LENS_MAX_BUSY];
	size_t nr = body.len_bytes / sizeof(regs[0]), nr_busy = 0;
	struct lens_check_stats stats;
	int rc;

	if (body.len_bytes % sizeof(regs[0]) || nr > LENS_MAX_VCPUS)
		return bad(err, "check: wrong length");
	memcpy(regs, body.p, nr * sizeof(regs[0]));
	memset(busy, 0, sizeof(busy));
	gmem_freeze(&s->mem);
	rc = gcheck_run(&s->check, &s->kernel, regs, nr, busy, &nr_busy, &stats, err);
	if (!rc)
		rc = add(reply, &stats, sizeof(stats), err);
	return rc ? rc : add(reply, busy, nr_busy * sizeof(busy[0]), err);
}

static int handle(struct lserver *s, uint32_t op, struct span body, struct xbuf *reply,
		  struct xerr *err)
{
	if (op == WIRE_DISCOVER)
		return do_discover(s, body, reply, err);
	if (op == WIRE_READ_PHYS)
		return do_read(s, body, true, reply, err);
	if (!s->found)
		return xerr_set(err, XO_ENOKERNEL, "lens: no kernel was found yet");
	gspace_flush(s->space);
	switch (op) {
	case WIRE_LOOKUP:
		return do_lookup(s, body, reply, err);
	case WIRE_SYMBOLIZE:
		return do_symbolize(s, body, reply, err);
	case WIRE_READ:
		return do_read(s, body, false, reply, err);
	case WIRE_TRANSLATE:
		return do_translate(s, body, reply, err);
	case WIRE_SITE:
		return do_site(s, body, reply, err);
	case WIRE_WINDOW:
		return do_window(s, body, reply, err);
	case WIRE_SHIM:
		return do_shim(s, body, reply, err);
	case WIRE_PREPARE:
		return do_prepare(s, body, err);
	case WIRE_CHECK:
		return do_check(s, body, reply, err);
	default:
		return gguard_handle(&s->guard, &s->kernel, op, body, reply, err);
	}
}

int lserver_handle(struct lserver *s, uint32_t op, struct span body, struct xbuf *reply,
		   struct xerr *err)
{
	int rc = handle(s, op, body, reply, err);

	/* What was read of memory that is no more says nothing, whatever it looked like. */
	if (rc != -XO_EPROTO && gmem_gone(&s->mem)) {
		*err = (struct xerr){0};
		return xerr_set(err, XO_ETARGETGONE, "QEMU has ended");
	}
	return rc;
}

void lserver_free(struct lserver *s)
{
	forget(s);
	gmem_free(&s->mem);
	free(s->space);
	s->space = NULL;
}
