// SPDX-License-Identifier: Apache-2.0
/*
 * How long a guest stands still: for a bare hold and release, and for a
 * one-function patch (200 bytes of code, a page table entry, a detour), in
 * alternating pairs; seen by the monitor, and by the guest as the longest gap
 * between two reads of its time-stamp counter.
 */
#include <stdio.h>
#include <stdlib.h>
#include <x86intrin.h>

#include "base/util.h"
#include "tests/lib/bareplan.h"
#include "tests/lib/bench.h"

#define KVM_PAIRS 300
#define TCG_PAIRS 60
#define QMP_RUNS  60
#define NEW_VALUE 42
#define SETTLE_NS 2000000 /* let the scheduler forget the visit before */
#define MAX_RUNS  KVM_PAIRS

/** struct series - samples of one kind of visit, microseconds */
struct series {
	size_t nr;
	double host[MAX_RUNS];
	double guest[MAX_RUNS];
};

struct run {
	struct bare *guest;
	struct mon *mon;
	struct bareplan plan;
	double tsc_per_us;
	struct series idle, bare, apply, qmp;
};

static void die(const char *what, const struct xerr *err)
{
	(void)fprintf(stderr, "bench_blackout: %s: %s\n", what, err->text);
	exit(1);
}

static double tsc_per_us(void)
{
	uint64_t t0 = xo_now_ns();
	uint64_t c0 = __rdtsc();

	xo_sleep_ns(50000000);
	return (double)(__rdtsc() - c0) * 1000 / (double)(xo_now_ns() - t0);
}

static void add(struct run *r, struct series *s, double host_us)
{
	xo_sleep_ns(200000); /* until the guest has gone round and seen its gap */
	s->host[s->nr] = host_us;
	s->guest[s->nr++] = (double)bare_max_gap_tsc(r->guest) / r->tsc_per_us;
}

static void load(struct run *r, const struct mon_write *w, size_t nr)
{
	struct xerr err = {0};

	if (mon_plan(r->mon, w, nr, &err))
		die("plan", &err);
}

static void visit(struct run *r, struct series *s, const struct mon_write *w, size_t nr, bool tcg)
{
	struct mon_times times;
	struct xerr err = {0};
	int fd = -1;

	load(r, w, nr);
	xo_sleep_ns(SETTLE_NS);
	if (tcg && bare_gdb_open(r->guest, &fd))
		die("gdb stub", &err);
	bare_reset_gaps(r->guest);
	if (tcg && (mon_gdb(r->mon, fd, true, &err) || bare_gdb_attach(r->guest)))
		die("gdb stub", &err);
	if (mon_run(r->mon, &times, NULL, &err))
		die("run", &err);
	if (s)
		add(r, s, (double)times.blackout_ns / 1000);
	if (!tcg)
		return;
	xo_close_ptr(&fd);
	if (bare_gdb_close(r->guest))
		die("gdb stub", &err);
}

static void undo(struct run *r, bool tcg)
{
	visit(r, NULL, r->plan.revert, 1, tcg);
	(void)bare_sees(r->guest, 1, 1000);
	visit(r, NULL, r->plan.revert + 1, BAREPLAN_RECORDS - 1, tcg);
}

static void qmp_stop_cont(struct run *r)
{
	uint64_t start;

	bare_reset_gaps(r->guest);
	start = xo_now_ns();
	json_decref(bare_qmp(r->guest, "{\"execute\":\"stop\"}", -1));
	json_decref(bare_qmp(r->guest, "{\"execute\":\"cont\"}", -1));
	add(r, &r->qmp, (double)(xo_now_ns() - start) / 1000);
}

static void idle(struct run *r)
{
	bare_reset_gaps(r->guest);
	xo_sleep_ns(100000);
	add(r, &r->idle, 0);
}

static void start(struct run *r, bool tcg, unsigned int nr_cpus)
{
	const struct bare_opts opts = {.tcg = tcg, .nr_cpus = nr_cpus};
	struct xerr err = {0};

	r->tsc_per_us = tsc_per_us();
	if (bare_start(&r->guest, &opts, &err))
		die("guest", &err);
	if (mon_start(&r->mon, bare_vm(r->guest), &err))
		die("monitor", &err);
	bareplan_make(&r->plan, NEW_VALUE, BARE_HOME_GPA);
}

static void measure(struct run *r, bool tcg, unsigned int nr_cpus)
{
	size_t pairs = tcg ? TCG_PAIRS : KVM_PAIRS;

	start(r, tcg, nr_cpus);
	for (size_t i = 0; i < pairs; i++) {
		idle(r);
		visit(r, &r->bare, NULL, 0, tcg);
		visit(r, &r->apply, r->plan.apply, BAREPLAN_RECORDS, tcg);
		undo(r, tcg);
	}
	for (size_t i = 0; i < QMP_RUNS; i++)
		qmp_stop_cont(r);
	mon_free(r->mon);
	bare_stop(r->guest);
}

static double report(struct bench *b, const char *prefix, const char *what, double *samples,
		     size_t nr, const struct bench_figure *rest)
{
	struct bench_figure f = *rest;
	char name[128];

	(void)snprintf(name, sizeof(name), "%s: %s", prefix, what);
	f.name = name;
	f.unit = "us";
	f.samples = samples;
	f.nr = nr;
	return bench_add(b, &f);
}

static void report_all(struct bench *b, struct run *r, const char *prefix, bool tcg)
{
	const char *floor = "hold+release alone";
	struct bench_figure plain = {0};
	struct bench_figure host = {.floor_name = floor};
	struct bench_figure guest = {.floor_name = floor};

	(void)report(b, prefix, "no hold, gap in the guest", r->idle.guest, r->idle.nr, &plain);
	host.floor = report(b, prefix, "hold+release, host", r->bare.host, r->bare.nr, &plain);
	guest.floor = report(b, prefix, "hold+release, gap in the guest", r->bare.guest, r->bare.nr,
			     &plain);
	host.max_ratio = guest.max_ratio = tcg ? 0 : 2;
	host.max = guest.max = tcg ? 5000 : 0;
	(void)report(b, prefix, "apply, host", r->apply.host, r->apply.nr, &host);
	(void)report(b, prefix, "apply, gap in the guest", r->apply.guest, r->apply.nr, &guest);
	host.max_ratio = guest.max_ratio = host.max = guest.max = 0;
	(void)report(b, prefix, "QMP stop+cont, host", r->qmp.host, r->qmp.nr, &host);
	(void)report(b, prefix, "QMP stop+cont, gap in the guest", r->qmp.guest, r->qmp.nr, &guest);
}

int main(int argc, char **argv)
{
	const char *build = getenv("BUILD");
	struct bench *b = bench_open(argc, argv, "blackout");
	static struct run kvm, kvm2, tcg;

	setenv("EXOPATCH_LIBEXEC", build ? build : "build", 0);
	if (bare_kvm_usable()) {
		measure(&kvm, false, 1);
		report_all(b, &kvm, "KVM, 1 vCPU", false);
		measure(&kvm2, false, 2);
		report_all(b, &kvm2, "KVM, 2 vCPUs", false);
	} else {
		bench_skip(b, "KVM: blackout of an apply", "/dev/kvm does not work here");
	}
	measure(&tcg, true, 1);
	report_all(b, &tcg, "TCG, 1 vCPU", true);
	return bench_close(b);
}
