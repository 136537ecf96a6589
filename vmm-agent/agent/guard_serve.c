// SPDX-License-Identifier: Apache-2.0
/* Requests to a running guard: its own status, and other commands on its VM, in its session. */
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "vmm-agent/agent/guard.h"
#include "vmm-agent/agent/ops.h"

/* Who is there, and what became of those before. */
static int add_processes(const struct guard *g, json_t *status)
{
	const struct guard_kept *k = g->kept;
	bool alone = g->link->sock < 0;
	json_t *o = json_pack("{s:o,s:i,s:i,s:i,s:i,s:i,s:i}", "supervisor_pid",
			      alone ? json_null() : json_integer(k->supervisor), "guard_pid",
			      (int)getpid(), "monitor_pid", g->s.mon ? (int)mon_pid(g->s.mon) : 0,
			      "lens_pid", g->s.lens ? (int)lens_pid(g->s.lens) : 0, "restarts",
			      (int)k->restarts, "supervisor_restarts", (int)k->supervisors,
			      "rapid_deaths", (int)k->rapid);
	int rc = o ? json_object_update(status, o) : -1;

	json_decref(o);
	return rc;
}

static int add_state(const struct guard *g, const struct events_stats *e, json_t *status)
{
	const struct guard_kept *k = g->kept;
	char since[32] = "";
	struct tm tm;
	json_t *o;
	int rc;

	if (g->state == GUARD_ARMED && gmtime_r(&k->armed_since, &tm))
		strftime(since, sizeof(since), "%Y-%m-%dT%H:%M:%SZ", &tm);
	o = json_pack("{s:s,s:s*,s:b,s:f,s:I,s:I,s:I}", "state",
		      g->state == GUARD_ARMED ? "armed" : "waiting", "armed_since",
		      since[0] ? since : NULL, "connected", tgt_connected(g->s.tgt), "late_max_ms",
		      (double)g->late.longest_ns / 1e6, "event_seq", (json_int_t)e->seq,
		      "folded_events", (json_int_t)e->folded, "events_waiting_bytes",
		      (json_int_t)e->waiting_bytes);
	rc = o ? json_object_update(status, o) : -1;
	json_decref(o);
	return rc;
}

/* Of what is protected now: it changes with every write that is kept, and else never. */
static int add_digest(struct guard *g, json_t *status)
{
	char hex[XO_SHA256_HEX_SIZE];
	struct guard_measure m;
	struct xerr err = {0};

	if (!g->digest)
		g->digest = guard_digest_new();
	if (!g->digest || g->fds.golden < 0 ||
	    guard_digest_measure(g->digest, g->fds.golden, &m, &err))
		return -1;
	xo_hex((struct span){m.sha256, sizeof(m.sha256)}, hex);
	return json_object_set_new(status, "golden",
				   json_pack("{s:s,s:I,s:I}", "sha256", hex, "pages",
					     (json_int_t)m.nr_pages, "hashed",
					     (json_int_t)m.nr_hashed));
}

json_t *guard_status_json(struct guard *g)
{
	json_t *doc = op_doc(&g->s, "guard");
	struct events_stats events;

	events_stats(g->events, &events);
	if (!doc ||
	    json_object_set_new(
		    doc, "guard",
		    json_pack("{s:b,s:o*,s:s,s:f,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:f}",
			      "on", 1, "registers", guard_regs_json(g), "mode",
			      g->opts->audit_only ? "audit" : "enforce", "uptime_s",
			      (double)(xo_now_ns() - g->kept->started_ns) / 1e9, "areas",
			      (json_int_t)g->nr_areas, "writes", (json_int_t)g->count.events,
			      "kept", (json_int_t)g->count.kept, "put_back",
			      (json_int_t)g->count.put_back, "violations",
			      (json_int_t)g->count.violations, "findings",
			      (json_int_t)g->count.findings, "lost_events", (json_int_t)events.lost,
			      "audits", (json_int_t)g->count.audits, "table_check_us",
			      (double)g->count.table_check_ns / 1e3, "audit_us",
			      (double)g->count.audit_ns / 1e3, "held_max_us",
			      (double)g->count.held_max_ns / 1e3))) {
		json_decref(doc);
		return NULL;
	}
	if (json_object_set_new(doc, "module_gate", gate_status_json(g)) ||
	    json_object_set_new(doc, "unrecorded", guard_unrecorded_json(g)) ||
	    add_processes(g, json_object_get(doc, "guard")) ||
	    add_state(g, &events, json_object_get(doc, "guard"))) {
		json_decref(doc);
		return NULL;
	}
	/* Without it the status says the rest. */
	(void)!add_digest(g, json_object_get(doc, "guard"));
	return doc;
}

