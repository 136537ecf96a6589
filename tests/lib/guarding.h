/* SPDX-License-Identifier: Apache-2.0 */
/* What tests of the guard's monitor do with a bare guest; every failure fails the test. */
#ifndef EXOPATCH_TESTS_GUARDING_H
#define EXOPATCH_TESTS_GUARDING_H

#include "tests/lib/bare.h"
#include "tests/lib/patience.h"
#include "vmm-agent/monitor/guard.h"

#define GUARDING_WAIT_MS PATIENCE_MS

/** struct guarding - a bare guest, its monitor, and what outlives that */
struct guarding {
	struct bare *guest;
	struct mon *mon;
	struct mon_guard_fds fds;
	bool as_private; /* do not tell the monitor of the RAM's file: it goes through QEMU */
};

/** guarding_start - boot and open the guard; nothing is protected yet */
void guarding_start(struct guarding *g, const struct bare_opts *opts);
void guarding_stop(struct guarding *g);

/** guarding_monitor - a new monitor, with the guard open and what there was adopted; @fault: armed
 *  in it, or NULL */
void guarding_monitor(struct guarding *g, const char *fault);

/** guarding_protect, guarding_release - @nr pages from BARE_GUARDED on */
void guarding_protect(struct guarding *g, size_t nr);
void guarding_release(struct guarding *g, size_t nr);

/** guarding_next - the next event, which has to come, or (no) to stay away */
void guarding_next(struct guarding *g, struct mon_write_event *ret);
void guarding_none(struct guarding *g, int timeout_ms);

/** guarding_judge - verdict. Return: nanoseconds held */
uint64_t guarding_judge(struct guarding *g, bool keep);

#endif
