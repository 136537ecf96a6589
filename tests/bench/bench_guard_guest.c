// SPDX-License-Identifier: Apache-2.0
/*
 * What the guard costs a stock Debian guest that does not rewrite itself: the same work with the
 * guard on and off, in many short pairs whose order alternates, in one guest.
 *
 * - Wall time is the guest's own, which runs on while it is held. Other work on this machine can
 *   make it anything.
 * - The processor time of QEMU's threads does not grow while they wait, be it for others.
 * - The guard's own processes cost the guest what they take of a processor only where it and they
 *   have to share one; so that, added to the time above, is what the guest can lose at most,
 * however busy the machine is.
 *
 * For each, the median of the pairs and where it lies with 95 % confidence; a limit is broken, or
 * kept, if all of that interval is on one side of it, and else it is unclear.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "tests/lib/bench.h"
#include "tests/lib/guardrun.h"
#include "tests/lib/patching.h"

#define PAIRS	 61 /* or as many as the environment's PAIRS says */
#define REPEATS	 3
#define MAX_SLOW 1.0 /* per cent */
#define WORKS	 5
#define MAX_PIDS 8

static const struct {
	const char *name;
	const char *command;
} work[WORKS] = {
	{"system calls", "workload calls 50000"},
	{"fork+exec", "workload exec 20"},
	{"pipe", "workload pipe 1500"},
	{"file I/O", "workload files 100"},
	{"compile-like mix", "workload compile 10"},
};

struct phase {
	double wall_ns[WORKS], cpu_ns[WORKS];
};

struct run {
	struct guest *g;
	struct bench_series wall[WORKS], cpu[WORKS]; /* per cent slower */
	struct bench_series all_wall, all_cpu, most;
	struct bench_series own, table, audit, held;
	double writes;
	size_t pairs;
};

static void die(const char *what)
{
	(void)fprintf(stderr, "bench_guard_guest: %s failed\n", what);
	exit(1);
}

/* Processor time of a process or thread, in nanoseconds. */
static double cpu_ns(const char *path)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	unsigned long long ns = 0;

	return f && fscanf(f, "%llu", &ns) == 1 ? (double)ns : 0;
}

/* All threads of QEMU: the vCPU, and who works for it. */
static double guest_cpu_ns(const struct run *r)
{
	char path[512];
	double sum = 0;
	struct dirent *e;
	DIR *d;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)guest_pid(r->g));
	d = opendir(path);
	while (d && (e = readdir(d))) {
		(void)snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat",
			       (int)guest_pid(r->g), e->d_name);
		sum += cpu_ns(path);
	}
	if (d)
		(void)closedir(d);
	return sum;
}

/* A process and what it has started, which has one thread each. */
static double tree_cpu_ns(pid_t pid)
{
	char path[64];
	_cleanup_fclose_ FILE *f = NULL;
	double sum;
	int child;

	(void)snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)pid);
	sum = cpu_ns(path);
	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	f = fopen(path, "re");
	for (int i = 0; f && i < MAX_PIDS && fscanf(f, "%d", &child) == 1; i++)
		sum += tree_cpu_ns(child);
	return sum;
}

static int by_value(const void *a, const void *b)
{
	const double *x = a;
	const double *y = b;

	return (*x > *y) - (*x < *y);
}

/* Medians of a few short runs, since other work on this machine comes in bursts. */
static void do_work(struct run *r, struct phase *p)
{
	for (size_t i = 0; i < WORKS; i++) {
		double wall[REPEATS], cpu[REPEATS];

		for (size_t k = 0; k < REPEATS; k++) {
			double before = guest_cpu_ns(r);
			_cleanup_free_ char *out = guest_sh(r->g, work[i].command);

			if (!out)
				die(work[i].command);
			wall[k] = strtod(out, NULL);
			cpu[k] = guest_cpu_ns(r) - before;
		}
		qsort(wall, REPEATS, sizeof(wall[0]), by_value);
		qsort(cpu, REPEATS, sizeof(cpu[0]), by_value);
		p->wall_ns[i] = wall[REPEATS / 2];
		p->cpu_ns[i] = cpu[REPEATS / 2];
	}
}

static double number(const struct exo *e, const char *key)
{
	return json_number_value(json_object_get(json_object_get(e->doc, "guard"), key));
}

