// SPDX-License-Identifier: Apache-2.0
/*
 * The guard's part of the lens on real kernels: what they rewrite, and what they never do. TCG runs
 * all vCPUs in one thread: otherwise it may go on with a translated int3 that was replaced by then.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/util.h"
#include "tests/lib/lens_guest.h"
#include "tests/lib/ram.h"
#include "vmm-agent/lens/guard.h"

#define RAM_BYTES     (512ul << 20)
#define KINDS	      (LENS_WRITE_OTHER + 1)
#define REAL_MODE_END (UINT64_C(1) << 20) /* what CPUs start with is text too, below it */
#define JOB_MS	      120000
#define CLEAN_TRIES   10
#define CLEAN_NS      UINT64_C(100000000)

struct vm {
	struct guest *g;
	struct lens *l;
	struct lens_kernel k;
	struct xerr err;
	uint8_t *ram;
	struct lens_area area[LENS_MAX_AREAS];
	size_t nr_areas;
	uint8_t *golden; /* the areas' bytes, one behind the other */
	size_t nr_kind[KINDS], nr_steps, nr_samples;
	uint64_t judge_ns, judge_max_ns;
	size_t nr_judged;
};

static void say(struct vm *v, const char *command)
{
	_cleanup_free_ char *s = guest_sh(v->g, command);

	if (!s)
		fail_msg("guest: %s", command);
}

/* Wait for what runs in the background with its output in /tmp/out. Return: that output */
static char *job_said(struct vm *v)
{
	char *said = NULL;

	assert_int_equal(guest_run(v->g,
				   "until grep -q done /tmp/out; do usleep 100000; done; "
				   "cat /tmp/out; rm /tmp/out",
				   JOB_MS, &said, NULL),
			 0);
	return said;
}

static void take_areas(struct vm *v)
{
	size_t bytes = 0, at = 0;

	if (lens_areas(v->l, v->area, LENS_MAX_AREAS, &v->nr_areas, &v->err))
		fail_msg("lens_areas: %s", v->err.text);
	for (size_t i = 0; i < v->nr_areas; i++)
		bytes += v->area[i].len_bytes;
	free(v->golden);
	v->golden = malloc(bytes + 1);
	assert_non_null(v->golden);
	for (size_t i = 0; i < v->nr_areas; i++) {
		assert_true(v->area[i].gpa.v + v->area[i].len_bytes <= RAM_BYTES);
		memcpy(v->golden + at, v->ram + v->area[i].gpa.v, v->area[i].len_bytes);
		at += v->area[i].len_bytes;
	}
}

static void boot(struct vm *v, const struct guest_opts *o)
{
	struct lens_vm desc;
	char libexec[512];
	int fd;

	memset(v, 0, sizeof(*v));
	setenv("EXOPATCH_LIBEXEC", run_build_path(".", libexec, sizeof(libexec)), 1);
	assert_int_equal(guest_boot(&v->g, o), 0);
	fd = ram_open(v->g);
	assert_true(fd >= 0);
	v->ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(v->ram != MAP_FAILED);
	close(fd);
	say(v, "insmod /modules/loop.ko; insmod /modules/dummy.ko");
	assert_int_equal(lens_guest_vm(v->g, &desc), 0);
	if (lens_start(&v->l, &desc, &v->err) || lens_discover(v->l, &v->k, &v->err))
		fail_msg("lens: %s", v->err.text);
	lens_guest_vm_close(&desc);
}

static void end(struct vm *v)
{
	assert_true(guest_dmesg_clean(v->g));
	lens_free(v->l);
	munmap(v->ram, RAM_BYTES);
	free(v->golden);
	guest_free(v->g);
}

/* One run of differing bytes; what is legal becomes golden. */
static bool judge(struct vm *v, const struct lens_area *a, size_t off, uint8_t *golden, size_t len,
		  struct lens_judgement *ret)
{
	uint8_t after[XO_PAGE_SIZE];
	uint64_t start, ns;

	memcpy(after, v->ram + a->gpa.v + off, len);
	start = xo_now_ns();
	if (lens_judge(v->l, (struct gpa){a->gpa.v + off}, golden + off, after, len, ret, &v->err))
		fail_msg("lens_judge: %s", v->err.text);
	ns = xo_now_ns() - start;
	v->judge_ns += ns;
	v->judge_max_ns = ns > v->judge_max_ns ? ns : v->judge_max_ns;
	v->nr_judged++;
	v->nr_kind[ret->kind]++;
	v->nr_steps += ret->intermediate;
	if (ret->legal)
		memcpy(golden + off, after, len);
	else
		print_message("%s at %s+%#lx: %s (%02x %02x %02x %02x %02x -> %02x %02x %02x %02x "
			      "%02x)\n",
			      lens_write_kind_name(ret->kind), ret->where.name,
			      (unsigned long)ret->where_off, ret->reason, golden[off],
			      golden[off + 1], golden[off + 2], golden[off + 3], golden[off + 4],
			      after[0], after[1], after[2], after[3], after[4]);
	return ret->legal;
}

