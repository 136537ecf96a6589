// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/resolve.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "vmm-agent/agent/shim.h"

#define MAX_FUNCTION_BYTES (1u << 20)
#define JMP_REL32	   0xe9 /* Intel SDM volume 2, JMP */
#define JMP_BYTES	   5
#define STORE_BYTES	   8 /* what the monitor writes in one instruction */

/* Recommended multi-byte nops, Intel SDM volume 2, NOP. */
static const uint8_t nops[9][8] = {
	{0},
	{0x90},
	{0x66, 0x90},
	{0x0f, 0x1f, 0x00},
	{0x0f, 0x1f, 0x40, 0x00},
	{0x0f, 0x1f, 0x44, 0x00, 0x00},
	{0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00},
	{0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00},
	{0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},
};

void resolved_free(struct resolved *r)
{
	for (size_t i = 0; i < r->nr_targets && r->target; i++)
		free(r->target[i].extra);
	free(r->target);
	free(r->import_addr);
	memset(r, 0, sizeof(*r));
}

/* ---- symbols ---- */

/* Which look-up belongs to what, in one batch: targets, their further pieces, imports. */
static size_t count_lookups(const struct pkg_manifest *m, size_t nr_imports)
{
	size_t nr = m->nr_targets + nr_imports;

	for (size_t i = 0; i < m->nr_targets; i++)
		nr += m->target[i].nr_extra;
	return nr;
}

static void ask(struct lens_lookup *q, const char *name, uint32_t sympos)
{
	memset(q, 0, sizeof(*q));
	snprintf(q->name, sizeof(q->name), "%s", name);
	q->sympos = sympos;
}

static uint32_t import_sympos(const struct pkg_manifest *m, const char *name)
{
	for (size_t i = 0; i < m->nr_refs; i++)
		if (!strcmp(m->ref[i].symbol, name))
			return m->ref[i].sympos;
	return 0;
}

/* The address of an answered look-up; 0 with the reason added. */
static struct gva answer(const struct lens_lookup *q, struct refusal *why)
{
	struct gva none = {0};

	if (q->valid && (q->sympos || q->nr_found == 1))
		return q->found.addr;
	if (!q->nr_found)
		refusal_add(why, XO_ENOSYMBOL, "%s: not in the guest's kernel", q->name);
	else if (q->sympos)
		refusal_add(why, XO_ENOSYMBOL,
			    "%s: position %u asked for, the kernel has %u of them", q->name,
			    q->sympos, q->nr_found);
	else
		refusal_add(why, XO_EAMBIGUOUS,
			    "%s: %u symbols of that name; rebuild the package with SYMBOL@POSITION",
			    q->name, q->nr_found);
	return none;
}

static void check_size(const char *name, const struct lens_lookup *q, uint64_t size_bytes,
		       struct refusal *why)
{
	if (q->valid && q->found.size_bytes != size_bytes)
		refusal_add(why, XO_EPREIMAGE,
			    "%s: %llu bytes in the guest, %llu in the kernel the patch is for",
			    name, (unsigned long long)q->found.size_bytes,
			    (unsigned long long)size_bytes);
}

static int take_answers(const struct pkg_manifest *m, const struct lens_lookup *q,
			size_t nr_imports, struct resolved *r, struct refusal *why)
{
	for (size_t i = 0; i < m->nr_targets; i++) {
		const struct pkg_target *t = &m->target[i];
		struct resolved_target *rt = &r->target[i];

		check_size(t->symbol, q, t->size_bytes, why);
		rt->addr = answer(q++, why);
		rt->extra = calloc(t->nr_extra + 1, sizeof(*rt->extra));
		if (!rt->extra)
			return -ENOMEM;
		for (size_t k = 0; k < t->nr_extra; k++) {
			check_size(t->extra[k].symbol, q, t->extra[k].size_bytes, why);
			rt->extra[k] = answer(q++, why);
		}
	}
	for (size_t i = 0; i < nr_imports; i++)
		r->import_addr[i] = answer(q++, why).v;
	return 0;
}

