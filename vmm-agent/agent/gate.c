// SPDX-License-Identifier: Apache-2.0
/* The gate's life: list, installation, removal. */
#include "vmm-agent/agent/gate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vmm-agent/agent/change.h"
#include "vmm-agent/agent/gate_core.h"
#include "vmm-agent/agent/hold.h"
#include "vmm-agent/agent/ops.h"

#define BELL_BYTES 8
#define GATE_RING_NS                                                                               \
	UINT64_C(2000000000) /* from being listed as a module that comes to its ring               \
			      */

static void trust_free_ptr(struct pkg_trust **t)
{
	pkg_trust_free(*t);
}

void gate_free(struct gate *gate)
{
	if (!gate)
		return;
	modlist_free(gate->list);
	free(gate);
}

int gate_load(struct guard *g, struct refusal *why, struct xerr *err)
{
	const char *dir = g->opts->agent.trust_dir ? g->opts->agent.trust_dir : AGENT_TRUST_DIR;
	XO_CLEANUP(trust_free_ptr) struct pkg_trust *trust = NULL;
	int rc;

	if (!g->opts->modules_path)
		return 0;
	g->gate = calloc(1, sizeof(*g->gate));
	if (!g->gate)
		return xerr_set(err, ENOMEM, "out of memory");
	rc = pkg_trust_load(&trust, dir, err);
	if (!rc)
		rc = modlist_load(&g->gate->list, g->opts->modules_path, trust, time(NULL), why,
				  err);
	return rc;
}

struct jrow *gate_row(const struct session *s)
{
	for (size_t i = s->nr_rows; i-- > 0;)
		if (!strcmp(s->row[i].patch_id, GATE_ROW) && session_row_here(s, &s->row[i]))
			return &s->row[i];
	return NULL;
}

/* A refusal here is an error: the guard was told to have a gate. */
static int as_error(const struct refusal *why, struct xerr *err)
{
	if (!why->nr)
		return 0;
	return xerr_set(err, why->reason[0].code, "%s",
			why->reason[0].detail ? why->reason[0].detail
					      : xo_code_text(why->reason[0].code));
}

/* Bring a row to one side, whatever of it stands there now. */
static int move(struct guard *g, struct jrow *row, enum side toward, struct xerr *err)
{
	bool install = toward == SIDE_NEW;
	_cleanup_survey_ struct survey sv = {0};
	_cleanup_refusal_ struct refusal why = {0};
	struct change_result result = {0};
	struct session *s = &g->s;
	int rc = change_survey(s, row, &sv, err);

	if (rc)
		return rc;
	change_foreign(row, &sv, XO_EFOREIGN, &why);
	if (!why.nr)
		rc = journal_set_state(s->journal, row, install ? J_APPLYING : J_REVERTING, 0, err);
	if (!rc && !why.nr)
		rc = change_run(s, row, &sv, toward, &why, &result, err);
	if (!rc)
		rc = as_error(&why, err);
	if (rc)
		return xerr_wrap(err, "module gate");
	return journal_set_state(s->journal, row, install ? J_ACTIVE : J_REVERTED,
				 result.blackout_ns, err);
}

/* It could not be installed: if nothing of it is there, the row is done with; else recover. */
static int give_up(struct guard *g, struct jrow *row, int rc, struct xerr *err)
{
	_cleanup_survey_ struct survey sv = {0};
	struct xerr late = {0};

	if (!change_survey(&g->s, row, &sv, &late) && !sv.nr_new && !sv.nr_foreign &&
	    !journal_set_state(g->s.journal, row, J_ABORTED, 0, &late))
		return rc;
	return xerr_wrap(err, "left half done, run exopatch recover");
}

static int install_new(struct guard *g, struct xerr *err)
{
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_jrow_ struct jrow row = {0};
	int rc = gate_plan(g, &row, &why, err);

	if (!rc)
		rc = as_error(&why, err);
	if (rc)
		return rc;
	row.was_running = g->s.vm->running;
	rc = journal_insert(g->s.journal, &row, err);
	if (rc)
		return rc;
	rc = move(g, &row, SIDE_NEW, err);
	return rc ? give_up(g, &row, rc, err) : 0;
}

