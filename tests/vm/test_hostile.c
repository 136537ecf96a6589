// SPDX-License-Identifier: Apache-2.0
/*
 * Guest memory damaged behind the guest's back: lists that loop, page tables that lead nowhere,
 * corrupt symbols and types. exopatch must say what is wrong, soon, and change nothing: all of the
 * paused guest's RAM is compared. Then the damage is mended and the guest runs on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/util.h"
#include "tests/lib/patching.h"
#include "tests/lib/ram.h"

#define MAX_NS	     UINT64_C(10000000000)
#define MAX_DAMAGE   64
#define MAX_BYTES    1024
#define OUTSIDE_GPA  UINT64_C(0xff000000000) /* no RAM there */
#define ENTRY_BITS   UINT64_C(0x67)	     /* present, writable, user, accessed, dirty */
#define NOWHERE	     UINT64_C(0xdead000000000000)
#define RODATA_BYTES (8u << 20)
#define WILD	     UINT64_C(0xffff9fff00000000) /* canonical, most likely not mapped */

enum symbol {
	INIT_TASK,
	MODULES,
	LEVEL3,
	BANNER,
	NOTES,
	CPU_IDS,
	PERCPU,
	BTF_START,
	BTF_STOP,
	TEXT,
	RODATA,
	NR_SYMBOLS,
};

static const char *const names[] = {
	"init_task",	 "modules",    "level3_kernel_pgt", "linux_banner",
	"__start_notes", "nr_cpu_ids", "__per_cpu_offset",  "__start_BTF",
	"__stop_BTF",	 "_text",      "__start_rodata",    NULL,
};

static const char *kernel;
static struct guest *g;
static int ram = -1;
static char cmdline[256];
static uint64_t symbol[NR_SYMBOLS];
static uint64_t tasks_off, thread_node_off, signal_off, stack_off, module_list_off;

/* What was where, to be put back in reverse order. */
static struct damage {
	uint64_t gpa;
	uint8_t was[MAX_BYTES];
	size_t len_bytes;
} damage[MAX_DAMAGE];
static size_t nr_damage;

static uint64_t gpa_of(uint64_t gva)
{
	uint64_t gpa = guest_gpa(g, gva);

	if (!gpa)
		fail_msg("%#llx is not mapped", (unsigned long long)gva);
	return gpa;
}

static uint64_t peek(uint64_t gva)
{
	uint64_t v;

	assert_true(ram_u64(ram, gpa_of(gva), &v));
	return v;
}

static void hurt(uint64_t gpa, const void *bytes, size_t len)
{
	struct damage *d = &damage[nr_damage];

	assert_true(nr_damage < MAX_DAMAGE && len <= MAX_BYTES);
	assert_int_equal(pread(ram, d->was, len, (off_t)gpa), len);
	d->gpa = gpa;
	d->len_bytes = len;
	nr_damage++;
	assert_int_equal(pwrite(ram, bytes, len, (off_t)gpa), len);
}

static void hurt_u64(uint64_t gpa, uint64_t value)
{
	hurt(gpa, &value, sizeof(value));
}

static void mend(void)
{
	while (nr_damage) {
		struct damage *d = &damage[--nr_damage];

		assert_int_equal(pwrite(ram, d->was, d->len_bytes, (off_t)d->gpa), d->len_bytes);
	}
}

static long offset(const char *type, const char *member)
{
	return guest_member(g, ram, symbol[BTF_START], symbol[BTF_STOP], type, member);
}

static int find_offsets(void)
{
	long o[] = {offset("task_struct", "tasks"), offset("task_struct", "thread_node"),
		    offset("task_struct", "signal"), offset("task_struct", "stack"),
		    offset("module", "list")};

	for (size_t i = 0; i < XO_ARRAY_SIZE(o); i++)
		if (o[i] < 0)
			return -1;
	tasks_off = (uint64_t)o[0];
	thread_node_off = (uint64_t)o[1];
	signal_off = (uint64_t)o[2];
	stack_off = (uint64_t)o[3];
	module_list_off = (uint64_t)o[4];
	return 0;
}

