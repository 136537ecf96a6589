// SPDX-License-Identifier: Apache-2.0
/* The lens on real kernels, compared with what the guest says of itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "tests/lib/lens_guest.h"

struct vm {
	struct guest *g;
	struct lens *l;
	struct lens_kernel k;
	struct xerr err;
};

static void boot(struct vm *v, const struct guest_opts *o)
{
	struct lens_vm desc;
	char libexec[512];

	*v = (struct vm){0};
	setenv("EXOPATCH_LIBEXEC", run_build_path(".", libexec, sizeof(libexec)), 1);
	assert_int_equal(guest_boot(&v->g, o), 0);
	assert_int_equal(lens_guest_vm(v->g, &desc), 0);
	if (lens_start(&v->l, &desc, &v->err))
		fail_msg("lens_start: %s", v->err.text);
	lens_guest_vm_close(&desc);
}

static void end(struct vm *v)
{
	assert_true(guest_dmesg_clean(v->g));
	lens_free(v->l);
	guest_free(v->g);
}

static uint64_t ask_number(struct vm *v, const char *command, int base)
{
	_cleanup_free_ char *s = guest_sh(v->g, command);

	assert_non_null(s);
	return strtoull(s, NULL, base);
}

static void discover(struct vm *v)
{
	uint64_t start = xo_now_ns();

	if (lens_discover(v->l, &v->k, &v->err))
		fail_msg("lens_discover: %s", v->err.text);
	print_message("discovered %s in %.1f ms\n", v->k.release,
		      (double)(xo_now_ns() - start) / 1e6);
}

/* Counts, base and build-id against /proc and /sys of the guest. */
static void compare(struct vm *v, unsigned int levels, unsigned int cpus)
{
	_cleanup_free_ char *release = guest_sh(v->g, "uname -r");
	_cleanup_free_ char *id =
		guest_sh(v->g, "od -An -v -tx1 /sys/kernel/notes | tr -d ' \\n' | grep -o "
			       "'1400000003000000474e5500.\\{40\\}'");
	char hex[41];
	uint64_t tasks;

	discover(v);
	assert_string_equal(v->k.release, release);
	assert_int_equal(v->k.paging_levels, levels);
	assert_int_equal(v->k.nr_cpus, cpus);
	assert_int_equal(v->k.base.v, ask_number(v, "sed -n 's/ T _text$//p' /proc/kallsyms", 16));
	assert_int_equal(v->k.nr_symbols, ask_number(v, "grep -vc '\\[' /proc/kallsyms", 10));
	assert_int_equal(v->k.nr_modules, ask_number(v, "wc -l < /proc/modules", 10));
	/* The shell and what it runs come and go. */
	tasks = ask_number(v, "ls -d /proc/[0-9]*/task/* | wc -l", 10);
	assert_in_range(v->k.nr_tasks, tasks - 6, tasks + 6);
	assert_int_equal(v->k.build_id_bytes, 20);
	xo_hex(SPAN(v->k.build_id, 20), hex);
	assert_non_null(id);
	assert_string_equal(id + strlen(id) - 40, hex);
}

/* Some hundred symbols, of vmlinux and of modules, with their addresses. */
static void compare_symbols(struct vm *v)
{
	_cleanup_free_ char *text =
		guest_sh(v->g, "awk 'NR % 701 == 0 || /\\[loop\\]/' /proc/kallsyms");
	size_t nr = 0;
	char *save = NULL;

	assert_non_null(text);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		struct lens_lookup q = {0};
		char type, module[64] = "";
		uint64_t addr;
		bool met = false;

		if (sscanf(line, "%" SCNx64 " %c %127s [%55[^]]", &addr, &type, q.name, module) < 3)
			continue;
		snprintf(q.module, sizeof(q.module), "%s", module);
		for (q.sympos = 1; !met; q.sympos++) {
			assert_int_equal(lens_lookup(v->l, &q, 1, &v->err), 0);
			if (!q.valid)
				break;
			met = q.found.addr.v == addr;
		}
		if (!met)
			fail_msg("%s: not found at %" PRIx64, q.name, addr);
		nr++;
	}
	assert_true(nr > 100);
}

