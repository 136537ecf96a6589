// SPDX-License-Identifier: Apache-2.0
/* Verdicts for people and for programs. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "policy/plan.h"
#include "policy/times.h"

const char *pol_state_key(enum pol_state s)
{
	static const char *const keys[] = {[POL_ALLOWED] = "allowed",
					   [POL_WAITING] = "waiting",
					   [POL_DENIED] = "denied",
					   [POL_INELIGIBLE] = "ineligible",
					   [POL_ACTIVE] = "active"};

	return keys[s];
}

const char *pol_action_key(enum pol_action a)
{
	static const char *const keys[] = {
		[POL_APPLY] = "apply", [POL_REBOOT] = "reboot", [POL_REVERT] = "revert"};

	return keys[a];
}

const char *pol_kind_key(enum pol_kind k)
{
	static const char *const keys[] = {
		[POL_BY_HEALTH] = "health",
		[POL_BY_ACTIVE] = "active",
		[POL_BY_KERNEL] = "kernel",
		[POL_BY_DENY] = "deny",
		[POL_BY_ROLLED_BACK] = "rolled-back",
		[POL_BY_ALLOW] = "allow",
		[POL_BY_SERIAL] = "serial",
		[POL_BY_VERSION] = "version",
		[POL_BY_ELIGIBILITY] = "eligibility",
		[POL_BY_BASELINE] = "baseline",
		[POL_BY_PREREQUISITE] = "prerequisite",
		[POL_BY_STALE] = "stale-facts",
		[POL_BY_PAUSE] = "pause",
		[POL_BY_NO_RING] = "no-ring",
		[POL_BY_HALT] = "ring-halted",
		[POL_BY_RING] = "ring",
		[POL_BY_FREEZE] = "freeze",
		[POL_BY_DEFERRAL] = "deferral",
		[POL_BY_MONTH] = "baseline-month",
		[POL_BY_WINDOW] = "window",
		[POL_BY_BUSY] = "busy",
		[POL_BY_LIMIT] = "limit",
		[POL_BY_NOTHING] = "allowed",
	};

	return keys[k];
}

/* The rules of each kind; they all begin with their struct rule. */
static const struct {
	size_t rules, nr, size;
} kinds[POL_KINDS + 1] = {
#define OF(kind, type, member)                                                                     \
	[kind] = {offsetof(struct pol_policy, member), offsetof(struct pol_policy, nr_##member),   \
		  sizeof(struct type)}
	OF(POL_BY_HEALTH, health, healths),
	OF(POL_BY_DENY, choice, denies),
	OF(POL_BY_ELIGIBILITY, eligibility, eligibilities),
	OF(POL_BY_BASELINE, baseline, baselines),
	OF(POL_BY_WINDOW, window, windows),
	OF(POL_BY_PAUSE, pause_rule, pauses),
	OF(POL_BY_HALT, ring, rings),
	OF(POL_BY_RING, ring, rings),
	OF(POL_BY_FREEZE, window, freezes),
	OF(POL_BY_DEFERRAL, deferral, deferrals),
	OF(POL_BY_MONTH, baseline, baselines),
	OF(POL_BY_LIMIT, limit, limits),
	OF(POL_BY_NOTHING, choice, allows),
#undef OF
};

static const struct rule *rule_of(const struct pol_policy *p, enum pol_kind kind, uint16_t rule)
{
	const char *base;

	if (!kinds[kind].size || rule == POL_NO_RULE)
		return NULL;
	memcpy(&base, (const char *)p + kinds[kind].rules, sizeof(base));
	return (const struct rule *)(base + rule * kinds[kind].size);
}

#define TEXT_MAX 400

static XO_PRINTF(2, 3) void say(char out[TEXT_MAX], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out, TEXT_MAX, fmt, ap);
	va_end(ap);
}

