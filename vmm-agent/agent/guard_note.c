// SPDX-License-Identifier: Apache-2.0
/* Which of the guard's events are to be recorded. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "vmm-agent/agent/guard.h"

/* Said with a verdict, and nobody's misdeed. */
static const char *const innocent[] = {"not-connected", "module-gate-failed",
				       "module-loaded-before"};

/* Nobody's misdeed either, but for a while the guard did not do all that it is there for. */
static const char *const lapse[] = {"protection-lost", "not-armed", "audit-failed",
				    "audit-resumed"};

static bool is_lapse(const char *kind)
{
	for (size_t i = 0; i < XO_ARRAY_SIZE(lapse); i++)
		if (!strcmp(kind, lapse[i]))
			return true;
	return false;
}

static bool is_violation(const char *kind, const char *verdict)
{
	if (!verdict || !strcmp(verdict, "kept"))
		return false;
	for (size_t i = 0; i < XO_ARRAY_SIZE(innocent); i++)
		if (!strcmp(kind, innocent[i]))
			return false;
	return true;
}

static enum note_kind kind_of(const char *kind, const char *verdict)
{
	if (!strcmp(kind, "guard-on"))
		return NOTE_ON;
	if (!strcmp(kind, "guard-off") || !strcmp(kind, "target-gone"))
		return NOTE_OFF;
	if (!strcmp(kind, "recovered"))
		return NOTE_QUEUED;
	if (is_lapse(kind))
		return NOTE_LOST;
	return is_violation(kind, verdict) ? NOTE_VIOLATION : (enum note_kind)0;
}

static const char *member(const json_t *details, const char *key)
{
	const char *s = json_string_value(json_object_get(details, key));

	return s ? s : "";
}

/* "violation, put-back: text at f+0x5: nothing that the kernel rewrites" */
static void describe(struct note *n, const char *kind, const char *verdict, const json_t *details)
{
	const char *reason = member(details, "reason"), *module = member(details, "module");

	if (!reason[0])
		reason = member(details, "gva");
	if (n->kind == NOTE_VIOLATION)
		snprintf(n->what, sizeof(n->what), "%s, %s: %s%s%s", kind, verdict, module,
			 module[0] ? " " : "", reason);
	else if (n->kind == NOTE_LOST && reason[0])
		snprintf(n->what, sizeof(n->what), "%s: %s", kind, reason);
	else
		snprintf(n->what, sizeof(n->what), "%s", reason);
}

void guard_note(struct guard *g, const char *kind, const char *verdict, const json_t *details)
{
	struct note n = {.kind = kind_of(kind, verdict), .time_s = (int64_t)time(NULL)};

	if (!n.kind || !g->s.discovered)
		return;
	n.undone = (verdict && (!strcmp(verdict, "put-back") || !strcmp(verdict, "refused"))) ||
		   !strcmp(kind, "audit-resumed");
	n.audit = g->opts->audit_only;
	describe(&n, kind, verdict, details);
	memcpy(n.vm_key, g->s.vm_key, sizeof(n.vm_key));
	memcpy(n.build_id, g->s.build_id, sizeof(n.build_id));
	memcpy(n.release, g->s.kernel.release, sizeof(n.release));
	n.kernel_base = g->s.kernel.base;
	n.boot_token = g->s.kernel.boot_token;
	memcpy(n.process, g->s.process, sizeof(n.process));
	n.resets = g->s.resets;
	notes_put(&g->kept->notes, &n);
}

json_t *guard_unrecorded_json(struct guard *g)
{
	const struct notes *n = &g->kept->notes;
	uint64_t noted = notes_nr(n) - __atomic_load_n(&n->taken, __ATOMIC_ACQUIRE), queued = 0;
	struct xerr err = {0};
	char failed[sizeof(n->failed)];

	if (g->s.journal)
		(void)!journal_queue_length(g->s.journal, &queued, &err);
	snprintf(failed, sizeof(failed), "%.255s", n->failed);
	return json_pack("{s:I,s:s*}", "waiting", (json_int_t)(noted + queued), "error",
			 failed[0] ? failed : NULL);
}