/*
 * The compiler returns by `jmp __x86_return_thunk`, and the guest rewrote every such jump at boot:
 * to the thunk in its variable x86_return_thunk, or, if that is still the default, to a plain
 * return, which pkg_link makes of address 0 (arch/x86/kernel/alternative.c, apply_returns).
 */
int resolve_return_thunk(struct session *s, uint64_t *addr, struct xerr *err)
{
	struct lens_lookup q;
	uint64_t chosen;
	int rc;

	ask(&q, "x86_return_thunk", 0);
	rc = lens_lookup(s->lens, &q, 1, err);
	if (rc)
		return rc;
	if (!q.valid || q.nr_found != 1)
		return 0; /* a kernel without the choice: the thunk itself */
	rc = lens_read(s->lens, q.found.addr, &chosen, sizeof(chosen), err);
	if (rc)
		return rc;
	*addr = chosen == *addr ? 0 : chosen;
	return 0;
}

static int resolve_symbols(struct session *s, const struct pkg *p, struct resolved *r,
			   struct refusal *why, struct xerr *err)
{
	const struct pkg_manifest *m = pkg_manifest(p);
	_cleanup_free_ struct lens_lookup *q = NULL;
	const char *const *import;
	size_t nr_imports = pkg_imports(p, &import), nr, n = 0;
	int rc;

	nr = count_lookups(m, nr_imports);
	q = calloc(nr + 1, sizeof(*q));
	r->target = calloc(m->nr_targets + 1, sizeof(*r->target));
	r->import_addr = calloc(nr_imports + 1, sizeof(*r->import_addr));
	if (!q || !r->target || !r->import_addr)
		return xerr_set(err, ENOMEM, "out of memory");
	r->nr_targets = m->nr_targets;
	for (size_t i = 0; i < m->nr_targets; i++) {
		const struct pkg_target *t = &m->target[i];

		ask(&q[n++], t->symbol, t->sympos);
		for (size_t k = 0; k < t->nr_extra; k++)
			ask(&q[n++], t->extra[k].symbol, t->extra[k].sympos);
	}
	for (size_t i = 0; i < nr_imports; i++)
		ask(&q[n++], import[i], import_sympos(m, import[i]));
	rc = lens_lookup(s->lens, q, nr, err);
	if (rc)
		return rc;
	rc = take_answers(m, q, nr_imports, r, why);
	if (rc)
		return xerr_set(err, -rc, "out of memory");
	for (size_t i = 0; i < nr_imports && !rc; i++)
		if (r->import_addr[i] && !strcmp(import[i], "__x86_return_thunk"))
			rc = resolve_return_thunk(s, &r->import_addr[i], err);
	return rc;
}

/* ---- the functions themselves ---- */

static int choose_site(struct session *s, const struct pkg_target *t, struct resolved_target *rt,
		       struct refusal *why, struct xerr *err)
{
	_cleanup_free_ struct lens_avoid *avoid = calloc(t->nr_masks + 1, sizeof(*avoid));
	_cleanup_refusal_ struct refusal none = {0};
	struct xerr found = {0};
	int rc;

	if (!avoid)
		return xerr_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < t->nr_masks; i++)
		avoid[i] = (struct lens_avoid){.off = t->mask[i].off,
					       .len_bytes = t->mask[i].len_bytes,
					       .kind = t->mask[i].kind};
	rc = lens_site(s->lens, rt->addr, t->size_bytes, avoid, t->nr_masks, &rt->site, &none,
		       &found);
	if (rc && rc != -XO_ENOROOM)
		return xerr_set(err, rc, "%s: %s", t->symbol, found.text);
	for (size_t i = 0; i < none.nr; i++)
		refusal_add(why, none.reason[i].code, "%s: %s", t->symbol,
			    none.reason[i].detail ? none.reason[i].detail : "");
	return 0;
}

static int check_target(struct session *s, const struct pkg_target *t, uint64_t kaslr_shift,
			struct resolved_target *rt, struct refusal *why, struct xerr *err)
{
	_cleanup_free_ uint8_t *code = NULL;
	uint8_t digest[XO_SHA256_BYTES];
	int rc;