/* All differences of all areas, with the guest standing still. Return: how many were refused */
static size_t sample(struct vm *v)
{
	uint8_t *golden = v->golden;
	size_t refused = 0;

	assert_int_equal(guest_pause(v->g), 0);
	for (size_t i = 0; i < v->nr_areas; i++) {
		const struct lens_area *a = &v->area[i];

		for (size_t page = 0; page < a->len_bytes; page += XO_PAGE_SIZE) {
			const uint8_t *now = v->ram + a->gpa.v + page;
			struct lens_judgement j;
			size_t first = 0, last = XO_PAGE_SIZE - 1;

			if (!memcmp(golden + page, now, XO_PAGE_SIZE))
				continue;
			while (golden[page + first] == now[first])
				first++;
			while (golden[page + last] == now[last])
				last--;
			refused += !judge(v, a, page + first, golden, last - first + 1, &j);
		}
		golden += a->len_bytes;
	}
	assert_int_equal(guest_resume(v->g), 0);
	v->nr_samples++;
	return refused;
}

static void check_areas(struct vm *v)
{
	uint64_t bytes[LENS_AREA_MODULE_RODATA + 1] = {0};
	struct lens_area *out = calloc(LENS_MAX_AREAS, sizeof(*out));
	uint64_t start = xo_now_ns(), real_mode = 0;
	size_t nr = 0, gdts = 0;

	take_areas(v);
	print_message("%zu areas in %.1f ms\n", v->nr_areas, (double)(xo_now_ns() - start) / 1e6);
	for (size_t i = 0; i < v->nr_areas; i++) {
		bytes[v->area[i].kind] += v->area[i].len_bytes;
		if (v->area[i].kind == LENS_AREA_TEXT && v->area[i].gpa.v < REAL_MODE_END)
			real_mode += v->area[i].len_bytes;
	}
	for (int i = LENS_AREA_TEXT; i <= LENS_AREA_MODULE_RODATA; i++)
		print_message("  %-14s %6lu pages\n", lens_area_name((enum lens_area_kind)i),
			      (unsigned long)(bytes[i] / XO_PAGE_SIZE));
	assert_int_equal(bytes[LENS_AREA_TEXT] - real_mode,
			 xo_align_up(v->k.text_bytes, XO_PAGE_SIZE));
	assert_in_range(real_mode, XO_PAGE_SIZE, 16 * XO_PAGE_SIZE);
	assert_true(bytes[LENS_AREA_RODATA] > (3u << 20));
	assert_true(bytes[LENS_AREA_RO_AFTER_INIT] >= 16 * XO_PAGE_SIZE);
	assert_int_equal(bytes[LENS_AREA_IDT], XO_PAGE_SIZE);
	assert_true(bytes[LENS_AREA_MODULE_TEXT] >= 4 * XO_PAGE_SIZE);
	assert_true(bytes[LENS_AREA_MODULE_RODATA] >= 2 * XO_PAGE_SIZE);
	if (lens_areas_left_out(v->l, out, LENS_MAX_AREAS, &nr, &v->err))
		fail_msg("lens_areas_left_out: %s", v->err.text);
	for (size_t i = 0; i < nr; i++) {
		print_message("  left out: %s %s %#lx, %lu bytes\n", lens_area_name(out[i].kind),
			      out[i].module, (unsigned long)out[i].gva.v,
			      (unsigned long)out[i].len_bytes);
		gdts += out[i].kind == LENS_AREA_GDT;
	}
	assert_int_equal(gdts, v->k.nr_cpus);
	free(out);
}

/* Three seconds of an idle guest, then some of a busy one: not a byte changes. */
static void check_idle(struct vm *v)
{
	for (int i = 0; i < 6; i++) {
		xo_sleep_ns(500 * UINT64_C(1000000));
		if (i == 3)
			say(v, "for i in $(seq 50); do ls -lR /sys/kernel >/dev/null; break; done");
		assert_int_equal(sample(v), 0);
	}
	for (int i = 0; i < KINDS; i++)
		if (v->nr_kind[i])
			fail_msg("an idle guest wrote: %s",
				 lens_write_kind_name((enum lens_write_kind)i));
}

