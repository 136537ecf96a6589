// SPDX-License-Identifier: Apache-2.0
/* A module in the guest against the list: copied once, then compared (package/modref.h). */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "vmm-agent/agent/explain.h"
#include "vmm-agent/agent/gate_core.h"

_Static_assert((int)LENS_MODULE_PARTS == (int)MODREF_PARTS, "the same parts in the same order");

#define EXPORT "__ksymtab_"

static XO_PRINTF(2, 3) void say(struct gate_verdict *v, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(v->reason, sizeof(v->reason), fmt, ap);
	va_end(ap);
}

/* ---- how long its parts are ---- */

static uint64_t whole(uint32_t bytes)
{
	return xo_align_up(bytes, XO_PAGE_SIZE);
}

/*
 * Has it what the reference has, and nothing besides? Whole pages are compared, so that one more
 * would be the only place for more code. Only data may be longer: the kernel adds the symbol table
 * to it. What only the start needs is there as long as that lasts.
 */
static bool has_its_size(const struct modref *r, enum modref_when when, const struct lens_module *m)
{
	size_t nr = when == MODREF_LOADING ? MODREF_PARTS : MODREF_INIT_TEXT;

	for (size_t i = 0; i < nr; i++) {
		bool longer = i == MODREF_DATA || i == MODREF_INIT_DATA;
		uint64_t is = m->part[i].len_bytes;

		if (is < r->bytes[i] ||
		    (!longer && xo_align_up(is, XO_PAGE_SIZE) != whole(r->bytes[i])))
			return false;
	}
	return true;
}

/* ---- where its tables are ---- */

static bool lies_in(const struct lens_module_span *t, uint64_t base, uint64_t bytes)
{
	return t->base.v - base < bytes && t->len_bytes <= bytes - (t->base.v - base);
}

/*
 * What the kernel goes by while it loads the module must be in what is compared: the file's own
 * bytes, not what the loader appends to them, nor what others have written. Return: the table that
 * is not, or LENS_MODULE_TABLES
 */
static size_t find_stray(const struct modref *r, const struct lens_module *m)
{
	for (size_t i = 0; i < LENS_MODULE_TABLES; i++) {
		const struct lens_module_span *t = &m->table[i];
		size_t part = 0;

		if (!t->len_bytes)
			continue;
		while (part < MODREF_PARTS && !lies_in(t, m->part[part].base.v, r->bytes[part]))
			part++;
		if (part == MODREF_PARTS)
			return i;
	}
	return LENS_MODULE_TABLES;
}

/* ---- what it needs of the rest of the guest ---- */

/* Several symbols of one name: the one that is exported, by the list of who exports it. */
static bool exported(struct session *s, const struct lens_lookup *entry, struct modref_symbol *ret)
{
	struct xerr ignored = {0};
	int32_t away;

	/* struct kernel_symbol, include/linux/export-internal.h: relative to itself */
	if (!entry->valid || entry->nr_found != 1 ||
	    lens_read(s->lens, entry->found.addr, &away, sizeof(away), &ignored))
		return false;
	ret->addr = entry->found.addr.v + (uint64_t)(int64_t)away;
	return true;
}

/*
 * Those of @r's imports that have no address yet and that @module ("": the kernel) exports. Asked
 * for in pairs: the symbol, and its entry in the list of exports.
 */
static int find_exports(struct session *s, const struct modref *r, const char *module,
			size_t module_len, struct modref_symbol *ret, struct xerr *err)
{
	_cleanup_free_ struct lens_lookup *q = calloc(2 * r->nr_imports + 1, sizeof(*q));
	size_t n = 0;
	int rc;

	if (!q)
		return xerr_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < r->nr_imports; i++) {
		if (ret[i].found || module_len >= sizeof(q->module))
			continue;
		snprintf(q[n].name, sizeof(q[n].name), "%s", r->import[i]);
		snprintf(q[n + 1].name, sizeof(q[n].name), EXPORT "%s", r->import[i]);
		memcpy(q[n].module, module, module_len);
		memcpy(q[n + 1].module, module, module_len);
		n += 2;
	}
	rc = n ? lens_lookup(s->lens, q, n, err) : 0;
	n = 0;
	for (size_t i = 0; !rc && i < r->nr_imports; i++) {
		if (ret[i].found || module_len >= sizeof(q->module))
			continue;
		if (q[n].valid && q[n].nr_found == 1 && (!module_len || q[n + 1].nr_found))
			ret[i] = (struct modref_symbol){q[n].found.addr.v, true};
		else if (q[n].nr_found)
			ret[i].found = exported(s, &q[n + 1], &ret[i]);
		n += 2;
	}
	return rc;
}

