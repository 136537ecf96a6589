// SPDX-License-Identifier: Apache-2.0
/* Kernel text and read-only data: copied out, then judged (package/kernref.h). */
#include <errno.h>
#include <string.h>

#include "vmm-agent/agent/appraise_core.h"
#include "vmm-agent/agent/explain.h"
#include "vmm-agent/agent/ops.h"
#include "vmm-agent/agent/vmram.h"

#define TRIES	     5	   /* a place that is being rewritten looks wrong for a moment */
#define TRY_MAX	     65536 /* bytes: of more, no honest guest is the cause */
#define TRY_AGAIN_NS UINT64_C(10000000)
#define STEP_PAGES   256 /* judged between two steps: some milliseconds */
#define BELL_BYTES   8	 /* docs/gate.md */

/* MODULES_VADDR to MODULES_END, with and without KASLR: Documentation/arch/x86/x86_64/mm.rst */
#define MODULES_START UINT64_C(0xffffffffa0000000)
#define MODULES_END   UINT64_C(0xffffffffff000000)

/* ---- where the pages are ---- */

static uint64_t area_gva(const struct appraiser *a, size_t k)
{
	return kernref_area(a->vendor->kernel, (enum kernref_area_kind)k)->start -
	       kernref_area(a->vendor->kernel, KERNREF_TEXT)->start + a->base.v;
}

static void place(struct appraised_area *area, uint64_t area_start, struct gva gva, struct gpa gpa,
		  uint64_t len)
{
	for (uint64_t off = 0; off < len; off += XO_PAGE_SIZE) {
		uint64_t i = (gva.v + off - area_start) / XO_PAGE_SIZE;

		if (gva.v + off >= area_start && i < area->nr_pages)
			area->page[i].gpa = gpa.v + off;
	}
}

/* Those that are listed, in one go; then one by one. */
static int find_pages(struct appraiser *a, struct session *s, const struct lens_area *list,
		      size_t nr, struct xerr *err)
{
	int rc = 0;

	for (size_t k = 0; !rc && k < KERNREF_AREAS; k++) {
		struct appraised_area *area = &a->area[k];
		uint64_t start = area_gva(a, k);

		for (size_t i = 0; i < area->nr_pages; i++)
			area->page[i].gpa = APPRAISE_NOWHERE;
		for (size_t i = 0; i < nr; i++)
			if (list[i].kind <= LENS_AREA_RO_AFTER_INIT)
				place(area, start, list[i].gva, list[i].gpa, list[i].len_bytes);
		for (size_t i = 0; !rc && i < area->nr_pages; i++) {
			struct gva gva = {start + i * XO_PAGE_SIZE};
			struct xerr ignored = {0};
			struct gpa gpa;
			uint64_t left;

			if (area->page[i].gpa != APPRAISE_NOWHERE)
				continue;
			rc = lens_translate(s->lens, gva, &gpa, &left, &ignored);
			if (!rc)
				place(area, start, gva, gpa, left & ~XO_PAGE_MASK);
			else if (rc == -XO_ENOTMAPPED || rc == -XO_EPAGETABLE)
				rc = 0; /* it stays nowhere: unexplained */
			else
				rc = xerr_set(err, rc, "%s", ignored.text);
		}
	}
	a->mapped = !rc;
	return rc;
}

/* ---- their bytes ---- */

static size_t page_bytes(const struct appraiser *a, size_t k, size_t i)
{
	size_t left = kernref_area(a->vendor->kernel, (enum kernref_area_kind)k)->bytes -
		      i * XO_PAGE_SIZE;

	return left < XO_PAGE_SIZE ? left : XO_PAGE_SIZE;
}

/* A page that is not there is as different as can be. */
static void miss(const struct appraiser *a, size_t k, size_t i)
{
	memset(a->area[k].have + i * XO_PAGE_SIZE, 0, XO_PAGE_SIZE);
	a->area[k].page[i].gpa = APPRAISE_NOWHERE;
}

/* Pages that follow each other in the guest's memory too. */
static size_t run_length(const struct appraised_area *area, size_t i)
{
	size_t n = 1;

	while (i + n < area->nr_pages && !area->page[i + n].vouched &&
	       area->page[i + n].gpa == area->page[i].gpa + n * XO_PAGE_SIZE)
		n++;
	return n;
}