static int set_up_group(void **state)
{
	const struct guest_opts opts = {.package = kernel, .shim = true};

	(void)state;
	if (patching_setup() || guest_boot(&g, &opts))
		return -1;
	ram = ram_open(g);
	if (ram < 0 || guest_symbols(g, names, symbol))
		return -1;
	for (size_t i = 0; i < NR_SYMBOLS; i++) {
		if (!symbol[i]) {
			fprintf(stderr, "%s: not in kallsyms\n", names[i]);
			return -1;
		}
	}
	if (patch_build(kernel, "cmdline", "cmdline", NULL, cmdline, sizeof(cmdline)))
		return -1;
	return find_offsets();
}

static int tear_down_group(void **state)
{
	(void)state;
	if (ram >= 0)
		close(ram);
	ram = -1;
	guest_free(g);
	g = NULL;
	patching_teardown();
	return 0;
}

static int pause_guest(void **state)
{
	(void)state;
	return guest_pause(g);
}

static int mend_and_resume(void **state)
{
	(void)state;
	mend();
	if (guest_resume(g) || guest_run(g, "true", 0, NULL, NULL))
		return -1;
	return guest_dmesg_clean(g) ? 0 : -1;
}

static bool gives_one_of(const struct exo *e, const char *const keys[])
{
	const char *key = exo_str(e, "reasons", "0", "reason", NULL);

	for (size_t i = 0; keys[i]; i++)
		if (!strcmp(key, keys[i]))
			return true;
	fprintf(stderr, "reason: %s\n", key);
	return false;
}

/* inspect tells, apply refuses, both for the reason expected, and neither writes. */
static void expect(const char *const keys[])
{
	_cleanup_exo_ struct exo inspect = {0}, apply = {0};
	uint64_t before = ram_sum(ram), start = xo_now_ns(), middle, end;

	assert_int_equal(EXO(&inspect, g, "inspect"), 0);
	middle = xo_now_ns();
	assert_int_equal(EXO(&apply, g, "apply", cmdline), 0);
	end = xo_now_ns();
	print_message("  %s: %s: %s, %u and %u ms\n", keys[0],
		      exo_str(&inspect, "reasons", "0", "reason", NULL),
		      exo_str(&inspect, "reasons", "0", "detail", NULL),
		      (unsigned int)((middle - start) / 1000000),
		      (unsigned int)((end - middle) / 1000000));
	assert_true(middle - start < MAX_NS);
	assert_true(end - middle < MAX_NS);
	assert_int_equal(inspect.rc, 0);
	assert_true(json_is_false(json_object_get(inspect.doc, "eligible")));
	assert_true(gives_one_of(&inspect, keys));
	assert_int_equal(apply.rc, 3);
	assert_true(gives_one_of(&apply, keys));
	assert_true(ram_sum(ram) == before);
	assert_false(guest_is_running(g));
	mend();
}

#define EXPECT(...) expect((const char *const[]){__VA_ARGS__, NULL})

/* ---- task list ---- */

/* list_head of the @n-th task after init_task. */
static uint64_t nth_task(unsigned int n)
{
	uint64_t at = symbol[INIT_TASK] + tasks_off;

	while (n--)
		at = peek(at);
	return at;
}

static void task_list(void **state)
{
	uint64_t third = nth_task(3), head = symbol[INIT_TASK] + tasks_off;

	(void)state;
	hurt_u64(gpa_of(third), third);
	EXPECT("task-list");
	hurt_u64(gpa_of(nth_task(20)), third);
	EXPECT("task-list");
	hurt_u64(gpa_of(third), NOWHERE);
	EXPECT("task-list");
	hurt_u64(gpa_of(head), WILD);
	EXPECT("task-list");
	hurt_u64(gpa_of(head), 0);
	EXPECT("task-list");
	hurt_u64(gpa_of(third), symbol[TEXT]);
	EXPECT("task-list");
}

static void thread_lists(void **state)
{
	uint64_t task = nth_task(3) - tasks_off;

	(void)state;
	hurt_u64(gpa_of(task + thread_node_off), task + thread_node_off);
	EXPECT("task-list");
	hurt_u64(gpa_of(task + thread_node_off), NOWHERE);
	EXPECT("task-list");
	hurt_u64(gpa_of(task + signal_off), WILD);
	EXPECT("task-list");
}

