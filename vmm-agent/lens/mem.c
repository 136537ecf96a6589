// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/mem.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* A read of QEMU's memory costs about a microsecond whatever its length, up to a few pages. */
#define BLOCK_BYTES UINT64_C(16384)
#define NR_BLOCKS   64

struct gmem_cache {
	bool frozen;
	uint64_t tag[NR_BLOCKS]; /* guest-physical block number + 1; 0: empty */
	uint8_t block[NR_BLOCKS][BLOCK_BYTES];
};

static int add(struct gmem *m, const struct gmem_region *new)
{
	struct gmem_region *r = m->region;
	uint64_t gpa = new->gpa, len_bytes = new->len_bytes;
	size_t at = 0;

	if (m->nr == LENS_MAX_REGIONS)
		return -XO_ELIMIT;
	if (!len_bytes || len_bytes > UINT64_MAX - gpa)
		return -XO_EMALFORMED;
	while (at < m->nr && r[at].gpa < gpa)
		at++;
	if ((at && gpa - r[at - 1].gpa < r[at - 1].len_bytes) ||
	    (at < m->nr && r[at].gpa - gpa < len_bytes))
		return -XO_EMALFORMED;
	memmove(r + at + 1, r + at, (m->nr - at) * sizeof(*r));
	r[at] = *new;
	m->nr++;
	return 0;
}

int gmem_add(struct gmem *m, struct gpa gpa, uint64_t len_bytes, const void *p)
{
	return add(m, &(struct gmem_region){.gpa = gpa.v, .len_bytes = len_bytes, .p = p});
}

int gmem_map(struct gmem *m, struct gpa gpa, uint64_t len_bytes, int fd, uint64_t off)
{
	void *p;
	int rc;

	if (off > INT64_MAX || len_bytes > SIZE_MAX / 2)
		return -XO_EMALFORMED;
	p = mmap(NULL, len_bytes, PROT_READ, MAP_SHARED, fd, (off_t)off);
	if (p == MAP_FAILED)
		return -errno;
	rc = gmem_add(m, gpa, len_bytes, p);
	if (rc)
		munmap(p, len_bytes);
	return rc;
}

int gmem_attach(struct gmem *m, int fd)
{
	m->cache = calloc(1, sizeof(*m->cache));
	if (!m->cache) {
		close(fd);
		return -ENOMEM;
	}
	m->fd = fd;
	return 0;
}

int gmem_add_remote(struct gmem *m, struct gpa gpa, uint64_t len_bytes, struct hva hva)
{
	if (!m->cache || hva.v > INT64_MAX || len_bytes > INT64_MAX - hva.v)
		return -XO_EMALFORMED;
	return add(m, &(struct gmem_region){.gpa = gpa.v, .len_bytes = len_bytes, .hva = hva.v});
}

static const struct gmem_region *region_at(const struct gmem *m, struct gpa gpa)
{
	size_t lo = 0, hi = m->nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct gmem_region *r = &m->region[mid];

		if (gpa.v < r->gpa)
			hi = mid;
		else if (gpa.v - r->gpa >= r->len_bytes)
			lo = mid + 1;
		else
			return r;
	}
	return NULL;
}

bool gmem_has(const struct gmem *m, struct gpa gpa, uint64_t len_bytes)
{
	const struct gmem_region *r = region_at(m, gpa);

	return r && len_bytes <= r->len_bytes - (gpa.v - r->gpa);
}

const uint8_t *gmem_ptr(const struct gmem *m, struct gpa gpa, uint64_t *ret_left)
{
	const struct gmem_region *r = region_at(m, gpa);

	if (!r || !r->p)
		return NULL;
	*ret_left = r->len_bytes - (gpa.v - r->gpa);
	return r->p + (gpa.v - r->gpa);
}

