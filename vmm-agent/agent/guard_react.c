// SPDX-License-Identifier: Apache-2.0
/* What follows a violation besides putting back: --on-violation, docs/guard.md. */
#include "base/util.h"
#include "vmm-agent/agent/guard.h"

#define AGAIN_NS UINT64_C(1000000000)

void guard_react(struct guard *g, enum guard_react_why why)
{
	if (!g->opts->audit_only && g->opts->on_violation != AGENT_DISCARD)
		g->kept->react_due |= why;
}

static int react(struct guard *g, struct xerr *err)
{
	switch (g->opts->on_violation) {
	case AGENT_DISCARD:
		return 0;
	case AGENT_PAUSE:
		return tgt_stop(g->s.tgt, err);
	case AGENT_KILL:
		return tgt_quit(g->s.tgt, err);
	case AGENT_NMI:
		return tgt_nmi(g->s.tgt, err);
	}
	return 0;
}

/* What went wrong with the connection is mended by a new one. A command that QEMU has not answered
 * in time may still be carried out, and is harmless twice. */
static void failed(struct guard *g, int rc, const struct xerr *why)
{
	if (!g->reaction_failed)
		guard_emit(g, "reaction-failed", NULL, json_pack("{s:s}", "reason", why->text));
	g->reaction_failed = true;
	g->react_due_ns = xo_now_ns() + AGAIN_NS;
	if (rc != -XO_ETIMEOUT && rc != -XO_EQMP)
		guard_disconnect(g);
}

int guard_react_if_due(struct guard *g, struct xerr *err)
{
	struct xerr why = {0};
	int rc;

	if (!g->kept->react_due || !tgt_connected(g->s.tgt) || xo_now_ns() < g->react_due_ns)
		return 0;
	/* Firmware and a new kernel change tables and registers by right. */
	if (guard_was_reset(g, true))
		g->kept->react_due &= ~(uint32_t)GUARD_REACT_FOUND;
	rc = g->kept->react_due ? react(g, &why) : 0;
	if (rc && !guard_is_fatal(rc)) {
		failed(g, rc, &why);
		return 0;
	}
	g->kept->react_due = 0;
	g->reaction_failed = false;
	return rc ? xerr_set(err, rc, "%s", why.text) : 0;
}