/* Return: what the guard's processes took of a processor meanwhile, per cent */
static double guarded(struct run *r, struct phase *p)
{
	struct guardrun *guard = guardrun_start(r->g, "enforce", NULL);
	_cleanup_exo_ struct exo e = {0};
	double before, start, own;

	if (!guard)
		die("guard");
	before = tree_cpu_ns(guardrun_pid(guard));
	start = (double)xo_now_ns();
	do_work(r, p);
	own = 100 * (tree_cpu_ns(guardrun_pid(guard)) - before) / ((double)xo_now_ns() - start);
	bench_note(&r->own, own);
	if (EXO(&e, r->g, "guard", "status") || e.rc)
		die("guard status");
	bench_note(&r->table, number(&e, "table_check_us"));
	bench_note(&r->audit, number(&e, "audit_us"));
	bench_note(&r->held, number(&e, "held_max_us"));
	r->writes += number(&e, "writes");
	if (guardrun_stop(guard))
		die("guard stop");
	return own;
}

/* All works weigh the same, however long each takes. Return: per cent slower */
static double mean_slower(const double on[WORKS], const double off[WORKS])
{
	double sum = 0;

	for (size_t i = 0; i < WORKS; i++)
		sum += 100 * (on[i] / off[i] - 1);
	return sum / WORKS;
}

static void pair(struct run *r, size_t n)
{
	struct phase on, off;
	double own = 0, cpu;

	if (n % 2)
		own = guarded(r, &on);
	do_work(r, &off);
	if (n % 2 == 0)
		own = guarded(r, &on);
	cpu = mean_slower(on.cpu_ns, off.cpu_ns);
	bench_note(&r->all_wall, mean_slower(on.wall_ns, off.wall_ns));
	bench_note(&r->all_cpu, cpu);
	bench_note(&r->most, cpu + own);
	for (size_t i = 0; i < WORKS; i++) {
		bench_note(&r->wall[i], 100 * (on.wall_ns[i] / off.wall_ns[i] - 1));
		bench_note(&r->cpu[i], 100 * (on.cpu_ns[i] / off.cpu_ns[i] - 1));
	}
}

static void report(struct bench *b, struct run *r)
{
	const struct bench_figure limit = {.max = MAX_SLOW, .interval = true};
	const struct bench_figure interval = {.interval = true};
	char name[128], note[64];
	struct bench_figure held = {.note = note};

	for (size_t i = 0; i < WORKS; i++) {
		(void)snprintf(name, sizeof(name), "Debian guest, guard on: %s, slower by",
			       work[i].name);
		bench_series(b, &r->wall[i], name, "%", &limit);
		(void)snprintf(name, sizeof(name), "Debian guest, guard on: %s, more CPU by",
			       work[i].name);
		bench_series(b, &r->cpu[i], name, "%", &limit);
	}
	bench_series(b, &r->all_wall, "Debian guest, guard on: all of it, slower by", "%", &limit);
	bench_series(b, &r->all_cpu, "Debian guest, guard on: all of it, more CPU by", "%", &limit);
	bench_series(b, &r->own, "Debian guest: the guard's own processes, of one CPU", "%",
		     &interval);
	bench_series(b, &r->most, "Debian guest: slower at most, sharing one CPU with its guard",
		     "%", &interval);
	bench_series(b, &r->table, "Debian guest: check of the shared page tables", "us", NULL);
	bench_series(b, &r->audit, "Debian guest: audit of all address spaces", "us", NULL);
	(void)snprintf(note, sizeof(note), "%.0f writes in %zu runs", r->writes, r->pairs);
	bench_series(b, &r->held, "Debian guest: longest hold", "us", &held);
}

int main(int argc, char **argv)
{
	struct bench *b = bench_open(argc, argv, "guard_guest");
	static struct run r;
	const char *pairs = getenv("PAIRS");
	struct phase warm_up;
	char libexec[256];

	r.pairs = pairs ? strtoul(pairs, NULL, 10) : PAIRS;
	if (!r.pairs || r.pairs > BENCH_MAX_SAMPLES)
		die("PAIRS");

	setenv("EXOPATCH_LIBEXEC", run_build_path(".", libexec, sizeof(libexec)), 0);
	if (patching_setup() || guest_boot(&r.g, &(struct guest_opts){.vcpus = 1}))
		return 1;
	do_work(&r, &warm_up);
	for (size_t n = 0; n < r.pairs; n++)
		pair(&r, n);
	if (!guest_dmesg_clean(r.g))
		die("the guest");
	guest_free(r.g);
	patching_teardown();
	report(b, &r);
	return bench_close(b);
}