static void say_eligibility(const struct pol_plan *plan, const struct pol_verdict *v,
			    const struct finding *f, char out[TEXT_MAX])
{
	const struct raw_eligibility *e = plan->p->eligibilities[f->rule].raw;
	const struct vm *vm = &plan->w->vm[v->vm];

	switch ((enum demand)f->value) {
	case DEMAND_PATCH:
		say(out, "the patch lacks a signer's role, the serial or the epoch asked for");
		break;
	case DEMAND_BUILD_ID:
		say(out, "kernel %s is none of the build-ids asked for", vm->build_id->text);
		break;
	case DEMAND_ARCH:
		say(out, "architecture %s is none of those asked for", vm->arch->text);
		break;
	case DEMAND_GUARD:
		say(out, "no guard is on; start one with exopatch guard");
		break;
	case DEMAND_HOME:
		say(out, "there is no home for new code in the guest");
		break;
	case DEMAND_NOT_CONFIDENTIAL:
		say(out, "the guest is confidential, or nobody knows that it is not");
		break;
	case DEMAND_RAM:
		say(out, "the guest's RAM is of another kind");
		break;
	case DEMAND_BASELINE_AGE:
		say(out, "the kernel's baseline is more than %u months old",
		    e->max_baseline_months);
		break;
	}
}

static void say_ring(const struct pol_plan *plan, const struct pol_verdict *v,
		     const struct finding *f, char out[TEXT_MAX])
{
	const struct ring *r = &plan->p->rings[f->rule];
	const struct ring_state *s = &plan->m.ring[f->rule * plan->w->nr_patches + v->patch];
	uint32_t need = r->min_successes != RING_ALL ? r->min_successes
			: s->members		     ? s->members
						     : 1;

	if (f->kind == POL_BY_HALT)
		say(out, "ring '%s' has halted: %u failed, %u may", r->rule.name, s->failures,
		    r->max_failures);
	else if (s->unknown)
		say(out, "ring '%s' pauses: the health of %u is inconclusive", r->rule.name,
		    s->unknown);
	else if (!s->open)
		say(out, "ring '%s' before it is not open itself", r->rule.name);
	else if (need > s->members)
		say(out, "ring '%s' before it cannot have %u successes: the patch is for %u of it",
		    r->rule.name, need, s->members);
	else
		say(out, "ring '%s' before it has %u of %u successes that have baked", r->rule.name,
		    s->successes, need);
}

static void say_limit(const struct pol_plan *plan, const struct finding *f, char out[TEXT_MAX])
{
	static const char *const pers[] = {[POL_PER_ALL] = "in all",
					   [POL_PER_HOST] = "on the host",
					   [POL_PER_GROUP] = "in the group",
					   [POL_PER_RING] = "in the ring"};
	const struct limit *l = &plan->p->limits[f->rule];

	if (l->at_once != UINT32_MAX && l->spacing)
		say(out, "%u at once %s, %lld s apart", l->at_once, pers[l->per],
		    (long long)l->spacing);
	else if (l->spacing)
		say(out, "%lld s between two %s", (long long)l->spacing, pers[l->per]);
	else
		say(out, "%u at once %s, and so many are in hand", l->at_once, pers[l->per]);
}

static void say_baseline(const struct pol_plan *plan, const struct pol_verdict *v,
			 const struct finding *f, char out[TEXT_MAX])
{
	uint32_t have = plan->w->vm[v->vm].baseline, month = (uint32_t)f->value;

	if (have)
		say(out, "needs baseline %04u-%02u, runs %04u-%02u: reboot into the newer kernel",
		    month / 12, month % 12 + 1, have / 12, have % 12 + 1);
	else
		say(out, "needs baseline %04u-%02u; which one the guest runs is not known",
		    month / 12, month % 12 + 1);
}

static void say_active(const struct pol_plan *plan, const struct pol_verdict *v,
		       const struct finding *f, char out[TEXT_MAX])
{
	const struct word *id = plan->w->patch[v->patch].id;
	const struct applied *a;

	if (f->value == POL_NEVER) {
		say(out, "the guest runs this baseline or a newer one");
		return;
	}
	a = &plan->w->vm[v->vm].applied[f->value];
	if (a->id == id)
		say(out, "%s is active", id->text);
	else
		say(out, "the same payload is active as %s", a->id->text);
}

/* Another version of the same id was or is there. */
static void say_version(const struct pol_plan *plan, const struct pol_verdict *v,
			const struct finding *f, char out[TEXT_MAX])
{
	const struct applied *a = &plan->w->vm[v->vm].applied[f->value];
	const struct patch *p = &plan->w->patch[v->patch];

	if (f->kind == POL_BY_VERSION)
		say(out, "its version with serial %llu is active; revert that first",
		    (unsigned long long)a->serial);
	else if (a->security_epoch > p->security_epoch)
		say(out, "security epoch %llu was on this VM before; this one has %llu",
		    (unsigned long long)a->security_epoch, (unsigned long long)p->security_epoch);
	else
		say(out, "serial %llu was on this VM before; this one has %llu",
		    (unsigned long long)a->serial, (unsigned long long)p->serial);
}

