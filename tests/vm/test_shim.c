// SPDX-License-Identifier: Apache-2.0
/*
 * Guests that have loaded the shim: new code in its arena, the tenant's list of patches, the module
 * pinned while anything is patched, and an ABI page that lies.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "guest-shim/shim_abi.h"
#include "tests/lib/patching.h"
#include "tests/lib/ram.h"

#define SHIM	"--home=shim"
#define WINDOW	"--home=window"
#define PATCHES "cat /sys/kernel/exopatch/patches"

static const char *kernel;
static struct guest *g;
static int ram = -1;
static char cmdline[256], two[256];
static uint8_t *text;
static size_t text_bytes;

static int setup(void **state)
{
	const struct guest_opts opts = {.package = kernel, .shim = true};

	(void)state;
	if (patching_setup() || guest_boot(&g, &opts))
		return -1;
	ram = ram_open(g);
	free(guest_sh(g, "cat /proc/cmdline /proc/version; " PATCHES));
	text = guest_text(g, &text_bytes);
	if (ram < 0 || !text || patch_build(kernel, "cmdline", "cmdline", NULL, cmdline, 256))
		return -1;
	return patch_build(kernel, "two-targets", "two-targets", NULL, two, 256);
}

static int teardown(void **state)
{
	(void)state;
	if (ram >= 0)
		close(ram);
	ram = -1;
	guest_free(g);
	g = NULL;
	free(text);
	patching_teardown();
	return 0;
}

static bool shows(const char *command, const char *what)
{
	_cleanup_free_ char *out = guest_sh(g, command);

	assert_non_null(out);
	return strstr(out, what) != NULL;
}

static bool patched(void)
{
	return shows("cat /proc/cmdline", "exopatch=live");
}

static void expect_listed(const char *expected)
{
	_cleanup_free_ char *out =
		guest_sh(g, PATCHES " | cut -d ' ' -f 1,2 | sort | tr '\\n' ','");

	assert_non_null(out);
	assert_string_equal(out, expected);
}

static bool unloads(void)
{
	_cleanup_free_ char *out = NULL;
	int rc = -1;

	assert_int_equal(guest_run(g, "rmmod exopatch_shim", 0, &out, &rc), 0);
	assert_int_equal(shows("cat /proc/modules", "exopatch_shim"), rc != 0);
	return rc == 0;
}

static void load(void)
{
	assert_int_equal(guest_run(g, "insmod /modules/exopatch_shim.ko", 0, NULL, NULL), 0);
}

static void apply(const char *path, const char *home)
{
	_cleanup_exo_ struct exo e = {0};

	assert_int_equal(EXO(&e, g, "apply", path, home), 0);
	assert_int_equal(e.rc, 0);
	assert_string_equal(exo_str(&e, "patch", "home", NULL), strchr(home, '=') + 1);
}

static void revert(const char *id)
{
	assert_true(exo_done(g, "revert", id));
}

static void expect_as_before(void)
{
	_cleanup_free_ uint8_t *now = NULL;
	size_t len = 0;

	now = guest_text(g, &len);
	assert_non_null(now);
	assert_int_equal(len, text_bytes);
	assert_memory_equal(now, text, len);
	assert_true(guest_dmesg_clean(g));
}

static void inspect_shows_both_homes(void **state)
{
	_cleanup_exo_ struct exo e = {0};

	(void)state;
	assert_int_equal(EXO(&e, g, "inspect"), 0);
	assert_int_equal(e.rc, 0);
	assert_true(json_is_true(json_object_get(e.doc, "eligible")));
	assert_int_equal(json_array_size(json_object_get(e.doc, "homes")), 2);
	assert_string_equal(exo_str(&e, "homes", "0", "kind", NULL), "window");
	assert_string_equal(exo_str(&e, "homes", "1", "kind", NULL), "shim");
	assert_int_equal(json_integer_value(json_object_get(
				 json_array_get(json_object_get(e.doc, "homes"), 1), "free_bytes")),
			 EXOSHIM_TEXT_BYTES);
}

static void in_the_arena(void **state)
{
	(void)state;
	expect_listed("");
	apply(cmdline, SHIM);
	assert_true(patched());
	expect_listed("cmdline 1,");
	assert_false(unloads());
	assert_true(patched());
	revert("cmdline");
	assert_false(patched());
	expect_listed("");
	expect_as_before();
	assert_true(unloads());
	load();
}

static void the_digest_is_the_payloads(void **state)
{
	_cleanup_exo_ struct exo e = {0};

	(void)state;
	assert_int_equal(EXO(&e, g, "apply", cmdline, SHIM), 0);
	assert_int_equal(e.rc, 0);
	assert_int_equal(strlen(exo_str(&e, "patch", "payload_sha256", NULL)), 64);
	assert_true(shows(PATCHES, exo_str(&e, "patch", "payload_sha256", NULL)));
	revert("cmdline");
}

static void in_the_window_it_is_listed_and_pinned_too(void **state)
{
	(void)state;
	apply(cmdline, WINDOW);
	assert_true(patched());
	expect_listed("cmdline 1,");
	assert_false(unloads());
	revert("cmdline");
	expect_listed("");
	expect_as_before();
	assert_true(unloads());
	load();
}

static void two_patches_two_homes(void **state)
{
	(void)state;
	apply(cmdline, SHIM);
	apply(two, WINDOW);
	expect_listed("cmdline 1,two-targets 1,");
	assert_true(patched());
	assert_true(shows("cat /proc/version /proc/execdomains", "exopatch=live"));
	revert("cmdline");
	expect_listed("two-targets 1,");
	assert_false(patched());
	assert_false(unloads());
	apply(cmdline, SHIM);
	revert("two-targets");
	expect_listed("cmdline 1,");
	assert_false(unloads());
	revert("cmdline");
	expect_listed("");
	expect_as_before();
	assert_true(unloads());
	load();
}

static void unloaded_there_is_only_the_window(void **state)
{
	_cleanup_exo_ struct exo e = {0}, refused = {0};

	(void)state;
	assert_true(unloads());
	assert_int_equal(EXO(&e, g, "inspect"), 0);
	assert_int_equal(json_array_size(json_object_get(e.doc, "homes")), 1);
	assert_int_equal(EXO(&refused, g, "apply", cmdline, SHIM), 0);
	assert_true(EXO_REFUSED(&refused, "no-home"));
	apply(cmdline, WINDOW);
	assert_true(patched());
	/* Loaded under a patch it neither lists nor is pinned: the patch knows nothing of it. */
	load();
	expect_listed("");
	revert("cmdline");
	expect_as_before();
}

