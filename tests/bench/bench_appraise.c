// SPDX-License-Identifier: Apache-2.0
/*
 * What an appraisal takes: all of a guest's text and read-only data against the vendor's file, held
 * against a plain SHA-256 of the same bytes; and under a guard, after one patch, against all.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/bench.h"
#include "tests/lib/guardrun.h"
#include "tests/lib/patching.h"
#include "vmm-agent/agent/appraise_core.h"

#define SAMPLES	 21
#define ROUNDS	 3
#define CHANGES	 4
#define MAX_FULL 2.0
#define MAX_MORE 0.05
#define NONCE	 "00112233445566778899aabbccddeeff"

static void die(const char *what)
{
	(void)fprintf(stderr, "bench_appraise: %s failed\n", what);
	exit(1);
}

static double ms_since(uint64_t start_ns)
{
	return (double)(xo_now_ns() - start_ns) / 1e6;
}

struct vm {
	struct guest *g;
	const char *name;
	char image[256], modules[256], state[200];
};

/* ---- all of it ---- */

static struct appraiser *prepare(const struct vm *vm, struct session *s)
{
	const struct vendor_from from = {.nr = 2, .source = {vm->image, vm->modules}};
	struct vendor *v = NULL;
	struct appraiser *a;
	struct xerr err = {0};

	if (vendor_prepare(vm->state, s->build_id, s->kernel.release, &from, &err) ||
	    vendor_open(&v, vm->state, s->build_id, NULL, NULL, &err))
		die(err.text);
	a = appraiser_new(v);
	if (!a)
		die("memory");
	return a;
}

static double once(struct appraiser *a, struct session *s)
{
	struct att_appraisal found = {0};
	struct appraise_stats stats;
	struct xerr err = {0};
	json_t *detail = NULL;
	uint64_t start = xo_now_ns();
	double ms;

	if (appraise(a, s, NULL, &found, &detail, &stats, &err))
		die(err.text);
	ms = ms_since(start);
	json_decref(detail);
	if (found.area[0].unexplained_bytes || found.area[1].unexplained_bytes)
		die("explaining the guest");
	return ms;
}

static double hash(const struct appraiser *a)
{
	uint64_t start = xo_now_ns();
	uint8_t digest[XO_SHA256_BYTES];

	for (size_t k = 0; k < KERNREF_AREAS; k++) {
		size_t bytes = kernref_area(a->vendor->kernel, (enum kernref_area_kind)k)->bytes;

		if (xo_sha256(SPAN(a->area[k].have, bytes), digest))
			die("SHA-256");
	}
	return ms_since(start);
}

static void full(struct bench *b, const struct vm *vm)
{
	const struct agent_opts o = {.target = {.qmp_path = guest_qmp_path(vm->g)},
				     .state_dir = vm->state,
				     .timeout_ns = AGENT_TIMEOUT_NS};
	static struct bench_series sha, all, first;
	struct bench_figure rest = {.floor_name = "SHA-256 of the same bytes",
				    .max_ratio = MAX_FULL};
	struct session s = {0};
	struct refusal why = {0};
	struct xerr err = {0};
	struct appraiser *a;
	char name[128];

	sha.nr = all.nr = first.nr = 0;
	if (session_open(&s, &o, &why, &err) || why.nr || session_journal(&s, &err))
		die(err.code ? err.text : "attaching");
	a = prepare(vm, &s);
	bench_note(&first, once(a, &s));
	/* In turns, so that whatever else this machine does meets both. */
	for (int i = 0; i < SAMPLES; i++) {
		bench_note(&sha, hash(a));
		bench_note(&all, once(a, &s));
	}
	snprintf(name, sizeof(name), "appraise %s: SHA-256 of its text and rodata", vm->name);
	rest.floor = bench_series(b, &sha, name, "ms", NULL);
	snprintf(name, sizeof(name), "appraise %s: all of it", vm->name);
	bench_series(b, &all, name, "ms", &rest);
	snprintf(name, sizeof(name), "appraise %s: the first time, with its page tables", vm->name);
	bench_series(b, &first, name, "ms", NULL);
	appraiser_free(a);
	session_close(&s);
}

/* ---- what has changed ---- */

static double ask(const struct vm *vm)
{
	static unsigned int nr;
	_cleanup_exo_ struct exo e = {0};
	char out[200];
	const json_t *took;

	snprintf(out, sizeof(out), "%s/evidence-%u", patching_dir(), nr++);
	if (EXO(&e, vm->g, "attest", "--nonce", NONCE, "-o", out, "--from", vm->image, "--from",
		vm->modules) ||
	    e.rc)
		die("attest");
	took = json_object_get(json_object_get(e.doc, "took"), "appraisal_ms");
	return json_number_value(took);
}

static void incremental(struct bench *b, const struct vm *vm, const char *patch)
{
	static struct bench_series all, more;
	struct bench_figure rest = {.floor_name = "all of it", .max_ratio = MAX_MORE};
	char name[128];

	all.nr = more.nr = 0;
	for (int round = 0; round < ROUNDS; round++) {
		struct guardrun *guard = guardrun_start(vm->g, "enforce", NULL);

		if (!guard)
			die("guard");
		bench_note(&all, ask(vm));
		for (int i = 0; i < CHANGES; i++) {
			if (!exo_done(vm->g, i % 2 ? "revert" : "apply", i % 2 ? "bench" : patch))
				die("patching");
			bench_note(&more, ask(vm));
		}
		if (guardrun_stop(guard))
			die("guard");
	}
	snprintf(name, sizeof(name), "appraise %s, guarded: all of it", vm->name);
	rest.floor = bench_series(b, &all, name, "ms", NULL);
	snprintf(name, sizeof(name), "appraise %s, guarded: after one patch", vm->name);
	bench_series(b, &more, name, "ms", &rest);
}

static void bench_kernel(struct bench *b, const char *package, const char *name)
{
	const struct guest_opts opts = {.package = package, .one_thread = true};
	struct vm vm = {.name = name};
	char patch[256];

	if (guest_boot(&vm.g, &opts) ||
	    !guest_image_file(package, "vmlinuz", vm.image, sizeof(vm.image)) ||
	    !guest_image_file(package, "modules", vm.modules, sizeof(vm.modules)) ||
	    patch_build(package, "cmdline", "bench", NULL, patch, sizeof(patch)))
		die("setting up");
	snprintf(vm.state, sizeof(vm.state), "%s/state", patching_dir());
	full(b, &vm);
	incremental(b, &vm, patch);
	guest_free(vm.g);
}

int main(int argc, char **argv)
{
	struct bench *b = bench_open(argc, argv, "appraise");
	char build[256];
	int rc;

	if (setenv("EXOPATCH_LIBEXEC", run_build_path(".", build, sizeof(build)), 1) ||
	    patching_setup())
		die("setting up");
	bench_kernel(b, GUEST_6_1, "6.1");
	bench_kernel(b, GUEST_6_12, "6.12");
	rc = bench_close(b);
	patching_teardown();
	return rc;
}
