// SPDX-License-Identifier: Apache-2.0
/*
 * The guard of RAM that is private to QEMU. Its write-protection goes with the page: when KSM
 * merges it, or the balloon discards it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/util.h"
#include "tests/lib/guardrun.h"
#include "tests/lib/patching.h"

#define EVENT_NS   UINT64_C(20000000000)
#define SETTLE_MS  300
#define WALK_MS	   2500 /* an audit of everything, and a second look */
#define HUGE_PAGES 256	/* of 2 MiB: a guest's RAM */
#define ARGS(...)  ((const char *const[]){__VA_ARGS__, NULL})

static struct guest *g;
static struct guardrun *guard;
static char cmdline[256];

static int boot(struct guest_opts opts)
{
	opts.private_ram = true;
	opts.one_thread = true;
	return guest_boot(&g, &opts);
}

static int setup(void **state)
{
	(void)state;
	if (patching_setup() ||
	    boot((struct guest_opts){.extra = ARGS("-device", "virtio-balloon-pci-transitional")}))
		return -1;
	return patch_build(GUEST_6_1, "cmdline", "cmdline", NULL, cmdline, sizeof(cmdline));
}

static int teardown(void **state)
{
	(void)state;
	guest_free(g);
	patching_teardown();
	return 0;
}

static int drop_guard(void **state)
{
	(void)state;
	guardrun_drop(guard);
	guard = NULL;
	return 0;
}

static void start(void)
{
	guard = guardrun_start(g, "enforce", NULL);
	assert_non_null(guard);
}

static void stop(void)
{
	struct guardrun *r = guard;

	guard = NULL;
	assert_int_equal(guardrun_stop(r), 0);
}

static bool patched(void)
{
	_cleanup_free_ char *line = guest_sh(g, "cat /proc/cmdline");

	assert_non_null(line);
	return strstr(line, "exopatch=live") != NULL;
}

static bool guest_says(const char *command)
{
	int rc = -1;

	return !guest_run(g, command, 0, NULL, &rc) && rc == 0;
}

static bool can_read(const char *path)
{
	char line[128];

	snprintf(line, sizeof(line), "cat %s >/dev/null 2>&1", path);
	return guest_says(line);
}

/* An event of that kind and verdict, or the test fails. */
static void expect_event(const char *kind, const char *verdict)
{
	uint64_t end_ns = xo_now_ns() + EVENT_NS;
	bool found = false;
	json_t *event;

	while (!found && (event = guardrun_next(guard, end_ns))) {
		found = !strcmp(guardrun_says(event, "kind"), kind) &&
			!strcmp(guardrun_says(event, "verdict"), verdict);
		if (!found)
			print_message("besides: %s %s\n", guardrun_says(event, "kind"),
				      guardrun_says(event, "reason"));
		json_decref(event);
	}
	if (!found)
		fail_msg("no event: %s %s", kind, verdict);
}

/* Mappings of QEMU that can be write-protected, and how many of them KSM may still merge. */
static unsigned int protected_mappings(unsigned int *ret_mergeable)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[64], line[512];
	unsigned int nr = 0;

	*ret_mergeable = 0;
	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)guest_pid(g));
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "VmFlags:", 8) != 0 || !strstr(line, " uw"))
			continue;
		nr++;
		*ret_mergeable += strstr(line, " mg") != NULL;
	}
	return nr;
}

/* An attack of several stores is several events: they are read away. */
static void attack_is_put_back(void)
{
	assert_true(can_read("/proc/execdomains"));
	free(guest_sh(g, "/attacks/load text_vmap_alias; true"));
	expect_event("violation", "put-back");
	(void)guardrun_settle(guard, SETTLE_MS);
	assert_true(can_read("/proc/execdomains"));
	free(guest_sh(g, "rmmod text_vmap_alias"));
	(void)guardrun_settle(guard, SETTLE_MS);
}

static void guarded(void **state)
{
	unsigned int mergeable;

	(void)state;
	start();
	assert_true(protected_mappings(&mergeable) > 0);
	assert_int_equal(mergeable, 0);
	attack_is_put_back();
	for (int i = 0; i < 2; i++) {
		assert_true(exo_done(g, "apply", cmdline));
		assert_true(patched());
		assert_true(exo_done(g, "revert", "cmdline"));
		assert_false(patched());
	}
	assert_int_equal(guardrun_settle(guard, WALK_MS), 0);
	stop();
	assert_int_equal(protected_mappings(&mergeable), 0);
	assert_true(guest_dmesg_clean(g));
}

/* The balloon takes a page of text, and with it its protection: QEMU's mapping is empty there. */
static void a_page_that_was_discarded_comes_back(void **state)
{
	(void)state;
	start();
	free(guest_sh(g, "/attacks/load text_balloon; true"));
	expect_event("protection-lost", "put-back");
	expect_event("violation", "put-back");
	/* Its probe looks at the page: what was there is there again. */
	assert_true(guest_says("! grep -qx 4919 /sys/module/text_balloon/parameters/probe"));
	attack_is_put_back();
	stop();
	assert_true(guest_dmesg_clean(g));
}

