// SPDX-License-Identifier: Apache-2.0
/*
 * Every replacement source of images/patches, on both kernels: what can be patched is, with its
 * effect seen and gone again; what cannot is refused by name. Patches share the firmware window,
 * and leave nothing in it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "tests/lib/patching.h"
#include "tests/lib/ram.h"

#define WINDOW_START   0xc0000
#define WINDOW_BYTES   0x40000
#define FIXMAP_ENTRIES 1024 /* of level1_fixmap_pgt, which is two pages */
#define FIXMAP_UNUSED  513  /* from here on no index is in use */
#define NR(a)	       XO_ARRAY_SIZE(a)

static const char *kernel;
static struct guest *g;
static uint8_t *text, *window;
static size_t text_bytes;
static uint64_t fixmap;

/* A patch, and a command whose output tells whether it is there. */
struct sample {
	const char *source, *command, *patched;
};

static const struct sample samples[] = {
	{"cmdline", "cat /proc/cmdline", "exopatch=live"},
	{"two-targets", "cat /proc/version", "exopatch=live"},
	{"no-ftrace", "cat /sys/kernel/tracing/README", "exopatch=live"},
	{"buggy", "cut -d . -f 1 /proc/loadavg", "10"},
	{"cold", "(echo 1 >/proc/sys/vm/drop_caches) 2>&1; true", "not permitted"},
};

static bool shows(const char *command, const char *what)
{
	_cleanup_free_ char *out = guest_sh(g, command);

	assert_non_null(out);
	return strstr(out, what) != NULL;
}

static bool patched(const struct sample *s)
{
	return shows(s->command, s->patched);
}

/* Guest-physical memory as QEMU sees it, ROM included; owned by the caller. */
static uint8_t *physical(uint64_t at, size_t bytes)
{
	struct xbuf b = XBUF(bytes);
	char file[160];

	snprintf(file, sizeof(file), "%s/memory", patching_dir());
	assert_int_equal(guest_qmp(g, "pmemsave",
				   json_pack("{s:I,s:I,s:s}", "val", (json_int_t)at, "size",
					     (json_int_t)bytes, "filename", file),
				   NULL),
			 0);
	assert_int_equal(xbuf_read_file(&b, file), 0);
	unlink(file);
	assert_int_equal(b.len_bytes, bytes);
	return b.data;
}

static int setup(void **state)
{
	static const char *const names[] = {"level1_fixmap_pgt", NULL};
	uint64_t at;

	(void)state;
	if (patching_setup() || guest_boot(&g, &(struct guest_opts){.package = kernel}))
		return -1;
	for (size_t i = 0; i < NR(samples); i++)
		assert_false(patched(&samples[i]));
	if (guest_symbols(g, names, &at))
		return -1;
	fixmap = guest_gpa(g, at);
	text = guest_text(g, &text_bytes);
	window = physical(WINDOW_START, WINDOW_BYTES);
	return fixmap && text && window ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	guest_free(g);
	g = NULL;
	free(text);
	free(window);
	patching_teardown();
	return 0;
}

/* Text, window and page tables are as they were. */
static int untouched(void **state)
{
	_cleanup_free_ uint8_t *now = NULL, *win = physical(WINDOW_START, WINDOW_BYTES);
	_cleanup_free_ uint64_t *entry =
		(uint64_t *)(void *)physical(fixmap, FIXMAP_ENTRIES * sizeof(uint64_t));
	size_t len = 0;

	(void)state;
	now = guest_text(g, &len);
	assert_non_null(now);
	assert_int_equal(len, text_bytes);
	assert_memory_equal(now, text, len);
	assert_memory_equal(win, window, WINDOW_BYTES);
	for (size_t i = FIXMAP_UNUSED; i < FIXMAP_ENTRIES; i++)
		assert_int_equal(entry[i], 0);
	assert_true(guest_dmesg_clean(g));
	return 0;
}

/* Once for each source: compiling takes longer than patching. */
static void build(const char *source, char path[256])
{
	snprintf(path, 256, "%s/%s.xpatch", patching_dir(), source);
	if (access(path, R_OK))
		assert_int_equal(patch_build(kernel, source, source, NULL, path, 256), 0);
}

static void each_alone(void **state)
{
	(void)state;
	for (size_t i = 0; i < NR(samples); i++) {
		const struct sample *s = &samples[i];
		char path[256];

		print_message("%s\n", s->source);
		build(s->source, path);
		assert_true(exo_done(g, "apply", path));
		assert_true(patched(s));
		for (size_t k = 0; k < NR(samples); k++)
			assert_int_equal(patched(&samples[k]), k == i);
		assert_true(exo_done(g, "revert", s->source));
		assert_false(patched(s));
		untouched(NULL);
	}
}

static void both_functions_of_an_object(void **state)
{
	_cleanup_exo_ struct exo e = {0};
	char path[256];

	(void)state;
	build("two-targets", path);
	assert_int_equal(EXO(&e, g, "apply", path), 0);
	assert_int_equal(e.rc, 0);
	assert_int_equal(
		json_array_size(json_object_get(json_object_get(e.doc, "patch"), "functions")), 2);
	assert_true(shows("cat /proc/version", "exopatch=live"));
	assert_true(shows("cat /proc/execdomains", "exopatch=live"));
	assert_true(exo_done(g, "revert", "two-targets"));
	assert_false(shows("cat /proc/version", "exopatch=live"));
	assert_false(shows("cat /proc/execdomains", "exopatch=live"));
}

