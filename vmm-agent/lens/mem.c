// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/mem.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

int gmem_add(struct gmem *m, struct gpa gpa, uint64_t len_bytes, const void *p)
{
	struct gmem_region *r = m->region;
	size_t at = 0;

	if (m->nr == LENS_MAX_REGIONS)
		return -XO_ELIMIT;
	if (!len_bytes || len_bytes > UINT64_MAX - gpa.v)
		return -XO_EMALFORMED;
	while (at < m->nr && r[at].gpa < gpa.v)
		at++;
	if ((at && gpa.v - r[at - 1].gpa < r[at - 1].len_bytes) ||
	    (at < m->nr && r[at].gpa - gpa.v < len_bytes))
		return -XO_EMALFORMED;
	memmove(r + at + 1, r + at, (m->nr - at) * sizeof(*r));
	r[at] = (struct gmem_region){.gpa = gpa.v, .len_bytes = len_bytes, .p = p};
	m->nr++;
	return 0;
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

const uint8_t *gmem_ptr(const struct gmem *m, struct gpa gpa, uint64_t *ret_left)
{
	size_t lo = 0, hi = m->nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct gmem_region *r = &m->region[mid];

		if (gpa.v < r->gpa) {
			hi = mid;
		} else if (gpa.v - r->gpa >= r->len_bytes) {
			lo = mid + 1;
		} else {
			*ret_left = r->len_bytes - (gpa.v - r->gpa);
			return r->p + (gpa.v - r->gpa);
		}
	}
	return NULL;
}

int gmem_read(const struct gmem *m, struct gpa gpa, void *buf, size_t len_bytes)
{
	uint8_t *to = buf;

	while (len_bytes) {
		uint64_t left;
		const uint8_t *from = gmem_ptr(m, gpa, &left);

		if (!from)
			return -XO_EPAGETABLE;
		if (left > len_bytes)
			left = len_bytes;
		memcpy(to, from, left);
		to += left;
		gpa.v += left;
		len_bytes -= left;
	}
	return 0;
}

int gmem_u64(const struct gmem *m, struct gpa gpa, uint64_t *ret)
{
	uint64_t left;
	const uint8_t *p = gmem_ptr(m, gpa, &left);

	if (!p || left < sizeof(*ret) || gpa.v % sizeof(*ret))
		return -XO_EPAGETABLE;
	*ret = *(const volatile uint64_t *)(const void *)p;
	return 0;
}