static struct gate_known *find_known(struct guard *g, const struct lens_module *m)
{
	struct guard_kept *kept = g->kept;

	for (size_t i = 0; i < kept->nr_modules; i++)
		if (kept->module[i].addr == m->addr.v && !strcmp(kept->module[i].name, m->name))
			return &kept->module[i];
	return NULL;
}

/* NULL: there are too many. */
static struct gate_known *make_known(struct guard *g, const struct lens_module *m)
{
	struct gate_known *k = find_known(g, m);

	if (!k && g->kept->nr_modules < GATE_MAX_KNOWN) {
		k = &g->kept->module[g->kept->nr_modules];
		*k = (struct gate_known){.addr = m->addr.v, .since_ns = xo_now_ns()};
		memcpy(k->name, m->name, sizeof(k->name));
		g->kept->nr_modules++;
	}
	if (k)
		k->seen = true;
	return k;
}

static void know(struct guard *g, const struct lens_module *m)
{
	struct gate_known *k = make_known(g, m);

	if (!k)
		return;
	k->judged = true;
	memcpy(k->part, m->part, sizeof(k->part));
}

static void forget_modules(struct guard *g)
{
	g->kept->nr_modules = 0;
	g->kept->modules_looked = false;
}

static bool has(const struct lens_module_span *part, struct gva at)
{
	return at.v - part->base.v < part->len_bytes;
}

void gate_doubt(struct guard *g, const char *module, struct gva page)
{
	for (size_t i = 0; g->gate && module[0] && i < g->kept->nr_modules; i++) {
		struct gate_known *k = &g->kept->module[i];

		if (!strcmp(k->name, module) && !has(&k->part[LENS_PART_RO_AFTER_INIT], page))
			k->judged = false;
	}
}

static json_t *details(const struct gate_verdict *v, uint64_t held_ns)
{
	json_t *o = json_pack("{s:s,s:s}", "module", v->module[0] ? v->module : "?", "reason",
			      v->reason);
	char hex[XO_SHA256_HEX_SIZE];

	if (o && v->entry) {
		xo_hex(SPAN(v->entry->sha256, sizeof(v->entry->sha256)), hex);
		json_object_set_new(o, "listed_sha256", json_string(hex));
		json_object_set_new(o, "listed_file", json_string(v->entry->file));
	}
	if (o && held_ns)
		json_object_set_new(o, "held_us", json_real((double)held_ns / 1e3));
	return o;
}

/* Each module that the kernel lists. */
static int each_module(struct guard *g,
		       int (*fn)(struct guard *g, const struct lens_module *m, struct xerr *err),
		       struct xerr *err)
{
	_cleanup_free_ struct lens_module *m = calloc(LENS_MAX_MODULES, sizeof(*m));
	size_t nr = 0;
	int rc;

	if (!m)
		return xerr_set(err, ENOMEM, "out of memory");
	rc = lens_modules(g->s.lens, m, &nr, err);
	for (size_t i = 0; i < nr && !rc; i++)
		rc = fn(g, &m[i], err);
	return rc;
}

/* What stays as long as it is loaded. */
static bool is_where_it_was(const struct gate_known *k, const struct lens_module *m)
{
	return !memcmp(k->part, m->part, LENS_PART_INIT_TEXT * sizeof(k->part[0]));
}

static int look_at_loaded(struct guard *g, const struct lens_module *m, struct xerr *err)
{
	const struct gate_known *k = find_known(g, m);
	struct gate_verdict v = {0};
	int rc;

	if (m->state != LENS_MODULE_LIVE)
		return 0; /* it will ring, or it goes */
	if (k && k->judged && is_where_it_was(k, m))
		return 0;
	rc = gate_judge(&g->s, g->gate->list, m, MODREF_LIVE, &v, err);
	if (rc)
		return rc;
	know(g, m);
	if (!v.allowed)
		guard_emit(g, "module-loaded-before", "reported", details(&v, 0));
	return 0;
}

