// SPDX-License-Identifier: Apache-2.0
/* The guest's time is the host's, less what its vCPUs were kept waiting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <unistd.h>

#include "base/util.h"
#include "vmm-agent/agent/guest_clock.h"

#define MS UINT64_C(1000000)

/* Of a guest with one vCPU. */
static uint64_t advance(struct guest_clock *c, uint64_t wall_ns, uint64_t waited_ns)
{
	return guest_clock_advance(c, wall_ns, &waited_ns, 1);
}

static struct guest_clock start(void)
{
	struct guest_clock c = {0};

	(void)advance(&c, 5000 * MS, 700 * MS);
	c.now_ns = 0;
	return c;
}

static void goes_with_the_host(void **state)
{
	struct guest_clock c = start();

	(void)state;
	assert_int_equal(advance(&c, 5100 * MS, 700 * MS), 100 * MS);
	assert_int_equal(advance(&c, 5250 * MS, 700 * MS), 250 * MS);
}

static void waiting_does_not_count(void **state)
{
	struct guest_clock c = start();

	(void)state;
	assert_int_equal(advance(&c, 5100 * MS, 760 * MS), 40 * MS);
	assert_int_equal(advance(&c, 5200 * MS, 760 * MS), 140 * MS);
}

/* A guest with more vCPUs than there are processors keeps them waiting itself. */
static void it_never_stands_still(void **state)
{
	struct guest_clock c = start();

	(void)state;
	assert_int_equal(advance(&c, 5100 * MS, 2000 * MS), 10 * MS);
	assert_int_equal(advance(&c, 5200 * MS, 100 * MS), 110 * MS);
}

/* The one that waited long before has nothing to do now; the other one has. */
static void each_waits_for_itself(void **state)
{
	uint64_t waited_ns[] = {9000 * MS, 100 * MS};
	struct guest_clock c = {0};

	(void)state;
	(void)guest_clock_advance(&c, 5000 * MS, waited_ns, 2);
	c.now_ns = 0;
	waited_ns[1] += 80 * MS;
	assert_int_equal(guest_clock_advance(&c, 5100 * MS, waited_ns, 2), 20 * MS);
}

static void nobody_looked(void **state)
{
	struct guest_clock c = start();

	(void)state;
	assert_int_equal(advance(&c, 99000 * MS, 700 * MS), GUEST_CLOCK_STEP_NS);
}

static void waited(void **state)
{
	uint64_t end_ns = xo_now_ns() + 20 * MS;

	(void)state;
	while (xo_now_ns() < end_ns)
		;
	/* How long is the host's affair. */
	assert_true(guest_clock_waited(getpid(), getpid()) < UINT64_C(3600000) * MS);
	assert_int_equal(guest_clock_waited(getpid(), 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(goes_with_the_host),	 cmocka_unit_test(waiting_does_not_count),
		cmocka_unit_test(it_never_stands_still), cmocka_unit_test(each_waits_for_itself),
		cmocka_unit_test(nobody_looked),	 cmocka_unit_test(waited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