/* What no guard vouches for. */
static void copy_area(const struct appraiser *a, size_t k)
{
	struct appraised_area *area = (struct appraised_area *)&a->area[k];

	for (size_t i = 0, n; i < area->nr_pages; i += n) {
		struct appraised_page *p = &area->page[i];

		n = 1;
		if (p->vouched)
			continue;
		p->dirty = true;
		if (p->gpa != APPRAISE_NOWHERE)
			n = run_length(area, i);
		for (size_t x = 0; x < n; x++)
			p[x].dirty = true;
		if (p->gpa != APPRAISE_NOWHERE &&
		    !vmram_read(a->ram, (struct gpa){p->gpa}, area->have + i * XO_PAGE_SIZE,
				n * XO_PAGE_SIZE))
			continue;
		for (size_t x = 0; x < n; x++)
			if (p[x].gpa == APPRAISE_NOWHERE ||
			    vmram_read(a->ram, (struct gpa){p[x].gpa},
				       area->have + (i + x) * XO_PAGE_SIZE, XO_PAGE_SIZE))
				miss(a, k, i + x);
	}
}

/* ---- what the guest's own lists say ---- */

struct asking {
	struct appraiser *a;
	struct session *s;
	json_t *list;
};

static bool read_kernel(void *arg, uint64_t addr, void *buf, size_t len_bytes)
{
	struct asking *q = arg;
	uint64_t page = addr / XO_PAGE_SIZE, off = addr % XO_PAGE_SIZE;
	struct xerr ignored = {0};

	if (len_bytes > XO_PAGE_SIZE - off)
		return !lens_read(q->s->lens, (struct gva){addr}, buf, len_bytes, &ignored);
	if (q->a->cache[page % APPRAISE_CACHE].tag != page + 1) {
		q->a->cache[page % APPRAISE_CACHE].tag = 0;
		if (lens_read(q->s->lens, (struct gva){page * XO_PAGE_SIZE},
			      q->a->cache[page % APPRAISE_CACHE].bytes, XO_PAGE_SIZE, &ignored))
			return false;
		q->a->cache[page % APPRAISE_CACHE].tag = page + 1;
	}
	memcpy(buf, q->a->cache[page % APPRAISE_CACHE].bytes + off, len_bytes);
	return true;
}

static bool is_legal(void *arg, uint64_t addr, const uint8_t *before, const uint8_t *after,
		     size_t len_bytes)
{
	const struct asking *q = arg;

	return explain_bytes(q->s, addr, before, after, len_bytes);
}

static void unexplained(void *arg, uint64_t addr, size_t len_bytes)
{
	struct asking *q = arg;
	const struct ksyms *k = kernref_symbols(q->a->vendor->kernel);
	uint64_t shift = q->a->base.v - kernref_area(q->a->vendor->kernel, KERNREF_TEXT)->start;
	ssize_t i = ksyms_at(k, addr - shift);
	char symbol[KSYM_MAX_NAME];

	if (json_array_size(q->list) >= APPRAISE_MAX_FOUND)
		return;
	snprintf(symbol, sizeof(symbol), "%s", i < 0 ? "?" : ksyms_name(k, &k->sym[i]));
	json_array_append_new(q->list,
			      json_pack("{s:s,s:I,s:o,s:I}", "symbol", symbol, "offset",
					(json_int_t)(i < 0 ? 0 : addr - shift - k->sym[i].addr),
					"address", json_sprintf("0x%llx", (unsigned long long)addr),
					"bytes", (json_int_t)len_bytes));
}

/* ---- patches of ours ---- */

static int by_addr(const void *a, const void *b)
{
	uint64_t x = ((const struct kernref_patch *)a)->addr;
	uint64_t y = ((const struct kernref_patch *)b)->addr;

	return (x > y) - (x < y);
}

/*
 * The module gate's bell, the last bytes of the text's last page: docs/gate.md, "The doorbell". It
 * holds its last ring, the address of a struct module without its upper 16 bits, and a counter: of
 * whatever the guest can write there, only what leads to where modules are.
 */
static size_t add_bell(const struct appraiser *a, struct kernref_patch *ret)
{
	size_t bytes = kernref_area(a->vendor->kernel, KERNREF_TEXT)->bytes;
	const uint8_t *at = a->area[KERNREF_TEXT].have + bytes - BELL_BYTES;
	uint64_t v, module;

	memcpy(&v, at, sizeof(v));
	module = ~(UINT64_MAX >> 16) | v >> 16;
	if (module < MODULES_START || module >= MODULES_END || module % sizeof(uint64_t))
		return 0;
	*ret = (struct kernref_patch){
		.addr = a->base.v + bytes - BELL_BYTES, .len_bytes = BELL_BYTES, .after = at};
	return 1;
}

