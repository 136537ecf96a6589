// SPDX-License-Identifier: Apache-2.0
/*
 * The guard's monitor on Debian's kernel under TCG: all of its text is protected. Two vCPUs in one
 * thread: with a thread each, QEMU throws translated code away before a store, and another vCPU may
 * translate the old bytes again while the store waits (docs/guard.md).
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "tests/lib/holding.h"
#include "tests/lib/lens_guest.h"
#include "tests/lib/patience.h"
#include "tests/lib/proc.h"
#include "vmm-agent/monitor/guard.h"
#include "vmm-agent/target/target.h"

#define QUIET_MS 5000
/* Where Debian kernels are without KASLR (CONFIG_PHYSICAL_START); their text is longer. */
#define NOKASLR_TEXT  0x1000000
#define NOKASLR_BYTES 0xc00000
#define ROUNDS	      10
/* Jump labels, a tracepoint and its static call: each poked byte is an event. */
#define POKES                                                                                      \
	"mount -t tracefs t /sys/kernel/tracing 2>/dev/null; cd /sys/kernel/tracing && "           \
	"echo 1 >/proc/sys/kernel/sched_schedstats && echo 0 >/proc/sys/kernel/sched_schedstats "  \
	"&& echo 1 >events/sched/sched_switch/enable && echo 0 >events/sched/sched_switch/enable"

static struct {
	struct guest *guest;
	struct tgt *tgt;
	struct mon *mon;
	struct mon_guard_fds fds;
	struct mon_range text;
} vm;

static void must(const char *what, int rc, const struct xerr *err)
{
	if (rc)
		fail_msg("%s: %d: %s", what, rc, err->text);
}

static void start_monitor(void)
{
	const struct tgt_info *info = tgt_info(vm.tgt);
	struct mon_vm mv = {.pid = info->pid, .accel = MON_TCG, .nr_vcpus = info->nr_vcpus};
	struct xerr err = {0};

	for (size_t i = 0; i < info->nr_vcpus; i++)
		mv.tid[i] = info->vcpu[i].tid;
	for (size_t i = 0; i < info->nr_regions; i++) {
		const struct tgt_region *r = &info->region[i];

		mv.region[mv.nr_regions++] = (struct mon_region){.gpa = r->gpa,
								 .len_bytes = r->len_bytes,
								 .hva = r->hva,
								 .backend = r->backend,
								 .backend_off = r->backend_off,
								 .rom = r->rom};
	}
	for (size_t i = 0; i < info->nr_backends; i++)
		mv.backend_fd[mv.nr_backends++] = tgt_backend_open(vm.tgt, i, true, &err);
	must("mon_start", mon_start(&vm.mon, &mv, &err), &err);
	for (size_t i = 0; i < mv.nr_backends; i++)
		(void)close(mv.backend_fd[i]);
}

static void find_text(void)
{
	struct lens_kernel k = {0};
	struct lens *lens = NULL;
	struct xerr err = {0};
	struct lens_vm lv;

	assert_int_equal(lens_guest_vm(vm.guest, &lv), 0);
	must("lens_start", lens_start(&lens, &lv, &err), &err);
	must("lens_discover", lens_discover(lens, &k, &err), &err);
	lens_free(lens);
	lens_guest_vm_close(&lv);
	vm.text = (struct mon_range){.gpa = k.phys_base, .len_bytes = k.text_bytes & ~XO_PAGE_MASK};
}

static int boot(const struct guest_opts *opts)
{
	struct refusal why = {0};
	struct tgt_spec at = {0};
	struct xerr err = {0};
	int dev = -1;

	vm.fds = (struct mon_guard_fds){-1, -1};
	if (guest_boot(&vm.guest, opts))
		return -1;
	if (opts->private_ram)
		vm.text = (struct mon_range){.gpa = {NOKASLR_TEXT}, .len_bytes = NOKASLR_BYTES};
	else
		find_text();
	at.qmp_path = guest_qmp_path(vm.guest);
	must("tgt_attach", tgt_attach(&vm.tgt, &at, &why, &err), &err);
	refusal_free(&why); /* private RAM is one, for patching */
	start_monitor();
	must("tgt_uffd_open", tgt_uffd_open(vm.tgt, &dev, &err), &err);
	must("mon_guard_open", patient_open(vm.mon, dev, &vm.fds, &err), &err);
	must("tgt_uffd_close", tgt_uffd_close(vm.tgt, &err), &err);
	must("mon_guard_protect", patient_protect(vm.mon, &vm.text, 1, &err), &err);
	return 0;
}

static int boot_shared(void **state)
{
	(void)state;
	return boot(&(struct guest_opts){.one_thread = true});
}

