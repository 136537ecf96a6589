// SPDX-License-Identifier: Apache-2.0
/* Guests of every size that is promised: 1 to 8 vCPUs, RAM of two nodes on both sides of the hole.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/patching.h"

#define MIB		 1048576
#define SHADOW_ROM_BYTES 0x40000

static bool patched(struct guest *g)
{
	_cleanup_free_ char *line = guest_sh(g, "cat /proc/cmdline");

	assert_non_null(line);
	return strstr(line, "exopatch=live") != NULL;
}

static void applied_and_reverted(void **state)
{
	const struct guest_opts *o = *state;
	unsigned int nodes = o->numa_nodes ? o->numa_nodes : 1, vcpus = o->vcpus ? o->vcpus : 2;
	_cleanup_guest_ struct guest *g = NULL;
	_cleanup_free_ uint8_t *before = NULL, *after = NULL;
	_cleanup_exo_ struct exo e = {0}, applied = {0};
	size_t len = 0, len_after = 0;
	const json_t *vm;
	char path[256];

	assert_int_equal(patch_build(o->package, "cmdline", "cmdline", NULL, path, sizeof(path)),
			 0);
	assert_int_equal(guest_boot(&g, o), 0);
	assert_false(patched(g));
	before = guest_text(g, &len);
	assert_non_null(before);
	assert_int_equal(EXO(&e, g, "inspect"), 0);
	assert_int_equal(e.rc, 0);
	vm = json_object_get(e.doc, "vm");
	assert_int_equal(json_integer_value(json_object_get(vm, "vcpus")), vcpus);
	assert_int_equal(json_array_size(json_object_get(vm, "ram_backends")), nodes);
	/* With OVMF, the shadow-ROM range is not RAM. */
	assert_int_equal(json_integer_value(json_object_get(vm, "ram_bytes")),
			 (json_int_t)(o->mem_mib ? o->mem_mib : 512) * nodes * MIB -
				 (o->ovmf ? SHADOW_ROM_BYTES : 0));
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(e.doc, "kernel"), "cpus")),
		vcpus);
	assert_int_equal(EXO(&applied, g, "apply", path), 0);
	assert_int_equal(applied.rc, 0);
	print_message("%u vCPUs, %u nodes: %s\n", vcpus, nodes,
		      exo_str(&applied, "patch", "state", NULL));
	assert_true(patched(g));
	assert_true(exo_done(g, "revert", "cmdline"));
	assert_false(patched(g));
	after = guest_text(g, &len_after);
	assert_non_null(after);
	assert_int_equal(len, len_after);
	assert_memory_equal(before, after, len);
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

#define SIZE(...)                                                                                  \
	{                                                                                          \
#__VA_ARGS__, applied_and_reverted, NULL, NULL, &(struct guest_opts)               \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SIZE(.package = GUEST_6_1, .vcpus = 1, .mem_mib = 256),
		SIZE(.package = GUEST_6_12, .vcpus = 1, .mem_mib = 256),
		SIZE(.package = GUEST_6_1, .vcpus = 4),
		SIZE(.package = GUEST_6_12, .vcpus = 8),
		SIZE(.package = GUEST_6_1, .numa_nodes = 2, .mem_mib = 2560),
		SIZE(.package = GUEST_6_12, .numa_nodes = 2, .mem_mib = 2560, .machine = "pc",
		     .vcpus = 4),
		SIZE(.package = GUEST_6_12, .numa_nodes = 2, .mem_mib = 2560, .ovmf = true),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
