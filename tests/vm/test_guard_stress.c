// SPDX-License-Identifier: Apache-2.0
/*
 * Many writes of many vCPUs at once, to the same pages and to different ones: each is judged
 * exactly once, none slips by, and what each processor reads after its store is what was decided.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "tests/lib/guarding.h"
#include "tests/lib/proc.h"

#define PAGES	    4
#define WORD_OFF(c) (64 * (c) + 8)
#define POLL_MS	    2
#define STUCK_NS    UINT64_C(120000000000) /* on a host that does much else */

/* What one processor is at. */
struct writer {
	uint64_t addr, value, golden;
	bool busy, judged, kept;
};

struct storm {
	struct guarding *g;
	unsigned int nr_cpus;
	unsigned int left, under_way;
	uint64_t next_value, nr_events;
	struct writer w[BARE_MAX_CPUS];
};

/* Even processors share the first page, the others have the rest. */
static uint64_t address(unsigned int cpu)
{
	uint64_t page = cpu % 2 ? 1 + cpu / 2 % (PAGES - 1) : 0;

	return BARE_GUARDED + page * XO_PAGE_SIZE + WORD_OFF(cpu);
}

static void issue(struct storm *s)
{
	for (unsigned int c = 0; c < s->nr_cpus && s->left; c++) {
		struct writer *w = &s->w[c];

		if (w->busy)
			continue;
		*w = (struct writer){.addr = address(c),
				     .value = ++s->next_value,
				     .golden = w->golden,
				     .busy = true};
		s->left--;
		s->under_way++;
		bare_store(s->g->guest, c, BARE_STORE_64, w->addr, w->value);
	}
}

/* Every byte that differs is a store that somebody was asked for, whole, and not judged yet. */
static void judge(struct storm *s, const struct mon_write_event *e)
{
	bool keep = s->nr_events++ % 3 != 0;
	unsigned int changed = 0;
	unsigned int explained = 0;

	assert_false(e->adopted);
	for (size_t i = 0; i < XO_PAGE_SIZE; i += 8)
		changed += memcmp(&e->before[i], &e->after[i], 8) != 0;
	for (unsigned int c = 0; c < s->nr_cpus; c++) {
		struct writer *w = &s->w[c];
		uint64_t off = w->addr & XO_PAGE_MASK;

		if ((w->addr ^ e->gpa.v) & ~XO_PAGE_MASK ||
		    !memcmp(&e->before[off], &e->after[off], 8))
			continue;
		explained++;
		assert_memory_equal(&e->before[off], &w->golden, 8);
		assert_memory_equal(&e->after[off], &w->value, 8);
		assert_true(w->busy);
		assert_false(w->judged);
		w->judged = true;
		w->kept = keep;
	}
	assert_int_equal(changed, explained);
	assert_in_range(explained, 1, s->nr_cpus);
	(void)guarding_judge(s->g, keep);
}

static void collect(struct storm *s)
{
	for (unsigned int c = 0; c < s->nr_cpus; c++) {
		struct writer *w = &s->w[c];
		uint64_t seen = 0;

		if (!w->busy || !bare_stored(s->g->guest, c, 0, &seen))
			continue;
		assert_true(w->judged); /* or it slipped by */
		if (w->kept)
			w->golden = w->value;
		assert_int_equal(seen, w->golden);
		w->busy = false;
		s->under_way--;
	}
}

static void storm(bool ring0, unsigned int nr_cpus, unsigned int writes)
{
	const struct bare_opts opts = {.ring0 = ring0, .nr_cpus = nr_cpus};
	struct guarding g;
	struct storm s = {.g = &g, .nr_cpus = nr_cpus, .left = writes};
	uint64_t last_ns = xo_now_ns();

	bare_need_kvm();
	memset(&g, 0, sizeof(g));
	guarding_start(&g, &opts);
	guarding_protect(&g, PAGES);
	while (s.left || s.under_way) {
		struct mon_write_event e;
		struct xerr err = {0};

		issue(&s);
		if (!mon_guard_next(g.mon, POLL_MS, &e, &err)) {
			judge(&s, &e);
			last_ns = xo_now_ns();
		} else {
			/* Nothing yet; or a vCPU did not stop in time, and its write waits. */
			assert_true(err.code == -XO_ETIMEOUT || err.code == -XO_EHOLD);
			assert_true(xo_now_ns() - last_ns < STUCK_NS);
		}
		collect(&s);
	}
	guarding_none(&g, 20);
	for (unsigned int c = 0; c < nr_cpus; c++)
		assert_memory_equal(bare_mem(g.guest, s.w[c].addr), &s.w[c].golden, 8);
	assert_true(bare_runs(g.guest, GUARDING_WAIT_MS));
	guarding_stop(&g);
}

#define STORM(name, ring0, nr_cpus, writes)                                                        \
	static void name(void **state)                                                             \
	{                                                                                          \
		(void)state;                                                                       \
		storm(ring0, nr_cpus, writes);                                                     \
	}
STORM(one_directly, false, 1, 1500)
STORM(one_emulated, true, 1, 1500)
STORM(four_directly, false, 4, 3000)
STORM(four_emulated, true, 4, 3000)
STORM(eight_directly, false, 8, 500)
STORM(eight_emulated, true, 8, 500)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_directly),	  cmocka_unit_test(one_emulated),
		cmocka_unit_test(four_directly),  cmocka_unit_test(four_emulated),
		cmocka_unit_test(eight_directly), cmocka_unit_test(eight_emulated),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	use_built_programs();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
