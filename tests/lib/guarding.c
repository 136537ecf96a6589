// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/guarding.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/lib/holding.h"

static void must(const char *what, int rc, const struct xerr *err)
{
	if (rc)
		fail_msg("%s: %d: %s", what, rc, err->text);
}

void guarding_monitor(struct guarding *g, const char *fault)
{
	struct xerr err = {0};
	struct mon_vm vm = *bare_vm(g->guest);
	bool adopt = g->fds.uffd >= 0;
	int dev = -1;

	mon_free(g->mon);
	g->mon = NULL;
	if (fault)
		assert_int_equal(setenv("EXOPATCH_FAULT", fault, 1), 0);
	for (size_t i = 0; i < vm.nr_regions && g->as_private; i++)
		vm.region[i].backend = -1;
	if (g->as_private)
		vm.nr_backends = 0;
	must("mon_start", mon_start(&g->mon, &vm, &err), &err);
	assert_int_equal(unsetenv("EXOPATCH_FAULT"), 0);
	if (!adopt)
		dev = bare_uffd_open(g->guest);
	must("mon_guard_open", patient_open(g->mon, dev, &g->fds, &err), &err);
	if (!adopt)
		assert_int_equal(bare_uffd_close(g->guest), 0);
	else
		must("mon_guard_adopt", mon_guard_adopt(g->mon, &err), &err);
}

void guarding_start(struct guarding *g, const struct bare_opts *opts)
{
	struct xerr err = {0};

	*g = (struct guarding){.fds = {-1, -1}, .as_private = g->as_private};
	must("bare_start", bare_start(&g->guest, opts, &err), &err);
	guarding_monitor(g, NULL);
}

void guarding_stop(struct guarding *g)
{
	mon_free(g->mon);
	bare_stop(g->guest);
	xo_close_ptr(&g->fds.uffd);
	xo_close_ptr(&g->fds.golden);
}

static const struct mon_range *range(size_t nr)
{
	static struct mon_range r;

	r = (struct mon_range){.gpa = {BARE_GUARDED}, .len_bytes = nr * XO_PAGE_SIZE};
	return &r;
}

void guarding_protect(struct guarding *g, size_t nr)
{
	struct xerr err = {0};

	must("mon_guard_protect", patient_protect(g->mon, range(nr), 1, &err), &err);
}

void guarding_release(struct guarding *g, size_t nr)
{
	struct xerr err = {0};

	must("mon_guard_release", mon_guard_release(g->mon, range(nr), 1, &err), &err);
}

void guarding_next(struct guarding *g, struct mon_write_event *ret)
{
	struct xerr err = {0};

	must("mon_guard_next", patient_next(g->mon, GUARDING_WAIT_MS, ret, &err), &err);
}

void guarding_none(struct guarding *g, int timeout_ms)
{
	struct mon_write_event e;
	struct xerr err = {0};
	int rc = patient_next(g->mon, timeout_ms, &e, &err);

	if (rc != -XO_ETIMEOUT)
		fail_msg("%d, an event nobody expects: gpa %#llx, %u bytes: %s", rc,
			 (unsigned long long)e.gpa.v, rc ? 0 : e.len_bytes, err.text);
}

uint64_t guarding_judge(struct guarding *g, bool keep)
{
	struct xerr err = {0};
	uint64_t held_ns = 0;

	must("mon_guard_verdict", mon_guard_verdict(g->mon, keep, &held_ns, &err), &err);
	return held_ns;
}