/* Everything that an active row of the journal wrote. Interrupted ones explain nothing. */
static struct kernref_patch *patches(const struct appraiser *a, const struct session *s,
				     size_t *ret_nr)
{
	size_t room = 1, nr = 0;
	struct kernref_patch *p;

	for (size_t i = 0; i < s->nr_rows; i++)
		room += s->row[i].nr_writes + 1;
	p = calloc(room, sizeof(*p));
	for (size_t i = 0; p && i < s->nr_rows; i++) {
		const struct jrow *r = &s->row[i];

		if (!appraise_row(s, r))
			continue;
		for (size_t w = 0; w < r->nr_writes; w++)
			if (r->write[w].gva.v)
				p[nr++] = (struct kernref_patch){.addr = r->write[w].gva.v,
								 .len_bytes = r->write[w].len_bytes,
								 .after = r->write[w].after};
		if (!strcmp(r->patch_id, GATE_ROW))
			nr += add_bell(a, &p[nr]);
	}
	if (nr)
		qsort(p, nr, sizeof(*p), by_addr);
	*ret_nr = nr;
	return p;
}

/* ---- judging ---- */

static int judge_page(struct appraiser *a, struct kernref_run *run, size_t k, size_t i)
{
	struct appraised_area *area = &a->area[k];
	struct appraised_page *p = &area->page[i];
	struct kernref_page found = {0};
	int rc = 0;

	if (p->gpa == APPRAISE_NOWHERE)
		found.bytes[KERNREF_UNEXPLAINED] = (uint16_t)page_bytes(a, k, i);
	else
		rc = kernref_compare(run, (enum kernref_area_kind)k, i, &found);
	for (size_t w = 0; w < KERNREF_WHYS; w++)
		area->sum[w] += (uint64_t)found.bytes[w] - p->found.bytes[w];
	p->found = found;
	p->dirty = found.bytes[KERNREF_UNEXPLAINED] != 0;
	return rc;
}

static int judge_dirty(struct appraiser *a, const struct appraise_guard *g,
		       const struct kernref_guest *guest, struct appraise_stats *stats,
		       struct xerr *err)
{
	const struct kernref_image image = {.bytes = {a->area[0].have, a->area[1].have}};
	struct kernref_run *run = kernref_run_new(a->vendor->kernel, &image, guest);
	int rc = run ? 0 : -ENOMEM;

	for (size_t k = 0; !rc && k < KERNREF_AREAS; k++) {
		for (size_t i = 0; !rc && i < a->area[k].nr_pages; i++) {
			if (!a->area[k].page[i].dirty)
				continue;
			rc = judge_page(a, run, k, i);
			if (!rc && ++stats->pages_judged % STEP_PAGES == 0 && g)
				rc = g->step(g->arg, err);
		}
	}
	kernref_run_free(run);
	return rc;
}

/* Is what there is as it may look while a guest rewrites it? */
static bool may_pass(const struct appraiser *a)
{
	uint64_t sum = a->area[0].sum[KERNREF_UNEXPLAINED] + a->area[1].sum[KERNREF_UNEXPLAINED];

	return sum && sum <= TRY_MAX;
}

static int judge_all(struct appraiser *a, struct asking *q, const struct appraise_guard *g,
		     struct appraise_stats *stats, struct xerr *err)
{
	size_t nr = 0;
	_cleanup_free_ struct kernref_patch *p = patches(a, q->s, &nr);
	const struct kernref_guest guest = {.arg = q,
					    .read = read_kernel,
					    .is_legal = is_legal,
					    .unexplained = unexplained,
					    .patch = p,
					    .nr_patches = nr};

	return p ? judge_dirty(a, g, &guest, stats, err) : -ENOMEM;
}

static int copy(struct appraiser *a, const struct appraise_guard *g, struct xerr *err)
{
	int rc = g ? appraise_golden(a, g, err) : 0;

	for (size_t k = 0; !rc && k < KERNREF_AREAS; k++)
		copy_area(a, k);
	return rc;
}