static int dispatch(struct guard *g, struct control_request *r, json_t **ret, struct refusal *why,
		    struct xerr *err)
{
	int rc;

	if (r->op == CONTROL_GUARD_STATUS || r->op == CONTROL_GUARD_STOP) {
		g->stop = r->op == CONTROL_GUARD_STOP;
		*ret = guard_status_json(g);
		return *ret ? 0 : xerr_set(err, ENOMEM, "out of memory");
	}
	if (g->state != GUARD_ARMED)
		return xerr_set(err, XO_ENOKERNEL,
				"the guest is booting, or is being restored; try again when its "
				"guard is armed (exopatch guard status)");
	if (!tgt_connected(g->s.tgt))
		return xerr_set(err, XO_ETIMEOUT,
				"the guard was restarted and QEMU has not answered it yet; try "
				"again");
	if (r->op == CONTROL_REVERT && r->argument && !strcmp(r->argument, GATE_ROW)) {
		refusal_add(why, XO_EINUSE, GATE_ROW ": the guard's module gate; stop the guard");
		return 0;
	}
	r->opts.state_dir = g->opts->agent.state_dir;
	r->opts.target = g->opts->agent.target;
	g->s.opts = &r->opts;
	g->s.guarded = true;
	g->s.opened_ns = xo_now_ns();
	rc = session_journal(&g->s, err);
	if (!rc)
		rc = r->op == CONTROL_ATTEST
			     ? guard_attest(g, r->argument, ret, err)
			     : op_dispatch(&g->s, r->op, r->argument, ret, why, err);
	g->s.opts = &g->opts->agent;
	return rc;
}

/* Homes that are new or gone are to be followed at once; a failure shows at the next audit. */
static int follow_homes(struct guard *g, enum control_op op, struct xerr *err)
{
	struct xerr why = {0};
	int rc;

	if (op != CONTROL_APPLY && op != CONTROL_REVERT && op != CONTROL_RECOVER)
		return 0;
	rc = session_journal(&g->s, &why);
	if (!rc && g->state == GUARD_ARMED)
		rc = guard_refresh(g, &why);
	return guard_is_fatal(rc) ? xerr_set(err, rc, "%s", why.text) : 0;
}

int guard_serve(struct guard *g, struct xerr *err)
{
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_json_ json_t *doc = NULL;
	struct control_request r = {0};
	struct xerr failed = {0};
	int fd = -1, rc, rc_follow;

	rc = control_accept(g->control, &r, &fd, &failed);
	if (rc)
		return 0; /* the asker's fault, and its loss */
	rc = dispatch(g, &r, &doc, &why, &failed);
	/* Before the answer: who has it may rely on the guard. */
	rc_follow = follow_homes(g, r.op, err);
	control_answer(fd, rc, doc, &why, &failed);
	control_request_free(&r);
	/* A monitor or lens that died takes the guard with it; its supervisor starts it again. */
	return rc == -XO_EPEERDIED ? xerr_set(err, rc, "%s", failed.text) : rc_follow;
}

static int ask_guard(const struct agent_opts *o, enum control_op op, json_t **ret,
		     struct refusal *why, struct xerr *err)
{
	bool done = false;
	int rc = control_ask(o, op, NULL, &done, ret, why, err);

	if (!rc && !done)
		refusal_add(why, XO_ENOGUARD,
			    "no guard runs for this VM; exopatch guard starts one");
	return rc;
}

int agent_guard_status(const struct agent_opts *o, json_t **ret, struct refusal *why,
		       struct xerr *err)
{
	return ask_guard(o, CONTROL_GUARD_STATUS, ret, why, err);
}

int agent_guard_stop(const struct agent_opts *o, json_t **ret, struct refusal *why,
		     struct xerr *err)
{
	return ask_guard(o, CONTROL_GUARD_STOP, ret, why, err);
}
