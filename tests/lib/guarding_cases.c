// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/guarding_cases.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/util.h"
#include "tests/lib/holding.h"

#define AT	       (BARE_GUARDED + 0x10)
#define VALUE	       UINT64_C(0x1122334455667788)
#define STORM	       200
#define KILLED_NS      500000 /* a write is over by then, unless the host is busy */
#define KILLED_STEP_NS 10000
#define WORD(g, a)     (*(volatile uint64_t *)(void *)bare_mem((g)->guest, a))

static void store(struct guarding *g, unsigned int cpu, uint64_t addr, uint64_t value)
{
	bare_store(g->guest, cpu, BARE_STORE_64, addr, value);
}

/* What the processor read after its store. */
static uint64_t stored(struct guarding *g, unsigned int cpu)
{
	uint64_t seen = 0;

	assert_true(bare_stored(g->guest, cpu, GUARDING_WAIT_MS, &seen));
	return seen;
}

static void wipe(struct guarding *g)
{
	memset(bare_mem(g->guest, BARE_GUARDED), 0, 4 * XO_PAGE_SIZE);
}

static struct mon_guard_stats stats(struct guarding *g)
{
	struct mon_guard_stats s = {0};
	struct xerr err = {0};

	if (mon_guard_stats(g->mon, &s, &err))
		fail_msg("%s", err.text);
	return s;
}

/* Not guest code running, as seen in its counters. */
static void assert_held(struct guarding *g)
{
	uint64_t before[2];

	for (int i = 0; i < 2; i++)
		before[i] = bare_shared(g->guest)->cpu[i].iterations;
	xo_sleep_ns(20000000);
	for (int i = 0; i < 2; i++)
		assert_int_equal(bare_shared(g->guest)->cpu[i].iterations, before[i]);
}

static void assert_runs(struct guarding *g)
{
	assert_true(bare_runs(g->guest, GUARDING_WAIT_MS));
}

void case_put_back(struct guarding *g)
{
	struct mon_write_event e;
	uint64_t held_ns;

	guarding_protect(g, 1);
	store(g, 0, AT, VALUE);
	guarding_next(g, &e);
	assert_int_equal(e.gpa.v, AT);
	assert_int_equal(e.len_bytes, 8);
	assert_memory_equal(&e.after[0x10], &(uint64_t){VALUE}, 8);
	assert_int_equal(e.before[0x10], 0);
	assert_in_range(e.vcpu, 0, 1); /* its processors number themselves */
	assert_int_equal(e.writer_tid, bare_vm(g->guest)->tid[e.vcpu]);
	assert_false(e.adopted);
	assert_held(g);
	held_ns = guarding_judge(g, false);
	assert_true(held_ns > e.held_ns);
	assert_int_equal(stored(g, 0), 0);
	assert_int_equal(WORD(g, AT), 0);
	assert_runs(g);
	guarding_release(g, 1);
}

void case_keep(struct guarding *g)
{
	struct mon_write_event e;

	guarding_protect(g, 1);
	store(g, 0, AT, VALUE);
	guarding_next(g, &e);
	(void)guarding_judge(g, true);
	assert_int_equal(stored(g, 0), VALUE);
	/* It is golden now: this goes back to it. */
	store(g, 1, AT, 1);
	guarding_next(g, &e);
	assert_memory_equal(&e.before[0x10], &(uint64_t){VALUE}, 8);
	(void)guarding_judge(g, false);
	assert_int_equal(stored(g, 1), VALUE);
	guarding_release(g, 1);
	wipe(g);
}

void case_same_bytes(struct guarding *g)
{
	struct mon_guard_stats before;

	guarding_protect(g, 1);
	before = stats(g);
	store(g, 0, AT, 0);
	assert_int_equal(stored(g, 0), 0);
	guarding_none(g, 50);
	assert_true(stats(g).nr_empty > before.nr_empty);
	assert_int_equal(stats(g).nr_kept, before.nr_kept);
	assert_int_equal(stats(g).nr_pages, 1);
	guarding_release(g, 1);
}

