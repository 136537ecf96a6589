// SPDX-License-Identifier: Apache-2.0
/*
 * What one judged write costs the guest, against a bare hold and release of the
 * same guest and a bare write-protection fault within one process; arming as
 * many pages as a Debian kernel's text has; a new guard taking over.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/util.h"
#include "tests/lib/bare.h"
#include "tests/lib/bench.h"
#include "vmm-agent/monitor/guard.h"
#include "vmm-agent/monitor/uffd.h"

#define WRITES	   300
#define ARMINGS	   15
#define TEXT_PAGES 3586
#define TEXT_GPA   0x1000000
#define MAX_RATIO  3.0
#define SETTLE_NS  2000000

struct run {
	struct bare *guest;
	struct mon *mon;
	struct mon_guard_fds fds;
	double hold[WRITES], write[WRITES];
	double arm[ARMINGS], adopt[ARMINGS];
};

static void die(const char *what, const struct xerr *err)
{
	(void)fprintf(stderr, "bench_guard: %s: %s\n", what, err->text);
	exit(1);
}

/* A thread stores, this one reads the event, opens the page and shuts it again. */
static atomic_int turn;

static void *store(void *p)
{
	for (int i = 1; i <= WRITES; i++) {
		while (atomic_load(&turn) != i)
			xo_sleep_ns(20000);
		*(volatile int *)p = i;
		atomic_store(&turn, -i);
	}
	return NULL;
}

static bool plain_faults(double us[WRITES])
{
	_cleanup_close_ int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	_cleanup_close_ int fd =
		dev < 0 ? -1 : ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC); /* reads wait */
	_cleanup_close_ int mem = memfd_create("mem", MFD_CLOEXEC);
	struct uffd_event e;
	struct xerr err = {0};
	pthread_t thread;
	struct hva hva;
	void *p;

	if (fd < 0 || ftruncate(mem, (off_t)XO_PAGE_SIZE))
		return false;
	p = mmap(NULL, XO_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, mem, 0);
	hva.v = (uintptr_t)p;
	if (p == MAP_FAILED || uffd_start(fd, &err) || uffd_register(fd, hva, XO_PAGE_SIZE, &err) ||
	    uffd_protect(fd, hva, XO_PAGE_SIZE) || pthread_create(&thread, NULL, store, p))
		return false;
	for (int i = 1; i <= WRITES; i++) {
		uint64_t start_ns;

		atomic_store(&turn, i);
		if (uffd_read(fd, &e, 1) != 1)
			return false;
		start_ns = xo_now_ns();
		if (uffd_open(fd, hva, XO_PAGE_SIZE))
			return false;
		while (atomic_load(&turn) != -i)
			;
		if (uffd_protect(fd, hva, XO_PAGE_SIZE))
			return false;
		us[i - 1] = (double)(xo_now_ns() - start_ns) / 1000;
	}
	return !pthread_join(thread, NULL) && !munmap(p, XO_PAGE_SIZE);
}

static void open_guard(struct run *r)
{
	struct xerr err = {0};
	int dev = r->fds.uffd < 0 ? bare_uffd_open(r->guest) : -1;

	if (mon_start(&r->mon, bare_vm(r->guest), &err) ||
	    mon_guard_open(r->mon, dev, &r->fds, &err))
		die("guard", &err);
	if (dev >= 0 && bare_uffd_close(r->guest))
		die("remove-fd", &err);
}

static void one_hold(struct run *r, size_t i)
{
	struct mon_times t;
	struct xerr err = {0};

	xo_sleep_ns(SETTLE_NS);
	if (mon_hold(r->mon, &err) || mon_release(r->mon, &t, &err))
		die("hold", &err);
	r->hold[i] = (double)t.blackout_ns / 1000;
}

static void one_write(struct run *r, size_t i)
{
	struct mon_write_event e;
	struct xerr err = {0};
	uint64_t held_ns = 0;

	xo_sleep_ns(SETTLE_NS);
	bare_store(r->guest, 0, BARE_STORE_32, BARE_GUARDED, i + 1);
	if (mon_guard_next(r->mon, 5000, &e, &err) ||
	    mon_guard_verdict(r->mon, i % 2, &held_ns, &err))
		die("write", &err);
	if (!bare_stored(r->guest, 0, 5000, NULL))
		die("write: never made", &err);
	r->write[i] = (double)held_ns / 1000;
}