static void say_kernel(const struct pol_plan *plan, const struct pol_verdict *v, char out[TEXT_MAX])
{
	const struct vm *vm = &plan->w->vm[v->vm];

	say(out, "the patch is for another kernel; the guest runs %s (build-id %s, %s)",
	    vm->kernel->text, vm->build_id->text, vm->arch->text);
}

/* Rules that need no more than the time they name. */
static void say_time(const struct pol_plan *plan, const struct finding *f, const char *time,
		     char out[TEXT_MAX])
{
	const char *reason;

	switch (f->kind) {
	case POL_BY_PAUSE:
		reason = plan->p->pauses[f->rule].reason;
		say(out, "paused%s%s%s%s",
		    f->value == POL_NEVER ? " until somebody lifts it" : " until ",
		    f->value == POL_NEVER ? "" : time, reason ? ": " : "", reason ? reason : "");
		break;
	case POL_BY_FREEZE:
		say(out, "frozen until %s", time);
		break;
	case POL_BY_DEFERRAL:
		say(out, "deferred until %s", time);
		break;
	case POL_BY_MONTH:
		say(out, "released between baseline months; waits for %s", time);
		break;
	case POL_BY_WINDOW:
		if (f->value == POL_NEVER)
			say(out,
			    "no maintenance window opens for this VM any more, or it has none");
		else
			say(out, "no maintenance window is open; the next opens at %s", time);
		break;
	default:
		say(out, "%s", pol_kind_key(f->kind));
		break;
	}
}

static void say_finding(const struct pol_plan *plan, const struct pol_verdict *v,
			const struct finding *f, char out[TEXT_MAX])
{
	const struct patch *p = &plan->w->patch[v->patch];
	const struct word *busy_with;
	char time[POL_TIME_SIZE];

	pol_format_time(f->value, time);
	switch ((enum pol_kind)f->kind) {
	case POL_BY_HEALTH:
		say(out, "%s did harm on this VM: revert it", p->id->text);
		break;
	case POL_BY_ACTIVE:
		say_active(plan, v, f, out);
		break;
	case POL_BY_KERNEL:
		say_kernel(plan, v, out);
		break;
	case POL_BY_DENY:
		say(out, "denied");
		break;
	case POL_BY_ROLLED_BACK:
		say(out, "payload %.16s... was rolled back on this VM", p->payload->text);
		break;
	case POL_BY_ALLOW:
		say(out, "no allow rule names it");
		break;
	case POL_BY_SERIAL:
	case POL_BY_VERSION:
		say_version(plan, v, f, out);
		break;
	case POL_BY_ELIGIBILITY:
		say_eligibility(plan, v, f, out);
		break;
	case POL_BY_BASELINE:
		say_baseline(plan, v, f, out);
		break;
	case POL_BY_PREREQUISITE:
		say(out, "needs %s, which is not active", p->requires.word[f->value]->text);
		break;
	case POL_BY_STALE:
		say(out, "the facts are older than facts_max_age; gather them again");
		break;
	case POL_BY_NO_RING:
		say(out, "no ring takes this VM");
		break;
	case POL_BY_HALT:
	case POL_BY_RING:
		say_ring(plan, v, f, out);
		break;
	case POL_BY_BUSY:
		busy_with = plan->m.busy_with[v->vm];
		say(out, "the VM has %s in hand", busy_with ? busy_with->text : "a patch");
		break;
	case POL_BY_LIMIT:
		say_limit(plan, f, out);
		break;
	default:
		say_time(plan, f, time, out);
		break;
	}
}

static int set_time(json_t *o, const char *key, int64_t t)
{
	char text[POL_TIME_SIZE];

	if (t == POL_NEVER)
		return json_object_set_new(o, key, json_null());
	return json_object_set_new(o, key, json_string(pol_format_time(t, text)));
}