	if (t->size_bytes > MAX_FUNCTION_BYTES)
		return xerr_set(err, XO_ELIMIT, "%s: function too large", t->symbol);
	code = malloc(t->size_bytes + 1u);
	if (!code)
		return xerr_set(err, ENOMEM, "out of memory");
	rc = lens_read(s->lens, rt->addr, code, t->size_bytes, err);
	if (!rc)
		rc = pkg_preimage_digest(t, code, kaslr_shift, digest);
	if (rc)
		return xerr_set(err, rc, "%s: its code cannot be measured", t->symbol);
	if (memcmp(digest, t->preimage, sizeof(digest)) != 0)
		refusal_add(
			why, XO_EPREIMAGE,
			"%s: the guest's code differs from the kernel the patch is for (a kprobe, "
			"another patch, or a changed kernel)",
			t->symbol);
	rc = choose_site(s, t, rt, why, err);
	if (rc)
		return rc;
	if (rt->site.len_bytes > sizeof(rt->before) ||
	    !span_copy(SPAN(code, t->size_bytes), rt->site.off, rt->before, rt->site.len_bytes))
		return xerr_set(err, XO_EPROTO, "%s: the lens chose a place outside the function",
				t->symbol);
	return 0;
}

int resolve_package(struct session *s, const struct pkg *p, struct resolved *ret,
		    struct refusal *why, struct xerr *err)
{
	const struct pkg_manifest *m = pkg_manifest(p);
	_cleanup_resolved_ struct resolved r = {0};
	uint64_t shift = s->kernel.base.v - m->link_base;
	int rc;

	session_progress(s, "resolving symbols");
	rc = resolve_symbols(s, p, &r, why, err);
	if (rc)
		return rc;
	session_progress(s, "comparing the code to be replaced");
	for (size_t i = 0; i < r.nr_targets; i++) {
		if (!r.target[i].addr.v)
			continue;
		rc = check_target(s, &m->target[i], shift, &r.target[i], why, err);
		if (rc)
			return rc;
	}
	*ret = r;
	r = (struct resolved){0};
	return 0;
}

/* ---- records ---- */

static void fill_nops(uint8_t *p, size_t len)
{
	while (len) {
		size_t n = len > 8 ? 8 : len;

		memcpy(p, nops[n], n);
		p += n;
		len -= n;
	}
}

/* The jump at @at to @to, and nops to the end of the instructions it cuts. False: out of reach */
static bool make_detour(uint64_t at, uint64_t to, uint8_t *out, size_t len)
{
	int64_t rel = (int64_t)(to - (at + JMP_BYTES));
	int32_t rel32 = (int32_t)rel;

	if (rel != rel32 || len < JMP_BYTES)
		return false;
	out[0] = JMP_REL32;
	memcpy(out + 1, &rel32, sizeof(rel32));
	fill_nops(out + JMP_BYTES, len - JMP_BYTES);
	return true;
}

/* Add bytes at a guest-virtual address, one record per page they touch. */
static int add_virtual(struct session *s, struct jrow *row, enum jkind kind, struct gva at,
		       const uint8_t *before, const uint8_t *after, size_t len, struct xerr *err)
{
	while (len) {
		uint64_t left, off = at.v & XO_PAGE_MASK;
		size_t n = len < XO_PAGE_SIZE - off ? len : (size_t)(XO_PAGE_SIZE - off);
		struct jwrite *w;
		struct gpa gpa;
		int rc = lens_translate(s->lens, at, &gpa, &left, err);

		if (rc)
			return rc;
		w = jrow_add_write(row, kind, gpa, at, (uint32_t)n);
		if (!w)
			return xerr_set(err, ENOMEM, "out of memory");
		memcpy(w->before, before, n);
		memcpy(w->after, after, n);
		at.v += n;
		before += n;
		after += n;
		len -= n;
	}
	return 0;
}

/*
 * The jump is a record that one store writes, within its page; a kill cannot split it. What does
 * not fit with it comes behind it, where nobody gets to any more, and leaves before it.
 */