/* One store into the ends of two pages: as many events as the accelerator makes of it. */
void case_across_pages(struct guarding *g)
{
	const uint64_t at = BARE_GUARDED + XO_PAGE_SIZE - 4;
	struct mon_write_event e;
	uint64_t bytes = 0;

	guarding_protect(g, 2);
	store(g, 0, at, VALUE);
	while (bytes < 8) {
		guarding_next(g, &e);
		assert_in_range(e.gpa.v, at, at + 7);
		bytes += e.len_bytes;
		(void)guarding_judge(g, true);
	}
	assert_int_equal(stored(g, 0), VALUE);
	guarding_none(g, 20);
	guarding_release(g, 2);
	wipe(g);
}

/* Both at once, into two pages and into one: no write is lost, none slips by. */
void case_two_writers(struct guarding *g)
{
	struct mon_write_event e;

	guarding_protect(g, 2);
	for (int round = 0; round < 40; round++) {
		uint64_t second = AT + (round % 2 ? XO_PAGE_SIZE : 0x20);
		unsigned int bytes = 0;

		store(g, 0, AT, VALUE);
		store(g, 1, second, VALUE);
		while (bytes < 16) {
			guarding_next(g, &e);
			for (size_t i = 0; i < XO_PAGE_SIZE; i++)
				bytes += e.before[i] != e.after[i];
			(void)guarding_judge(g, false);
		}
		assert_int_equal(stored(g, 0), 0);
		assert_int_equal(stored(g, 1), 0);
	}
	guarding_none(g, 20);
	assert_int_equal(WORD(g, AT), 0);
	guarding_release(g, 2);
}

void case_storm(struct guarding *g)
{
	struct mon_guard_stats before, after;
	struct mon_write_event e;

	guarding_protect(g, 1);
	before = stats(g);
	for (unsigned int i = 1; i <= STORM; i++) {
		store(g, i % 2, AT, VALUE);
		guarding_next(g, &e);
		(void)guarding_judge(g, false);
		assert_int_equal(stored(g, i % 2), 0);
	}
	after = stats(g);
	assert_int_equal(after.nr_put_back - before.nr_put_back, STORM);
	assert_true(after.nr_events - before.nr_events < 2UL * STORM);
	assert_runs(g);
	guarding_release(g, 1);
}

/* A write that comes within 20 ms is put back. Return: whether one came */
static bool put_one_back(struct guarding *g, struct mon_write_event *ret)
{
	struct xerr err = {0};
	int rc = mon_guard_next(g->mon, 20, ret, &err);

	if (rc == -XO_ETIMEOUT || rc == -XO_EHOLD)
		return false;
	if (rc)
		fail_msg("%s", err.text);
	(void)guarding_judge(g, false);
	return true;
}

/* fw_cfg writes in QEMU's own code: the thread stops in user mode. memcpy may store a byte twice.
 */
void case_device(struct guarding *g)
{
	const uint64_t until_ns = patience_ns();
	unsigned int events = 0;

	guarding_protect(g, 1);
	bare_store(g->guest, 0, BARE_STORE_DMA, AT, 0);
	while (patience_left(until_ns)) {
		struct mon_write_event e;

		if (put_one_back(g, &e)) {
			assert_in_range(e.gpa.v, AT, AT + 3);
			assert_false(e.adopted);
			events++;
		} else if (events && bare_stored(g->guest, 0, 0, NULL)) {
			break;
		}
	}
	assert_in_range(events, 1, 8);
	assert_int_equal(stored(g, 0), 0);
	assert_int_equal(WORD(g, AT), 0);
	assert_runs(g);
	guarding_release(g, 1);
}

void case_requests_while_judging(struct guarding *g)
{
	const struct mon_range next = {.gpa = {BARE_GUARDED + XO_PAGE_SIZE},
				       .len_bytes = XO_PAGE_SIZE};
	struct mon_write_event e;
	struct xerr err = {0};
	uint64_t word;

	guarding_protect(g, 1);
	store(g, 0, AT, VALUE);
	guarding_next(g, &e);
	assert_int_equal(mon_hold(g->mon, &err), -EAGAIN);
	err = (struct xerr){0};
	assert_int_equal(mon_guard_close(g->mon, &err) == 0, false);
	err = (struct xerr){0};
	assert_int_equal(mon_read(g->mon, (struct gpa){AT}, &word, 8, &err), 0);
	assert_int_equal(word, VALUE);
	/* What a module load may need: more pages, in the same hold. */
	assert_int_equal(mon_guard_protect(g->mon, &next, 1, &err), 0);
	assert_int_equal(stats(g).nr_pages, 2);
	assert_held(g);
	(void)guarding_judge(g, false);
	assert_int_equal(stored(g, 0), 0);
	guarding_release(g, 2);
}

