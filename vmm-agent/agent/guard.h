/* SPDX-License-Identifier: Apache-2.0 */
/* The guard's state, and the parts of its loop. docs/guard.md. */
#ifndef EXOPATCH_AGENT_GUARD_H
#define EXOPATCH_AGENT_GUARD_H

#include "vmm-agent/agent/control.h"
#include "vmm-agent/agent/events.h"
#include "vmm-agent/agent/gate.h"
#include "vmm-agent/agent/session.h"
#include "vmm-agent/lens/guard.h"
#include "vmm-agent/lens/modgate.h"
#include "vmm-agent/monitor/guard.h"

/* Shared page tables: 100 times a second and more; all address spaces: within a second, with the
 * second look. */
#define GUARD_TABLES_NS	     UINT64_C(8000000)
#define GUARD_AUDIT_NS	     UINT64_C(600000000)
#define GUARD_SECOND_LOOK_NS UINT64_C(100000000)

/** struct guard_known - what an audit found, and whether it was said */
struct guard_known {
	struct lens_finding finding;
	bool said;
};

struct guard {
	const struct agent_guard_opts *opts;
	struct session s;
	struct events *events;
	struct control *control;
	struct mon_guard_fds fds;
	struct lens_area *area; /* what is protected */
	size_t nr_areas;
	struct guard_known known[LENS_MAX_FINDINGS]; /* of the last audit */
	size_t nr_known;
	struct gate *gate; /* NULL: modules are not gated */
	bool tables_again; /* a change among modules is being looked at twice */
	int failed_look; /* code of a check that failed, until one does not */
	bool stop;
	uint64_t started_ns, tables_due_ns, audit_due_ns, compare_due_ns;
	struct {
		uint64_t events, kept, put_back, reported, violations, findings, lost_events;
		uint64_t table_checks, audits, table_check_ns, audit_ns, held_max_ns;
	} count;
};

/** guard_arm - find what there is to protect and protect it */
int guard_arm(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_refresh - modules came or went: protect what is new, let go of what is no more */
int guard_refresh(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_area_at - the area of @list, which is sorted by gpa, that has @gpa, or NULL */
const struct lens_area *guard_area_at(const struct lens_area *list, size_t nr, struct gpa gpa);

/** guard_handle_write - judge one write that is being held, and answer it */
int guard_handle_write(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_check - the checks that are due: page tables, address spaces, lost protection */
int guard_check(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_check_tables - compare the shared page tables with what they were, report, remember them.
 *  @module: one that has just rung: its pages are expected; or NULL */
int guard_check_tables(struct guard *g, const struct lens_module *module,
		       struct xerr *err) XO_MUST_CHECK;

/** guard_is_fatal - whether the guard cannot go on after this code */
bool guard_is_fatal(int rc);

/** guard_serve - one request from the control socket */
int guard_serve(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** guard_emit - write an event; one that cannot be written is counted */
void guard_emit(struct guard *g, const char *kind, const char *verdict, json_t *details);

/** guard_status_json - what `exopatch guard status` shows. NULL when out of memory */
json_t *guard_status_json(struct guard *g);

#endif
