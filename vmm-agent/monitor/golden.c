// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/monitor/golden.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/util.h"

#define MAGIC	0x6e65646c6f67786fu /* "oxgolden" */
#define VERSION 2

struct slot {
	uint64_t gpa;
	uint64_t hva;	  /* 0: the slot is free */
	uint64_t version; /* another one for every change of the copy; none comes twice */
};

struct golden_head {
	uint64_t magic;
	uint32_t version;
	uint32_t nr_slots; /* that were ever used; those after are free */
	uint32_t keeping;  /* slot + 1 while a page is being made golden */
	uint32_t state;	   /* enum golden_state */
	uint64_t last_version;
	struct slot slot[MON_GUARD_MAX_PAGES];
};

static uint64_t data_off(void)
{
	return xo_align_up(sizeof(struct golden_head), XO_PAGE_SIZE);
}

uint64_t golden_file_bytes(void)
{
	return data_off() + MON_GUARD_MAX_PAGES * XO_PAGE_SIZE;
}

static uint64_t hva_at(const struct golden *g, size_t at)
{
	return g->head->slot[g->order[at]].hva;
}

/* The first index in order whose page is not below @hva. */
static size_t lower_bound(const struct golden *g, uint64_t hva)
{
	size_t lo = 0;
	size_t hi = g->nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (hva_at(g, mid) < hva)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void insert(struct golden *g, uint32_t slot)
{
	size_t at = lower_bound(g, g->head->slot[slot].hva);

	memmove(&g->order[at + 1], &g->order[at], (g->nr - at) * sizeof(g->order[0]));
	g->order[at] = slot;
	g->nr++;
}

static int take_over(struct golden *g, struct xerr *err)
{
	const struct golden_head *h = g->head;
	bool ok = h->magic == MAGIC && h->version == VERSION &&
		  h->nr_slots <= MON_GUARD_MAX_PAGES && h->keeping <= h->nr_slots;

	for (uint32_t i = 0; ok && i < h->nr_slots; i++) {
		const struct slot *s = &h->slot[i];

		if (!s->hva)
			continue;
		ok = !((s->hva | s->gpa) & XO_PAGE_MASK) &&
		     golden_find(g, (struct hva){s->hva}) < 0;
		if (ok)
			insert(g, i);
	}
	return ok ? 0 : xerr_set(err, XO_EMALFORMED, "golden copies: the file is damaged");
}

int golden_map(struct golden *g, int fd, bool fresh, struct xerr *err)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st) || (uint64_t)st.st_size != golden_file_bytes())
		return xerr_set(err, XO_EMALFORMED, "golden copies: the file has a wrong size");
	g->order = calloc(MON_GUARD_MAX_PAGES, sizeof(g->order[0]));
	if (!g->order)
		return xerr_set(err, ENOMEM, "golden copies: out of memory");
	p = mmap(NULL, golden_file_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return xerr_set(err, errno, "golden copies: %s", strerrordesc_np(errno));
	g->head = p;
	if (!fresh)
		return take_over(g, err);
	memset(g->head, 0, sizeof(*g->head));
	g->head->version = VERSION;
	g->head->magic = MAGIC;
	return 0;
}

void golden_unmap(struct golden *g)
{
	if (g->head)
		(void)munmap(g->head, golden_file_bytes());
	free(g->order);
	memset(g, 0, sizeof(*g));
}

int32_t golden_find(const struct golden *g, struct hva hva)
{
	size_t at = lower_bound(g, hva.v);

	return at < g->nr && hva_at(g, at) == hva.v ? (int32_t)g->order[at] : -1;
}

static void changed(struct golden *g, uint32_t slot)
{
	g->head->slot[slot].version = ++g->head->last_version;
}

/* The copy is there before the slot is, in case this process dies in between. */
int32_t golden_add(struct golden *g, struct gpa gpa, struct hva hva, const uint8_t *bytes)
{
	struct golden_head *h = g->head;
	uint32_t slot = g->free_hint;

	while (slot < h->nr_slots && h->slot[slot].hva)
		slot++;
	if (slot == MON_GUARD_MAX_PAGES)
		return -XO_ELIMIT;
	memcpy(golden_page(g, slot), bytes, XO_PAGE_SIZE);
	h->slot[slot].gpa = gpa.v;
	changed(g, slot);
	if (slot == h->nr_slots)
		h->nr_slots++;
	__atomic_store_n(&h->slot[slot].hva, hva.v, __ATOMIC_RELEASE);
	g->free_hint = slot + 1;
	insert(g, slot);
	return (int32_t)slot;
}