/* ---- KSM: equal pages of private memory are merged, and split again by a write ---- */

#define TWIN_PAGES  64ul
#define TWIN_BYTES  (TWIN_PAGES * 4096)
#define TWINS	    2ul
#define MERGE_MS    120000 /* two passes of KSM are a second, but nobody promises them */
#define NR_KSM_SETS 3

#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_PFN	((UINT64_C(1) << 55) - 1)
#define KPF_KSM		(UINT64_C(1) << 21)

static const char *const ksm_name[NR_KSM_SETS] = {"run", "pages_to_scan", "sleep_millisecs"};
static long ksm_before[NR_KSM_SETS] = {-1, -1, -1};

static long ksm(const char *name, long set)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[64];
	long v = -1;

	snprintf(path, sizeof(path), "/sys/kernel/mm/ksm/%s", name);
	f = fopen(path, set < 0 ? "re" : "we");
	if (!f)
		return -1;
	if (set >= 0)
		return fprintf(f, "%ld", set) > 0 && !fflush(f) ? set : -1;
	return fscanf(f, "%ld", &v) == 1 ? v : -1;
}

static uint64_t guest_symbol(const char *symbol)
{
	char line[128];
	_cleanup_free_ char *at = NULL;

	snprintf(line, sizeof(line), "sed -n 's/ [tT] %s$//p' /proc/kallsyms", symbol);
	at = guest_sh(g, line);
	return at ? strtoull(at, NULL, 16) : 0;
}

/* The page of the function that is attacked, from the start of the kernel's text. */
static uint64_t attacked_off(void)
{
	uint64_t at = guest_symbol("execdomains_proc_show"), start = guest_symbol("_text");

	assert_true(start && at > start);
	return (at - start) & ~UINT64_C(4095);
}

/* Copies of the guest's text from that page on, to be merged with; or with all bits of @flip
 * changed, with each other. */