static struct lens_symbol symbol(struct vm *v, const char *name)
{
	struct lens_lookup q = {0};

	snprintf(q.name, sizeof(q.name), "%s", name);
	assert_int_equal(lens_lookup(v->l, &q, 1, &v->err), 0);
	if (!q.valid)
		fail_msg("%s: not found", name);
	return q.found;
}

/* Who is inside @name, with the guest held? *@first is one of them */
static size_t busy_in(struct vm *v, const char *name, struct lens_busy *first,
		      struct lens_check_stats *stats)
{
	const struct lens_symbol s = symbol(v, name);
	const struct lens_range r = {.start = s.addr, .len_bytes = s.size_bytes};
	struct lens_check_regs regs[LENS_MAX_VCPUS];
	struct lens_busy busy[LENS_MAX_BUSY];
	size_t nr_regs, nr = 0;

	if (lens_check_prepare(v->l, &r, 1, &v->err))
		fail_msg("lens_check_prepare: %s", v->err.text);
	assert_int_equal(guest_pause(v->g), 0);
	nr_regs = lens_guest_regs(v->g, regs);
	assert_true(nr_regs > 0);
	if (lens_check(v->l, regs, nr_regs, busy, &nr, stats, &v->err))
		fail_msg("lens_check: %s", v->err.text);
	assert_int_equal(guest_resume(v->g), 0);
	if (nr)
		*first = busy[0];
	return nr;
}

static size_t count_kind(struct vm *v, const char *name, enum lens_busy_kind kind, int32_t pid)
{
	const struct lens_symbol s = symbol(v, name);
	const struct lens_range r = {.start = s.addr, .len_bytes = s.size_bytes};
	struct lens_check_regs regs[LENS_MAX_VCPUS];
	struct lens_busy busy[LENS_MAX_BUSY];
	struct lens_check_stats stats;
	size_t nr_regs, nr = 0, hits = 0;

	assert_int_equal(lens_check_prepare(v->l, &r, 1, &v->err), 0);
	assert_int_equal(guest_pause(v->g), 0);
	nr_regs = lens_guest_regs(v->g, regs);
	assert_int_equal(lens_check(v->l, regs, nr_regs, busy, &nr, &stats, &v->err), 0);
	assert_int_equal(guest_resume(v->g), 0);
	for (size_t i = 0; i < nr; i++)
		hits += busy[i].kind == kind && busy[i].pid == pid;
	return hits;
}

static int32_t start_sleep(struct vm *v)
{
	return (int32_t)ask_number(v,
				   "sleep 1000 >/dev/null 2>&1 & "
				   "until grep -q nanosleep /proc/$!/wchan; do usleep 10000; "
				   "done; echo $!",
				   10);
}

static void stop_sleep(struct vm *v, int32_t pid)
{
	char command[128];

	snprintf(command, sizeof(command),
		 "kill %d; while [ -e /proc/%d ]; do usleep 10000; done; echo 0", pid, pid);
	ask_number(v, command, 10);
}

/* A sleeping task is found in what it sleeps in, and gone when it is gone. */
static void check_sleeper(struct vm *v)
{
	int32_t pid = start_sleep(v);

	assert_int_equal(count_kind(v, "hrtimer_nanosleep", LENS_BUSY_STACK, pid), 1);
	assert_int_equal(count_kind(v, "cmdline_proc_show", LENS_BUSY_STACK, pid), 0);
	stop_sleep(v, pid);
	assert_int_equal(count_kind(v, "hrtimer_nanosleep", LENS_BUSY_STACK, pid), 0);
}

/*
 * Return addresses that tracers took away from the stack are found where they put them. Only one
 * function is traced: to rewrite them all takes TCG many seconds.
 */
