// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/monitor/write.h"

#include <string.h>

#define WORD_BYTES  8u
#define CACHE_BYTES 64u

/* So that QEMU has the page when it is written; it may be in swap. */
static void peek_ahead(const struct vm *vm, const struct plan_rec *r)
{
	const struct mon_region *region = &vm->desc.region[r->region];
	uint8_t byte;

	(void)!vm_peek(vm, (struct hva){region->hva.v + (r->gpa.v - region->gpa.v)}, &byte, 1);
}

void write_prepare(struct plan *p, const struct vm *vm)
{
	for (size_t i = 0; i < p->nr; i++) {
		struct plan_rec *r = &p->rec[i];
		uint8_t *map = vm_ptr(vm, &vm->desc.region[r->region], r->gpa);

		r->map = map;
		if (map)
			vm_prefault(map);
		else
			peek_ahead(vm, r);
	}
}

/* Where to put an 8-byte word that covers [@off, @off + @len) of a page: within one cache line if
 * it can be, within the page always. */
static uint32_t word_start(uint32_t off, uint32_t len_bytes)
{
	uint32_t line = off & ~(CACHE_BYTES - 1);
	uint32_t last = line + CACHE_BYTES - WORD_BYTES;

	if (off <= last)
		return off;
	if (off + len_bytes <= line + CACHE_BYTES)
		return last;
	return off + WORD_BYTES <= XO_PAGE_SIZE ? off : (uint32_t)XO_PAGE_SIZE - WORD_BYTES;
}

void write_bytes(volatile uint8_t *to, const uint8_t *from, uint32_t len_bytes)
{
	uint32_t off = (uint32_t)((uintptr_t)to & XO_PAGE_MASK);
	volatile uint8_t *word_at;
	uint64_t word;

	if (len_bytes > WORD_BYTES) {
		/* Not reachable by the guest until a later record of the plan points at it. */
		memcpy((uint8_t *)(uintptr_t)to, from, len_bytes);
		return;
	}
	if (len_bytes == 1) {
		*to = *from;
		return;
	}
	word_at = to - off + word_start(off, len_bytes);
	__asm__ volatile("movq %1, %0" : "=r"(word) : "m"(*(const volatile uint64_t *)word_at));
	memcpy((uint8_t *)&word + (to - word_at), from, len_bytes);
	__asm__ volatile("movq %1, %0" : "=m"(*(volatile uint64_t *)word_at) : "r"(word));
}

int write_read(void *vm, const struct plan_rec *r, uint8_t *buf, struct xerr *err)
{
	const struct vm *v = vm;
	const struct mon_region *region = &v->desc.region[r->region];
	struct hva hva = {region->hva.v + (r->gpa.v - region->gpa.v)};
	int rc;

	if (r->map) {
		memcpy(buf, (const uint8_t *)(uintptr_t)r->map, r->len_bytes);
		return 0;
	}
	rc = vm_peek(v, hva, buf, r->len_bytes);
	return rc ? xerr_set(err, rc, "QEMU's memory: cannot be read: %s", xo_code_text(rc)) : 0;
}

static int write_one(const struct vm *vm, const struct plan_rec *r, const uint8_t *bytes,
		     struct xerr *err)
{
	const struct mon_region *region = &vm->desc.region[r->region];
	struct hva hva = {region->hva.v + (r->gpa.v - region->gpa.v)};
	int rc;

	if (r->map) {
		write_bytes(r->map, bytes, r->len_bytes);
		return 0;
	}
	rc = vm_poke(vm, hva, bytes, r->len_bytes);
	return rc ? xerr_set(err, rc, "QEMU's memory: cannot be written: %s", xo_code_text(rc)) : 0;
}

int write_records(void *vm, const struct plan_rec *r, size_t nr, enum commit_bytes what,
		  struct xerr *err)
{
	int rc = 0;

	for (size_t i = 0; i < nr && !rc; i++)
		rc = write_one(vm, &r[i],
			       what == COMMIT_REPLACEMENT ? r[i].replacement : r[i].expected, err);
	return rc;
}