/* A list that leads nowhere just now is the audit's to say, and to walk again. */
static int look_at_all(struct guard *g, struct xerr *err)
{
	int rc = each_module(g, look_at_loaded, err);

	g->kept->modules_looked = !rc;
	return rc;
}

/* Who rings is answered as long as any of it may stand. */
static void forget_if_gone(struct guard *g)
{
	struct xerr late = {0};

	if (!session_journal(&g->s, &late) && !gate_row(&g->s))
		g->gate->installed = false;
}

/* Its entries in page tables are found as new ones, and approved as those of every home. */
int gate_install(struct guard *g, struct xerr *err)
{
	struct session *s = &g->s;
	struct xerr late = {0};
	struct jrow *row;
	bool taken_over;
	int rc;

	if (!g->gate)
		return 0;
	rc = lens_bell(s->lens, &g->gate->bell, err);
	if (!rc)
		rc = session_journal(s, err);
	if (!rc)
		rc = op_drop_lost(s, err);
	if (rc)
		return rc;
	row = gate_row(s);
	taken_over = row != NULL;
	g->gate->installed = true; /* somebody may ring as soon as the detour stands */
	rc = row ? move(g, row, SIDE_NEW, err) : install_new(g, err);
	if (!rc)
		rc = session_journal(s, err);
	if (rc) {
		forget_if_gone(g);
		return rc;
	}
	g->gate->tended = true;
	guard_emit(g, "module-gate-on", NULL,
		   json_pack("{s:s,s:I,s:b}", "list", g->opts->modules_path, "modules",
			     (json_int_t)g->gate->list->nr, "taken_over", taken_over));
	rc = g->kept->modules_looked ? 0 : look_at_all(g, &late);
	return guard_is_fatal(rc) ? xerr_set(err, rc, "%s", late.text) : 0;
}

static void say_failed(struct guard *g, const char *reason)
{
	guard_emit(g, "module-gate-failed", "reported", json_pack("{s:s}", "reason", reason));
}

/* Without the list nobody who rings is answered: what stands at the bell is put back, and no module
 * loads. */
int gate_adopt(struct guard *g, struct xerr *err)
{
	_cleanup_refusal_ struct refusal why = {0};
	struct xerr failed = {0};
	int rc = gate_load(g, &why, &failed);

	if (!rc)
		rc = as_error(&why, &failed);
	if (rc || !g->gate) {
		gate_free(g->gate);
		g->gate = NULL;
		if (rc)
			say_failed(g, failed.text);
		return 0;
	}
	g->gate->installed = gate_row(&g->s) != NULL;
	return g->gate->installed ? lens_bell(g->s.lens, &g->gate->bell, err) : 0;
}

void gate_restored(struct guard *g)
{
	if (!g->gate)
		return;
	g->gate->tended = false;
	forget_modules(g);
}

int gate_tend(struct guard *g, struct xerr *err)
{
	struct gate *gate = g->gate;
	struct xerr failed = {0};
	int rc;

	if (gate && g->state == GUARD_WAITING) {
		gate->installed = gate->tended = false;
		forget_modules(g);
	}
	if (!gate || gate->tended || g->state != GUARD_ARMED || !tgt_connected(g->s.tgt))
		return 0;
	gate->tended = true;
	rc = gate_install(g, &failed);
	if (guard_is_fatal(rc))
		return xerr_set(err, rc, "%s", failed.text);
	/* A write waits for its verdict, or a vCPU does not stop just now. */
	if (rc == -EAGAIN || rc == -XO_EHOLD)
		gate->tended = false;
	else if (rc)
		say_failed(g, failed.text);
	return 0;
}

