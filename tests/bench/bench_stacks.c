// SPDX-License-Identifier: Apache-2.0
/*
 * The stack check with a thousand sleeping threads in the guest, and what it is
 * made of: all tasks looked at before the hold, within it only those that ran
 * since, and, as the worst case, all of them within it. The floor is memcpy of
 * the same stacks, piece by piece, in the same run, out of a warm cache.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "tests/lib/bench.h"
#include "tests/lib/lens_guest.h"
#include "vmm-agent/lens/check.h"
#include "vmm-agent/lens/find.h"
#include "vmm-agent/lens/tasks.h"

#define THREADS	   "1000"
#define MIN_TASKS  1000
#define ROUNDS	   30
#define MAX_PIECES 16384
#define MIB	   1048576.0

/* A piece of a sleeping task's stack, up to the end of a page. */
struct piece {
	const uint8_t *p;
	size_t len_bytes;
};

struct run {
	struct guest *g;
	struct gmem mem;
	struct gspace space;
	struct gkernel k;
	struct lens_range range;
	size_t nr_pieces;
	struct piece piece[MAX_PIECES];
	uint64_t stack_bytes;
	struct bench_series walk, prepare, check, full, copy; /* us */
};

static void die(const char *what, const struct xerr *err)
{
	(void)fprintf(stderr, "bench_stacks: %s: %s\n", what, err ? err->text : "failed");
	exit(1);
}

static double us_since(uint64_t start_ns)
{
	return (double)(xo_now_ns() - start_ns) / 1e3;
}

static void find_kernel(struct run *r)
{
	struct xerr err = {0};
	struct lens_vm vm;

	if (lens_guest_vm(r->g, &vm))
		die("guest", NULL);
	for (size_t i = 0; i < vm.nr_regions; i++) {
		const struct lens_region *m = &vm.region[i];

		if (gmem_map(&r->mem, m->gpa, m->len_bytes, vm.backend_fd[m->backend],
			     m->backend_off))
			die("mmap", NULL);
	}
	r->space.mem = &r->mem;
	if (gfind_kernel(&r->k, &r->space, vm.vcpu, vm.nr_vcpus, &err))
		die("kernel", &err);
	lens_guest_vm_close(&vm);
	r->range.start.v = gkernel_symbol(&r->k, "cmdline_proc_show");
	r->range.len_bytes = 48;
}

static int nothing(void *ctx, uint64_t task, struct xerr *err)
{
	(void)ctx;
	(void)task;
	(void)err;
	return 0;
}

/* Where the stack of a sleeping task is; the guest is paused. */
static int collect(void *ctx, uint64_t task, struct xerr *err)
{
	struct run *r = ctx;
	const struct goffs *o = &r->k.off;
	uint64_t stack, sp;
	uint32_t on_cpu;

	(void)err;
	if (gspace_u64(&r->space, (struct gva){task + o->task_stack.off}, &stack) ||
	    gspace_u64(&r->space, (struct gva){task + o->task_sp.off}, &sp) ||
	    gspace_u32(&r->space, (struct gva){task + o->task_on_cpu.off}, &on_cpu))
		return -XO_ETASKLIST;
	for (uint64_t end = stack + r->k.thread_bytes; !on_cpu && sp >= stack && sp < end;) {
		uint64_t n = XO_PAGE_SIZE - (sp & XO_PAGE_MASK);
		struct piece *piece = &r->piece[r->nr_pieces];

		piece->p = gspace_ptr(&r->space, (struct gva){sp}, n);
		piece->len_bytes = n;
		if (!piece->p || ++r->nr_pieces == MAX_PIECES)
			return -XO_ETASKLIST;
		r->stack_bytes += n;
		sp += n;
	}
	return 0;
}

static double copy_us(const struct run *r)
{
	static uint8_t to[XO_PAGE_SIZE];
	uint64_t start = xo_now_ns();

	for (size_t i = 0; i < r->nr_pieces; i++) {
		memcpy(to, r->piece[i].p, r->piece[i].len_bytes);
		__asm__ volatile("" : : "r"(to) : "memory");
	}
	return us_since(start);
}

static double check_us(struct run *r, struct gcheck *c, struct lens_check_stats *stats)
{
	static struct lens_busy busy[LENS_MAX_BUSY];
	struct lens_check_regs regs[LENS_MAX_VCPUS];
	size_t nr = lens_guest_regs(r->g, regs), nr_busy = 0;
	struct xerr err = {0};
	uint64_t start = xo_now_ns();

	gspace_flush(&r->space);
	if (gcheck_run(c, &r->k, regs, nr, busy, &nr_busy, stats, &err))
		die("check", &err);
	return us_since(start);
}