/* From the kernel, then from the modules that it depends on. */
static int find_imports(struct session *s, const struct modref *r, struct modref_symbol *ret,
			struct xerr *err)
{
	int rc = find_exports(s, r, "", 0, ret, err);

	for (const char *at = r->depends; *at && !rc;) {
		size_t n = strcspn(at, ",");

		if (n)
			rc = find_exports(s, r, at, n, ret, err);
		at += n + (at[n] == ',');
	}
	return rc;
}

/* The address of the only symbol of that name, or 0. */
static uint64_t symbol(struct session *s, const char *name)
{
	struct lens_lookup q = {0};
	struct xerr ignored = {0};

	snprintf(q.name, sizeof(q.name), "%s", name);
	return !lens_lookup(s->lens, &q, 1, &ignored) && q.valid && q.nr_found == 1 ? q.found.addr.v
										    : 0;
}

static uint64_t return_thunk(struct session *s)
{
	struct gva at = {symbol(s, "x86_return_thunk")};
	struct xerr ignored = {0};
	uint64_t v;

	return at.v && !lens_read(s->lens, at, &v, sizeof(v), &ignored) ? v : 0;
}

/* What is asked while a module is compared. */
struct question {
	struct session *s;
	bool live;	    /* it is not being loaded just now: nothing is learnt of it */
	uint64_t tracer[2]; /* ftrace_caller, and a trampoline that ftrace lists */
};

/*
 * A call that stands where the nop was: as the lens would judge it if it were put there now. The
 * lens knows places that are protected; init code is not, and may lead where they do.
 */
static bool is_traced(void *arg, uint64_t addr, const uint8_t *bytes)
{
	static const uint8_t nop5[] = {0x0f, 0x1f, 0x44, 0x00, 0x00};
	struct question *q = arg;
	struct lens_judgement j = {0};
	struct xerr ignored = {0};
	struct gpa gpa;
	uint64_t left, to;
	int32_t away;

	memcpy(&away, bytes + 1, sizeof(away));
	to = addr + sizeof(nop5) + (uint64_t)(int64_t)away;
	for (size_t i = 0; i < XO_ARRAY_SIZE(q->tracer); i++)
		if (q->tracer[i] && q->tracer[i] == to)
			return true;
	if (lens_translate(q->s->lens, (struct gva){addr}, &gpa, &left, &ignored) ||
	    sizeof(nop5) > XO_PAGE_SIZE - (gpa.v & XO_PAGE_MASK) ||
	    (q->live ? lens_explain : lens_judge)(q->s->lens, gpa, nop5, bytes, sizeof(nop5), &j,
						  &ignored) ||
	    !j.legal || j.kind != LENS_WRITE_FTRACE)
		return false;
	q->tracer[1] = to;
	return true;
}

static bool is_function(void *arg, uint64_t addr)
{
	struct question *q = arg;
	struct xerr ignored = {0};
	struct lens_symbol sym;
	uint64_t off;

	return !lens_symbolize(q->s->lens, (struct gva){addr}, &sym, &off, &ignored) && !off &&
	       strchr("tTwW", sym.type);
}