/* Run @command in the background of the guest and look on; then it must be over. */
static void watch(struct vm *v, const char *what, const char *command, enum lens_write_kind kind)
{
	size_t before = v->nr_kind[kind], steps = v->nr_steps, refused = 0;
	size_t others = v->nr_kind[LENS_WRITE_OTHER];
	_cleanup_free_ char *said = NULL;
	char line[1024];

	snprintf(line, sizeof(line),
		 "{ (%s) >/tmp/out 2>&1; echo done >>/tmp/out; } >/dev/null 2>&1 &", command);
	say(v, line);
	for (int i = 0; i < 60; i++) {
		refused += sample(v);
		xo_sleep_ns((uint64_t)(i % 20) * 1000000);
	}
	said = job_said(v);
	if (strcmp(said, "done\n") != 0)
		print_message("%s", said);
	xo_sleep_ns(300 * UINT64_C(1000000));
	refused += sample(v);
	print_message("%s: %zu writes of kind %s, %zu seen half done\n", what,
		      v->nr_kind[kind] - before, lens_write_kind_name(kind), v->nr_steps - steps);
	assert_int_equal(refused, 0);
	assert_int_equal(v->nr_kind[LENS_WRITE_OTHER], others);
	assert_true(v->nr_kind[kind] > before);
}

#define TRACING "cd /sys/kernel/tracing; "

static void check_toggles(struct vm *v)
{
	struct lens_lookup q = {.name = "cmdline_proc_show"};
	_cleanup_refusal_ struct refusal why = {0};
	struct lens_site site;
	char command[512];

	watch(v, "ftrace on",
	      TRACING "echo 'vfs_*' > set_ftrace_filter; echo function > current_tracer",
	      LENS_WRITE_FTRACE);
	watch(v, "ftrace off", TRACING "echo nop > current_tracer; echo > set_ftrace_filter",
	      LENS_WRITE_FTRACE);
	watch(v, "events on", TRACING "echo 1 > events/signal/enable; echo 1 > events/task/enable",
	      LENS_WRITE_JUMP_LABEL);
	watch(v, "events off", TRACING "echo 0 > events/signal/enable; echo 0 > events/task/enable",
	      LENS_WRITE_JUMP_LABEL);
	watch(v, "a sysctl", "echo 0 > /proc/sys/kernel/timer_migration", LENS_WRITE_JUMP_LABEL);
	assert_int_equal(lens_lookup(v->l, &q, 1, &v->err), 0);
	assert_true(q.valid);
	if (lens_site(v->l, q.found.addr, q.found.size_bytes, NULL, 0, &site, &why, &v->err))
		fail_msg("lens_site: %s", v->err.text);
	snprintf(command, sizeof(command),
		 TRACING "echo p:x cmdline_proc_show+%u > kprobe_events; "
			 "echo 1 > events/kprobes/x/enable; usleep 300000",
		 site.off);
	watch(v, "kprobe on", command, LENS_WRITE_KPROBE);
	say(v, "cat /proc/cmdline; cat /sys/kernel/debug/kprobes/list 2>/dev/null; true");
	watch(v, "kprobe off",
	      TRACING "echo 0 > events/kprobes/x/enable; usleep 300000; echo > kprobe_events",
	      LENS_WRITE_KPROBE);
	watch(v, "kretprobe on",
	      TRACING
	      "echo r:y cmdline_proc_show > kprobe_events; echo 1 > events/kprobes/y/enable",
	      LENS_WRITE_FTRACE);
	say(v, "cat /proc/cmdline");
	watch(v, "kretprobe off", TRACING "echo 0 > events/kprobes/y/enable; echo > kprobe_events",
	      LENS_WRITE_FTRACE);
}

/* Bytes that nobody of the guest's wrote. */
static void check_flip(struct vm *v)
{
	struct lens_lookup q = {.name = "cmdline_proc_show"};
	struct lens_judgement j;
	uint8_t before, after, *at;
	uint64_t left;
	struct gpa gpa;

	assert_int_equal(lens_lookup(v->l, &q, 1, &v->err), 0);
	assert_int_equal(
		lens_translate(v->l, (struct gva){q.found.addr.v + 11}, &gpa, &left, &v->err), 0);
	at = v->ram + gpa.v;
	before = *at;
	*at ^= 0x10;
	after = *at;
	assert_int_equal(lens_judge(v->l, gpa, &before, &after, 1, &j, &v->err), 0);
	assert_int_equal(j.kind, LENS_WRITE_OTHER);
	assert_false(j.legal);
	assert_string_equal(j.where.name, "cmdline_proc_show");
	assert_int_equal(j.where_off, 11);
	assert_non_null(strstr(j.reason, "cmdline_proc_show+0xb"));
	*at = before;
}