/* ---- lies ---- */

struct lie {
	const char *what;
	size_t off, len;
	uint64_t value;
	bool add; /* to what is there */
};

#define LIE(field, v)                                                                              \
	{                                                                                          \
#field, offsetof(struct exoshim_abi, field), 4, v, false                           \
	}
#define LIE8(field, v)                                                                             \
	{                                                                                          \
#field, offsetof(struct exoshim_abi, field), 8, v, false                           \
	}
#define MORE(field, v)                                                                             \
	{                                                                                          \
#field, offsetof(struct exoshim_abi, field), 8, v, true                            \
	}

static const struct lie lies[] = {
	LIE(magic, 0x41414141),
	LIE(abi_version, 2),
	LIE(size_bytes, UINT32_MAX),
	LIE(size_bytes, 0),
	LIE(patch_off_bytes, 64),
	LIE(patch_off_bytes, UINT32_MAX - 15),
	LIE(patch_size_bytes, 0),
	LIE(patch_size_bytes, 1u << 30),
	LIE(patch_max, UINT32_MAX),
	LIE8(reserved0, 1),
	MORE(text.gva, 0x1000),
	MORE(text.gva, UINT64_C(0x100000)),
	MORE(text.gva, 8),
	LIE8(text.gva, 0),
	LIE8(text.gva, UINT64_C(0xffffffff81000000)),
	LIE8(text.gva, UINT64_C(0xdead000000000000)),
	LIE8(text.size_bytes, 0),
	LIE8(text.size_bytes, UINT64_MAX),
	LIE8(text.size_bytes, 1u << 20),
	MORE(rodata.gva, 0x1000),
	LIE8(rodata.size_bytes, UINT64_MAX - 4095),
	LIE8(reserved[3].gva, 1),
	LIE(pad, 1),
};

/* Where @off of the ABI structure is, whose pages are anywhere. */
static uint64_t abi_gpa(size_t off)
{
	static const char *const names[] = {EXOSHIM_SYMBOL, NULL};
	uint64_t at, gpa;

	assert_int_equal(guest_symbols(g, names, &at), 0);
	gpa = guest_gpa(g, at + off);
	assert_true(gpa != 0);
	return gpa;
}

static void expect_shim_abi(const char *home)
{
	_cleanup_exo_ struct exo e = {0};
	uint64_t before = ram_sum(ram);

	assert_int_equal(EXO(&e, g, "apply", cmdline, home), 0);
	assert_true(EXO_REFUSED(&e, "shim-abi"));
	assert_true(ram_sum(ram) == before);
}

static void an_abi_page_that_lies(void **state)
{
	uint64_t at = abi_gpa(0);

	(void)state;
	assert_int_equal(guest_pause(g), 0);
	for (size_t i = 0; i < XO_ARRAY_SIZE(lies); i++) {
		const struct lie *l = &lies[i];
		_cleanup_exo_ struct exo e = {0};
		uint64_t was = 0, now;

		print_message("%s: %#llx\n", l->what, (unsigned long long)l->value);
		assert_int_equal(pread(ram, &was, l->len, (off_t)(at + l->off)), l->len);
		now = l->add ? was + l->value : l->value;
		assert_int_equal(pwrite(ram, &now, l->len, (off_t)(at + l->off)), l->len);
		expect_shim_abi(SHIM);
		if (i == 0) {
			/* The window's patches are put on the shim's list as well. */
			expect_shim_abi(WINDOW);
			assert_int_equal(EXO(&e, g, "inspect"), 0);
			assert_int_equal(e.rc, 0);
			assert_int_equal(json_array_size(json_object_get(e.doc, "homes")), 1);
		}
		assert_int_equal(pwrite(ram, &was, l->len, (off_t)(at + l->off)), l->len);
	}
	assert_int_equal(guest_resume(g), 0);
	in_the_arena(NULL);
}

