// SPDX-License-Identifier: Apache-2.0
/* What is protected: found by the lens, protected by the monitor, followed as modules come and go.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/util.h"
#include "vmm-agent/agent/guard.h"
#include "vmm-agent/target/proc.h"

#define ARM_NS	      UINT64_C(2000000000)
#define DISARM_MS     1000
#define RELEASE_TRIES 100
#define RELEASE_NS    UINT64_C(10000000)

const struct lens_area *guard_area_at(const struct lens_area *list, size_t nr, struct gpa gpa)
{
	size_t lo = 0, hi = nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (list[mid].gpa.v <= gpa.v)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo && gpa.v - list[lo - 1].gpa.v < list[lo - 1].len_bytes ? &list[lo - 1] : NULL;
}

static int by_gpa(const void *a, const void *b)
{
	const struct lens_area *x = a, *y = b;

	return (x->gpa.v > y->gpa.v) - (x->gpa.v < y->gpa.v);
}

/* Into its place: there are few of them. */
static void insert(struct lens_area *a, size_t *nr, const struct lens_area *one)
{
	size_t at = *nr;

	if (guard_area_at(a, *nr, one->gpa) || *nr == GUARD_MAX_AREAS)
		return;
	for (; at && a[at - 1].gpa.v > one->gpa.v; at--)
		a[at] = a[at - 1];
	a[at] = *one;
	(*nr)++;
}

/*
 * A home in the firmware window is ROM to the guest only as long as the chipset says so, and the
 * guest may program the chipset.
 */
static void add_homes(const struct session *s, struct lens_area *a, size_t *nr)
{
	for (size_t i = 0; i < s->nr_rows; i++) {
		const struct jrow *r = &s->row[i];

		for (size_t k = 0; k < r->nr_writes && session_row_here(s, r); k++) {
			const struct jwrite *w = &r->write[k];
			const struct lens_area page = {
				.kind = LENS_AREA_HOME,
				.gva = {w->gva.v & ~XO_PAGE_MASK},
				.gpa = {w->gpa.v & ~XO_PAGE_MASK},
				.len_bytes = XO_PAGE_SIZE,
			};

			if (w->kind == J_CODE)
				insert(a, nr, &page);
		}
	}
}

static int find_areas(struct guard *g, struct lens_area **ret, size_t *ret_nr, struct xerr *err)
{
	struct lens_area *a = calloc(GUARD_MAX_AREAS, sizeof(*a));
	int rc;

	if (!a) {
		(void)xerr_set(err, ENOMEM, "out of memory");
		return -ENOMEM;
	}
	rc = lens_areas(g->s.lens, a, LENS_MAX_AREAS, ret_nr, err);
	if (rc) {
		free(a);
		return rc;
	}
	if (*ret_nr)
		qsort(a, *ret_nr, sizeof(*a), by_gpa);
	add_homes(&g->s, a, ret_nr);
	*ret = a;
	return 0;
}

static bool has_area(const struct lens_area *list, size_t nr, const struct lens_area *a)
{
	const struct lens_area *found = guard_area_at(list, nr, a->gpa);

	return found && found->gpa.v == a->gpa.v && found->len_bytes == a->len_bytes;
}

/* What is the kernel's own stays that, whatever is said of it later. */
static void keep_kernel(const struct guard *g, struct lens_area *a, size_t *nr)
{
	for (size_t i = 0; i < g->nr_areas; i++) {
		struct lens_area page = g->area[i];

		if (page.kind > LENS_AREA_IDT || has_area(a, *nr, &page))
			continue;
		page.len_bytes = XO_PAGE_SIZE;
		for (uint64_t off = 0; off < g->area[i].len_bytes; off += XO_PAGE_SIZE) {
			page.gva.v = g->area[i].gva.v + off;
			page.gpa.v = g->area[i].gpa.v + off;
			insert(a, nr, &page);
		}
	}
}

static int add_page(struct xbuf *ranges, struct gpa gpa)
{
	struct mon_range r = {.gpa = gpa, .len_bytes = XO_PAGE_SIZE}, last;
	uint8_t *at = ranges->data + ranges->len_bytes - sizeof(last);

	if (ranges->len_bytes) {
		memcpy(&last, at, sizeof(last));
		if (last.gpa.v + last.len_bytes == gpa.v) {
			last.len_bytes += XO_PAGE_SIZE;
			memcpy(at, &last, sizeof(last));
			return 0;
		}
	}
	return xbuf_add(ranges, &r, sizeof(r));
}