static void check_traced(struct vm *v)
{
	int32_t pid;

	ask_number(v,
		   "cd /sys/kernel/tracing; echo do_nanosleep > set_ftrace_filter; "
		   "echo function_graph > current_tracer; echo 0",
		   10);
	pid = start_sleep(v);
	assert_true(count_kind(v, "hrtimer_nanosleep", LENS_BUSY_TRACE, pid) > 0);
	stop_sleep(v, pid);
	ask_number(v,
		   "cd /sys/kernel/tracing; echo nop > current_tracer; "
		   "echo > set_ftrace_filter; echo r:x do_nanosleep > kprobe_events; "
		   "echo 1 > events/kprobes/x/enable; echo 0",
		   10);
	pid = start_sleep(v);
	assert_true(count_kind(v, "hrtimer_nanosleep", LENS_BUSY_TRACE, pid) > 0);
	stop_sleep(v, pid);
	ask_number(v,
		   "cd /sys/kernel/tracing; echo 0 > events/kprobes/x/enable; "
		   "echo > kprobe_events; echo 0",
		   10);
}

/* Both CPUs at work, in user mode and in the kernel: no error, and nobody where nobody can be. */
static void check_load(struct vm *v)
{
	struct lens_check_stats stats;
	struct lens_busy b = {0};
	size_t in_read = 0;

	ask_number(v,
		   "(while :; do :; done) >/dev/null 2>&1 & "
		   "dd if=/dev/zero of=/dev/null bs=1M >/dev/null 2>&1 & echo 0",
		   10);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(busy_in(v, "cmdline_proc_show", &b, &stats), 0);
		in_read += busy_in(v, "read_zero", &b, &stats) > 0;
	}
	assert_true(in_read > 5);
	ask_number(v, "kill $(pidof dd); kill %1 2>/dev/null; echo 0", 10);
}

static void check_site(struct vm *v)
{
	const struct lens_symbol s = symbol(v, "cmdline_proc_show");
	_cleanup_refusal_ struct refusal none = {0}, why = {0};
	struct lens_site site, again;
	char command[256];

	if (lens_site(v->l, s.addr, s.size_bytes, NULL, 0, &site, &none, &v->err))
		fail_msg("lens_site: %s", v->err.text);
	assert_true(site.behind_ftrace);
	assert_true(site.len_bytes >= 5 && site.off >= 5);
	snprintf(command, sizeof(command),
		 "cd /sys/kernel/tracing; echo p:x cmdline_proc_show+%u > kprobe_events; "
		 "echo 1 > events/kprobes/x/enable; echo 0",
		 site.off);
	ask_number(v, command, 10);
	assert_int_equal(lens_site(v->l, s.addr, s.size_bytes, NULL, 0, &again, &why, &v->err),
			 -XO_ENOROOM);
	assert_true(why.nr > 0);
	ask_number(v,
		   "cd /sys/kernel/tracing; echo 0 > events/kprobes/x/enable; "
		   "echo > kprobe_events; echo 0",
		   10);
	v->err = (struct xerr){0};
	/* A tracer on the function leaves the place as it is. */
	ask_number(v,
		   "cd /sys/kernel/tracing; echo cmdline_proc_show > set_ftrace_filter; "
		   "echo function > current_tracer; echo 0",
		   10);
	assert_int_equal(lens_site(v->l, s.addr, s.size_bytes, NULL, 0, &again, &none, &v->err), 0);
	assert_int_equal(again.off, site.off);
	ask_number(v,
		   "cd /sys/kernel/tracing; echo nop > current_tracer; "
		   "echo > set_ftrace_filter; echo 0",
		   10);
}

