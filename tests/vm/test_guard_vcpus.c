// SPDX-License-Identifier: Apache-2.0
/* vCPUs that are added to a guest, and taken out of it, while it is guarded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "tests/lib/guardrun.h"
#include "tests/lib/patching.h"

#define PATIENT_MS 20000
#define SETTLE_MS  1500
#define CPU1	   "/sys/devices/system/cpu/cpu1"
#define ATTACK	   "/attacks/load text_vmap_alias; rmmod text_vmap_alias"
#define UNHARMED   "cat /proc/execdomains >/dev/null"

static struct guest *g;
static struct guardrun *guard;

static int end(void **state)
{
	(void)state;
	guardrun_drop(guard);
	guard = NULL;
	guest_free(g);
	g = NULL;
	return 0;
}

static void run(const char *command)
{
	assert_int_equal(guest_run(g, command, PATIENT_MS, NULL, NULL), 0);
}

static void plug(const char *id, int socket)
{
	assert_int_equal(
		guest_qmp(g, "device_add",
			  json_pack("{s:s,s:s,s:i,s:i,s:i}", "driver", "qemu64-x86_64-cpu", "id",
				    id, "socket-id", socket, "core-id", 0, "thread-id", 0),
			  NULL),
		0);
}

/* The number of the vCPU that the next violation comes from. */
static json_int_t attacker(void)
{
	json_t *event = guardrun_find(guard, "violation", PATIENT_MS);
	json_int_t vcpu;

	assert_non_null(event);
	vcpu = json_integer_value(json_object_get(event, "vcpu"));
	json_decref(event);
	return vcpu;
}

/* Guarded, with one processor and room for more. */
static void boot(const char *smp)
{
	const char *const extra[] = {"-smp", smp, NULL};

	assert_int_equal(
		guest_boot(&g,
			   &(struct guest_opts){.package = GUEST_6_1, .vcpus = 1, .extra = extra}),
		0);
	guard = guardrun_start(g, "enforce", NULL);
	assert_non_null(guard);
}

/*
 * A kernel that began with one processor has taken the lock prefixes out of its text; with the
 * second one it puts them in again, thousands of them, and nobody is accused for it.
 */
static void added_and_taken_out(void **state)
{
	(void)state;
	boot("1,maxcpus=2,sockets=2,cores=1,threads=1");
	plug("second", 1);
	assert_true(guardrun_saw(guard, "vcpus-changed", PATIENT_MS));
	run("until [ -e " CPU1 " ]; do usleep 50000; done");
	run("grep -q 1 " CPU1 "/online || echo 1 >" CPU1 "/online");
	assert_int_equal(guardrun_settle(guard, SETTLE_MS), 0);
	assert_int_equal(guardrun_number(guard, "violations"), 0);
	run("dmesg | grep 'switching to SMP code'");
	/* Held and judged like any other: as the writer, and while another one writes. */
	run("taskset 2 sh -c '" ATTACK "'");
	assert_int_equal(attacker(), 1);
	run(UNHARMED);
	(void)guardrun_settle(guard, SETTLE_MS);
	run("taskset 1 sh -c '" ATTACK "'");
	assert_int_equal(attacker(), 0);
	run(UNHARMED);
	(void)guardrun_settle(guard, SETTLE_MS);
	/* Out again. */
	run("echo 0 >" CPU1 "/online");
	assert_int_equal(guest_qmp(g, "device_del", json_pack("{s:s}", "id", "second"), NULL), 0);
	assert_true(guardrun_saw(guard, "vcpus-changed", PATIENT_MS));
	run(ATTACK);
	assert_int_equal(attacker(), 0);
	run(UNHARMED);
	assert_int_equal(guardrun_missing(guard), 0);
	assert_int_equal(guardrun_stop(guard), 0);
	guard = NULL;
	assert_true(guest_dmesg_clean(g));
}

static void unplug(const char *id)
{
	assert_int_equal(guest_qmp(g, "device_del", json_pack("{s:s}", "id", id), NULL), 0);
	assert_true(guardrun_saw(guard, "vcpus-changed", PATIENT_MS));
}

/* Its kernel uses it. */
static void bring_up(const char *id, int number)
{
	char command[256];

	plug(id, number);
	assert_true(guardrun_saw(guard, "vcpus-changed", PATIENT_MS));
	snprintf(command, sizeof(command),
		 "cd /sys/devices/system/cpu; until [ -e cpu%d ]; do usleep 50000; done; "
		 "grep -q 1 cpu%d/online || echo 1 >cpu%d/online",
		 number, number, number);
	run(command);
}

/* Those after it move up, with what was learnt of them. In again is more than QEMU 7.2's TCG bears.
 */
static void from_amid_others(void **state)
{
	(void)state;
	boot("1,maxcpus=3,sockets=3,cores=1,threads=1");
	bring_up("second", 1);
	bring_up("third", 2);
	(void)guardrun_settle(guard, SETTLE_MS);
	run("echo 0 >" CPU1 "/online");
	unplug("second");
	(void)guardrun_settle(guard, SETTLE_MS);
	assert_int_equal(guardrun_number(guard, "findings"), 0);
	assert_int_equal(guardrun_number(guard, "violations"), 0);
	run("taskset 4 sh -c '" ATTACK "'");
	assert_int_equal(attacker(), 1);
	run(UNHARMED);
	assert_int_equal(guardrun_missing(guard), 0);
	assert_int_equal(guardrun_stop(guard), 0);
	guard = NULL;
	assert_true(guest_dmesg_clean(g));
}

static int setup(void **state)
{
	(void)state;
	return patching_setup();
}

static int teardown(void **state)
{
	(void)state;
	patching_teardown();
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(added_and_taken_out, end),
		cmocka_unit_test_teardown(from_amid_others, end),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, setup, teardown);
}
