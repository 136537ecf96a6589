// SPDX-License-Identifier: Apache-2.0
/* Every kind of guest that exopatch is for: kernel, firmware, paging levels, machine, memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "tests/lib/guest.h"

static void expect(struct guest *g, const char *command, const char *expected)
{
	_cleanup_free_ char *out = guest_sh(g, command);

	assert_non_null(out);
	assert_string_equal(out, expected);
}

static void boots_as_asked(void **state)
{
	const struct guest_opts *o = *state;
	_cleanup_guest_ struct guest *g = NULL;
	_cleanup_free_ char *release = NULL;

	assert_int_equal(guest_boot(&g, o), 0);
	release = guest_sh(g, "uname -r");
	assert_non_null(release);
	assert_int_equal(!strncmp(release, "6.12.", 5), !strcmp(o->package, GUEST_6_12));
	expect(g, "test -d /sys/firmware/efi && echo efi || echo bios", o->ovmf ? "efi" : "bios");
	expect(g, "grep -q ' la57' /proc/cpuinfo && echo 5 || echo 4", o->la57 ? "5" : "4");
	expect(g, "nproc", "2");
	expect(g, "ls -d /sys/devices/system/node/node? | wc -l", o->numa_nodes == 2 ? "2" : "1");
	assert_true(guest_dmesg_clean(g));
}

/* What the tests of coexistence and the benchmark do inside the guest. */
static void traces_and_livepatches(void **state)
{
	_cleanup_guest_ struct guest *g = NULL;

	assert_int_equal(guest_boot(&g, *state), 0);
	expect(g,
	       "cd /sys/kernel/tracing; echo cmdline_proc_show >set_ftrace_filter; "
	       "echo function >current_tracer; cat /proc/cmdline >/dev/null; "
	       "grep -c ': cmdline_proc_show <-' trace; echo nop >current_tracer",
	       "1");
	expect(g,
	       "cd /sys/kernel/tracing; echo p:probe cmdline_proc_show >kprobe_events; "
	       "echo 1 >events/kprobes/probe/enable; cat /proc/cmdline >/dev/null; "
	       "grep -c ' probe: ' trace; echo 0 >events/kprobes/probe/enable; echo >kprobe_events",
	       "1");
	expect(g,
	       "insmod /modules/livepatch_cmdline.ko; cd /sys/kernel/livepatch/livepatch_cmdline; "
	       "until [ \"$(cat transition)\" = 0 ]; do usleep 10000; done; cat /proc/cmdline",
	       "livepatch=live");
	assert_true(guest_dmesg_clean(g));
}

static char *text_address(const struct guest_opts *o)
{
	_cleanup_guest_ struct guest *g = NULL;

	return guest_boot(&g, o) ? NULL : guest_sh(g, "grep ' T _text$' /proc/kallsyms");
}

/* Two alike are no wonder, among some hundred places; four are. */
static void base_differs_from_boot_to_boot(void **state)
{
	_cleanup_free_ char *first = text_address(*state);
	bool differs = false;

	assert_non_null(first);
	for (int i = 1; i < 4 && !differs; i++) {
		_cleanup_free_ char *next = text_address(*state);

		assert_non_null(next);
		differs = strcmp(first, next) != 0;
	}
	assert_true(differs);
}

#define BOOT(...)                                                                                  \
	{                                                                                          \
		"boots: " #__VA_ARGS__, boots_as_asked, NULL, NULL, &(struct guest_opts)           \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}

int main(void)
{
	static struct guest_opts old = {.package = GUEST_6_1}, new = {.package = GUEST_6_12};
	const struct CMUnitTest tests[] = {
		BOOT(.package = GUEST_6_1),
		BOOT(.package = GUEST_6_1, .la57 = true),
		BOOT(.package = GUEST_6_1, .ovmf = true),
		BOOT(.package = GUEST_6_1, .ovmf = true, .la57 = true),
		BOOT(.package = GUEST_6_12),
		BOOT(.package = GUEST_6_12, .la57 = true),
		BOOT(.package = GUEST_6_12, .ovmf = true),
		BOOT(.package = GUEST_6_12, .ovmf = true, .la57 = true),
		BOOT(.package = GUEST_6_1, .machine = "pc"),
		BOOT(.package = GUEST_6_1, .numa_nodes = 2, .mem_mib = 2560),
		BOOT(.package = GUEST_6_12, .private_ram = true),
		cmocka_unit_test_prestate(traces_and_livepatches, &old),
		cmocka_unit_test_prestate(traces_and_livepatches, &new),
		cmocka_unit_test_prestate(base_differs_from_boot_to_boot, &old),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
