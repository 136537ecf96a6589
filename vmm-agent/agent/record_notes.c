// SPDX-License-Identifier: Apache-2.0
/* What a guard noted, made into statements. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "attest/json.h"
#include "vmm-agent/agent/record.h"
#include "vmm-agent/agent/record_guard.h"

#define MAX_DISTINCT (ATT_MAX_REASONS - 1)
#define MAX_LOST     64 /* that wait to be taken together: the ring has to have room for more */

/* One statement is about notes of one kind and boot; what a guest can repeat is taken together. */
struct batch {
	const struct note *first, *last;
	bool all_undone;
	size_t nr_distinct;
	const struct note *distinct[MAX_DISTINCT];
	uint64_t times[MAX_DISTINCT];
	uint64_t more;
};

static bool same_boot(const struct note *a, const struct note *b)
{
	return a->kernel_base.v == b->kernel_base.v && a->boot_token == b->boot_token &&
	       a->resets == b->resets && !memcmp(a->process, b->process, sizeof(a->process)) &&
	       !strcmp(a->build_id, b->build_id) && !strcmp(a->vm_key, b->vm_key);
}

static bool folds(const struct note *n)
{
	return n->kind == NOTE_VIOLATION || n->kind == NOTE_LOST;
}

static void add(struct batch *b, const struct note *n)
{
	size_t i = 0;

	if (!b->first) {
		b->first = n;
		b->all_undone = true;
	}
	b->last = n;
	b->all_undone &= n->undone;
	if (!n->what[0])
		return;
	while (i < b->nr_distinct && strcmp(b->distinct[i]->what, n->what) != 0)
		i++;
	if (i == MAX_DISTINCT) {
		b->more++;
		return;
	}
	if (i == b->nr_distinct)
		b->distinct[b->nr_distinct++] = n;
	b->times[i]++;
}

static void add_reasons(struct att_action *a, const struct batch *b)
{
	char text[sizeof(b->first->what) + 32];

	const char *key =
		xo_code_key(b->first->kind == NOTE_VIOLATION ? XO_EVIOLATION : XO_EGUARDOFF);

	for (size_t i = 0; i < b->nr_distinct; i++) {
		if (b->times[i] > 1)
			snprintf(text, sizeof(text), "%" PRIu64 " times: %s", b->times[i],
				 b->distinct[i]->what);
		else
			snprintf(text, sizeof(text), "%s", b->distinct[i]->what);
		record_reason(a, key, text);
	}
	if (b->more) {
		snprintf(text, sizeof(text), "%" PRIu64 " more", b->more);
		record_reason(a, key, text);
	}
}

static void fill_action(struct att_action *a, const struct batch *b)
{
	switch (b->first->kind) {
	case NOTE_ON:
		a->act = ATT_GUARD_ON;
		a->guard = b->first->audit ? ATT_GUARD_AUDIT : ATT_GUARD_ENFORCE;
		return;
	case NOTE_LOST:
		a->verdict = ATT_FAILED;
		a->act = ATT_GUARD_OFF;
		break;
	case NOTE_OFF:
		a->act = ATT_GUARD_OFF;
		break;
	case NOTE_VIOLATION:
	case NOTE_QUEUED:
		a->act = ATT_VIOLATION;
		a->verdict = b->all_undone ? ATT_REFUSED : ATT_FAILED;
		break;
	}
	add_reasons(a, b);
}

/* What is active in the guest of a note. */
static int list_patches(struct journal *j, const struct note *n, struct att_statement *st,
			struct xerr *err)
{
	struct session s = {.kernel = {.base = n->kernel_base, .boot_token = n->boot_token}};
	struct jrow *row = NULL;
	size_t nr = 0;
	int rc = journal_load(j, n->vm_key, &row, &nr, err);

	memcpy(s.build_id, n->build_id, sizeof(s.build_id));
	for (size_t i = 0; !rc && i < nr; i++)
		if (row[i].state == J_ACTIVE && session_same_kernel(&s, &row[i]))
			record_add_patch(st, &row[i]);
	journal_rows_free(row, nr);
	return rc;
}