/* What changes under our eyes is looked at again. */
static int judge(struct appraiser *a, struct session *s, const struct appraise_guard *g,
		 json_t *list, struct appraise_stats *stats, struct xerr *err)
{
	struct asking q = {.a = a, .s = s, .list = list};
	int rc = 0;

	for (int i = 0; !rc && i < (g ? 1 : TRIES); i++) {
		if (i)
			xo_sleep_ns(TRY_AGAIN_NS);
		json_array_clear(list);
		for (size_t c = 0; c < APPRAISE_CACHE; c++)
			a->cache[c].tag = 0;
		rc = copy(a, g, err);
		if (!rc)
			rc = judge_all(a, &q, g, stats, err);
		if (!rc && !may_pass(a))
			break;
	}
	return rc;
}

static json_t *explained_json(const struct appraised_area *area)
{
	json_t *o = json_object();

	for (size_t w = KERNREF_UNEXPLAINED + 1; w < KERNREF_WHYS; w++)
		if (area->sum[w])
			json_object_set_new(o, kernref_why_name((enum kernref_why)w),
					    json_integer((json_int_t)area->sum[w]));
	return o;
}

/* The guard knows them; the lens finds them. */
static int locate(struct appraiser *a, struct session *s, const struct appraise_guard *g,
		  struct xerr *err)
{
	_cleanup_free_ struct lens_area *list = NULL;
	size_t nr = 0;
	int rc;

	if (g)
		return find_pages(a, s, g->area, g->nr_areas, err);
	list = calloc(LENS_MAX_AREAS, sizeof(*list));
	/* It reads its own lists, too. */
	rc = list ? lens_areas(s->lens, list, LENS_MAX_AREAS, &nr, err) : -ENOMEM;
	return rc ? rc : find_pages(a, s, list, nr, err);
}

static int begin(struct appraiser *a, struct session *s, const struct appraise_guard *g,
		 struct xerr *err)
{
	const struct kernref *r = a->vendor->kernel;
	int rc = 0;

	if (a->base.v != s->kernel.base.v || a->boot_token != s->kernel.boot_token)
		a->mapped = false;
	if (!a->ram)
		rc = vmram_open(&a->ram, s->tgt, err);
	if (rc || a->mapped)
		return rc;
	a->base = s->kernel.base;
	a->boot_token = s->kernel.boot_token;
	kernref_move((struct kernref *)r, a->base.v - kernref_area(r, KERNREF_TEXT)->start);
	for (size_t k = 0; k < KERNREF_AREAS; k++)
		for (size_t i = 0; i < a->area[k].nr_pages; i++) {
			a->area[k].page[i].dirty = true;
			a->area[k].page[i].vouched = false;
		}
	appraise_forget(a);
	return locate(a, s, g, err);
}

int appraise_text(struct appraiser *a, struct session *s, const struct appraise_guard *g,
		  struct att_appraisal *ret, json_t *detail, struct appraise_stats *stats,
		  struct xerr *err)
{
	uint64_t start = xo_now_ns();
	_cleanup_json_ json_t *found = json_array(), *list = json_array();
	int rc = begin(a, s, g, err);

	if (!rc)
		rc = judge(a, s, g, found, stats, err);
	for (size_t k = 0; !rc && k < KERNREF_AREAS; k++) {
		const struct kernref_area *from =
			kernref_area(a->vendor->kernel, (enum kernref_area_kind)k);
		struct att_area *to = &ret->area[ret->nr_areas++];

		snprintf(to->name, sizeof(to->name), "%s",
			 kernref_area_name((enum kernref_area_kind)k));
		memcpy(to->sha256, from->sha256, sizeof(to->sha256));
		to->size_bytes = from->bytes;
		to->unexplained_bytes = a->area[k].sum[KERNREF_UNEXPLAINED];
		stats->pages += a->area[k].nr_pages;
		ret->runtime_bytes +=
			a->area[k].sum[KERNREF_KPROBE] + a->area[k].sum[KERNREF_LISTED];
		ret->init_bytes += a->area[k].sum[KERNREF_RO_AFTER_INIT];
		json_array_append_new(list, json_pack("{s:s,s:I,s:o}", "name", to->name,
						      "unexplained_bytes",
						      (json_int_t)to->unexplained_bytes,
						      "explained", explained_json(&a->area[k])));
	}
	if (!rc && (json_object_set(detail, "areas", list) ||
		    json_object_set(detail, "unexplained", found)))
		rc = -ENOMEM;
	stats->text_ns = xo_now_ns() - start;
	return rc;
}