/* ---- page tables ---- */

static void show(const struct lens_finding *f, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		print_message(
			"  found %d: %s, owner %s, gva %#lx gpa %#lx, %#lx bytes, %#lx -> %#lx\n",
			(int)f[i].kind, f[i].what, lens_owner_name(f[i].owner),
			(unsigned long)f[i].gva.v, (unsigned long)f[i].gpa.v,
			(unsigned long)f[i].len_bytes, (unsigned long)f[i].was,
			(unsigned long)f[i].is);
}

static size_t tables(struct vm *v, struct lens_finding *f)
{
	size_t nr = 0;

	if (lens_tables_check(v->l, f, &nr, &v->err))
		fail_msg("lens_tables_check: %s", v->err.text);
	return nr;
}

/* What an idle guest has is approved, as far as a list of the kernel names an owner. */
static size_t audit(struct vm *v, const struct lens_approved *extra, size_t nr_extra,
		    struct lens_finding *f, struct lens_audit_stats *stats)
{
	struct lens_approved all[LENS_MAX_APPROVED];
	size_t nr = 0, nr_all = 0;

	if (lens_guard_prepare(v->l, &v->err))
		fail_msg("lens_guard_prepare: %s", v->err.text);
	if (lens_audit(v->l, NULL, 0, f, &nr, stats, &v->err))
		fail_msg("lens_audit: %s", v->err.text);
	assert_true(nr < LENS_MAX_FINDINGS);
	for (size_t i = 0; i < nr_extra; i++)
		all[nr_all++] = extra[i];
	for (size_t i = 0; i < nr; i++)
		if (f[i].kind == LENS_FOUND_EXEC && f[i].owner != LENS_OWNER_UNKNOWN)
			all[nr_all++] = (struct lens_approved){.gva = f[i].gva,
							       .len_bytes = f[i].len_bytes};
	if (lens_audit(v->l, all, nr_all, f, &nr, stats, &v->err))
		fail_msg("lens_audit: %s", v->err.text);
	return nr;
}

/* The kernel frees by and by what modules needed for their start. */
static void becomes_clean(struct vm *v)
{
	struct lens_finding f[LENS_MAX_FINDINGS];
	struct lens_audit_stats stats;
	size_t nr = audit(v, NULL, 0, f, &stats);

	for (int i = 1; nr && i < CLEAN_TRIES; i++) {
		xo_sleep_ns(CLEAN_NS);
		nr = audit(v, NULL, 0, f, &stats);
	}
	show(f, nr);
	assert_int_equal(nr, 0);
}

/* The 8 bytes at a kernel address, in our own mapping. */
static uint64_t *word(struct vm *v, const char *symbol, uint64_t index)
{
	struct lens_lookup q = {0};
	uint64_t left;
	struct gpa gpa;

	snprintf(q.name, sizeof(q.name), "%s", symbol);
	assert_int_equal(lens_lookup(v->l, &q, 1, &v->err), 0);
	assert_true(q.valid);
	assert_int_equal(lens_translate(v->l, (struct gva){q.found.addr.v + index * 8}, &gpa, &left,
					&v->err),
			 0);
	return (uint64_t *)(void *)(v->ram + gpa.v);
}

