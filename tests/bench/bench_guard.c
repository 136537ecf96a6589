// SPDX-License-Identifier: Apache-2.0
/*
 * What one judged write costs the guest, against a bare hold and release of the
 * same guest and a bare write-protection fault within one process; arming as
 * many pages as a Debian kernel's text has; a new guard taking over; the digest
 * over them, against openssl's own figure.
 *
 * Where the vCPU stores directly, KVM has to make it do one step. What that
 * takes without a guard is measured too: a paravirtual KVM was seen to need 50
 * us, more than a hold, where hardware needs a few.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/util.h"
#include "tests/lib/bare.h"
#include "tests/lib/bench.h"
#include "tests/lib/proc.h"
#include "vmm-agent/agent/guard_digest.h"
#include "vmm-agent/monitor/guard.h"
#include "vmm-agent/monitor/inject.h"
#include "vmm-agent/monitor/kvmregs.h"
#include "vmm-agent/monitor/stub.h"
#include "vmm-agent/monitor/uffd.h"

#define WRITES	   300
#define ARMINGS	   15
#define STEPS	   100
#define TEXT_PAGES 3586
#define TEXT_GPA   0x1000000
#define MAX_RATIO  3.0
#define SETTLE_NS  2000000

struct run {
	struct bare *guest;
	struct mon *mon;
	struct mon_guard_fds fds;
	double hold[WRITES], write[WRITES];
	double step[STEPS];
	double arm[ARMINGS], adopt[ARMINGS];
	double digest[ARMINGS], digest_again[ARMINGS];
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

/* Return: how long it took, or -1 for a thread that is still busy with the signal of the last one
 */
static double visit_us(struct stub_visit *v)
{
	uint64_t start_ns = xo_now_ns();
	int rc = stub_run(v);

	return rc ? -1 : (double)(xo_now_ns() - start_ns) / 1000;
}

/* Single-step mode on, KVM_RUN, and off, less what a visit with one call that does nothing takes.
 * Return: whether it could be measured */
static bool one_step(struct hold *h, const struct kvm_fds *kvm, const struct vm *vm,
		     struct hva code, double *ret_us)
{
	const struct kvm_guest_debug on = {
		.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_BLOCKIRQ};
	struct stub_visit v = {
		.hold = h,
		.thread = &h->thread[0],
		.vm = vm,
		.code = code,
		.fd = kvm->fd[0],
		.nr = 1,
		.call = {{.request = KVM_GET_MP_STATE, .in_data = true}},
		.data_bytes = 2 * sizeof(on),
	};
	struct xerr err = {0};
	double empty, step;

	xo_sleep_ns(SETTLE_NS);
	if (hold_all(h, &err))
		die("hold", &err);
	empty = visit_us(&v);
	memset(v.data, 0, sizeof(v.data));
	memcpy(v.data, &on, sizeof(on));
	v.run = kvm->run[0];
	v.nr = 3;
	v.call[0].request = KVM_SET_GUEST_DEBUG;
	v.call[1] = (struct stub_call){.request = KVM_RUN};
	v.call[2] = (struct stub_call){
		.request = KVM_SET_GUEST_DEBUG, .argument = sizeof(on), .in_data = true};
	step = empty < 0 ? -1 : visit_us(&v);
	if (hold_release(h, NULL))
		die("release", &err);
	*ret_us = step - empty;
	return step >= 0;
}

static void steps(struct run *r)
{
	const struct mon_vm *desc = bare_vm(r->guest);
	struct vm vm = {.desc.pid = desc->pid, .pidfd = -1};
	static struct hold h;
	struct hva vdso, vdso_end, code;
	struct kvm_fds kvm;
	struct xerr err = {0};
	bool there = false;

	memset(&h, 0, sizeof(h));
	if (hold_init() || inject_vdso(desc->pid, &vdso, &vdso_end) ||
	    kvmregs_find(desc->pid, &kvm) || hold_open(&h, desc->pid, desc->tid, 1, &err) ||
	    stub_find(&h.thread[0], &vm, vdso_end, &code, &there, &err) || !there)
		die("step", &err);
	for (size_t i = 0; i < STEPS;)
		i += one_step(&h, &kvm, &vm, code, &r->step[i]);
	hold_close(&h);
}