static int add_detour(struct session *s, struct jrow *row, struct gva at, const uint8_t *before,
		      const uint8_t *after, size_t len, struct refusal *why, struct xerr *err)
{
	size_t head = len <= STORE_BYTES ? len : JMP_BYTES;
	int rc;

	if (head > XO_PAGE_SIZE - (at.v & XO_PAGE_MASK)) {
		refusal_add(why, XO_ENOROOM, "0x%llx: the detour would cross a page",
			    (unsigned long long)at.v);
		return 0;
	}
	rc = add_virtual(s, row, J_DETOUR, at, before, after, head, err);
	if (rc || head == len)
		return rc;
	return add_virtual(s, row, J_DETOUR, (struct gva){at.v + head}, before + head, after + head,
			   len - head, err);
}

int resolve_detour(struct session *s, struct jrow *row, const char *symbol, struct gva at,
		   struct gva to, const uint8_t *before, size_t len, struct refusal *why,
		   struct xerr *err)
{
	uint8_t after[RESOLVE_MAX_DETOUR];

	if (len > sizeof(after) || !make_detour(at.v, to.v, after, len)) {
		refusal_add(why, XO_ERELOCRANGE, "%s: its home is more than 2 GiB away", symbol);
		return 0;
	}
	return add_detour(s, row, at, before, after, len, why, err);
}

static int add_target(struct session *s, const struct pkg_target *t,
		      const struct resolved_target *rt, struct gva replacement, struct jrow *row,
		      struct refusal *why, struct xerr *err)
{
	struct gva at = {rt->addr.v + rt->site.off};
	struct jtarget *jt = jrow_add_target(row);

	if (!jt)
		return xerr_set(err, ENOMEM, "out of memory");
	snprintf(jt->symbol, sizeof(jt->symbol), "%s", t->symbol);
	jt->addr = rt->addr;
	jt->size_bytes = t->size_bytes;
	jt->detour_off = rt->site.off;
	jt->replacement = replacement;
	for (size_t k = 0; k < t->nr_extra; k++) {
		jt = jrow_add_target(row);
		if (!jt)
			return xerr_set(err, ENOMEM, "out of memory");
		snprintf(jt->symbol, sizeof(jt->symbol), "%s", t->extra[k].symbol);
		jt->addr = rt->extra[k];
		jt->size_bytes = t->extra[k].size_bytes;
	}
	return resolve_detour(s, row, t->symbol, at, replacement, rt->before, rt->site.len_bytes,
			      why, err);
}

static int link_code(const struct pkg *p, const struct resolved *r, struct gva home,
		     const struct pkg_layout *l, uint8_t **ret, struct refusal *why,
		     struct xerr *err)
{
	uint8_t *code = calloc(1, l->size_bytes + 1);
	int rc;

	if (!code)
		return xerr_set(err, ENOMEM, "out of memory");
	rc = pkg_link(p, home.v, r->import_addr, code, why, err);
	if (rc) {
		free(code);
		return rc;
	}
	*ret = code;
	return 0;
}

int resolve_row(struct session *s, const struct pkg *p, const struct resolved *r,
		const struct home *home, struct jrow *row, struct refusal *why, struct xerr *err)
{
	const struct pkg_manifest *m = pkg_manifest(p);
	_cleanup_free_ uint8_t *code = NULL;
	struct pkg_layout layout;
	struct gva at;
	int rc;

	rc = pkg_layout(p, &layout, why, err);
	if (rc || why->nr)
		return rc;
	if (home_find(s, home, layout.size_bytes, layout.align_bytes, &at, why))
		return 0;
	rc = link_code(p, r, at, &layout, &code, why, err);
	if (rc || why->nr)
		return rc;
	if (s->kernel.has_shim) {
		rc = shim_add_records(s, row, why, err);
		if (rc || why->nr)
			return rc;
	}
	rc = home_fill(home, at, SPAN(code, layout.size_bytes), row);
	if (rc)
		return xerr_set(err, rc, "out of memory");
	for (size_t i = 0; i < r->nr_targets; i++) {
		rc = add_target(s, &m->target[i], &r->target[i],
				(struct gva){at.v + pkg_entry(p, i)}, row, why, err);
		if (rc)
			return rc;
	}
	return 0;
}
