/* SPDX-License-Identifier: Apache-2.0 */
/* The module gate, as the guard uses it: docs/gate.md. */
#ifndef EXOPATCH_AGENT_GATE_H
#define EXOPATCH_AGENT_GATE_H

#include <jansson.h>

#include "base/err.h"
#include "vmm-agent/lens/guard.h"
#include "vmm-agent/lens/modgate.h"
#include "vmm-agent/monitor/guard.h"

#define GATE_ROW "_module-gate" /* its id in the journal: no package can have it */

struct gate;
struct guard;

/**
 * gate_load - read the list and its signatures; g->gate stays NULL if none was named
 * @why: why the list does not count
 */
int gate_load(struct guard *g, struct refusal *why, struct xerr *err) XO_MUST_CHECK;

/** gate_adopt - after a guard that died: know its gate again, before anybody who rings is answered
 */
int gate_adopt(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** gate_tend - a gate is there while the guest is protected: after it was reset, after a guard that
 *  died amid an installation. For each turn of the loop */
int gate_tend(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** gate_restored - the guest's memory is another than before, with all of the gate, a part, or
 *  nothing: gate_tend looks anew */
void gate_restored(struct guard *g);

/** gate_install - have the guest ask, or take over a gate that stands there; look at what is
 * loaded. Protection is on. Nothing to do without a list */
int gate_install(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** gate_remove - all bytes as before. Protection is still on. Nothing to do if there is no gate */
int gate_remove(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** gate_rings - is this write a ring of the gate's bell, and nothing else? */
bool gate_rings(const struct guard *g, const struct mon_write_event *e);

/** gate_answer - judge the module, give the verdict, emit the event */
int gate_answer(struct guard *g, const struct mon_write_event *e, struct xerr *err) XO_MUST_CHECK;

/** gate_may_load - is one of these changes of page tables among modules? One may be on its way to
 *  ring. Not without a gate */
bool gate_may_load(const struct guard *g, const struct lens_finding *f, size_t nr);

/** gate_has_page - is the address in one of its parts? */
bool gate_has_page(const struct lens_module *m, struct gva gva);

/**
 * gate_doubt - a page of a module's is protected that was not: what was known of that module may
 * be true no more; the next audit compares it again. Not for what is read-only only later
 * @module: as in struct lens_area; "" does nothing
 */
void gate_doubt(struct guard *g, const char *module, struct gva page);

/** gate_audit - report modules on the kernel's list that did not pass the gate, each once */
int gate_audit(struct guard *g, struct xerr *err) XO_MUST_CHECK;

/** gate_status_json - for `exopatch guard status`. NULL when out of memory */
json_t *gate_status_json(const struct guard *g);

void gate_free(struct gate *gate);

#endif