void golden_remove(struct golden *g, uint32_t slot)
{
	size_t at = lower_bound(g, g->head->slot[slot].hva);

	g->nr--;
	memmove(&g->order[at], &g->order[at + 1], (g->nr - at) * sizeof(g->order[0]));
	g->head->slot[slot].hva = 0;
	if (slot < g->free_hint)
		g->free_hint = slot;
}

uint8_t *golden_page(const struct golden *g, uint32_t slot)
{
	return (uint8_t *)g->head + data_off() + slot * XO_PAGE_SIZE;
}

struct gpa golden_gpa(const struct golden *g, uint32_t slot)
{
	return (struct gpa){g->head->slot[slot].gpa};
}

struct hva golden_hva(const struct golden *g, uint32_t slot)
{
	return (struct hva){g->head->slot[slot].hva};
}

size_t golden_run(const struct golden *g, size_t at)
{
	const struct slot *first = &g->head->slot[g->order[at]];
	size_t n = 1;

	while (at + n < g->nr) {
		const struct slot *s = &g->head->slot[g->order[at + n]];

		if (s->hva - first->hva != n * XO_PAGE_SIZE ||
		    s->gpa - first->gpa != n * XO_PAGE_SIZE)
			break;
		n++;
	}
	return n;
}

void golden_keep(struct golden *g, uint32_t slot, const uint8_t *bytes)
{
	__atomic_store_n(&g->head->keeping, slot + 1, __ATOMIC_SEQ_CST);
	memcpy(golden_page(g, slot), bytes, XO_PAGE_SIZE);
	changed(g, slot);
	__atomic_store_n(&g->head->keeping, 0, __ATOMIC_SEQ_CST);
}

void golden_write(struct golden *g, uint32_t slot, uint64_t off, const uint8_t *bytes,
		  size_t len_bytes)
{
	memcpy(golden_page(g, slot) + off, bytes, len_bytes);
	changed(g, slot);
}

int32_t golden_torn(const struct golden *g)
{
	return (int32_t)g->head->keeping - 1;
}

void golden_set(struct golden *g, enum golden_state s, bool on)
{
	if (on)
		(void)__atomic_or_fetch(&g->head->state, s, __ATOMIC_SEQ_CST);
	else
		(void)__atomic_and_fetch(&g->head->state, ~(uint32_t)s, __ATOMIC_SEQ_CST);
}

bool golden_is(const struct golden *g, enum golden_state s)
{
	return __atomic_load_n(&g->head->state, __ATOMIC_SEQ_CST) & s;
}

bool golden_note(int fd, enum golden_state is, enum golden_state s, bool on)
{
	struct golden g = {
		.head = mmap(NULL, sizeof(*g.head), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)};
	bool was;

	if (g.head == MAP_FAILED)
		return false;
	was = g.head->magic == MAGIC && golden_is(&g, is);
	if (was)
		golden_set(&g, s, on);
	(void)munmap(g.head, sizeof(*g.head));
	return was;
}

bool golden_diff(const uint8_t *a, const uint8_t *b, uint32_t *ret_off, uint32_t *ret_len_bytes)
{
	uint32_t first = 0;
	uint32_t end = (uint32_t)XO_PAGE_SIZE;

	if (!memcmp(a, b, XO_PAGE_SIZE))
		return false;
	while (a[first] == b[first])
		first++;
	while (a[end - 1] == b[end - 1])
		end--;
	*ret_off = first;
	*ret_len_bytes = end - first;
	return true;
}

int golden_view_map(struct golden_view *v, int fd, struct xerr *err)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st) || (uint64_t)st.st_size != golden_file_bytes())
		return xerr_set(err, XO_EMALFORMED, "golden copies: the file has a wrong size");
	p = mmap(NULL, golden_file_bytes(), PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return xerr_set(err, errno, "golden copies: %s", strerrordesc_np(errno));
	v->head = p;
	return 0;
}

void golden_view_unmap(struct golden_view *v)
{
	if (v->head)
		(void)munmap((void *)(uintptr_t)v->head, golden_file_bytes());
	v->head = NULL;
}

uint32_t golden_view_slots(const struct golden_view *v)
{
	uint32_t nr = __atomic_load_n(&v->head->nr_slots, __ATOMIC_ACQUIRE);

	return nr < MON_GUARD_MAX_PAGES ? nr : MON_GUARD_MAX_PAGES;
}

const uint8_t *golden_view_page(const struct golden_view *v, uint32_t slot, struct gpa *ret_gpa,
				uint64_t *ret_version)
{
	const struct slot *s = &v->head->slot[slot];

	if (!__atomic_load_n(&s->hva, __ATOMIC_ACQUIRE))
		return NULL;
	ret_gpa->v = s->gpa;
	*ret_version = s->version;
	return (const uint8_t *)v->head + data_off() + slot * XO_PAGE_SIZE;
}
