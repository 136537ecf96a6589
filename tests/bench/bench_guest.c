// SPDX-License-Identifier: Apache-2.0
/*
 * The commands on a stock Debian guest under TCG: wall time from the start of
 * the program to its end, and how long the guest stands still. The floors: a
 * visit of QEMU's gdb stub that changes nothing, and QMP stop and cont. The
 * guest cannot see its own blackout, since QEMU stops its clocks too; so the
 * second witness is QEMU itself, by the time stamps of its STOP and RESUME
 * events.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "tests/lib/bench.h"
#include "tests/lib/patching.h"
#include "vmm-agent/agent/hold.h"

#define ROUNDS	  20
#define VISITS	  40
#define SETTLE_NS 20000000

struct run {
	struct guest *g;
	char package[256];
	struct bench_series inspect, apply, revert, verify;		  /* ms */
	struct bench_series blackout, blackout_revert, seen, held, check; /* us */
	struct bench_series visit, visit_seen, qmp, qmp_seen;
};

static void die(const char *what)
{
	(void)fprintf(stderr, "bench_guest: %s failed\n", what);
	exit(1);
}

static double number(const struct exo *e, const char *object, const char *key)
{
	return json_number_value(json_object_get(json_object_get(e->doc, object), key));
}

/* One command from fork to exit; e is what it said. */
static double wall_ms(struct run *r, struct exo *e, const char *command, const char *argument)
{
	const char *const args[] = {command, argument, NULL};
	uint64_t start;

	xo_sleep_ns(SETTLE_NS);
	start = xo_now_ns();
	if (exo_run(e, r->g, NULL, args) || e->rc)
		die(command);
	return (double)(xo_now_ns() - start) / 1e6;
}

static void inspect(struct run *r)
{
	_cleanup_exo_ struct exo e = {0};

	bench_note(&r->inspect, wall_ms(r, &e, "inspect", NULL));
}

static void apply(struct run *r)
{
	_cleanup_exo_ struct exo e = {0};

	bench_note(&r->apply, wall_ms(r, &e, "apply", r->package));
	bench_note(&r->verify, number(&e, "times_ms", "verify"));
	bench_note(&r->blackout, number(&e, "hold", "blackout_us"));
	bench_note(&r->held, number(&e, "hold", "held_us"));
	bench_note(&r->check, number(&e, "hold", "check_us"));
	bench_note(&r->seen, guest_stopped_us(r->g));
}

static void revert(struct run *r)
{
	_cleanup_exo_ struct exo e = {0};

	bench_note(&r->revert, wall_ms(r, &e, "revert", "bench"));
	bench_note(&r->blackout_revert, number(&e, "hold", "blackout_us"));
}

/* Hold and release through the gdb stub, with nothing done in between. */
static void visits(struct run *r)
{
	const struct agent_opts opts = {.target = {.qmp_path = guest_qmp_path(r->g)}};
	_cleanup_session_ struct session s = {0};
	_cleanup_refusal_ struct refusal why = {0};
	struct xerr err = {0};

	if (session_open(&s, &opts, &why, &err) || why.nr || session_monitor(&s, &err))
		die("session");
	for (size_t i = 0; i < VISITS; i++) {
		struct mon_times times = {0};
		uint64_t start = 0;

		xo_sleep_ns(SETTLE_NS);
		if (hold_begin(&s, &start, &err) || hold_end(&s, start, &times, &err))
			die(err.text);
		bench_note(&r->visit, (double)times.blackout_ns / 1e3);
		bench_note(&r->visit_seen, guest_stopped_us(r->g));
	}
}

static void stop_cont(struct run *r)
{
	for (size_t i = 0; i < VISITS; i++) {
		uint64_t start;

		xo_sleep_ns(SETTLE_NS);
		start = xo_now_ns();
		if (guest_pause(r->g) || guest_resume(r->g))
			die("QMP");
		bench_note(&r->qmp, (double)(xo_now_ns() - start) / 1e3);
		bench_note(&r->qmp_seen, guest_stopped_us(r->g));
	}
}

static void report(struct bench *b, struct run *r)
{
	struct bench_figure visit = {.floor_name = "gdb visit alone"};
	struct bench_figure seen = {.floor_name = "gdb visit alone, QEMU's clock"};
	const struct bench_figure f300 = {.max = 300}, f500 = {.max = 500};

	bench_series(b, &r->inspect, "Debian guest, 512 MiB: inspect, wall", "ms", &f300);
	bench_series(b, &r->apply, "Debian guest: apply, wall", "ms", &f500);
	bench_series(b, &r->revert, "Debian guest: revert, wall", "ms", &f500);
	bench_series(b, &r->verify, "Debian guest: verifying the package in it", "ms", NULL);
	bench_series(b, &r->qmp, "TCG, 2 vCPUs: QMP stop+cont", "us", NULL);
	bench_series(b, &r->qmp_seen, "TCG, 2 vCPUs: QMP stop+cont, QEMU's clock", "us", NULL);
	visit.floor = bench_series(b, &r->visit, "TCG, 2 vCPUs: gdb visit alone", "us", NULL);
	seen.floor = bench_series(b, &r->visit_seen, "TCG, 2 vCPUs: gdb visit alone, QEMU's clock",
				  "us", NULL);
	visit.max = seen.max = 5000;
	bench_series(b, &r->blackout, "TCG, 2 vCPUs: apply, blackout", "us", &visit);
	bench_series(b, &r->seen, "TCG, 2 vCPUs: apply, blackout, QEMU's clock", "us", &seen);
	bench_series(b, &r->blackout_revert, "TCG, 2 vCPUs: revert, blackout", "us", &visit);
	bench_series(b, &r->held, "TCG, 2 vCPUs: apply, all held to first let go", "us", NULL);
	bench_series(b, &r->check, "TCG, 2 vCPUs: apply, stack check in the hold", "us", NULL);
}

int main(int argc, char **argv)
{
	struct bench *b = bench_open(argc, argv, "guest");
	static struct run r;
	char libexec[256];

	setenv("EXOPATCH_LIBEXEC", run_build_path(".", libexec, sizeof(libexec)), 0);
	if (patching_setup() || guest_boot(&r.g, &(struct guest_opts){0}))
		return 1;
	if (patch_build(GUEST_6_1, "cmdline", "bench", NULL, r.package, sizeof(r.package)))
		die("exopatch-build");
	for (size_t i = 0; i < ROUNDS; i++) {
		inspect(&r);
		apply(&r);
		revert(&r);
	}
	visits(&r);
	stop_cont(&r);
	if (!guest_dmesg_clean(r.g))
		die("the guest");
	guest_free(r.g);
	patching_teardown();
	report(b, &r);
	return bench_close(b);
}