/* The bell holds its last ring: what stood there before is what stands in front of it. */
static int silence(struct guard *g, struct xerr *err)
{
	const struct lens_bell *b = &g->gate->bell;
	uint8_t now[BELL_BYTES], filler[BELL_BYTES];
	struct session *s = &g->s;
	const struct mon_write w = {
		.gpa = b->gpa, .len_bytes = BELL_BYTES, .expected = now, .replacement = filler};
	struct mon_times times;
	uint64_t start = 0;
	int rc = session_read(s, b->gpa, now, sizeof(now), err), rc_end;

	memset(filler, b->filler, sizeof(filler));
	if (rc || !memcmp(now, filler, sizeof(now)))
		return rc;
	rc = mon_plan(s->mon, &w, 1, err);
	if (!rc)
		rc = hold_begin(s, &start, err);
	if (rc)
		return rc;
	rc = mon_commit(s->mon, NULL, err);
	rc_end = hold_end(s, start, &times, err);
	return rc ? rc : rc_end;
}

int gate_remove(struct guard *g, struct xerr *err)
{
	struct jrow *row;
	int rc;

	if (!g->gate || !g->gate->installed)
		return 0;
	rc = session_journal(&g->s, err);
	row = rc ? NULL : gate_row(&g->s);
	if (row)
		rc = move(g, row, SIDE_OLD, err);
	if (!rc)
		rc = silence(g, err);
	if (rc)
		return rc;
	g->gate->installed = false;
	guard_emit(g, "module-gate-off", NULL, NULL);
	return 0;
}

/* ---- a ring ---- */

bool gate_rings(const struct guard *g, const struct mon_write_event *e)
{
	const struct gate *gate = g->gate;

	return gate && gate->installed && e->gpa.v - gate->bell.gpa.v < BELL_BYTES &&
	       e->len_bytes <= BELL_BYTES - (e->gpa.v - gate->bell.gpa.v);
}

/* The address is in the upper 48 bits; all kernel addresses begin with ones. */
static struct gva rung(const struct gate *gate, const struct mon_write_event *e)
{
	uint64_t v;

	memcpy(&v, e->after + (gate->bell.gpa.v & XO_PAGE_MASK), sizeof(v));
	return (struct gva){v >> 16 | UINT64_C(0xffff) << 48};
}

static int judge_ring(struct guard *g, const struct mon_write_event *e, struct lens_module *m,
		      struct gate_verdict *v, struct xerr *err)
{
	struct xerr found = {0};
	int rc;

	if (!guard_may_judge(g)) {
		snprintf(v->reason, sizeof(v->reason), "guards die of judging it");
		return 0;
	}
	rc = lens_module(g->s.lens, rung(g->gate, e), m, &found);

	if (rc == -XO_ENOSYMBOL || (!rc && m->state != LENS_MODULE_COMING)) {
		snprintf(v->reason, sizeof(v->reason), "it rang for no module that is coming");
		return 0;
	}
	/* First protected, then compared: so what was compared is what will run. */
	if (!rc)
		rc = guard_refresh(g, &found);
	if (!rc)
		rc = guard_check_tables(g, m, &found);
	if (!rc)
		rc = gate_judge(&g->s, g->gate->list, m, MODREF_LOADING, v, &found);
	return rc ? xerr_set(err, rc, "%s", found.text) : 0;
}

int gate_answer(struct guard *g, const struct mon_write_event *e, struct xerr *err)
{
	struct gate_verdict v = {0};
	struct xerr failed = {0};
	struct lens_module m = {0};
	uint64_t held_ns = 0;
	json_t *o;
	bool keep;
	int rc_judge = judge_ring(g, e, &m, &v, &failed);
	int rc;

	/* The writer waits for the next guard. */
	if (rc_judge == -XO_EPEERDIED || rc_judge == -XO_ETIMEOUT)
		return xerr_set(err, rc_judge, "%s", failed.text);
	if (rc_judge) {
		v.allowed = false;
		snprintf(v.reason, sizeof(v.reason), "it could not be judged: %.200s", failed.text);
	}
	/* In audit mode what would be refused is let through, but a ring for nothing is not kept.
	 */
	keep = v.allowed || (g->opts->audit_only && m.addr.v && m.state == LENS_MODULE_COMING) ||
	       guard_was_reset(g, true);
	rc = guard_verdict(g, keep, &held_ns, err);
	g->kept->judging = 0;
	if (rc || g->reset_due)
		return rc;
	if (keep)
		know(g, &m);
	if (v.allowed)
		g->gate->count.allowed++;
	else
		g->gate->count.refused++;
	g->gate->count.held_last_ns = held_ns;
	if (held_ns > g->gate->count.held_max_ns)
		g->gate->count.held_max_ns = held_ns;
	o = details(&v, held_ns);
	if (o && e->vcpu >= 0)
		json_object_set_new(o, "vcpu", json_integer(e->vcpu));
	if (o && e->adopted)
		json_object_set_new(o, "found_after_restart", json_true());
	guard_emit(g, "module-load", v.allowed ? "kept" : keep ? "reported" : "refused", o);
	return 0;
}