/* Found only when the stacks are walked, so by apply alone. */
static void a_stack_that_is_not_there(void **state)
{
	uint64_t task = nth_task(3) - tasks_off;
	_cleanup_exo_ struct exo e = {0};
	uint64_t before;

	(void)state;
	hurt_u64(gpa_of(task + stack_off), NOWHERE);
	before = ram_sum(ram);
	assert_int_equal(EXO(&e, g, "apply", cmdline), 0);
	assert_true(e.rc == 1 || e.rc == 3);
	assert_string_equal(e.rc == 1 ? exo_str(&e, "error", "code", NULL)
				      : exo_str(&e, "reasons", "0", "reason", NULL),
			    "task-list");
	assert_true(ram_sum(ram) == before);
	assert_false(guest_is_running(g));
}

/* ---- modules ---- */

static void module_list(void **state)
{
	uint64_t head = symbol[MODULES], first = peek(head);

	(void)state;
	hurt_u64(gpa_of(first), first);
	EXPECT("module-list");
	hurt_u64(gpa_of(head), NOWHERE);
	EXPECT("module-list");
	hurt_u64(gpa_of(first), WILD);
	EXPECT("module-list");
	hurt_u64(gpa_of(head), 0);
	EXPECT("module-list");
}

/* ---- page tables ---- */

static void shared_page_tables(void **state)
{
	uint64_t at = gpa_of(symbol[LEVEL3] + 510 * sizeof(uint64_t)),
		 table = gpa_of(symbol[LEVEL3]);

	(void)state;
	hurt_u64(at, OUTSIDE_GPA | ENTRY_BITS);
	EXPECT("page-table");
	hurt_u64(at, table | ENTRY_BITS);
	EXPECT("kallsyms", "no-kernel", "page-table");
	hurt_u64(at, 0);
	EXPECT("no-kernel");
	hurt_u64(at, UINT64_MAX);
	EXPECT("page-table", "kallsyms", "no-kernel");
}

/* CR3 of every vCPU, by "info registers -a". */
static size_t roots(uint64_t root[], size_t max)
{
	_cleanup_free_ char *out = guest_hmp(g, "info registers -a");
	size_t nr = 0;

	assert_non_null(out);
	for (const char *at = out; nr < max && (at = strstr(at, "CR3=")); at += 4)
		root[nr++] = strtoull(at + 4, NULL, 16) & ~XO_PAGE_MASK;
	return nr;
}

static void page_table_roots(void **state)
{
	uint64_t root[8];
	size_t nr = roots(root, XO_ARRAY_SIZE(root));

	(void)state;
	assert_int_equal(nr, 2);
	for (size_t i = 0; i < nr; i++)
		hurt_u64(root[i] + 511 * sizeof(uint64_t), OUTSIDE_GPA | ENTRY_BITS);
	EXPECT("page-table");
	for (size_t i = 0; i < nr; i++)
		hurt_u64(root[i] + 511 * sizeof(uint64_t), root[i] | ENTRY_BITS);
	EXPECT("page-table", "kallsyms", "no-kernel");
	for (size_t i = 0; i < nr; i++)
		hurt_u64(root[i] + 511 * sizeof(uint64_t), 0);
	EXPECT("no-kernel");
}

/* ---- symbols, types, notes ---- */

/* Where in the kernel's read-only data @needle is, not followed by @next; guest-physical. */
static uint64_t find_rodata(const void *needle, size_t len, uint8_t next)
{
	_cleanup_free_ uint8_t *copy = malloc(RODATA_BYTES);
	uint64_t from = gpa_of(symbol[RODATA]);
	const uint8_t *at = copy;

	assert_non_null(copy);
	assert_int_equal(pread(ram, copy, RODATA_BYTES, (off_t)from), RODATA_BYTES);
	while ((at = memmem(at, RODATA_BYTES - (size_t)(at - copy), needle, len)) &&
	       at[len] == next)
		at++;
	if (!at)
		fail_msg("not found in read-only data");
	return from + (uint64_t)(at - copy);
}