/* All, and then again after one kept write. */
static void one_digest(struct run *r, size_t i, const struct mon_range *text)
{
	struct guard_digest *d = guard_digest_new();
	struct guard_measure m;
	struct mon_write_event e;
	struct xerr err = {0};
	uint64_t start_ns = xo_now_ns();

	if (!d || guard_digest_measure(d, r->fds.golden, &m, &err) || m.nr_hashed < TEXT_PAGES)
		die("digest", &err);
	r->digest[i] = (double)(xo_now_ns() - start_ns) / 1000;
	bare_store(r->guest, 0, BARE_STORE_32, text->gpa.v, i + 1);
	if (mon_guard_next(r->mon, 5000, &e, &err) || mon_guard_verdict(r->mon, true, NULL, &err) ||
	    !bare_stored(r->guest, 0, 5000, NULL))
		die("write", &err);
	start_ns = xo_now_ns();
	if (guard_digest_measure(d, r->fds.golden, &m, &err) || m.nr_hashed != 1)
		die("digest again", &err);
	r->digest_again[i] = (double)(xo_now_ns() - start_ns) / 1000;
	guard_digest_free(d);
}

/* openssl's own benchmark. Return: microseconds for @bytes, in pieces of a page; 0 if unknown */
static double openssl_us(double bytes)
{
	FILE *f = popen("openssl speed -mr -seconds 1 -bytes 4096 -evp sha256 2>/dev/null", "re");
	char line[256];
	double rate = 0;

	while (f && fgets(line, sizeof(line), f)) {
		const char *last = strrchr(line, ':');

		if (!strncmp(line, "+F:", 3) && last)
			rate = strtod(last + 1, NULL);
	}
	if (f)
		(void)pclose(f);
	return rate > 0 ? bytes / rate * 1e6 : 0;
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
	one_digest(r, i, &text);
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
	if (!tcg && !ring0)
		steps(r);
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

static void report_held(struct bench *b, struct run *r, const char *guest, bool direct)
{
	const struct bench_figure plain = {0};
	double hold = figure(b, guest, ": hold+release", r->hold, WRITES, plain);
	double step =
		direct ? figure(b, guest, ": KVM's part of one step", r->step, STEPS, plain) : 0;
	struct bench_figure f = {.floor_name = direct ? "hold+release and step" : "hold+release",
				 .floor = hold + step,
				 .max_ratio = MAX_RATIO};

	(void)figure(b, guest, ": one judged write, held", r->write, WRITES, f);
	f = (struct bench_figure){.floor_name = "hold+release alone", .floor = hold};
	if (direct)
		(void)figure(b, guest, ": one judged write, held, against hold+release", r->write,
			     WRITES, f);
}

static void report(struct bench *b, struct run *r, const char *guest, double fault_us)
{
	const struct bench_figure plain = {0};
	struct bench_figure f = {.floor_name = "plain write-protection fault", .floor = fault_us};

	(void)figure(b, guest, ": one judged write, held, against the fault", r->write, WRITES, f);
	(void)figure(b, guest, ": arming 3,586 pages", r->arm, ARMINGS, plain);
	(void)figure(b, guest, ": a new monitor takes over 3,586 pages", r->adopt, ARMINGS, plain);
}

static void report_digest(struct bench *b, struct run *r)
{
	double bytes = TEXT_PAGES * (double)XO_PAGE_SIZE;
	struct bench_figure f = {.floor_name = "openssl speed", .floor = openssl_us(bytes)};

	(void)figure(b, "", "digest of 3,586 pages", r->digest, ARMINGS, f);
	/* The one page, and the list of all. */
	f.floor = openssl_us((double)XO_PAGE_SIZE + TEXT_PAGES * 40.0);
	(void)figure(b, "", "digest of 3,586 pages after one changed", r->digest_again, ARMINGS, f);
}

int main(int argc, char **argv)
{
	struct bench *b = bench_open(argc, argv, "guard");
	const struct bench_figure plain = {0};
	static double fault[WRITES];
	static struct run r;
	double fault_us;

	use_built_programs();
	if (!plain_faults(fault)) {
		bench_skip(b, "guard: one judged write", "/dev/userfaultfd does not work here");
		return bench_close(b);
	}
	fault_us = figure(b, "", "plain write-protection fault", fault, WRITES, plain);
	if (bare_kvm_usable()) {
		measure(&r, false, false);
		report_held(b, &r, "KVM, ring 3", true);
		report(b, &r, "KVM, ring 3", fault_us);
		report_digest(b, &r);
		measure(&r, false, true);
		report_held(b, &r, "KVM, ring 0", false);
		report(b, &r, "KVM, ring 0", fault_us);
	} else {
		bench_skip(b, "KVM: one judged write", "/dev/kvm does not work here");
	}
	measure(&r, true, false);
	report(b, &r, "TCG", fault_us);
	return bench_close(b);
}
