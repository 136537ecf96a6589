// SPDX-License-Identifier: Apache-2.0
/* What KVM is given: which MSRs, which way, and a bitmap that allows none of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm-agent/monitor/msrfilter.h"

#define AT 0x7ffc12345600

static const struct hva at = {AT};

/* As KVM does: the first range that has the MSR and is for this kind of access decides. */
static bool allows(const struct msrfilter *f, uint32_t msr, uint32_t access)
{
	for (size_t i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++) {
		const struct kvm_msr_filter_range *r = &f->filter.ranges[i];
		uint64_t off = (uint64_t)(uintptr_t)r->bitmap - AT;
		uint32_t bit = msr - r->base;
		const uint8_t *bitmap;

		if (!r->nmsrs || !(r->flags & access) || bit >= r->nmsrs)
			continue;
		assert_in_range(off, 0, sizeof(*f) - (r->nmsrs + 63) / 64 * sizeof(uint64_t));
		bitmap = (const uint8_t *)f + off;
		return bitmap[bit / 8] & 1u << bit % 8;
	}
	return !(f->filter.flags & KVM_MSR_FILTER_DEFAULT_DENY);
}

static void ours_denies_writes_of_system_call_msrs(void **state)
{
	static const uint32_t denied[] = {0x174,      0x175,	  0x176,     0xc0000081,
					  0xc0000082, 0xc0000083, 0xc0000084};
	static const uint32_t allowed[] = {0,	       0x10,	   0x173,      0x177,
					   0x1a0,      0x6e0,	   0xc0000080, 0xc0000085,
					   0xc0000100, 0xc0000102, 0x4b564d01, UINT32_MAX};
	struct msrfilter f;

	(void)state;
	msrfilter_make(&f, at, true);
	for (size_t i = 0; i < XO_ARRAY_SIZE(denied); i++) {
		assert_false(allows(&f, denied[i], KVM_MSR_FILTER_WRITE));
		assert_true(allows(&f, denied[i], KVM_MSR_FILTER_READ));
	}
	for (size_t i = 0; i < XO_ARRAY_SIZE(allowed); i++) {
		assert_true(allows(&f, allowed[i], KVM_MSR_FILTER_WRITE));
		assert_true(allows(&f, allowed[i], KVM_MSR_FILTER_READ));
	}
}

static void qemus_denies_one_read(void **state)
{
	struct msrfilter f;

	(void)state;
	msrfilter_make(&f, at, false);
	assert_false(allows(&f, 0x35, KVM_MSR_FILTER_READ));
	assert_true(allows(&f, 0x35, KVM_MSR_FILTER_WRITE));
	assert_true(allows(&f, 0x34, KVM_MSR_FILTER_READ));
	assert_true(allows(&f, 0x36, KVM_MSR_FILTER_READ));
	assert_true(allows(&f, 0xc0000082, KVM_MSR_FILTER_WRITE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ours_denies_writes_of_system_call_msrs),
		cmocka_unit_test(qemus_denies_one_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