/*
 * The tokens of kallsyms, in which the digits stand for themselves; other tables have all
 * characters, and a colon comes after the digits. The count of symbols is 8 bytes.
 */
static void symbol_table(void **state)
{
	static const char digits[] = "0\0001\0002\0003\0004\0005\0006\0007\0008\0009";
	_cleanup_exo_ struct exo e = {0};
	uint8_t garbage[MAX_BYTES];
	uint64_t tokens, count;

	(void)state;
	assert_int_equal(EXO(&e, g, "inspect"), 0);
	count = (uint64_t)json_integer_value(
		json_object_get(json_object_get(e.doc, "kernel"), "symbols"));
	tokens = find_rodata(digits, sizeof(digits), ':');
	for (int byte = 0; byte < 0x100; byte += 0xff) {
		memset(garbage, byte, sizeof(garbage));
		hurt(tokens, garbage, 256);
		EXPECT("kallsyms");
	}
	count = find_rodata(&count, sizeof(count), 0);
	hurt_u64(count, UINT32_MAX);
	EXPECT("kallsyms");
	hurt_u64(count, 0);
	EXPECT("kallsyms");
}

/* struct btf_header, include/uapi/linux/btf.h */
static void types(void **state)
{
	uint64_t at = gpa_of(symbol[BTF_START]);
	const uint32_t huge = UINT32_MAX;
	uint8_t none[MAX_BYTES] = {0};

	(void)state;
	hurt(at, none, 2); /* magic */
	EXPECT("btf");
	hurt(at + 4, &huge, sizeof(huge)); /* hdr_len */
	EXPECT("btf");
	hurt(at + 8, &huge, sizeof(huge)); /* type_off */
	EXPECT("btf");
	hurt(at + 12, &huge, sizeof(huge)); /* type_len */
	EXPECT("btf");
	hurt(at + 16, &huge, sizeof(huge)); /* str_off */
	EXPECT("btf");
	hurt(at + 20, none, 4); /* str_len */
	EXPECT("btf");
	memset(none, 0xff, sizeof(none));
	hurt(at + 1024, none, sizeof(none)); /* amid the types */
	EXPECT("btf");
}

static void what_names_the_kernel(void **state)
{
	const uint8_t none[MAX_BYTES] = {0};

	(void)state;
	hurt(gpa_of(symbol[BANNER]), none, 16);
	EXPECT("no-kernel");
	hurt(gpa_of(symbol[NOTES]), none, 48);
	hurt(gpa_of(symbol[NOTES]) + 48, none, 48);
	EXPECT("no-kernel");
}

static void cpus(void **state)
{
	const uint32_t none = 0, many = UINT32_MAX;
	uint64_t ids = gpa_of(symbol[CPU_IDS]);

	(void)state;
	hurt(ids, &none, sizeof(none));
	EXPECT("vcpu-count");
	hurt(ids, &many, sizeof(many));
	EXPECT("vcpu-count");
	hurt_u64(gpa_of(symbol[PERCPU]) + sizeof(uint64_t), NOWHERE);
	EXPECT("task-list");
}

static void mended_it_is_patched(void **state)
{
	_cleanup_free_ char *line = NULL;

	(void)state;
	assert_true(exo_done(g, "apply", cmdline));
	line = guest_sh(g, "cat /proc/cmdline");
	assert_non_null(line);
	assert_non_null(strstr(line, "exopatch=live"));
	assert_true(exo_done(g, "revert", "cmdline"));
}

static int run_on(const char *package)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, pause_guest, mend_and_resume)
		T(task_list),
		T(thread_lists),
		T(a_stack_that_is_not_there),
		T(module_list),
		T(shared_page_tables),
		T(page_table_roots),
		T(symbol_table),
		T(types),
		T(what_names_the_kernel),
		T(cpus),
		cmocka_unit_test(mended_it_is_patched),
	};

	kernel = package;
	return cmocka_run_group_tests_name(package, tests, set_up_group, tear_down_group);
}

int main(void)
{
	int failed = run_on(GUEST_6_1);

	return failed + run_on(GUEST_6_12);
}