/*
 * The pages of @list that @other does not have, as the monitor wants them. By pages, so that one
 * that goes does not take its neighbours' protection along.
 */
static int missing(const struct lens_area *list, size_t nr, const struct lens_area *other,
		   size_t nr_other, struct xbuf *ranges)
{
	int rc = 0;

	for (size_t i = 0; i < nr && !rc; i++) {
		if (has_area(other, nr_other, &list[i]))
			continue;
		for (uint64_t off = 0; off < list[i].len_bytes && !rc; off += XO_PAGE_SIZE) {
			struct gpa gpa = {list[i].gpa.v + off};

			if (!guard_area_at(other, nr_other, gpa))
				rc = add_page(ranges, gpa);
		}
	}
	return rc;
}

/* As many at a time as the monitor takes. */
static int in_parts(struct mon *m, const struct xbuf *ranges,
		    int (*fn)(struct mon *m, const struct mon_range *r, size_t nr,
			      struct xerr *err),
		    struct xerr *err)
{
	const struct mon_range *r = (const void *)ranges->data;
	size_t nr = ranges->len_bytes / sizeof(*r);
	int rc = 0;

	for (size_t at = 0, n; at < nr && !rc; at += n) {
		n = nr - at < MON_GUARD_MAX_RANGES ? nr - at : MON_GUARD_MAX_RANGES;
		rc = fn(m, r + at, n, err);
	}
	return rc;
}

/* The next guard has to know of all that may be protected, so first what is, then what will be. */
static void keep_areas(struct guard *g, const struct lens_area *a, size_t nr)
{
	g->kept->nr_areas = 0;
	if (nr)
		memcpy(g->kept->area, a, nr * sizeof(*a));
	g->kept->nr_areas = nr;
}

/* A module's page that is protected only now may hold other bytes than it did. */
static void doubt_new(struct guard *g, const struct lens_area *a, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		if (!a[i].module[0] || has_area(g->area, g->nr_areas, &a[i]))
			continue;
		for (uint64_t off = 0; off < a[i].len_bytes; off += XO_PAGE_SIZE)
			if (!guard_area_at(g->area, g->nr_areas, (struct gpa){a[i].gpa.v + off}))
				gate_doubt(g, a[i].module, (struct gva){a[i].gva.v + off});
	}
}

/* @all: protect also what should be already; the guard before may not have got so far */
static int follow(struct guard *g, const struct lens_area *a, size_t nr, bool all, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf gone = XBUF(MON_GUARD_MAX_PAGES * sizeof(struct mon_range));
	_cleanup_xbuf_ struct xbuf new = XBUF(MON_GUARD_MAX_PAGES * sizeof(struct mon_range));
	int rc = missing(g->area, g->nr_areas, a, nr, &gone);

	if (!rc)
		rc = missing(a, nr, g->area, all ? 0 : g->nr_areas, &new);
	if (rc)
		return xerr_set(err, rc, "areas to protect: %s", xo_code_text(rc));
	doubt_new(g, a, nr);
	rc = in_parts(g->s.mon, &gone, mon_guard_release, err);
	if (!rc && (gone.len_bytes || new.len_bytes))
		keep_areas(g, a, nr);
	return rc ? rc : in_parts(g->s.mon, &new, mon_guard_protect, err);
}

static int refresh(struct guard *g, bool all, struct xerr *err)
{
	struct lens_area *a = NULL;
	size_t nr = 0;
	int rc = find_areas(g, &a, &nr, err);

	if (!rc)
		keep_kernel(g, a, &nr);
	if (!rc)
		rc = follow(g, a, nr, all || g->follow_all, err);
	g->follow_all = rc != 0;
	if (rc) {
		free(a);
		return rc;
	}
	free(g->area);
	g->area = a;
	g->nr_areas = nr;
	return 0;
}

int guard_refresh(struct guard *g, struct xerr *err)
{
	return refresh(g, false, err);
}

int guard_refresh_all(struct guard *g, struct xerr *err)
{
	struct xerr why = {0};
	int rc = refresh(g, true, &why);

	/* A write may wait for its verdict, a vCPU may not stop just now, the guest's lists may
	 * lead nowhere: what was protected is, and the rest comes with the audit, which says so. */
	return guard_is_fatal(rc) ? xerr_set(err, rc, "%s", why.text) : 0;
}

