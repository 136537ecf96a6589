// SPDX-License-Identifier: Apache-2.0
/*
 * Fleets of 1,000, 10,000 and 100,000 VMs with 100 patches: how long from facts
 * and policy to a plan in order, in CPU time, and how much memory. Each in a process of its
 * own, whose peak the kernel knows.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "base/buf.h"
#include "base/util.h"
#include "policy/policy.h"
#include "tests/lib/bench.h"

#define PATCHES	     100
#define RUNS	     3
#define KERNELS	     5
#define FACTS_MAX    (POL_FACTS_MAX_BYTES)
#define AT	     "2026-03-04T12:00:00Z"
#define MAX_PLAN_MS  1000
#define MAX_PLAN_MIB 256

/** struct shared - what a child found; a shared mapping */
struct shared {
	double plan_ms, facts_ms, peak_mib;
	size_t allowed;
	bool done;
};

static void die(const char *what)
{
	(void)fprintf(stderr, "bench_policy: %s\n", what);
	exit(1);
}

#define ADD(b, ...)                                                                                \
	do {                                                                                       \
		if (xbuf_addf((b), __VA_ARGS__))                                                   \
			die("facts");                                                              \
	} while (0)

static void make_vm(struct xbuf *b, unsigned int i)
{
	ADD(b, "{\"name\":\"vm-%06u\",\"host\":\"host-%04u\",", i, i / 20);
	ADD(b, "\"labels\":{\"tier\":\"t%u\",\"env\":\"e%u\"},\"metadata\":{\"owner\":\"o%u\"},",
	    i % 7, i % 3, i % 1000);
	ADD(b, "\"kernel\":{\"release\":\"6.1.0-%u-amd64\",\"build_id\":\"%016x\",", i % KERNELS,
	    i % KERNELS);
	ADD(b, "\"arch\":\"x86_64\",\"baseline\":\"2026-01\"},\"guard\":true,\"ram\":\"shared\","
	       "\"home\":true,\"confidential\":false}");
}

static void make_patch(struct xbuf *b, unsigned int i)
{
	ADD(b, "{\"id\":\"patch-%03u\",\"kind\":\"hotpatch\",\"serial\":%u,", i, i);
	ADD(b, "\"payload_sha256\":\"%064x\",\"released\":\"2026-02-%02uT00:00:00Z\",", i,
	    i % 28 + 1);
	ADD(b, "\"severity\":\"important\",\"advisories\":[\"CVE-2026-%u\"],", i);
	ADD(b, "\"signer_roles\":[\"author\",\"release\"],\"arch\":\"x86_64\",");
	ADD(b, "\"build_ids\":[\"%016x\",\"%016x\"]}", i % KERNELS, (i + 1) % KERNELS);
}

static void make_facts(struct xbuf *b, unsigned int vms)
{
	ADD(b, "{\"format\":\"facts/1\",\"at\":\"" AT "\",\"vms\":[");
	for (unsigned int i = 0; i < vms; i++) {
		ADD(b, "%s", i ? "," : "");
		make_vm(b, i);
	}
	ADD(b, "],\"patches\":[");
	for (unsigned int i = 0; i < PATCHES; i++) {
		ADD(b, "%s", i ? "," : "");
		make_patch(b, i);
	}
	ADD(b, "]}");
}

static struct pol_policy *load_policy(struct xbuf *yaml)
{
	const struct pol_text text = {.name = "bank.yaml", .text = xbuf_span(yaml)};
	_cleanup_pol_errors_ struct pol_errors errors = {0};
	struct pol_policy *p;

	if (pol_policy_load(&text, 1, &p, &errors))
		die(errors.nr ? errors.error[0].text : "policy");
	return p;
}

/* This process's own work: it neither waits nor has threads, and other load is not its matter. */
static double cpu_ms(void)
{
	struct timespec t;

	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t))
		die("clock");
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void run_child(unsigned int vms, struct xbuf *yaml, struct shared *ret)
{
	struct xbuf facts = XBUF(FACTS_MAX);
	const struct pol_policy *p = load_policy(yaml);
	_cleanup_pol_errors_ struct pol_errors errors = {0};
	struct pol_fleet *f;
	struct pol_plan *plan;
	struct pol_text text;
	struct rusage usage;
	int64_t at;
	double start;

	make_facts(&facts, vms);
	text = (struct pol_text){.name = "facts.json", .text = xbuf_span(&facts)};
	if (!pol_parse_time(AT, &at))
		die("time");
	start = cpu_ms();
	if (pol_fleet_load(&text, 1, at, &f, &errors))
		die(errors.nr ? errors.error[0].text : "facts");
	ret->facts_ms = cpu_ms() - start;
	xbuf_free(&facts);
	start = cpu_ms();
	if (pol_plan_new(p, f, at, &plan))
		die("plan");
	ret->plan_ms = cpu_ms() - start;
	for (size_t i = 0; i < pol_plan_size(plan); i++)
		ret->allowed += pol_plan_item(plan, i)->state == POL_ALLOWED;
	getrusage(RUSAGE_SELF, &usage);
	ret->peak_mib = (double)usage.ru_maxrss / 1024;
	ret->done = true;
}

static struct shared measure(unsigned int vms, struct xbuf *yaml)
{
	struct shared *s =
		mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct shared copy;
	pid_t pid;

	if (s == MAP_FAILED)
		die("mmap");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		run_child(vms, yaml, s);
		_exit(0);
	}
	if (waitpid(pid, NULL, 0) != pid || !s->done)
		die("a child failed");
	copy = *s;
	munmap(s, sizeof(*s));
	return copy;
}

static void bench_fleet(struct bench *b, unsigned int vms, const char *size, struct xbuf *yaml)
{
	bool judged = vms == 10000;
	struct bench_series plan = {0}, each = {0}, facts = {0}, peak = {0};
	char name[64];

	for (unsigned int i = 0; i < RUNS; i++) {
		struct shared s = measure(vms, yaml);

		bench_note(&plan, s.plan_ms);
		bench_note(&each, s.plan_ms * 1e6 / PATCHES / vms);
		bench_note(&facts, s.facts_ms);
		bench_note(&peak, s.peak_mib);
	}
	snprintf(name, sizeof(name), "plan %s VMs x %d patches", size, PATCHES);
	bench_series(b, &plan, name, "ms", &(struct bench_figure){.max = judged ? MAX_PLAN_MS : 0});
	snprintf(name, sizeof(name), "plan %s VMs, each verdict", size);
	bench_series(b, &each, name, "ns",
		     &(struct bench_figure){.note = "level as long as caches hold"});
	snprintf(name, sizeof(name), "facts of %s VMs read", size);
	bench_series(b, &facts, name, "ms", &(struct bench_figure){0});
	snprintf(name, sizeof(name), "peak with %s VMs", size);
	bench_series(b, &peak, name, "MiB",
		     &(struct bench_figure){.max = judged ? MAX_PLAN_MIB : 0,
					    .note = "reading the facts included"});
}

int main(int argc, char **argv)
{
	_cleanup_xbuf_ struct xbuf yaml = XBUF(POL_POLICY_MAX_BYTES);
	struct bench *b = bench_open(argc, argv, "policy");

	if (xbuf_read_file(&yaml, "tests/bench/policy.yaml"))
		die("tests/bench/policy.yaml");
	bench_fleet(b, 1000, "1,000", &yaml);
	bench_fleet(b, 10000, "10,000", &yaml);
	bench_fleet(b, 100000, "100,000", &yaml);
	return bench_close(b);
}