/* Whether @value of such a finding is a time. */
static bool has_time(enum pol_kind kind)
{
	switch (kind) {
	case POL_BY_PAUSE:
	case POL_BY_RING:
	case POL_BY_FREEZE:
	case POL_BY_DEFERRAL:
	case POL_BY_MONTH:
	case POL_BY_WINDOW:
	case POL_BY_BUSY:
	case POL_BY_LIMIT:
		return true;
	default:
		return false;
	}
}

static int set_rule(json_t *o, const struct rule *r, bool places)
{
	int rc = 0;

	if (!r)
		return json_object_set_new(o, "rule", json_null());
	rc |= json_object_set_new(o, "rule", json_string(r->name));
	if (places) {
		rc |= json_object_set_new(o, "file", json_string(r->file));
		rc |= json_object_set_new(o, "line", json_integer(r->line));
	}
	return rc;
}

static json_t *reasons_json(const struct pol_plan *plan, const struct pol_verdict *v, bool places)
{
	json_t *list = json_array();
	struct findings f;
	int rc = list ? 0 : -1;

	plan_findings(plan, v, &f);
	for (size_t i = 0; !rc && i < f.nr; i++) {
		json_t *o = json_object();
		char text[TEXT_MAX];

		say_finding(plan, v, &f.f[i], text);
		rc |= json_object_set_new(o, "by", json_string(pol_kind_key(f.f[i].kind)));
		rc |= set_rule(o, rule_of(plan->p, f.f[i].kind, f.f[i].rule), places);
		rc |= json_object_set_new(o, "text", json_string(text));
		if (has_time(f.f[i].kind))
			rc |= set_time(o, "until", f.f[i].value);
		rc |= json_array_append_new(list, o);
	}
	if (!rc)
		return list;
	json_decref(list);
	return NULL;
}

static json_t *verdict_json(const struct pol_plan *plan, const struct pol_verdict *v, bool reasons,
			    bool places)
{
	const struct world *w = plan->w;
	uint16_t ring = w->ring_of[v->vm];
	json_t *o = json_object();
	int rc = o ? 0 : -1;

	rc |= json_object_set_new(o, "vm", json_string(w->vm[v->vm].name->text));
	rc |= json_object_set_new(o, "patch", json_string(w->patch[v->patch].id->text));
	rc |= json_object_set_new(o, "payload_sha256",
				  json_string(w->patch[v->patch].payload->text));
	rc |= json_object_set_new(o, "verdict", json_string(pol_state_key(v->state)));
	rc |= json_object_set_new(o, "action", json_string(pol_action_key(v->action)));
	rc |= json_object_set_new(o, "by", json_string(pol_kind_key(v->by)));
	rc |= set_rule(o, rule_of(plan->p, v->by, v->rule), places);
	rc |= json_object_set_new(o, "ring",
				  ring == NO_RING ? json_null()
						  : json_string(plan->p->rings[ring].rule.name));
	rc |= set_time(o, "when", v->when);
	rc |= set_time(o, "until", v->until);
	rc |= json_object_set_new(o, "overdue", json_boolean(v->overdue));
	if (!rc && reasons)
		rc |= json_object_set_new(o, "reasons", reasons_json(plan, v, places));
	if (!rc)
		return o;
	json_decref(o);
	return NULL;
}

json_t *pol_verdict_json(const struct pol_plan *plan, const struct pol_verdict *v, bool reasons)
{
	return verdict_json(plan, v, reasons, true);
}

int pol_statement(const struct pol_plan *plan, const struct pol_verdict *v, json_t **ret,
		  uint8_t digest[XO_SHA256_BYTES])
{
	char policy[XO_SHA256_HEX_SIZE], facts[XO_SHA256_HEX_SIZE], at[POL_TIME_SIZE];
	_cleanup_free_ char *bytes = NULL;
	json_t *o;
	int rc;

	xo_hex(SPAN(plan->p->digest, XO_SHA256_BYTES), policy);
	xo_hex(SPAN(plan->f->digest, XO_SHA256_BYTES), facts);
	o = json_pack("{s:s,s:s,s:s,s:s,s:o}", "format", "decision/1", "policy_sha256", policy,
		      "facts_sha256", facts, "at", pol_format_time(plan->m.at, at), "decision",
		      verdict_json(plan, v, true, false));
	bytes = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	rc = bytes ? xo_sha256(SPAN(bytes, strlen(bytes)), digest) : -ENOMEM;
	if (rc)
		json_decref(o);
	else
		*ret = o;
	return rc;
}