static void check_tables(struct vm *v)
{
	struct lens_finding f[LENS_MAX_FINDINGS];
	struct lens_audit_stats stats;
	const struct lens_approved home = {
		.gva = {UINT64_C(0xffffffffff680000)}, .len_bytes = 4096, .gpa = {0xd0000}};
	uint64_t *text = word(v, "level2_kernel_pgt", (v->k.base.v >> 21) & 511);
	uint64_t *fixmap = word(v, "level1_fixmap_pgt", 640);
	uint64_t old, start, worst = 0, audit_ns = 0;
	size_t nr;

	if (lens_tables_pin(v->l, &v->err))
		fail_msg("lens_tables_pin: %s", v->err.text);
	start = xo_now_ns();
	for (int i = 0; i < 100; i++) {
		uint64_t at = xo_now_ns();

		nr = tables(v, f);
		show(f, nr);
		assert_int_equal(nr, 0);
		worst = xo_now_ns() - at > worst ? xo_now_ns() - at : worst;
	}
	print_message("tables compared in %.0f us, at most %.0f us\n",
		      (double)(xo_now_ns() - start) / 1e5, (double)worst / 1e3);
	becomes_clean(v);
	for (int i = 0; i < 20; i++) {
		nr = audit(v, NULL, 0, f, &stats);
		show(f, nr);
		assert_int_equal(nr, 0);
		audit_ns += stats.ns;
	}
	print_message("audit: %u spaces, %u tables, %u executable pages, %u left, %.0f us\n",
		      stats.nr_spaces, stats.nr_tables, stats.nr_exec_pages, stats.nr_left,
		      (double)audit_ns / 20e3);
	assert_true(stats.nr_spaces > 3);
	assert_true(stats.nr_exec_pages >= v->k.text_bytes / XO_PAGE_SIZE);

	/* Text becomes writable. */
	old = *text;
	*text |= 2;
	assert_int_equal(tables(v, f), 1);
	assert_int_equal(f[0].kind, LENS_FOUND_WX);
	assert_int_equal(f[0].gva.v, v->k.base.v & ~((UINT64_C(2) << 20) - 1));
	assert_non_null(strstr(f[0].what, "kernel image"));
	assert_int_equal(audit(v, NULL, 0, f, &stats), 1);
	assert_int_equal(f[0].kind, LENS_FOUND_WX);
	*text = old;

	/* A page appears in the fixmap, as a detour's home does. */
	assert_int_equal(*fixmap, 0);
	*fixmap = 0xd0000 | 0x121;
	assert_int_equal(tables(v, f), 1);
	assert_int_equal(f[0].kind, LENS_FOUND_PTE);
	assert_int_equal(audit(v, NULL, 0, f, &stats), 1);
	assert_int_equal(f[0].kind, LENS_FOUND_EXEC);
	assert_int_equal(f[0].gva.v, home.gva.v);
	assert_int_equal(f[0].owner, LENS_OWNER_UNKNOWN);
	assert_int_equal(audit(v, &home, 1, f, &stats), 0);
	*fixmap = 0xd1000 | 0x121;
	assert_int_equal(audit(v, &home, 1, f, &stats), 1);
	assert_int_equal(f[0].kind, LENS_FOUND_TEXT_MAPPING);
	*fixmap = 0;
	assert_int_equal(tables(v, f), 0);
	assert_int_equal(audit(v, NULL, 0, f, &stats), 0);
}

/* Modules, tracers and processes come and go: the tables of the image stay, nobody is unknown. */
static void check_busy(struct vm *v)
{
	struct lens_finding f[LENS_MAX_FINDINGS];
	struct lens_audit_stats stats;
	size_t nr, seen = 0;

	say(v, "{ for i in $(seq 12); do rmmod dummy; insmod /modules/dummy.ko; "
	       "cd /sys/kernel/tracing; echo 'r:z vfs_read' > kprobe_events; "
	       "echo 1 > events/kprobes/z/enable; usleep 100000; "
	       "echo 0 > events/kprobes/z/enable; echo > kprobe_events; "
	       "for j in 1 2 3 4 5; do /bin/true; done; done; echo done; } "
	       ">/tmp/out 2>&1 </dev/null &");
	for (int i = 0; i < 100; i++) {
		nr = tables(v, f);
		for (size_t k = 0; k < nr; k++)
			if (!strstr(f[k].what, "module area")) {
				show(f + k, 1);
				fail();
			}
		seen += nr;
		nr = audit(v, NULL, 0, f, &stats);
		show(f, nr);
		xo_sleep_ns(20 * UINT64_C(1000000));
	}
	free(job_said(v));
	print_message("busy: %zu new entries in the module area\n", seen);
	becomes_clean(v);
	assert_int_equal(lens_tables_pin(v->l, &v->err), 0);
	assert_int_equal(tables(v, f), 0);
}

static void run(const struct guest_opts *o)
{
	static struct vm v;

	boot(&v, o);
	check_areas(&v);
	check_tables(&v);
	check_busy(&v);
	take_areas(&v);
	check_idle(&v);
	check_toggles(&v);
	check_flip(&v);
	print_message("%zu judged, %.1f us each, at most %.1f us\n", v.nr_judged,
		      (double)v.judge_ns / 1e3 / (double)v.nr_judged, (double)v.judge_max_ns / 1e3);
	end(&v);
}

static void test_6_1(void **state)
{
	(void)state;
	run(&(struct guest_opts){.one_thread = true});
}

static void test_6_12(void **state)
{
	(void)state;
	run(&(struct guest_opts){
		.package = GUEST_6_12, .la57 = true, .ovmf = true, .one_thread = true});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_6_1),
		cmocka_unit_test(test_6_12),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
