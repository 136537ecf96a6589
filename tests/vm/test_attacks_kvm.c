// SPDX-License-Identifier: Apache-2.0
/*
 * The attack that only KVM has: the guest names an address where KVM is to keep its clock, and KVM
 * writes there by itself. On the bare guest, since Debian's kernels need more KVM than some hosts
 * have; the same as a module is tests/attacks/pvclock.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/util.h"
#include "tests/lib/guarding.h"
#include "tests/lib/holding.h"
#include "tests/lib/proc.h"

#define MSR_KVM_SYSTEM_TIME 0x4b564d01 /* MSR_KVM_SYSTEM_TIME_NEW, asm/kvm_para.h */
#define ENABLED		    1
#define CLOCK_BYTES	    32 /* struct pvclock_vcpu_time_info */
#define LOOK_MS		    20
#define PATIENT_NS	    UINT64_C(30000000000)

static struct {
	const char *unguarded, *guarded;
} result = {"not tried", "not tried"};

static bool is_written(const struct guarding *g)
{
	static const uint8_t none[CLOCK_BYTES];

	return memcmp(bare_mem(g->guest, BARE_GUARDED), none, sizeof(none)) != 0;
}

static int boot(void **state)
{
	static struct guarding g;

	*state = NULL;
	if (!bare_kvm_usable())
		return 0;
	guarding_start(&g, &(struct bare_opts){.ring0 = true, .nr_cpus = 1});
	*state = &g;
	return 0;
}

static int stop(void **state)
{
	if (*state)
		guarding_stop(*state);
	return 0;
}

static struct guarding *need_kvm(void **state)
{
	if (!*state) {
		print_message("no /dev/kvm that makes virtual machines\n");
		skip();
	}
	return *state;
}

/* The processor is in wrmsr until all is done. Return: what the register holds then */
static uint64_t aimed(struct guarding *g)
{
	uint64_t seen = 0;

	assert_true(bare_stored(g->guest, 0, GUARDING_WAIT_MS, &seen));
	if (seen == BARE_DENIED) {
		print_message("this KVM has no clock\n");
		skip();
	}
	return seen;
}

static void works_unguarded(void **state)
{
	struct guarding *g = need_kvm(state);

	bare_store(g->guest, 0, BARE_SET_MSR, MSR_KVM_SYSTEM_TIME, BARE_GUARDED | ENABLED);
	assert_int_equal(aimed(g), BARE_GUARDED | ENABLED);
	for (int i = 0; i < GUARDING_WAIT_MS && !is_written(g); i++)
		xo_sleep_ns(1000000);
	assert_true(is_written(g));
	result.unguarded = "works";
}

/* KVM writes more than once: a count that is odd meanwhile, the values, the count. */
static void prevented_when_guarded(void **state)
{
	struct guarding *g = need_kvm(state);
	uint64_t end_ns = xo_now_ns() + PATIENT_NS;
	bool more = true;
	unsigned int nr = 0;

	guarding_protect(g, 1);
	bare_store(g->guest, 0, BARE_SET_MSR, MSR_KVM_SYSTEM_TIME, BARE_GUARDED | ENABLED);
	while (more && xo_now_ns() < end_ns) {
		struct mon_write_event e;
		struct xerr err = {0};
		int rc = patient_next(g->mon, LOOK_MS, &e, &err);

		if (rc) {
			assert_int_equal(rc, -XO_ETIMEOUT);
			more = !nr || !bare_stored(g->guest, 0, 0, NULL);
			continue;
		}
		assert_in_range(e.gpa.v, BARE_GUARDED, BARE_GUARDED + CLOCK_BYTES - 1);
		(void)guarding_judge(g, false);
		nr++;
	}
	assert_true(nr > 0);
	(void)aimed(g);
	assert_false(is_written(g));
	assert_true(bare_runs(g->guest, GUARDING_WAIT_MS));
	print_message("%u writes put back\n", nr);
	result.guarded = "prevented";
}

static int write_table(void **state)
{
	char path[256];
	_cleanup_fclose_ FILE *f =
		fopen(run_build_path("attack-table-kvm.txt", path, sizeof(path)), "we");

	(void)state;
	if (!f)
		return -1;
	fprintf(f, "bare guest, KVM\n%-42s %-10s %s\n", "pvclock MSR aimed at text",
		result.unguarded, result.guarded);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(works_unguarded, boot, stop),
		cmocka_unit_test_setup_teardown(prevented_when_guarded, boot, stop),
	};

	use_built_programs();
	return cmocka_run_group_tests(tests, NULL, write_table);
}