static void one_arming(struct run *r, size_t i)
{
	const struct mon_range text = {.gpa = {TEXT_GPA}, .len_bytes = TEXT_PAGES * XO_PAGE_SIZE};
	struct mon_guard_stats s;
	struct xerr err = {0};
	uint64_t start_ns;

	if (mon_guard_protect(r->mon, &text, 1, &err) || mon_guard_stats(r->mon, &s, &err))
		die("arm", &err);
	r->arm[i] = (double)s.arm_ns / 1000;
	mon_free(r->mon);
	start_ns = xo_now_ns();
	open_guard(r);
	if (mon_guard_adopt(r->mon, &err))
		die("adopt", &err);
	r->adopt[i] = (double)(xo_now_ns() - start_ns) / 1000;
	if (mon_guard_release(r->mon, &text, 1, &err))
		die("release", &err);
}

/* A hold of a TCG guest by the monitor goes through the gdb stub, which is not what the guard does:
 * there is nothing to put beside it. */
static void measure(struct run *r, bool tcg, bool ring0)
{
	const struct bare_opts opts = {.tcg = tcg, .ring0 = ring0, .nr_cpus = 1};
	const struct mon_range page = {.gpa = {BARE_GUARDED}, .len_bytes = XO_PAGE_SIZE};
	struct xerr err = {0};

	*r = (struct run){.fds = {-1, -1}};
	if (bare_start(&r->guest, &opts, &err))
		die("guest", &err);
	open_guard(r);
	if (mon_guard_protect(r->mon, &page, 1, &err))
		die("protect", &err);
	for (size_t i = 0; i < WRITES; i++) {
		if (!tcg)
			one_hold(r, i);
		one_write(r, i);
	}
	for (size_t i = 0; i < ARMINGS; i++)
		one_arming(r, i);
	mon_free(r->mon);
	bare_stop(r->guest);
	xo_close_ptr(&r->fds.uffd);
	xo_close_ptr(&r->fds.golden);
}

static double figure(struct bench *b, const char *guest, const char *what, double *samples,
		     size_t nr, struct bench_figure f)
{
	char name[128];

	(void)snprintf(name, sizeof(name), "%s%s", guest, what);
	f.name = name;
	f.unit = "us";
	f.samples = samples;
	f.nr = nr;
	return bench_add(b, &f);
}

static void report(struct bench *b, struct run *r, const char *guest, bool tcg, double fault_us)
{
	const struct bench_figure plain = {0};
	struct bench_figure f = {.floor_name = "hold+release alone", .max_ratio = MAX_RATIO};

	if (!tcg) {
		f.floor = figure(b, guest, ": hold+release", r->hold, WRITES, plain);
		(void)figure(b, guest, ": one judged write, held", r->write, WRITES, f);
	}
	f = (struct bench_figure){.floor_name = "plain write-protection fault", .floor = fault_us};
	(void)figure(b, guest, ": one judged write, held, against the fault", r->write, WRITES, f);
	(void)figure(b, guest, ": arming 3,586 pages", r->arm, ARMINGS, plain);
	(void)figure(b, guest, ": a new monitor takes over 3,586 pages", r->adopt, ARMINGS, plain);
}

int main(int argc, char **argv)
{
	const char *build = getenv("BUILD");
	struct bench *b = bench_open(argc, argv, "guard");
	const struct bench_figure plain = {0};
	static double fault[WRITES];
	static struct run r;
	double fault_us;

	setenv("EXOPATCH_LIBEXEC", build ? build : "build", 0);
	if (!plain_faults(fault)) {
		bench_skip(b, "guard: one judged write", "/dev/userfaultfd does not work here");
		return bench_close(b);
	}
	fault_us = figure(b, "", "plain write-protection fault", fault, WRITES, plain);
	if (bare_kvm_usable()) {
		measure(&r, false, false);
		report(b, &r, "KVM, ring 3", false, fault_us);
		measure(&r, false, true);
		report(b, &r, "KVM, ring 0", false, fault_us);
	} else {
		bench_skip(b, "KVM: one judged write", "/dev/kvm does not work here");
	}
	measure(&r, true, false);
	report(b, &r, "TCG", true, fault_us);
	return bench_close(b);
}
