// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/monitor/plan.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

int plan_add(struct plan *p, const struct mon_write *w, struct xerr *err)
{
	struct plan_rec *more;
	uint8_t *bytes;

	if (p->nr == MON_MAX_WRITES)
		return xerr_set(err, XO_EPLAN, "plan: more than %d records; split it",
				MON_MAX_WRITES);
	if (!w->len_bytes || w->len_bytes > MON_MAX_WRITE_BYTES)
		return xerr_set(err, XO_EPLAN, "plan record %zu: %" PRIu32 " bytes, not 1 to %d",
				p->nr, w->len_bytes, MON_MAX_WRITE_BYTES);
	if (2 * (size_t)w->len_bytes > MON_MAX_PLAN_BYTES - p->bytes)
		return xerr_set(err, XO_EPLAN,
				"plan record %zu: more than %d bytes in all; split it", p->nr,
				MON_MAX_PLAN_BYTES);
	if (p->nr % 64 == 0) {
		more = reallocarray(p->rec, p->nr + 64, sizeof(*more));
		if (!more)
			return xerr_set(err, ENOMEM, "plan: out of memory");
		p->rec = more;
	}
	bytes = malloc(2 * (size_t)w->len_bytes);
	if (!bytes)
		return xerr_set(err, ENOMEM, "plan: out of memory");
	memcpy(bytes, w->expected, w->len_bytes);
	memcpy(bytes + w->len_bytes, w->replacement, w->len_bytes);
	p->rec[p->nr++] = (struct plan_rec){
		.gpa = w->gpa,
		.gva = w->gva,
		.len_bytes = w->len_bytes,
		.expected = bytes,
		.replacement = bytes + w->len_bytes,
	};
	p->bytes += 2 * (size_t)w->len_bytes;
	p->ready = false;
	return 0;
}

static int check_record(struct plan_rec *r, size_t i, const struct mon_vm *vm, struct xerr *err)
{
	const struct mon_region *region;
	uint64_t in_page = r->gpa.v & XO_PAGE_MASK;

	if (r->len_bytes > XO_PAGE_SIZE - in_page)
		return xerr_set(err, XO_EPLAN, "plan record %zu: crosses a page at %#" PRIx64, i,
				r->gpa.v);
	region = vm_region(vm, r->gpa, r->len_bytes);
	if (!region)
		return xerr_set(err, XO_EPLAN,
				"plan record %zu: %#" PRIx64 " is in no region of guest memory", i,
				r->gpa.v);
	if (r->gva.v && (r->gva.v & XO_PAGE_MASK) != in_page)
		return xerr_set(err, XO_EPLAN,
				"plan record %zu: guest-virtual %#" PRIx64
				" and guest-physical %#" PRIx64 " differ within the page",
				i, r->gva.v, r->gpa.v);
	if (vm->accel == MON_TCG && region->rom && !r->gva.v)
		return xerr_set(err, XO_EPLAN,
				"plan record %zu: %#" PRIx64
				" is ROM; under TCG its guest-virtual address is needed too",
				i, r->gpa.v);
	r->region = (uint32_t)(region - vm->region);
	return 0;
}

struct extent {
	uint64_t start;
	uint32_t len_bytes;
	uint32_t index;
};

static int by_start(const void *a, const void *b)
{
	const struct extent *x = a;
	const struct extent *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

static int check_overlap(const struct plan *p, size_t *ret_bad, struct xerr *err)
{
	_cleanup_free_ struct extent *e = calloc(p->nr ? p->nr : 1, sizeof(*e));

	if (!e)
		return xerr_set(err, ENOMEM, "plan: out of memory");
	for (size_t i = 0; i < p->nr; i++)
		e[i] = (struct extent){p->rec[i].gpa.v, p->rec[i].len_bytes, (uint32_t)i};
	qsort(e, p->nr, sizeof(*e), by_start);
	for (size_t i = 1; i < p->nr; i++) {
		if (e[i].start - e[i - 1].start >= e[i - 1].len_bytes)
			continue;
		*ret_bad = e[i].index;
		return xerr_set(err, XO_EPLAN, "plan record %" PRIu32 ": overlaps record %" PRIu32,
				e[i].index, e[i - 1].index);
	}
	return 0;
}

int plan_check(struct plan *p, const struct mon_vm *vm, size_t *ret_bad, struct xerr *err)
{
	int rc;

	p->ready = false;
	for (size_t i = 0; i < p->nr; i++) {
		rc = check_record(&p->rec[i], i, vm, err);
		if (rc) {
			*ret_bad = i;
			return rc;
		}
	}
	rc = check_overlap(p, ret_bad, err);
	if (rc)
		return rc;
	p->ready = true;
	return 0;
}

void plan_clear(struct plan *p)
{
	for (size_t i = 0; i < p->nr; i++)
		free(p->rec[i].expected);
	free(p->rec);
	memset(p, 0, sizeof(*p));
}

int vm_check(const struct mon_vm *vm, struct xerr *err)
{
	if (vm->pid <= 1)
		return xerr_set(err, XO_EPLAN, "VM: %d is not a process id", (int)vm->pid);
	if (!vm->nr_vcpus || vm->nr_vcpus > MON_MAX_VCPUS || vm->nr_regions > MON_MAX_REGIONS ||
	    vm->nr_backends > MON_MAX_BACKENDS)
		return xerr_set(err, XO_EPLAN, "VM: %zu vCPUs, %zu regions, %zu backends",
				vm->nr_vcpus, vm->nr_regions, vm->nr_backends);
	for (size_t i = 0; i < vm->nr_vcpus; i++) {
		if (vm->tid[i] <= 1)
			return xerr_set(err, XO_EPLAN, "VM: vCPU %zu has no thread", i);
		for (size_t k = 0; k < i; k++)
			if (vm->tid[k] == vm->tid[i] && vm->accel == MON_KVM)
				return xerr_set(err, XO_EPLAN,
						"VM: vCPUs %zu and %zu share thread %d", k, i,
						(int)vm->tid[i]);
	}
	for (size_t i = 0; i < vm->nr_regions; i++) {
		const struct mon_region *r = &vm->region[i];

		if (!r->len_bytes || r->len_bytes > UINT64_MAX - r->gpa.v ||
		    r->len_bytes > UINT64_MAX - r->hva.v ||
		    r->len_bytes > UINT64_MAX - r->backend_off)
			return xerr_set(err, XO_EPLAN, "VM: region %zu has a bad length", i);
		if (r->backend < -1 || (r->backend >= 0 && (size_t)r->backend >= vm->nr_backends))
			return xerr_set(err, XO_EPLAN, "VM: region %zu names no backend", i);
	}
	return 0;
}

const struct mon_region *vm_region(const struct mon_vm *vm, struct gpa gpa, uint64_t len_bytes)
{
	for (size_t i = 0; i < vm->nr_regions; i++) {
		const struct mon_region *r = &vm->region[i];
		uint64_t off = gpa.v - r->gpa.v;

		if (gpa.v >= r->gpa.v && off < r->len_bytes && len_bytes <= r->len_bytes - off)
			return r;
	}
	return NULL;
}