/* ---- those that did not ring ---- */

#define FIXMAP UINT64_C(0xffffffffff000000) /* far below it; above all modules */

bool gate_may_load(const struct guard *g, const struct lens_finding *f, size_t nr)
{
	const struct lens_kernel *k = &g->s.kernel;

	for (size_t i = 0; g->gate && g->gate->installed && i < nr; i++)
		if (f[i].kind == LENS_FOUND_PTE && f[i].gva.v - k->base.v >= k->text_bytes &&
		    f[i].gva.v < FIXMAP)
			return true;
	return false;
}

bool gate_has_page(const struct lens_module *m, struct gva gva)
{
	for (size_t i = 0; i < LENS_MODULE_PARTS; i++)
		if (gva.v - m->part[i].base.v < m->part[i].len_bytes)
			return true;
	return false;
}

/*
 * One that rang at a guard that died is what the list says it is; so is one whose pages were let go
 * and came back. One that is being loaded rings soon, or hides behind that.
 */
static int look_at_known(struct guard *g, const struct lens_module *m, struct xerr *err)
{
	struct gate_known *k = make_known(g, m);
	struct gate_verdict v = {0};
	int rc;

	if (k && k->judged && is_where_it_was(k, m))
		return 0;
	if (k && k->judged)
		k->judged = false;
	if (k && m->state != LENS_MODULE_LIVE && xo_now_ns() - k->since_ns < GATE_RING_NS)
		return 0;
	/* One that rang at a guard that died is what the list says it is. */
	rc = gate_judge(&g->s, g->gate->list, m, MODREF_LIVE, &v, err);
	if (rc)
		return rc;
	know(g, m);
	if (v.allowed)
		return 0;
	g->count.findings++;
	guard_emit(g, "module-without-gate", "reported", details(&v, 0));
	guard_react(g, GUARD_REACT_FOUND);
	return 0;
}

int gate_audit(struct guard *g, struct xerr *err)
{
	struct guard_kept *kept = g->kept;
	size_t nr = 0;
	int rc;

	if (!g->gate || !g->gate->installed)
		return 0;
	if (!kept->modules_looked)
		return look_at_all(g, err);
	for (size_t i = 0; i < kept->nr_modules; i++)
		kept->module[i].seen = false;
	rc = each_module(g, look_at_known, err);
	for (size_t i = 0; i < kept->nr_modules && !rc; i++)
		if (kept->module[i].seen)
			kept->module[nr++] = kept->module[i];
	if (!rc)
		kept->nr_modules = nr;
	return rc;
}

json_t *gate_status_json(const struct guard *g)
{
	const struct gate *gate = g->gate;

	if (!gate || !gate->installed)
		return json_pack("{s:b}", "on", 0);
	return json_pack("{s:b,s:s,s:I,s:I,s:I,s:f,s:f}", "on", 1, "list", g->opts->modules_path,
			 "modules", (json_int_t)gate->list->nr, "allowed",
			 (json_int_t)gate->count.allowed, "refused",
			 (json_int_t)gate->count.refused, "held_last_us",
			 (double)gate->count.held_last_ns / 1e3, "held_max_us",
			 (double)gate->count.held_max_ns / 1e3);
}