void case_release(struct guarding *g)
{
	guarding_protect(g, 2);
	guarding_release(g, 1);
	assert_int_equal(stats(g).nr_pages, 1);
	store(g, 0, AT, VALUE);
	assert_int_equal(stored(g, 0), VALUE);
	guarding_none(g, 20);
	guarding_release(g, 2);
	wipe(g);
}

/* Ballooning a page away writes zeros without a fault; protection may go with it. */
void case_discarded_page(struct guarding *g)
{
	struct mon_write_event e;
	struct xerr err = {0};
	uint64_t lost = 0;

	WORD(g, AT) = VALUE;
	guarding_protect(g, 1);
	assert_int_equal(mon_guard_audit(g->mon, &lost, &err), 0);
	assert_int_equal(lost, 0);
	guarding_none(g, 20);
	assert_int_equal(fallocate(bare_vm(g->guest)->backend_fd[0],
				   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, BARE_GUARDED,
				   (off_t)XO_PAGE_SIZE),
			 0);
	assert_int_equal(mon_guard_audit(g->mon, &lost, &err), 0);
	guarding_next(g, &e);
	assert_true(e.adopted);
	assert_int_equal(e.gpa.v, AT);
	(void)guarding_judge(g, false);
	assert_int_equal(WORD(g, AT), VALUE);
	/* And it is still, or again, protected. */
	store(g, 0, AT, 1);
	guarding_next(g, &e);
	assert_false(e.adopted);
	(void)guarding_judge(g, false);
	assert_int_equal(stored(g, 0), VALUE);
	guarding_release(g, 1);
	wipe(g);
}

/* The monitor dies at @f while a write is under way; the next one goes on. Either way the write is
 * seen and judged once, and put back. */
static void die_at(struct guarding *g, enum fault f)
{
	struct mon_write_event e;
	struct xerr err = {0};
	bool judged = false;
	char fault[64];

	(void)snprintf(fault, sizeof(fault), "%s=kill", fault_name(f));
	guarding_monitor(g, fault);
	guarding_protect(g, 1);
	store(g, 0, AT, VALUE);
	if (!patient_next(g->mon, GUARDING_WAIT_MS, &e, &err)) {
		judged = true;
		assert_int_equal(mon_guard_verdict(g->mon, false, NULL, &err), -XO_EPEERDIED);
	}
	assert_int_equal(err.code, -XO_EPEERDIED);
	guarding_monitor(g, NULL);
	if (!judged) {
		guarding_next(g, &e);
		assert_int_equal(e.gpa.v, AT);
		assert_memory_equal(&e.after[0x10], &(uint64_t){VALUE}, 8);
		(void)guarding_judge(g, false);
	}
	(void)stored(g, 0);
	assert_int_equal(WORD(g, AT), 0);
	guarding_none(g, 20);
	assert_runs(g);
	/* Still on. */
	store(g, 1, AT, VALUE);
	guarding_next(g, &e);
	(void)guarding_judge(g, false);
	assert_int_equal(stored(g, 1), 0);
	guarding_release(g, 1);
}

void case_killed_anywhere(struct guarding *g)
{
	for (enum fault f = FAULT_guard_event_read; f <= FAULT_guard_judged; f++)
		die_at(g, f);
	/* Only reached by a vCPU that stores directly; by others not, and so nobody dies. */
	if (bare_vm(g->guest)->accel == MON_KVM && bare_shared(g->guest)->ring == 3)
		die_at(g, FAULT_guard_stepping);
	guarding_monitor(g, NULL);
}

/* By then the write may be waiting, made, or shown to a client that has not answered. */
static void die_after(struct guarding *g, uint64_t ns)
{
	struct mon_write_event e;
	uint64_t start_ns;

	guarding_protect(g, 1);
	store(g, 0, AT, VALUE);
	start_ns = xo_now_ns();
	while (xo_now_ns() - start_ns < ns)
		;
	assert_int_equal(kill(mon_pid(g->mon), SIGKILL), 0);
	guarding_monitor(g, NULL);
	guarding_next(g, &e);
	assert_int_equal(e.gpa.v, AT);
	assert_int_equal(e.len_bytes, 8);
	(void)guarding_judge(g, false);
	(void)stored(g, 0);
	assert_int_equal(WORD(g, AT), 0);
	assert_runs(g);
	guarding_release(g, 1);
}