static int get_userfaultfd(struct guard *g, struct xerr *err)
{
	struct xerr late = {0};
	int dev_fd = -1, rc, rc_close;

	rc = tgt_uffd_open(g->s.tgt, &dev_fd, err);
	if (rc)
		return rc;
	rc = mon_guard_open(g->s.mon, dev_fd, &g->fds, err);
	rc_close = tgt_uffd_close(g->s.tgt, &late);
	if (!rc && rc_close)
		rc = xerr_set(err, rc_close, "%s", late.text);
	return rc;
}

void guard_give(struct guard *g)
{
	struct mon_handle h = mon_handle(g->s.mon);

	link_give(g->link, LINK_UFFD, g->fds.uffd);
	link_give(g->link, LINK_GOLDEN, g->fds.golden);
	link_give(g->link, LINK_MONITOR, h.fd);
	link_give(g->link, LINK_MONITOR_EVENTS, h.events);
}

static void forget_fds(struct guard *g)
{
	xo_close_ptr(&g->fds.uffd);
	xo_close_ptr(&g->fds.golden);
	g->fds = (struct mon_guard_fds){-1, -1};
	for (enum link_fd i = LINK_UFFD; i <= LINK_MONITOR_EVENTS; i++)
		link_give(g->link, i, -1);
}

struct kept_process guard_identify(pid_t pid)
{
	struct kept_process p = {.pid = pid};

	if (pid <= 0 || proc_start_time(pid, &p.start_time, NULL))
		p.pid = 0;
	return p;
}

void guard_keep(struct guard *g)
{
	struct guard_kept *k = g->kept;

	k->vm = *g->s.vm;
	k->paging_levels = g->s.kernel.paging_levels;
	k->base = g->s.kernel.base;
	k->phys_base = g->s.kernel.phys_base;
	k->boot_token = g->s.kernel.boot_token;
	k->resets = g->s.resets;
	memcpy(k->build_id, g->s.kernel.build_id, sizeof(k->build_id));
	k->monitor = guard_identify(mon_pid(g->s.mon));
	k->count = g->count;
	guard_keep_regs(g);
}

void guard_keep_regs(struct guard *g)
{
	uint32_t other = !(g->kept->regs_current & 1);

	g->kept->regs[other] = g->regs;
	__atomic_store_n(&g->kept->regs_current, other, __ATOMIC_RELEASE);
}

int guard_keep_probes(struct guard *g, struct xerr *err)
{
	uint32_t other = !(g->kept->probes_current & 1);
	struct kept_probes *p = &g->kept->probes[other];
	struct xerr why = {0};
	int rc = lens_probes(g->s.lens, p->probe, &p->nr, &why);

	p->known = !rc;
	if (!rc)
		__atomic_store_n(&g->kept->probes_current, other, __ATOMIC_RELEASE);
	return guard_is_fatal(rc) ? xerr_set(err, rc, "%s", why.text) : 0;
}

int guard_tell_probes(struct guard *g, struct xerr *err)
{
	const struct kept_probes *p = &g->kept->probes[g->kept->probes_current & 1];

	if (p->nr > LENS_MAX_PROBES)
		return xerr_set(err, XO_EINTERNAL, "guard: its memory is damaged");
	return p->known ? lens_probes_set(g->s.lens, p->probe, p->nr, err) : 0;
}

/* Where the kernel's own page tables begin: what the next guard's lens starts from. */
static int find_root(struct guard *g, struct gpa *ret, struct xerr *err)
{
	struct lens_lookup q = {.name = "init_top_pgt"};
	uint64_t left;
	int rc = lens_lookup(g->s.lens, &q, 1, err);

	if (rc)
		return rc;
	if (!q.valid)
		return xerr_set(err, XO_ENOSYMBOL, "guest kernel: init_top_pgt is missing");
	return lens_translate(g->s.lens, q.found.addr, ret, &left, err);
}

static int arm(struct guard *g, struct xerr *err)
{
	int rc = session_monitor(&g->s, err);

	if (!rc)
		rc = find_root(g, &g->kept->root, err);
	if (!rc)
		rc = get_userfaultfd(g, err);
	if (rc)
		return rc;
	g->kept->lifted = false;
	/* Before anything is protected: a copy that outlives this process. */
	guard_keep(g);
	guard_give(g);
	g->kept->armed = true;
	g->state = GUARD_ARMED;
	rc = guard_regs_find(g, err);
	if (!rc)
		rc = lens_guard_prepare(g->s.lens, err);
	if (!rc)
		rc = guard_refresh(g, err);
	/* Once more: what the guest changed between finding and protecting. */
	if (!rc)
		rc = guard_refresh(g, err);
	if (!rc)
		rc = guard_keep_probes(g, err);
	if (!rc)
		rc = guard_pin_tables(g, err);
	if (!rc)
		rc = guard_regs_pin(g, err);
	if (!rc)
		guard_keep_regs(g);
	return rc;
}