static uint8_t *make_twins(uint8_t flip)
{
	uint8_t *twins = mmap(NULL, TWINS * TWIN_BYTES, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	_cleanup_free_ uint8_t *text = NULL;
	uint64_t off = attacked_off();
	size_t len = 0;

	assert_ptr_not_equal(twins, MAP_FAILED);
	text = guest_text(g, &len);
	assert_non_null(text);
	assert_true(off < len && len - off >= TWIN_BYTES);
	for (size_t i = 0; i < TWINS * TWIN_BYTES; i++)
		twins[i] = text[off + i % TWIN_BYTES] ^ flip;
	assert_int_equal(madvise(twins, TWINS * TWIN_BYTES, MADV_MERGEABLE), 0);
	return twins;
}

/* Where those pages of the guest's are in QEMU. */
static uint64_t attacked_hva(void)
{
	_cleanup_exo_ struct exo e = {0};
	_cleanup_free_ char *text = NULL;
	char line[64];
	const char *at;

	assert_int_equal(EXO(&e, g, "inspect"), 0);
	snprintf(line, sizeof(line), "gpa2hva 0x%llx",
		 strtoull(exo_str(&e, "kernel", "physical_base", NULL), NULL, 16) +
			 (unsigned long long)attacked_off());
	text = guest_hmp(g, line);
	assert_non_null(text);
	at = strstr(text, " is 0x");
	assert_non_null(at);
	return strtoull(at + 4, NULL, 16);
}

/* How many of that many of a process's are merged: Documentation/admin-guide/mm/pagemap.rst */
static size_t merged_pages(pid_t pid, uint64_t hva)
{
	_cleanup_close_ int flags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int map = -1;
	uint64_t entry[TWIN_PAGES];
	char path[64];
	size_t nr = 0;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	map = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(flags >= 0 && map >= 0);
	assert_int_equal(pread(map, entry, sizeof(entry), (off_t)(hva / 4096 * 8)), sizeof(entry));
	for (size_t i = 0; i < TWIN_PAGES; i++) {
		uint64_t pfn = entry[i] & PAGEMAP_PFN, f = 0;

		if ((entry[i] & PAGEMAP_PRESENT) &&
		    pread(flags, &f, sizeof(f), (off_t)(pfn * 8)) == sizeof(f))
			nr += (f & KPF_KSM) != 0;
	}
	return nr;
}

static void wait_until_merged(pid_t pid, uint64_t hva)
{
	uint64_t end_ns = xo_now_ns() + MERGE_MS * UINT64_C(1000000);

	while (merged_pages(pid, hva) < TWIN_PAGES / 2 && xo_now_ns() < end_ns)
		xo_sleep_ns(20000000);
	assert_true(merged_pages(pid, hva) >= TWIN_PAGES / 2);
}

/* What nobody saw before is merged when KSM comes by for the second time; between it was everywhere
 * else. */
static void wait_for_a_pass(void)
{
	uint8_t *fresh = make_twins(0x5a);

	wait_until_merged(getpid(), (uintptr_t)fresh);
	munmap(fresh, TWINS * TWIN_BYTES);
}

static int restore_ksm(void **state)
{
	for (size_t i = 0; i < NR_KSM_SETS; i++)
		if (ksm_before[i] >= 0)
			(void)ksm(ksm_name[i], ksm_before[i]);
	return drop_guard(state);
}

static void merged_pages_are_patched_and_guarded(void **state)
{
	uint8_t *twins;
	uint64_t hva;

	(void)state;
	for (size_t i = 0; i < NR_KSM_SETS; i++)
		ksm_before[i] = ksm(ksm_name[i], -1);
	if (ksm_before[0] < 0 || ksm("run", ksm_before[0]) < 0)
		skip();
	twins = make_twins(0);
	hva = attacked_hva();
	assert_int_equal(merged_pages(guest_pid(g), hva), 0);
	assert_true(ksm("pages_to_scan", 20000) > 0 && ksm("sleep_millisecs", 5) > 0 &&
		    ksm("run", 1) > 0);
	wait_until_merged(guest_pid(g), hva);
	/* A merged page is copied when it is written. */
	assert_true(exo_done(g, "apply", cmdline));
	assert_true(patched());
	assert_memory_equal(twins, twins + TWIN_BYTES, TWIN_BYTES);
	assert_true(exo_done(g, "revert", "cmdline"));
	assert_false(patched());
	/* Under the guard each is QEMU's own, and stays so. */
	start();
	assert_int_equal(merged_pages(guest_pid(g), hva), 0);
	wait_for_a_pass();
	assert_int_equal(merged_pages(guest_pid(g), hva), 0);
	attack_is_put_back();
	assert_int_equal(guardrun_settle(guard, WALK_MS), 0);
	stop();
	munmap(twins, TWINS * TWIN_BYTES);
	assert_true(guest_dmesg_clean(g));
}

/* ---- other kinds of private RAM ---- */

static void boot_with(const char *backend)
{
	guest_free(g);
	g = NULL;
	assert_int_equal(boot((struct guest_opts){.extra = ARGS("-object", backend, "-machine",
								"memory-backend=f")}),
			 0);
	assert_true(exo_done(g, "apply", cmdline));
	assert_true(patched());
	assert_true(exo_done(g, "revert", "cmdline"));
	assert_false(patched());
}

static void end_guest(void)
{
	assert_true(guest_dmesg_clean(g));
	guest_free(g);
	g = NULL;
}

static void private_mapping_of_a_memfd(void **state)
{
	unsigned int mergeable;

	(void)state;
	boot_with("memory-backend-memfd,id=f,size=512M,share=off");
	start();
	assert_true(protected_mappings(&mergeable) > 0);
	attack_is_put_back();
	stop();
	end_guest();
}

/* What userfaultfd cannot protect is said to be so, and left alone. */
static void guard_is_refused(void)
{
	_cleanup_exo_ struct exo e = {0};
	char events[192];

	snprintf(events, sizeof(events), "%s/events", patching_dir());
	assert_int_equal(EXO(&e, g, "guard", "--events", events), 0);
	assert_int_equal(e.rc, 1);
	assert_string_equal(exo_str(&e, "error", "code", NULL), "guard");
	end_guest();
}

/* What is written to such a mapping is not in the file. */
static void private_mapping_of_a_file(void **state)
{
	char path[192], option[256];
	struct statfs fs;
	struct stat st;

	(void)state;
	if (statfs(patching_dir(), &fs) || fs.f_type == TMPFS_MAGIC)
		skip(); /* such a file is memory, and can be protected */
	snprintf(path, sizeof(path), "%s/ram", patching_dir());
	snprintf(option, sizeof(option), "memory-backend-file,id=f,size=512M,share=off,mem-path=%s",
		 path);
	boot_with(option);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_blocks, 0);
	guard_is_refused();
	unlink(path);
}

static long huge_pages(long set)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/sys/vm/nr_hugepages", set < 0 ? "re" : "we");
	long n = -1;

	if (!f)
		return -1;
	if (set >= 0)
		return fprintf(f, "%ld\n", set) > 0 && !fflush(f) ? set : -1;
	return fscanf(f, "%ld", &n) == 1 ? n : -1;
}

static void private_huge_pages(void **state)
{
	long before = huge_pages(-1);
	bool enough = before >= 0 && huge_pages(before + HUGE_PAGES) >= 0 &&
		      huge_pages(-1) >= before + HUGE_PAGES;

	(void)state;
	if (enough) {
		boot_with("memory-backend-memfd,id=f,size=512M,share=off,hugetlb=on");
		guard_is_refused();
	}
	if (before >= 0)
		(void)huge_pages(before);
	if (!enough)
		skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* Before any guard: what was taken from KSM is not given back. */
		cmocka_unit_test_teardown(merged_pages_are_patched_and_guarded, restore_ksm),
		cmocka_unit_test_teardown(guarded, drop_guard),
		cmocka_unit_test_teardown(a_page_that_was_discarded_comes_back, drop_guard),
		cmocka_unit_test_teardown(private_mapping_of_a_memfd, drop_guard),
		cmocka_unit_test(private_mapping_of_a_file),
		cmocka_unit_test(private_huge_pages),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