static bool static_call(void *arg, const char *name, uint64_t *ret)
{
	struct question *q = arg;
	struct xerr ignored = {0};
	char key[MODREF_SYM_SIZE + 8];
	struct gva at;

	snprintf(key, sizeof(key), "__SCK__%s", name);
	at.v = symbol(q->s, key);
	/* .func comes first: struct static_call_key, include/linux/static_call_types.h */
	return at.v && !lens_read(q->s->lens, at, ret, sizeof(*ret), &ignored);
}

static uint64_t paravirt_nop(struct session *s)
{
	uint64_t old = symbol(s, "_paravirt_nop");

	return old ? old : symbol(s, "nop_func");
}

static bool read_kernel(void *arg, uint64_t addr, void *buf, size_t len_bytes)
{
	struct question *q = arg;
	struct xerr ignored = {0};

	return !lens_read(q->s->lens, (struct gva){addr}, buf, len_bytes, &ignored);
}

/* ---- the comparison ---- */

struct copy {
	struct modref_image image;
	struct modref_symbol *import;
};

static void copy_free(struct copy *c)
{
	for (size_t i = 0; i < MODREF_PARTS; i++)
		free(c->image.part[i].bytes);
	free(c->import);
}

static bool is_wanted(enum modref_when when, size_t part)
{
	return when == MODREF_LOADING || part == MODREF_TEXT || part == MODREF_RODATA;
}

/* Return: 0; what cannot be read is left out, and so will differ */
static int copy_parts(struct session *s, const struct modref *r, enum modref_when when,
		      struct copy *c, struct xerr *err)
{
	for (size_t i = 0; i < MODREF_PARTS; i++) {
		struct xerr ignored = {0};
		uint8_t *p;
		int rc;

		if (!r->bytes[i] || !is_wanted(when, i))
			continue;
		p = malloc(r->bytes[i]);
		if (!p)
			return xerr_set(err, ENOMEM, "out of memory");
		rc = lens_read(s->lens, (struct gva){c->image.part[i].base}, p, r->bytes[i],
			       &ignored);
		if (rc == -XO_EPEERDIED || rc == -XO_ETIMEOUT) {
			free(p);
			return xerr_set(err, rc, "%s", ignored.text);
		}
		if (rc)
			free(p);
		else
			c->image.part[i].bytes = p;
	}
	return 0;
}

/* None stands in code that has not run yet. What one says stood there is compared, like the rest.
 */
static int undo_probes(struct session *s, const struct modref *r, enum modref_when when,
		       const struct copy *c, struct gate_verdict *v, struct xerr *err)
{
	v->probed_bytes = 0;
	if (when != MODREF_LIVE || !c->image.part[MODREF_TEXT].bytes)
		return 0;
	return explain_probes(s, c->image.part[MODREF_TEXT].base, c->image.part[MODREF_TEXT].bytes,
			      r->bytes[MODREF_TEXT], &v->probed_bytes, err);
}

/* Executable pages are executable to their end: there may be nothing behind the code. */
static bool tail_is_empty(struct session *s, uint64_t base, uint32_t bytes)
{
	uint8_t tail[XO_PAGE_SIZE];
	size_t len = (size_t)(whole(bytes) - bytes);
	struct xerr ignored = {0};

	if (len && lens_read(s->lens, (struct gva){base + bytes}, tail, len, &ignored))
		return false;
	for (size_t i = 0; i < len; i++)
		if (tail[i] != tail[0] || (tail[i] != 0 && tail[i] != 0xcc))
			return false;
	return true;
}

static bool tails_are_empty(struct session *s, const struct modref *r, enum modref_when when,
			    const struct lens_module *m)
{
	return tail_is_empty(s, m->part[LENS_PART_TEXT].base.v, r->bytes[MODREF_TEXT]) &&
	       (when == MODREF_LIVE ||
		tail_is_empty(s, m->part[LENS_PART_INIT_TEXT].base.v, r->bytes[MODREF_INIT_TEXT]));
}