/* A host that is busy may not let a vCPU stop in time; at the next try it does. */
int guard_arm(struct guard *g, struct xerr *err)
{
	uint64_t until_ns = xo_now_ns() + ARM_NS;

	for (;;) {
		struct xerr why = {0}, late = {0};
		int rc = arm(g, &why);

		if (!rc) {
			g->kept->armed_since = time(NULL);
			g->was_there = true;
			return 0;
		}
		if (g->state == GUARD_ARMED && guard_disarm(g, &late))
			return xerr_set(err, rc, "%s", why.text);
		forget_fds(g);
		if (rc != -XO_EHOLD || xo_now_ns() >= until_ns)
			return xerr_set(err, rc, "%s", why.text);
	}
}

/* A write that is judged at this moment stays: its page is not protected any more. */
static int let_write_go(struct guard *g, struct xerr *err)
{
	_cleanup_free_ struct mon_write_event *e = malloc(sizeof(*e));
	int rc;

	if (!e)
		return xerr_set(err, ENOMEM, "out of memory");
	rc = mon_guard_next(g->s.mon, DISARM_MS, e, err);
	return rc ? rc : mon_guard_verdict(g->s.mon, true, NULL, err);
}

/* The next boot has the kernel elsewhere. What the guest may not write it still may not. */
static void forget_regs(struct guard *g)
{
	g->regs = (struct guard_regs){.denied = g->regs.denied, .count = g->regs.count};
	g->kept->regs[0] = g->kept->regs[1] = g->regs;
}

void guard_forget(struct guard *g)
{
	g->kept->armed = g->kept->lifted = false;
	forget_regs(g);
	g->kept->probes[0].known = g->kept->probes[1].known = false;
	g->kept->nr_areas = 0;
	g->kept->tables[0].nr = g->kept->tables[1].nr = 0;
	g->nr_areas = 0;
	g->kept->known.nr = 0;
	g->state = GUARD_WAITING;
	forget_fds(g);
}

/* The filter is KVM's, and stays when the monitor goes; without one another is started for it. */
static int release_regs(struct guard *g, struct xerr *err)
{
	int rc = 0;

	if (g->regs.denied && g->s.mon && mon_handle(g->s.mon).fd < 0) {
		mon_free(g->s.mon); /* it died */
		g->s.mon = NULL;
	}
	if (g->regs.denied && !g->s.mon) {
		rc = session_monitor(&g->s, err);
		if (!rc)
			rc = mon_guard_open(g->s.mon, -1, &g->fds, err);
	}
	return rc ? rc : guard_regs_release(g, err);
}

/* The kernel that starts next would have no system calls, so this is tried for a second. */
static void let_msrs_go(struct guard *g)
{
	struct xerr failed = {0};
	int rc = 0;

	for (int i = 0; i < RELEASE_TRIES; i++) {
		failed = (struct xerr){0};
		rc = release_regs(g, &failed);
		if (rc == -EAGAIN)
			rc = let_write_go(g, &failed) ? -XO_EPEERDIED : rc;
		else if (rc == -XO_EHOLD)
			xo_sleep_ns(RELEASE_NS);
		else
			break;
	}
	if (rc)
		guard_emit(g, "msrs-stay-denied", NULL, json_pack("{s:s}", "reason", failed.text));
}

int guard_disarm(struct guard *g, struct xerr *err)
{
	int rc = 0;

	if (g->state == GUARD_LIFTED) {
		mon_free(g->s.mon); /* nothing is protected */
		g->s.mon = NULL;
	}
	let_msrs_go(g);
	while (g->s.mon) {
		struct xerr busy = {0};

		rc = mon_guard_close(g->s.mon, &busy);
		if (rc == -EAGAIN)
			rc = let_write_go(g, err) ? rc : -EINPROGRESS;
		else if (rc)
			xerr_set(err, rc, "%s", busy.text);
		if (rc != -EINPROGRESS)
			break;
	}
	mon_guard_thaw(&g->fds, g->s.vm->pid);
	guard_forget(g);
	return rc;
}