/* A table that claims to be full is full; what stands there is not overwritten. */
static void a_full_table(void **state)
{
	static const char mark[] = "x", none[] = "";
	size_t step = EXOSHIM_PAGE_BYTES / sizeof(struct exoshim_patch);
	_cleanup_exo_ struct exo e = {0};
	uint64_t slot[EXOSHIM_MAX_PATCHES];

	(void)state;
	for (size_t i = 0; i < EXOSHIM_MAX_PATCHES; i++) {
		slot[i] = i % step ? slot[i - 1] + sizeof(struct exoshim_patch)
				   : abi_gpa(offsetof(struct exoshim_abi, patch) +
					     i * sizeof(struct exoshim_patch));
		assert_int_equal(pwrite(ram, mark, 1, (off_t)slot[i]), 1);
	}
	assert_int_equal(EXO(&e, g, "apply", cmdline, SHIM), 0);
	assert_true(EXO_REFUSED(&e, "home-full"));
	assert_false(patched());
	for (size_t i = 0; i < EXOSHIM_MAX_PATCHES; i++)
		assert_int_equal(pwrite(ram, none, 1, (off_t)slot[i]), 1);
	expect_listed("");
}

/* Somebody wrote into the arena: those bytes are not free, and nothing of them is overwritten. */
static void an_arena_that_is_not_empty(void **state)
{
	static const char *const names[] = {EXOSHIM_TEXT_SYMBOL, NULL};
	_cleanup_exo_ struct exo e = {0};
	uint64_t at, gpa;
	uint8_t now;

	(void)state;
	assert_int_equal(guest_symbols(g, names, &at), 0);
	gpa = guest_gpa(g, at);
	assert_int_equal(pwrite(ram, "\x90", 1, (off_t)gpa), 1);
	assert_int_equal(EXO(&e, g, "apply", cmdline, SHIM), 0);
	assert_int_equal(e.rc, 0);
	assert_true(strtoull(exo_str(&e, "patch", "home_address", NULL), NULL, 16) > at);
	assert_true(patched());
	revert("cmdline");
	assert_int_equal(pread(ram, &now, 1, (off_t)gpa), 1);
	assert_int_equal(now, 0x90);
	assert_int_equal(pwrite(ram, "\xcc", 1, (off_t)gpa), 1);
}

/* ---- deaths ---- */

static void die_and_recover(const char *point, const char *const args[])
{
	_cleanup_exo_ struct exo died = {0}, e = {0};
	char env[64];
	const char *const envp[] = {env, NULL};

	snprintf(env, sizeof(env), "EXOPATCH_FAULT=%s=kill", point);
	assert_int_equal(exo_run(&died, g, envp, args), 0);
	assert_int_equal(died.rc, strncmp(point, "agent_", 6) ? 1 : 128 + SIGKILL);
	assert_int_equal(EXO(&e, g, "recover"), 0);
	assert_int_equal(e.rc, 0);
	assert_true(guest_is_running(g));
	print_message("%s, %s: %s\n", args[0], point, exo_str(&e, "recovered", "0", "found", NULL));
	expect_listed(patched() ? "cmdline 1," : "");
	assert_int_equal(patched(),
			 !strcmp(exo_str(&e, "recovered", "0", "state", NULL), "active"));
}

static void killed(void **state)
{
	static const char *const points[] = {"agent_intent",	    "agent_held",
					     "monitor_write_first", "monitor_write_some",
					     "monitor_written",	    "agent_committed"};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(points); i++) {
		die_and_recover(points[i], (const char *const[]){"apply", cmdline, SHIM, NULL});
		if (patched())
			revert("cmdline");
		expect_listed("");
		apply(cmdline, SHIM);
		die_and_recover(points[i], (const char *const[]){"revert", "cmdline", NULL});
		if (patched())
			revert("cmdline");
		expect_listed("");
	}
	expect_as_before();
	assert_true(unloads());
	load();
}

static int run_on(const char *package)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inspect_shows_both_homes),
		cmocka_unit_test(in_the_arena),
		cmocka_unit_test(the_digest_is_the_payloads),
		cmocka_unit_test(in_the_window_it_is_listed_and_pinned_too),
		cmocka_unit_test(two_patches_two_homes),
		cmocka_unit_test(unloaded_there_is_only_the_window),
		cmocka_unit_test(an_abi_page_that_lies),
		cmocka_unit_test(a_full_table),
		cmocka_unit_test(an_arena_that_is_not_empty),
		cmocka_unit_test(killed),
	};

	kernel = package;
	return cmocka_run_group_tests_name(package, tests, setup, teardown);
}

int main(void)
{
	int failed = run_on(GUEST_6_1);

	return failed + run_on(GUEST_6_12);
}