/* 6.1 has drop_caches_sysctl_handler.cold, in which no task may be; 6.12 has none. */
static void a_cold_part_is_recorded(void **state)
{
	json_t *manifest, *target;
	const json_t *extra;
	char path[256];
	bool old = !strcmp(kernel, GUEST_6_1);

	(void)state;
	build("cold", path);
	manifest = patch_manifest(path);
	assert_non_null(manifest);
	target = json_array_get(json_object_get(manifest, "targets"), 0);
	extra = json_object_get(target, "extra");
	assert_int_equal(json_array_size(extra), old ? 1 : 0);
	if (old)
		assert_string_equal(
			json_string_value(json_object_get(json_array_get(extra, 0), "symbol")),
			"drop_caches_sysctl_handler.cold");
	json_decref(manifest);
}

static void several_share_the_window_and_leave_in_another_order(void **state)
{
	static const size_t in[] = {0, 1, 2, 3}, out[] = {1, 3, 0, 2};
	bool on[NR(samples)] = {0};
	uint64_t page = 0;

	(void)state;
	for (size_t i = 0; i < NR(in); i++) {
		_cleanup_exo_ struct exo e = {0};
		const struct sample *s = &samples[in[i]];
		uint64_t home;
		char path[256];

		build(s->source, path);
		assert_int_equal(EXO(&e, g, "apply", path), 0);
		assert_int_equal(e.rc, 0);
		home = strtoull(exo_str(&e, "patch", "home_address", NULL), NULL, 16);
		assert_true(home != 0);
		if (i)
			assert_int_equal(home >> 12, page);
		page = home >> 12;
		on[in[i]] = true;
		for (size_t k = 0; k < NR(samples); k++)
			assert_int_equal(patched(&samples[k]), on[k]);
	}
	for (size_t i = 0; i < NR(out); i++) {
		assert_true(exo_done(g, "revert", samples[out[i]].source));
		on[out[i]] = false;
		for (size_t k = 0; k < NR(samples); k++)
			assert_int_equal(patched(&samples[k]), on[k]);
	}
}

static void a_hole_in_the_window_is_used_again(void **state)
{
	_cleanup_exo_ struct exo first = {0}, again = {0};
	char cmdline[256], two[256];

	(void)state;
	build("cmdline", cmdline);
	build("two-targets", two);
	assert_int_equal(EXO(&first, g, "apply", cmdline), 0);
	assert_int_equal(first.rc, 0);
	assert_true(exo_done(g, "apply", two));
	assert_true(exo_done(g, "revert", "cmdline"));
	assert_int_equal(EXO(&again, g, "apply", cmdline), 0);
	assert_int_equal(again.rc, 0);
	assert_string_equal(exo_str(&first, "patch", "home_address", NULL),
			    exo_str(&again, "patch", "home_address", NULL));
	assert_true(patched(&samples[0]));
	assert_true(exo_done(g, "revert", "two-targets"));
	assert_true(exo_done(g, "revert", "cmdline"));
}

static void a_function_without_room_for_a_detour(void **state)
{
	_cleanup_exo_ struct exo e = {0};
	char path[256];

	(void)state;
	build("no-room", path);
	assert_int_equal(EXO(&e, g, "apply", path), 0);
	assert_true(EXO_REFUSED(&e, "no-room"));
	assert_non_null(strstr(exo_str(&e, "reasons", "0", "detail", NULL), "noop_fsync"));
}

static void what_is_not_handled_is_refused_by_name(void **state)
{
	static const struct {
		const char *source, *key, *name;
	} refused[] = {
		{"refuse-alternative", "unsupported-section", ".altinstructions"},
		{"refuse-ambiguous-symbol", "symbol-ambiguous", "m_show"},
		{"refuse-bss", "unsupported-section", ".bss"},
		{"refuse-bug-table", "unsupported-section", "__bug_table"},
		{"refuse-data", "unsupported-section", ".data"},
		{"refuse-exception-table", "unsupported-section", "__ex_table"},
		{"refuse-init", "unsupported-section", ".init.text"},
		{"refuse-jump-label", "unsupported-section", "__jump_table"},
		{"refuse-missing-symbol", "symbol-missing", "exopatch_no_such_function"},
		{"refuse-per-cpu", "unsupported-section", ".data..percpu"},
		{"refuse-static-call", "unsupported-section", ".static_call_sites"},
	};

	(void)state;
	for (size_t i = 0; i < NR(refused); i++) {
		_cleanup_free_ char *message = NULL;
		char path[256];

		print_message("%s\n", refused[i].source);
		assert_int_equal(patch_build_says(kernel, refused[i].source, "refused", NULL, path,
						  sizeof(path), &message),
				 3);
		if (!strstr(message, refused[i].key) || !strstr(message, refused[i].name))
			fail_msg("%s", message);
		assert_int_not_equal(access(path, F_OK), 0);
	}
}

static int run_on(const char *package)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_teardown(f, untouched)
		T(each_alone),
		T(both_functions_of_an_object),
		T(a_cold_part_is_recorded),
		T(several_share_the_window_and_leave_in_another_order),
		T(a_hole_in_the_window_is_used_again),
		T(a_function_without_room_for_a_detour),
		T(what_is_not_handled_is_refused_by_name),
	};

	kernel = package;
	return cmocka_run_group_tests_name(package, tests, setup, teardown);
}

int main(void)
{
	int failed = run_on(GUEST_6_1);

	return failed + run_on(GUEST_6_12);
}