/* Before the hold; then held, first as it is, then as if every task had run since. */
static uint32_t one_round(struct run *r)
{
	struct lens_check_stats stats = {0};
	struct gcheck c = {0};
	struct xerr err = {0};
	uint32_t nr_tasks;
	uint64_t start;

	gspace_flush(&r->space);
	start = xo_now_ns();
	if (gtask_walk(&r->k, nothing, NULL, &nr_tasks, &err))
		die("walk", &err);
	bench_note(&r->walk, us_since(start));
	gspace_flush(&r->space);
	start = xo_now_ns();
	if (gcheck_prepare(&c, &r->k, &r->range, 1, &err))
		die("prepare", &err);
	bench_note(&r->prepare, us_since(start));
	if (guest_pause(r->g))
		die("stop", NULL);
	bench_note(&r->check, check_us(r, &c, &stats));
	memset(c.bucket, 0, c.nr_buckets * sizeof(*c.bucket));
	c.nr = 0;
	bench_note(&r->full, check_us(r, &c, &stats));
	if (stats.nr_rescanned < MIN_TASKS)
		die("not all tasks were looked at again", NULL);
	r->nr_pieces = 0;
	r->stack_bytes = 0;
	if (gtask_walk(&r->k, collect, r, &nr_tasks, &err))
		die("stacks", &err);
	bench_note(&r->copy, copy_us(r));
	if (guest_resume(r->g))
		die("cont", NULL);
	gcheck_free(&c);
	return stats.nr_tasks;
}

/* From microseconds for @amount to @amount a second. */
static struct bench_series rate(const struct bench_series *us, double amount)
{
	struct bench_series s = {.nr = us->nr};

	for (size_t i = 0; i < us->nr; i++)
		s.v[i] = amount * 1e6 / us->v[i];
	return s;
}

static void report_rates(struct bench *b, const struct bench_series *us, const char *what,
			 double tasks, double mib, double floor)
{
	const struct bench_figure beside = {.floor_name = "memcpy of the stacks", .floor = floor};
	struct bench_series s = rate(us, tasks);
	char name[96];

	(void)snprintf(name, sizeof(name), "1,000 threads: %s, tasks", what);
	bench_series(b, &s, name, "1000/s", NULL);
	s = rate(us, mib);
	(void)snprintf(name, sizeof(name), "1,000 threads: %s, stack", what);
	bench_series(b, &s, name, "MiB/s", &beside);
}

static void report(struct bench *b, struct run *r, double nr_tasks)
{
	struct bench_figure beside = {.floor_name = "memcpy of the stacks"};
	double mib = (double)r->stack_bytes / MIB, thousands = nr_tasks / 1e3;
	struct bench_series copy_rate = rate(&r->copy, mib);
	struct bench_series prepare = r->prepare, full = r->full;
	char note[64];
	double floor;

	(void)snprintf(note, sizeof(note), "%.0f tasks, %.0f KiB of stack in use", nr_tasks,
		       mib * 1024);
	beside.floor = bench_series(b, &r->copy, "1,000 threads: memcpy of the stacks", "us",
				    &(struct bench_figure){.note = note});
	floor = bench_series(b, &copy_rate, "1,000 threads: memcpy of the stacks, stack", "MiB/s",
			     NULL);
	bench_series(b, &r->walk, "1,000 threads: walk of the task list alone", "us", &beside);
	bench_series(b, &prepare, "1,000 threads: prepare, before the hold", "us", &beside);
	bench_series(b, &r->check, "1,000 threads: check in the hold", "us", &beside);
	bench_series(b, &full, "1,000 threads: check in the hold, had all run", "us", &beside);
	report_rates(b, &r->prepare, "prepare", thousands, mib, floor);
	report_rates(b, &r->full, "check, had all run", thousands, mib, floor);
}

int main(int argc, char **argv)
{
	struct bench *b = bench_open(argc, argv, "stacks");
	static struct run r;
	uint32_t nr_tasks = 0;

	if (guest_boot(&r.g, &(struct guest_opts){0}))
		return 1;
	free(guest_sh(r.g, "spawn-threads " THREADS " >/tmp/spawned & "
			   "until grep -q ready /tmp/spawned; do usleep 50000; done"));
	find_kernel(&r);
	for (size_t i = 0; i < ROUNDS; i++)
		nr_tasks = one_round(&r);
	if (nr_tasks < MIN_TASKS)
		die("the guest has too few tasks", NULL);
	guest_free(r.g);
	gkernel_free(&r.k);
	report(b, &r, nr_tasks);
	return bench_close(b);
}