void case_killed_any_moment(struct guarding *g)
{
	for (uint64_t ns = 0; ns < KILLED_NS; ns += KILLED_STEP_NS)
		die_after(g, ns);
	guarding_none(g, 20);
}

void case_silent_client(struct guarding *g)
{
	struct mon_write_event e;
	struct xerr err = {0};
	uint64_t until_ns;

	guarding_protect(g, 2);
	store(g, 0, AT, VALUE);
	store(g, 1, AT + XO_PAGE_SIZE, VALUE);
	guarding_next(g, &e);
	/* Its patience is 10 s. */
	assert_int_equal(mon_guard_next(g->mon, GUARDING_WAIT_MS, &e, &err), -XO_EPEERDIED);
	/* One was put back when the monitor gave up; the other one waits, or was too. */
	guarding_monitor(g, NULL);
	until_ns = patience_ns();
	while (!bare_stored(g->guest, 0, 0, NULL) || !bare_stored(g->guest, 1, 0, NULL)) {
		(void)put_one_back(g, &e);
		assert_true(patience_left(until_ns));
	}
	assert_int_equal(stored(g, 0), 0);
	assert_int_equal(stored(g, 1), 0);
	assert_int_equal(WORD(g, AT), 0);
	assert_int_equal(WORD(g, AT + XO_PAGE_SIZE), 0);
	guarding_none(g, 20);
	guarding_release(g, 2);
}

void case_private(struct guarding *g)
{
	g->as_private = true;
	guarding_monitor(g, NULL);
	case_put_back(g);
	case_keep(g);
	case_same_bytes(g);
	case_across_pages(g);
	case_two_writers(g);
	g->as_private = false;
	guarding_monitor(g, NULL);
}

/* The guest has nothing to run meanwhile: QEMU is stopped until the page is as it has to be. */
void case_put_back_raced(struct guarding *g)
{
	uint64_t before;
	struct mon_write_event e;
	struct xerr err = {0};

	g->as_private = true;
	guarding_monitor(g, "guard_put_back=fail");
	guarding_protect(g, 1);
	store(g, 0, AT, VALUE);
	guarding_next(g, &e);
	assert_int_equal(mon_guard_verdict(g->mon, false, NULL, &err), -XO_EREADBACK);
	assert_non_null(strstr(err.text, "is stopped"));
	before = bare_shared(g->guest)->cpu[1].iterations;
	xo_sleep_ns(100000000);
	assert_int_equal(bare_shared(g->guest)->cpu[1].iterations, before);
	assert_false(bare_stored(g->guest, 0, 0, NULL));
	/* Another monitor, which finds it so, and more there that is not to be. */
	WORD(g, AT + 0x100) = VALUE;
	assert_int_equal(kill(mon_pid(g->mon), SIGKILL), 0);
	guarding_monitor(g, NULL);
	guarding_next(g, &e);
	assert_true(e.adopted);
	(void)guarding_judge(g, false);
	(void)stored(g, 0);
	assert_int_equal(WORD(g, AT), 0);
	assert_int_equal(WORD(g, AT + 0x100), 0);
	guarding_none(g, 20);
	assert_runs(g);
	guarding_release(g, 1);
	g->as_private = false;
	guarding_monitor(g, NULL);
}

void case_close(struct guarding *g)
{
	struct xerr err = {0};

	guarding_protect(g, 4);
	assert_int_equal(mon_guard_close(g->mon, &err), 0);
	xo_close_ptr(&g->fds.uffd);
	xo_close_ptr(&g->fds.golden);
	g->fds = (struct mon_guard_fds){-1, -1};
	store(g, 0, AT, VALUE);
	assert_int_equal(stored(g, 0), VALUE);
	wipe(g);
	guarding_monitor(g, NULL);
	assert_int_equal(stats(g).nr_pages, 0);
}

void case_qemu_ends(struct guarding *g)
{
	struct mon_write_event e;
	struct xerr err = {0};

	guarding_protect(g, 1);
	bare_kill(g->guest);
	assert_int_equal(patient_next(g->mon, GUARDING_WAIT_MS, &e, &err), -XO_ETARGETGONE);
}