static int boot_private(void **state)
{
	(void)state;
	return boot(
		&(struct guest_opts){.one_thread = true, .private_ram = true, .append = "nokaslr"});
}

static int stop(void **state)
{
	(void)state;
	mon_free(vm.mon);
	tgt_free(vm.tgt);
	guest_free(vm.guest);
	xo_close_ptr(&vm.fds.uffd);
	xo_close_ptr(&vm.fds.golden);
	memset(&vm, 0, sizeof(vm));
	return 0;
}

static struct mon_guard_stats stats(void)
{
	struct mon_guard_stats s = {0};
	struct xerr err = {0};

	must("mon_guard_stats", mon_guard_stats(vm.mon, &s, &err), &err);
	return s;
}

/* A guest that changes none of its code raises no event. */
static void test_idle_is_quiet(void **state)
{
	struct mon_write_event e;
	struct xerr err = {0};
	uint64_t lost = 1;

	(void)state;
	assert_true(stats().nr_pages > 3000);
	assert_int_equal(mon_guard_next(vm.mon, QUIET_MS, &e, &err), -XO_ETIMEOUT);
	assert_int_equal(stats().nr_events, 0);
	err = (struct xerr){0};
	must("mon_guard_audit", mon_guard_audit(vm.mon, &lost, &err), &err);
	assert_int_equal(lost, 0);
	print_message("armed %llu pages in %llu us\n", (unsigned long long)stats().nr_pages,
		      (unsigned long long)stats().arm_ns / 1000);
}

struct run {
	const char *command;
	atomic_bool done;
	int rc;
};

static void *run_in_guest(void *arg)
{
	struct run *r = arg;

	if (guest_run(vm.guest, r->command, 60000, NULL, &r->rc))
		r->rc = -1;
	r->done = true;
	return NULL;
}

/* Keep what comes while the guest runs @command. Return: how many writes */
static unsigned int run_judged(const char *command)
{
	struct run r = {.command = command};
	unsigned int nr = 0;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, run_in_guest, &r), 0);
	while (!r.done) {
		struct mon_write_event e;
		struct xerr err = {0};
		int rc = mon_guard_next(vm.mon, 50, &e, &err);

		if (rc == -XO_ETIMEOUT || rc == -XO_EHOLD)
			continue;
		must("mon_guard_next", rc, &err);
		assert_true(e.gpa.v >= vm.text.gpa.v &&
			    e.gpa.v - vm.text.gpa.v < vm.text.len_bytes);
		assert_in_range(e.vcpu, 0, 1);
		must("mon_guard_verdict", mon_guard_verdict(vm.mon, true, NULL, &err), &err);
		nr++;
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(r.rc, 0);
	return nr;
}

static void test_honest_pokes_are_kept(void **state)
{
	unsigned int nr = 0;

	(void)state;
	for (int i = 0; i < ROUNDS; i++)
		nr += run_judged(POKES);
	print_message("%u writes to text, all kept\n", nr);
	assert_true(nr > 50 * ROUNDS);
	assert_int_equal(stats().nr_kept, nr);
	assert_true(guest_dmesg_clean(vm.guest));
}

/* The guard dies amid pokes, and the next one goes on. */
static void test_adopted_while_the_guest_pokes(void **state)
{
	struct run r = {.command = POKES};
	struct mon_write_event e;
	struct xerr err = {0};
	pthread_t thread;
	uint64_t start_ns;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, run_in_guest, &r), 0);
	must("mon_guard_next", patient_next(vm.mon, PATIENCE_MS, &e, &err), &err);
	assert_int_equal(kill(mon_pid(vm.mon), SIGKILL), 0);
	start_ns = xo_now_ns();
	mon_free(vm.mon);
	start_monitor();
	must("mon_guard_open", patient_open(vm.mon, -1, &vm.fds, &err), &err);
	must("mon_guard_adopt", mon_guard_adopt(vm.mon, &err), &err);
	print_message("back after %llu us\n", (unsigned long long)(xo_now_ns() - start_ns) / 1000);
	while (!r.done) {
		int rc = mon_guard_next(vm.mon, 50, &e, &err);

		if (!rc)
			rc = mon_guard_verdict(vm.mon, true, NULL, &err);
		if (rc && rc != -XO_ETIMEOUT && rc != -XO_EHOLD)
			fail_msg("%s", err.text);
		err = (struct xerr){0};
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(r.rc, 0);
	assert_true(guest_dmesg_clean(vm.guest));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle_is_quiet),
		cmocka_unit_test(test_honest_pokes_are_kept),
		cmocka_unit_test(test_adopted_while_the_guest_pokes),
	};

	use_built_programs();
	return cmocka_run_group_tests_name("shared", tests, boot_shared, stop) +
	       cmocka_run_group_tests_name("private", tests, boot_private, stop);
}