static void check_window(struct vm *v)
{
	struct lens_window_page p[16];

	for (unsigned int i = 0; i < 16; i++)
		p[i] = (struct lens_window_page){.gpa = {0xd0000 + i * XO_PAGE_SIZE}};
	if (lens_window(v->l, p, 16, &v->err))
		fail_msg("lens_window: %s", v->err.text);
	for (unsigned int i = 0; i < 16; i++) {
		assert_true(p[i].usable);
		assert_int_equal(p[i].pte_old, 0);
		assert_int_equal(p[i].gva.v,
				 UINT64_C(0xffffffffff601000) + 0x10000 + i * XO_PAGE_SIZE);
	}
}

static void check_shim(struct vm *v, bool loaded)
{
	struct lens_shim s;

	if (!loaded) {
		assert_int_equal(lens_shim(v->l, &s, &v->err), -XO_ENOHOME);
		v->err = (struct xerr){0};
		return;
	}
	assert_true(v->k.has_shim);
	if (lens_shim(v->l, &s, &v->err))
		fail_msg("lens_shim: %s", v->err.text);
	assert_int_equal(s.abi_version, 1);
	assert_true(s.exit_now != 0);
}

static void load_modules(struct vm *v)
{
	ask_number(v, "insmod /modules/loop.ko; insmod /modules/dummy.ko; echo 0", 10);
}

static void test_6_1(void **state)
{
	struct vm v;

	(void)state;
	boot(&v, &(struct guest_opts){.shim = true, .append = "no_timer_check"});
	load_modules(&v);
	compare(&v, 4, 2);
	compare_symbols(&v);
	check_sleeper(&v);
	check_traced(&v);
	check_load(&v);
	check_site(&v);
	check_window(&v);
	check_shim(&v, true);
	end(&v);
}

static void test_6_12(void **state)
{
	struct vm v;

	(void)state;
	boot(&v, &(struct guest_opts){.package = GUEST_6_12,
				      .la57 = true,
				      .ovmf = true,
				      .append = "no_timer_check"});
	load_modules(&v);
	compare(&v, 5, 2);
	compare_symbols(&v);
	check_sleeper(&v);
	check_traced(&v);
	check_load(&v);
	check_site(&v);
	check_window(&v);
	check_shim(&v, false);
	end(&v);
}

/* 5 GiB in two nodes, RAM above the PCI hole; many threads, and how long the check takes. */
static void test_large(void **state)
{
	struct lens_check_stats stats;
	struct lens_busy b = {0};
	struct vm v;

	(void)state;
	boot(&v, &(struct guest_opts){.mem_mib = 2560,
				      .numa_nodes = 2,
				      .vcpus = 4,
				      .append = "pti=on no_timer_check"});
	/* On a busy host they take long to be made. */
	ask_number(&v,
		   "spawn-threads 1000 >/tmp/threads & "
		   "while ! grep -qs ready /tmp/threads; do usleep 100000; done; echo 0",
		   10);
	compare(&v, 4, 4);
	assert_true(v.k.nr_tasks > 1000);
	assert_true(v.k.pti);
	assert_int_equal(busy_in(&v, "cmdline_proc_show", &b, &stats), 0);
	print_message("%u tasks checked in %.0f us, %u of them looked at again\n", stats.nr_tasks,
		      (double)stats.ns / 1e3, stats.nr_rescanned);
	assert_true(stats.nr_rescanned < 100);
	assert_true(busy_in(&v, "schedule", &b, &stats) == LENS_MAX_BUSY);
	end(&v);
}

/* The guest goes away, and firmware that never was a guest. */
static void test_no_kernel(void **state)
{
	struct vm v;
	uint8_t byte;

	(void)state;
	boot(&v, &(struct guest_opts){0});
	discover(&v);
	guest_free(v.g);
	/* The memory is still there, held by the lens. */
	assert_int_equal(lens_read(v.l, v.k.base, &byte, 1, &v.err), 0);
	assert_true(lens_pid(v.l) > 1);
	kill(lens_pid(v.l), SIGKILL);
	assert_int_equal(lens_read(v.l, v.k.base, &byte, 1, &v.err), -XO_EPEERDIED);
	lens_free(v.l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_6_1),
		cmocka_unit_test(test_6_12),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_no_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
