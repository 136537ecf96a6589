// SPDX-License-Identifier: Apache-2.0
/*
 * The main job, on stock Debian kernels: apply, see the effect, trace the patched function in every
 * way the kernel offers, revert, and find every byte of text as it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/patching.h"

static const struct variant {
	const char *name;
	struct guest_opts opts;
} variants[] = {
	{"6.1, SeaBIOS, q35, 4-level", {.package = GUEST_6_1}},
	{"6.12, OVMF, q35, 5-level", {.package = GUEST_6_12, .ovmf = true, .la57 = true}},
	{"6.12, SeaBIOS, pc, 4 vCPUs", {.package = GUEST_6_12, .machine = "pc", .vcpus = 4}},
	{"6.1, OVMF, 5-level, 1 vCPU",
	 {.package = GUEST_6_1, .ovmf = true, .la57 = true, .vcpus = 1}},
};

static struct guest *boot(const struct variant *v)
{
	struct guest *g = NULL;

	print_message("%s\n", v->name);
	assert_int_equal(guest_boot(&g, &v->opts), 0);
	return g;
}

static void expect_cmdline(struct guest *g, bool patched)
{
	_cleanup_free_ char *line = guest_sh(g, "cat /proc/cmdline");

	assert_non_null(line);
	assert_int_equal(strstr(line, "exopatch=live") != NULL, patched);
}

static void apply(struct guest *g, const char *path)
{
	_cleanup_exo_ struct exo e = {0};

	assert_int_equal(EXO(&e, g, "apply", path), 0);
	assert_int_equal(e.rc, 0);
	assert_string_equal(exo_str(&e, "result", NULL), "done");
	assert_string_equal(exo_str(&e, "patch", "state", NULL), "active");
}

static void revert(struct guest *g, const char *id)
{
	_cleanup_exo_ struct exo e = {0};

	assert_int_equal(EXO(&e, g, "revert", id), 0);
	assert_int_equal(e.rc, 0);
	assert_string_equal(exo_str(&e, "patch", "state", NULL), "reverted");
}

static void expect_status(struct guest *g, const char *state, const char *in_guest)
{
	_cleanup_exo_ struct exo e = {0};

	assert_int_equal(EXO(&e, g, "status"), 0);
	assert_int_equal(e.rc, 0);
	assert_string_equal(exo_str(&e, "patches", "0", "state", NULL), state);
	assert_string_equal(exo_str(&e, "patches", "0", "guest", NULL), in_guest);
}

static void sh(struct guest *g, const char *command)
{
	free(guest_sh(g, command));
}

/* Every kind of tracing on and off again; the patch must neither break nor vanish. */
static void trace_patched(struct guest *g)
{
	static const char *const ways[] = {
		"cd /sys/kernel/tracing && echo cmdline_proc_show > set_ftrace_filter && "
		"echo function > current_tracer && cat /proc/cmdline >/dev/null && "
		"grep -c cmdline_proc_show trace; echo nop > current_tracer; "
		"echo > set_ftrace_filter",
		/* The graph tracer on all functions takes TCG tens of seconds on a busy host. */
		"cd /sys/kernel/tracing && echo 'cmdline_proc_show seq_*' > set_ftrace_filter && "
		"echo function_graph > current_tracer && cat /proc/cmdline > /dev/null && "
		"grep -c cmdline_proc_show trace; echo nop > current_tracer; "
		"echo > set_ftrace_filter",
		"cd /sys/kernel/tracing && echo 'p:xo cmdline_proc_show' > kprobe_events && "
		"echo 1 > events/kprobes/xo/enable && cat /proc/cmdline >/dev/null && "
		"grep -c xo: trace; echo 0 > events/kprobes/xo/enable; echo > kprobe_events",
		"cd /sys/kernel/tracing && echo 'r:xr cmdline_proc_show' > kprobe_events && "
		"echo 1 > events/kprobes/xr/enable && cat /proc/cmdline >/dev/null; "
		"echo 0 > events/kprobes/xr/enable; echo > kprobe_events",
	};

	for (size_t i = 0; i < XO_ARRAY_SIZE(ways); i++) {
		_cleanup_free_ char *out = NULL;
		int rc = -1;

		assert_int_equal(guest_run(g, ways[i], 60000, &out, &rc), 0);
		print_message("tracing %zu: %d, %s\n", i, rc, out);
		assert_int_equal(rc, 0);
		expect_cmdline(g, true);
	}
	assert_true(guest_dmesg_clean(g));
}

static void apply_trace_revert(const struct variant *v)
{
	_cleanup_guest_ struct guest *g = boot(v);
	_cleanup_free_ uint8_t *before = NULL, *after = NULL;
	_cleanup_free_ char *boot_id = guest_boot_id(g), *boot_id_after = NULL;
	size_t len = 0, len_after = 0;
	char path[256];

	assert_int_equal(
		patch_build(v->opts.package, "cmdline", "cmdline", NULL, path, sizeof(path)), 0);
	sh(g, "cat /proc/cmdline");
	expect_cmdline(g, false);
	before = guest_text(g, &len);
	assert_non_null(before);
	apply(g, path);
	expect_cmdline(g, true);
	expect_status(g, "active", "new");
	trace_patched(g);
	expect_status(g, "active", "new");
	revert(g, "cmdline");
	expect_cmdline(g, false);
	expect_status(g, "reverted", "old");
	after = guest_text(g, &len_after);
	assert_non_null(after);
	assert_int_equal(len, len_after);
	assert_memory_equal(before, after, len);
	boot_id_after = guest_boot_id(g);
	assert_string_equal(boot_id, boot_id_after);
	assert_true(guest_dmesg_clean(g));
}

static void variant_0(void **state)
{
	(void)state;
	apply_trace_revert(&variants[0]);
}

static void variant_1(void **state)
{
	(void)state;
	apply_trace_revert(&variants[1]);
}

static void variant_2(void **state)
{
	(void)state;
	apply_trace_revert(&variants[2]);
}

static void variant_3(void **state)
{
	(void)state;
	apply_trace_revert(&variants[3]);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(variant_0),
		cmocka_unit_test(variant_1),
		cmocka_unit_test(variant_2),
		cmocka_unit_test(variant_3),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