static void name_difference(struct session *s, const struct modref *r, const struct copy *c,
			    const struct modref_difference *d, struct gate_verdict *v)
{
	struct gva at = {c->image.part[d->part].base + d->off};
	struct xerr ignored = {0};
	struct lens_symbol sym;
	uint64_t off = 0;

	if (d->import) {
		say(v, "%s, which %s needs, is not in the guest", d->import, r->name);
		return;
	}
	if (lens_symbolize(s->lens, at, &sym, &off, &ignored))
		snprintf(sym.name, sizeof(sym.name), "?");
	say(v, "not the file that is listed as %s: %s of its %s differs, at +0x%x (%.80s+0x%llx)",
	    r->name, d->what, modref_part_name((enum modref_part)d->part), d->off, sym.name,
	    (unsigned long long)off);
}

static int compare(struct session *s, const struct lens_module *m, const struct modref *r,
		   enum modref_when when, struct gate_verdict *v, struct xerr *err)
{
	struct question q = {
		.s = s, .live = when == MODREF_LIVE, .tracer = {symbol(s, "ftrace_caller")}};
	const struct modref_guest guest = {.arg = &q,
					   .return_thunk = return_thunk(s),
					   .return0 = symbol(s, "__static_call_return0"),
					   .pv_nop = paravirt_nop(s),
					   .pv_identity = symbol(s, "_paravirt_ident_64"),
					   .static_call = static_call,
					   .is_traced = is_traced,
					   .is_function = is_function,
					   .read = read_kernel};
	XO_CLEANUP(copy_free) struct copy c = {0};
	size_t stray = when == MODREF_LOADING ? find_stray(r, m) : LENS_MODULE_TABLES;
	struct modref_difference d;
	int rc;

	for (size_t i = 0; i < MODREF_PARTS; i++)
		c.image.part[i].base = m->part[i].base.v;
	if (!has_its_size(r, when, m) ||
	    m->addr.v != m->part[LENS_PART_DATA].base.v + r->self_off) {
		say(v, "not the file that is listed as %s: its parts have other sizes", r->name);
		return 0;
	}
	if (stray < LENS_MODULE_TABLES) {
		say(v, "not the file that is listed as %s: its %s is elsewhere", r->name,
		    lens_module_table_name(stray));
		return 0;
	}
	c.import = calloc(r->nr_imports + 1, sizeof(*c.import));
	if (!c.import)
		return xerr_set(err, ENOMEM, "out of memory");
	c.image.import = c.import;
	c.image.percpu = m->percpu.v;
	rc = find_imports(s, r, c.import, err);
	if (!rc)
		rc = copy_parts(s, r, when, &c, err);
	if (!rc)
		rc = undo_probes(s, r, when, &c, v, err);
	if (!rc)
		rc = modref_compare(r, when, &c.image, &guest, &d);
	if (rc)
		return rc;
	v->allowed = !d.differs && tails_are_empty(s, r, when, m);
	if (d.differs)
		name_difference(s, r, &c, &d, v);
	else if (!v->allowed)
		say(v, "not the file that is listed as %s: there is something behind its code",
		    r->name);
	else if (v->probed_bytes)
		say(v, "it is the file that is listed, with kprobes on %llu bytes",
		    (unsigned long long)v->probed_bytes);
	else
		say(v, "it is the file that is listed");
	return 0;
}

int gate_judge(struct session *s, const struct modlist *l, const struct lens_module *m,
	       enum modref_when when, struct gate_verdict *ret, struct xerr *err)
{
	const char *release = s->kernel.release;
	ssize_t i = modlist_find(l, m->name, release, 0);
	int rc = 0;

	memcpy(ret->module, m->name, sizeof(ret->module));
	if (i < 0)
		say(ret, "no module of that name is listed for %s", release);
	for (; i >= 0 && !rc && !ret->allowed;
	     i = modlist_find(l, m->name, release, (size_t)i + 1)) {
		_cleanup_modref_ struct modref *r = NULL;

		rc = modlist_unpack(&r, &l->entry[i]);
		if (rc)
			return xerr_set(err, rc, "list of modules: %s: its reference is damaged",
					m->name);
		ret->entry = &l->entry[i];
		rc = compare(s, m, r, when, ret, err);
	}
	return rc;
}
