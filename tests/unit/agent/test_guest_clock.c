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

static struct guest_clock start(void)
{
	struct guest_clock c = {0};

	(void)guest_clock_advance(&c, 5000 * MS, 700 * MS);
	c.now_ns = 0;
	return c;
}

static void goes_with_the_host(void **state)
{
	struct guest_clock c = start();

	(void)state;
	assert_int_equal(guest_clock_advance(&c, 5100 * MS, 700 * MS), 100 * MS);
	assert_int_equal(guest_clock_advance(&c, 5250 * MS, 700 * MS), 250 * MS);
}

static void waiting_does_not_count(void **state)
{
	struct guest_clock c = start();

	(void)state;
	assert_int_equal(guest_clock_advance(&c, 5100 * MS, 760 * MS), 40 * MS);
	assert_int_equal(guest_clock_advance(&c, 5200 * MS, 760 * MS), 140 * MS);
}

/* A guest with more vCPUs than there are processors keeps them waiting itself. */
static void it_never_stands_still(void **state)
{
	struct guest_clock c = start();

	(void)state;
	assert_int_equal(guest_clock_advance(&c, 5100 * MS, 2000 * MS), 10 * MS);
	assert_int_equal(guest_clock_advance(&c, 5200 * MS, 100 * MS), 110 * MS);
}

static void nobody_looked(void **state)
{
	struct guest_clock c = start();

	(void)state;
	assert_int_equal(guest_clock_advance(&c, 99000 * MS, 700 * MS), GUEST_CLOCK_STEP_NS);
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
		cmocka_unit_test(goes_with_the_host),
		cmocka_unit_test(waiting_does_not_count),
		cmocka_unit_test(it_never_stands_still),
		cmocka_unit_test(nobody_looked),
		cmocka_unit_test(waited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
