// SPDX-License-Identifier: Apache-2.0
/*
 * Side by side in one guest: the same function replaced from outside, and by a
 * livepatch module inside. livepatch's time is from the start of insmod to
 * "patching complete", by the guest's own kernel log; it holds nobody, but
 * until then some tasks run the old code and some the new.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "tests/lib/bench.h"
#include "tests/lib/patching.h"

#define ROUNDS 10
#define MODULE "livepatch_cmdline"
#define MARK   "bench: insmod"

#define LIVE_ON                                                                                    \
	"dmesg -c >/dev/null; echo '" MARK "' >/dev/kmsg; insmod /modules/" MODULE ".ko && "       \
	"until [ \"$(cat /sys/kernel/livepatch/" MODULE "/transition)\" = 0 ]; do usleep 50000; "  \
	"done; cat /proc/cmdline; dmesg"
#define LIVE_OFF                                                                                   \
	"echo 0 >/sys/kernel/livepatch/" MODULE "/enabled; "                                       \
	"while [ -d /sys/kernel/livepatch/" MODULE " ]; do usleep 50000; done; rmmod " MODULE
#define LIVE_MS 60000

struct run {
	struct guest *g;
	char package[256];
	struct bench_series apply, blackout, insmod_to_start, insmod_to_done;
};

static void die(const char *what)
{
	(void)fprintf(stderr, "bench_livepatch: %s failed\n", what);
	exit(1);
}

static void outside(struct run *r)
{
	_cleanup_exo_ struct exo on = {0}, off = {0};
	uint64_t start = xo_now_ns();

	if (EXO(&on, r->g, "apply", r->package) || on.rc)
		die("apply");
	bench_note(&r->apply, (double)(xo_now_ns() - start) / 1e6);
	bench_note(&r->blackout, json_number_value(json_object_get(json_object_get(on.doc, "hold"),
								   "blackout_us")) /
					 1e3);
	if (EXO(&off, r->g, "revert", "bench") || off.rc)
		die("revert");
}

/* Seconds in the kernel log's stamp of the line with @text: "[    2.199508] ..." */
static double stamp(const char *log, const char *text)
{
	const char *at = strstr(log, text);

	while (at && at > log && at[-1] != '\n')
		at--;
	return at && *at == '[' ? strtod(at + 1, NULL) : -1;
}

static void inside(struct run *r)
{
	_cleanup_free_ char *log = NULL;
	double start, begun, done;

	if (guest_run(r->g, LIVE_ON, LIVE_MS, &log, NULL))
		die("insmod");
	start = stamp(log, MARK);
	begun = stamp(log, "starting patching transition");
	done = stamp(log, "patching complete");
	if (!strstr(log, "livepatch=live") || start < 0 || begun < start || done < begun)
		die("livepatch");
	bench_note(&r->insmod_to_start, (begun - start) * 1e3);
	bench_note(&r->insmod_to_done, (done - start) * 1e3);
	if (guest_run(r->g, LIVE_OFF, LIVE_MS, NULL, NULL))
		die("rmmod");
}

int main(int argc, char **argv)
{
	struct bench *b = bench_open(argc, argv, "livepatch");
	struct bench_figure beside = {.floor_name = "livepatch, insmod to done"};
	static struct run r;

	if (patching_setup() || guest_boot(&r.g, &(struct guest_opts){0}))
		return 1;
	if (patch_build(GUEST_6_1, "cmdline", "bench", NULL, r.package, sizeof(r.package)))
		die("exopatch-build");
	for (size_t i = 0; i < ROUNDS; i++) {
		outside(&r);
		inside(&r);
	}
	guest_free(r.g);
	patching_teardown();
	bench_series(b, &r.insmod_to_start, "same guest: livepatch, insmod to transition begun",
		     "ms", NULL);
	beside.floor = bench_series(b, &r.insmod_to_done,
				    "same guest: livepatch, insmod to transition done", "ms", NULL);
	bench_series(b, &r.apply, "same guest: exopatch apply, wall", "ms", &beside);
	bench_series(b, &r.blackout, "same guest: exopatch apply, blackout", "ms", &beside);
	return bench_close(b);
}