/* Nothing is read where QEMU's address space has ended, and an error where it has a hole. */
static int fetch(const struct gmem *m, uint64_t hva, void *buf, size_t len_bytes)
{
	uint8_t *to = buf;

	while (len_bytes) {
		ssize_t n = pread(m->fd, to, len_bytes, (off_t)hva);

		if (!n)
			return -XO_ETARGETGONE;
		if (n < 0 && errno != EINTR)
			return -XO_EPAGETABLE;
		if (n < 0)
			continue;
		to += n;
		hva += (size_t)n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

/* Block by block; one that is not all in the region is not kept. */
static int fetch_cached(const struct gmem *m, const struct gmem_region *r, uint64_t off, void *buf,
			size_t len_bytes)
{
	struct gmem_cache *c = m->cache;
	uint8_t *to = buf;

	while (len_bytes) {
		uint64_t nr = (r->gpa + off) / BLOCK_BYTES, in = (r->gpa + off) % BLOCK_BYTES;
		bool whole = in <= off && BLOCK_BYTES - in <= r->len_bytes - off;
		size_t n = BLOCK_BYTES - in < len_bytes ? BLOCK_BYTES - in : len_bytes;
		uint64_t *tag = &c->tag[nr % NR_BLOCKS];
		uint8_t *block = c->block[nr % NR_BLOCKS];
		int rc = 0;

		if (!whole) {
			rc = fetch(m, r->hva + off, to, n);
		} else if (*tag != nr + 1) {
			*tag = 0;
			rc = fetch(m, r->hva + off - in, block, BLOCK_BYTES);
			if (!rc)
				*tag = nr + 1;
		}
		if (rc)
			return rc;
		if (whole)
			memcpy(to, block + in, n);
		to += n;
		off += n;
		len_bytes -= n;
	}
	return 0;
}

static int read_region(const struct gmem *m, const struct gmem_region *r, uint64_t off, void *buf,
		       size_t len_bytes, bool cached)
{
	if (r->p) {
		memcpy(buf, r->p + off, len_bytes);
		return 0;
	}
	if (cached || (m->cache->frozen && len_bytes < BLOCK_BYTES))
		return fetch_cached(m, r, off, buf, len_bytes);
	return fetch(m, r->hva + off, buf, len_bytes);
}

const void *gmem_view(const struct gmem *m, struct gpa gpa, size_t len_bytes, void *copy)
{
	const struct gmem_region *r = region_at(m, gpa);

	if (!r || len_bytes > r->len_bytes - (gpa.v - r->gpa))
		return NULL;
	if (r->p)
		return r->p + (gpa.v - r->gpa);
	return read_region(m, r, gpa.v - r->gpa, copy, len_bytes, false) ? NULL : copy;
}

int gmem_read(const struct gmem *m, struct gpa gpa, void *buf, size_t len_bytes)
{
	uint8_t *to = buf;

	while (len_bytes) {
		const struct gmem_region *r = region_at(m, gpa);
		uint64_t left;
		int rc;

		if (!r)
			return -XO_EPAGETABLE;
		left = r->len_bytes - (gpa.v - r->gpa);
		if (left > len_bytes)
			left = len_bytes;
		rc = read_region(m, r, gpa.v - r->gpa, to, left, false);
		if (rc)
			return rc;
		to += left;
		gpa.v += left;
		len_bytes -= left;
	}
	return 0;
}

static int read_u64(const struct gmem *m, struct gpa gpa, uint64_t *ret, bool cached)
{
	const struct gmem_region *r = region_at(m, gpa);

	if (!r || gpa.v % sizeof(*ret) || r->len_bytes - (gpa.v - r->gpa) < sizeof(*ret))
		return -XO_EPAGETABLE;
	if (!r->p)
		return read_region(m, r, gpa.v - r->gpa, ret, sizeof(*ret), cached);
	*ret = *(const volatile uint64_t *)(const void *)(r->p + (gpa.v - r->gpa));
	return 0;
}

int gmem_u64(const struct gmem *m, struct gpa gpa, uint64_t *ret)
{
	return read_u64(m, gpa, ret, false);
}

int gmem_entry(const struct gmem *m, struct gpa gpa, uint64_t *ret)
{
	return read_u64(m, gpa, ret, true);
}

void gmem_forget(const struct gmem *m)
{
	if (!m->cache)
		return;
	m->cache->frozen = false;
	memset(m->cache->tag, 0, sizeof(m->cache->tag));
}

void gmem_freeze(const struct gmem *m)
{
	if (m->cache)
		m->cache->frozen = true;
}

bool gmem_gone(const struct gmem *m)
{
	uint8_t byte;

	for (size_t i = 0; m->cache && i < m->nr; i++)
		if (!m->region[i].p)
			return fetch(m, m->region[i].hva, &byte, 1) == -XO_ETARGETGONE;
	return false;
}

void gmem_free(struct gmem *m)
{
	if (m->cache)
		close(m->fd);
	free(m->cache);
	m->cache = NULL;
}
