// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/monitor/wire.h"

static bool get_region(struct span body, uint64_t off, struct mon_region *ret)
{
	struct wire_region w;

	if (!span_copy(body, off, &w, sizeof(w)))
		return false;
	*ret = (struct mon_region){
		.gpa = {w.gpa},
		.len_bytes = w.len_bytes,
		.hva = {w.hva},
		.backend = w.backend,
		.backend_off = w.backend_off,
		.rom = w.rom != 0,
	};
	return true;
}

int wire_get_start(struct span body, struct mon_vm *ret)
{
	struct wire_start w;
	uint64_t off = sizeof(w);

	if (!span_copy(body, 0, &w, sizeof(w)) || w.version != MON_WIRE_VERSION)
		return -XO_EPROTO;
	if (w.nr_vcpus > MON_MAX_VCPUS || w.nr_regions > MON_MAX_REGIONS ||
	    w.nr_backends > MON_MAX_BACKENDS)
		return -XO_ELIMIT;
	if (body.len_bytes - sizeof(w) !=
	    w.nr_vcpus * sizeof(int32_t) + w.nr_regions * sizeof(struct wire_region))
		return -XO_EPROTO;
	ret->pid = w.pid;
	ret->accel = w.accel == MON_TCG ? MON_TCG : MON_KVM;
	if (w.accel != ret->accel)
		return -XO_EPROTO;
	ret->nr_vcpus = w.nr_vcpus;
	ret->nr_regions = w.nr_regions;
	ret->nr_backends = w.nr_backends;
	for (size_t i = 0; i < w.nr_vcpus; i++, off += sizeof(int32_t))
		if (!span_s32(body, off, &ret->tid[i]))
			return -XO_EPROTO;
	for (size_t i = 0; i < w.nr_regions; i++, off += sizeof(struct wire_region))
		if (!get_region(body, off, &ret->region[i]))
			return -XO_EPROTO;
	return 0;
}

int wire_get_ranges(struct span body, struct mon_range ret[MON_GUARD_MAX_RANGES])
{
	size_t nr = body.len_bytes / sizeof(ret[0]);

	if (body.len_bytes % sizeof(ret[0]) || nr > MON_GUARD_MAX_RANGES ||
	    !span_copy(body, 0, ret, nr * sizeof(ret[0])))
		return -XO_EPROTO;
	return (int)nr;
}

int wire_next_write(struct span body, uint64_t *off, struct mon_write *ret)
{
	struct wire_write w;
	struct span bytes;

	if (!span_copy(body, *off, &w, sizeof(w)) || w.zero ||
	    !span_sub(body, *off + sizeof(w), 2 * (uint64_t)w.len_bytes, &bytes))
		return -XO_EPROTO;
	*ret = (struct mon_write){
		.gpa = {w.gpa},
		.gva = {w.gva},
		.len_bytes = w.len_bytes,
		.expected = bytes.p,
		.replacement = bytes.p + w.len_bytes,
	};
	*off += sizeof(w) + bytes.len_bytes;
	return 0;
}