static int queue(struct journal *j, const struct batch *b, struct xerr *err)
{
	_cleanup_free_ struct att_statement *st = calloc(1, sizeof(*st));
	const struct note *n = b->first;
	int rc;

	if (!st)
		return xerr_set(err, ENOMEM, "out of memory");
	if (n->kind == NOTE_QUEUED || (n->kind == NOTE_LOST && !b->nr_distinct))
		return 0;
	st->kind = ATT_ACTION;
	memcpy(st->process, n->process, sizeof(st->process));
	st->resets = n->resets;
	st->started_s = n->time_s;
	/* The chain is in the order of the queue, and notes wait: what came since is there already.
	 */
	st->finished_s = (int64_t)time(NULL);
	memcpy(st->build_id, n->build_id, sizeof(st->build_id));
	memcpy(st->release, n->release, sizeof(st->release));
	rc = record_machine(n->vm_key, st->vm_uuid);
	rc = rc ? rc
		: record_boot(st->vm_uuid, n->build_id, n->kernel_base, n->boot_token, st->boot);
	if (rc)
		return xerr_set(err, rc, "statement: %s", xo_code_text(rc));
	fill_action(&st->action, b);
	rc = list_patches(j, n, st, err);
	return rc ? rc : record_queue(j, st, err);
}

/* What was not protected and is again: a guard-off, which says why, and a guard-on. */
static int queue_back(struct journal *j, const struct batch *b, struct xerr *err)
{
	struct batch on = {0};
	struct note n = {0};

	if (b->first->kind != NOTE_LOST || !b->last->undone)
		return 0;
	n = *b->last;
	n.kind = NOTE_ON;
	on.first = on.last = &n;
	return queue(j, &on, err);
}

/* For the policy, which asks whether a patch did harm. */
static int signal_violation(struct journal *j, const struct note *n, struct xerr *err)
{
	char at[21];

	if (n->kind != NOTE_VIOLATION)
		return 0;
	return journal_signal(j, n->vm_key, "violation", json_time(n->time_s, at), err);
}

/* From number @at on, as much as one statement of each of both kinds that are taken together can be
 * about, or another one. *@at: what follows */
static void collect(const struct notes *n, uint64_t *at, uint64_t end, struct batch b[2])
{
	const struct note *first = notes_get(n, (*at)++);

	add(&b[first->kind == NOTE_LOST], first);
	while (folds(first) && *at < end) {
		const struct note *next = notes_get(n, *at);

		if (!folds(next) || !same_boot(first, next))
			return;
		add(&b[next->kind == NOTE_LOST], next);
		(*at)++;
	}
}

/* Those that found no room are of about now. */
static int count_dropped(struct journal *j, const struct notes *n, struct batch *b,
			 struct xerr *err)
{
	uint64_t dropped = __atomic_load_n(&n->dropped, __ATOMIC_ACQUIRE), told = 0;
	char key[sizeof(n->id) + 8];
	int rc;

	snprintf(key, sizeof(key), "%s dropped", n->id);
	rc = journal_noted(j, key, &told, err);
	if (rc || dropped <= told || b->first->kind != NOTE_VIOLATION)
		return rc;
	b->more += dropped - told;
	return journal_note(j, key, dropped, err);
}

static int queue_batch(struct journal *j, const struct notes *n, struct batch *b, struct xerr *err)
{
	int rc;

	if (!b->first)
		return 0;
	rc = count_dropped(j, n, b, err);
	rc = rc ? rc : queue(j, b, err);
	rc = rc ? rc : queue_back(j, b, err);
	return rc ? rc : signal_violation(j, b->first, err);
}

/* The journal knows how far it got, in the transaction that makes the statements; so none is made
 * twice, and none is lost. */
static int take(struct journal *j, struct notes *n, uint64_t end, struct xerr *err)
{
	uint64_t at = 0;
	int rc = journal_begin(j, err);

	if (rc)
		return rc;
	rc = journal_noted(j, n->id, &at, err);
	while (!rc && at < end) {
		struct batch b[2] = {0};

		collect(n, &at, end, b);
		rc = queue_batch(j, n, &b[0], err);
		rc = rc ? rc : queue_batch(j, n, &b[1], err);
	}
	rc = rc ? rc : journal_note(j, n->id, at, err);
	if (rc)
		journal_undo(j);
	else
		rc = journal_commit(j, err);
	if (!rc)
		notes_take(n, at);
	return rc;
}

int record_notes(const struct agent_opts *o, struct notes *n, bool hurry, bool *ret_folded,
		 struct xerr *err)
{
	uint64_t end = notes_nr(n), from = n->taken, lost = 0;
	struct journal *j = NULL;
	bool folded = false;
	int rc;

	for (uint64_t i = from; i < end; i++) {
		folded |= folds(notes_get(n, i));
		hurry |= !folds(notes_get(n, i));
		lost += notes_get(n, i)->kind == NOTE_LOST;
	}
	hurry |= lost > MAX_LOST;
	if (ret_folded)
		*ret_folded = false;
	if (from == end || !hurry)
		return 0;
	rc = journal_open(&j, agent_state_dir(o), err);
	rc = rc ? rc : take(j, n, end, err);
	journal_close(j);
	if (!rc && ret_folded)
		*ret_folded = folded;
	return rc;
}
