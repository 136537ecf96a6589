/* SPDX-License-Identifier: Apache-2.0 */
/* What the gate's files share. */
#ifndef EXOPATCH_AGENT_GATE_CORE_H
#define EXOPATCH_AGENT_GATE_CORE_H

#include "package/modlist.h"
#include "vmm-agent/agent/gate.h"
#include "vmm-agent/agent/guard.h"
#include "vmm-agent/lens/modgate.h"

struct gate {
	struct modlist *list;
	bool installed; /* somebody may ring */
	bool tended;	/* it stands, wholly; or cannot, as was said */
	struct lens_bell bell;
	struct {
		uint64_t allowed, refused, held_max_ns, held_last_ns;
	} count;
};

/** struct gate_verdict - on one module */
struct gate_verdict {
	bool allowed;
	char module[56]; /* escaped; "" unknown */
	char reason[256];
	const struct modlist_entry *entry; /* which it is, or was held against; NULL: none */
	uint64_t probed_bytes;		   /* of its code: kprobes', as the guest's lists say */
};

/**
 * gate_judge - hold a module against the list
 * @when: MODREF_LOADING for one that rings, MODREF_LIVE for one that was there before
 * Return: 0 (look at @ret), or a code: it could not be judged
 */
int gate_judge(struct session *s, const struct modlist *l, const struct lens_module *m,
	       enum modref_when when, struct gate_verdict *ret, struct xerr *err) XO_MUST_CHECK;

/** gate_row - the journal's row of the gate in this guest and boot, or NULL */
struct jrow *gate_row(const struct session *s);

/** gate_plan - make the row: code, detour, page-table entries */
int gate_plan(struct guard *g, struct jrow *row, struct refusal *why,
	      struct xerr *err) XO_MUST_CHECK;

#endif
