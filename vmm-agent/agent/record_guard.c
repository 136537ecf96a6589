// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/record_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attest/json.h"
#include "base/fault.h"
#include "vmm-agent/agent/record.h"

#define NS_PER_S      UINT64_C(1000000000)
#define FOLD_FIRST_NS NS_PER_S /* violations are said again after a second, then two, four, ... */
#define FOLD_LAST_NS  (64 * NS_PER_S)
#define LOOK_NS	      (60 * NS_PER_S) /* into the journal: others may have died over it */
#define RETRY_NS      (5 * NS_PER_S)
#define RESTART_NS    NS_PER_S
#define END_MS	      10000
#define MAX_DISTINCT  (ATT_MAX_REASONS - 1)

/* ---- statements about notes ---- */

/* One statement is about notes of one kind and boot; violations only are taken together. */
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
	       !strcmp(a->build_id, b->build_id) && !strcmp(a->vm_key, b->vm_key);
}

static bool belongs(const struct batch *b, const struct note *n)
{
	return !b->first || (n->kind == NOTE_VIOLATION && b->first->kind == NOTE_VIOLATION &&
			     same_boot(b->first, n));
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

	for (size_t i = 0; i < b->nr_distinct; i++) {
		if (b->times[i] > 1)
			snprintf(text, sizeof(text), "%" PRIu64 " times: %s", b->times[i],
				 b->distinct[i]->what);
		else
			snprintf(text, sizeof(text), "%s", b->distinct[i]->what);
		if (text[0])
			record_reason(a,
				      xo_code_key(b->first->kind == NOTE_VIOLATION ? XO_EVIOLATION
										   : XO_EGUARDOFF),
				      text);
	}
	if (b->more) {
		snprintf(text, sizeof(text), "%" PRIu64 " more", b->more);
		record_reason(a, xo_code_key(XO_EVIOLATION), text);
	}
}

static void fill_action(struct att_action *a, const struct batch *b)
{
	switch (b->first->kind) {
	case NOTE_ON:
		a->act = ATT_GUARD_ON;
		a->guard = b->first->audit ? ATT_GUARD_AUDIT : ATT_GUARD_ENFORCE;
		return;
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
	if (n->kind == NOTE_QUEUED)
		return 0;
	st->kind = ATT_ACTION;
	st->started_s = n->time_s;
	st->finished_s = b->last->time_s;
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

/* For the policy, which asks whether a patch did harm. */
static int signal_violation(struct journal *j, const struct note *n, struct xerr *err)
{
	char at[21];

	if (n->kind != NOTE_VIOLATION)
		return 0;
	return journal_signal(j, n->vm_key, "violation", json_time(n->time_s, at), err);
}

/* From number @at on, as much as one statement can be about. *@at: what follows */
static void collect(const struct notes *n, uint64_t *at, uint64_t end, struct batch *b)
{
	while (*at < end && belongs(b, notes_get(n, *at)))
		add(b, notes_get(n, (*at)++));
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
		struct batch b = {0};

		collect(n, &at, end, &b);
		rc = count_dropped(j, n, &b, err);
		rc = rc ? rc : queue(j, &b, err);
		rc = rc ? rc : signal_violation(j, b.first, err);
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

int record_notes(const struct agent_opts *o, struct notes *n, bool hurry, bool *ret_violation,
		 struct xerr *err)
{
	uint64_t end = notes_nr(n), from = n->taken;
	struct journal *j = NULL;
	bool violation = false;
	int rc;

	for (uint64_t i = from; i < end; i++) {
		violation |= notes_get(n, i)->kind == NOTE_VIOLATION;
		hurry |= notes_get(n, i)->kind != NOTE_VIOLATION;
	}
	if (ret_violation)
		*ret_violation = false;
	if (from == end || !hurry)
		return 0;
	rc = journal_open(&j, o->state_dir ? o->state_dir : AGENT_STATE_DIR, err);
	rc = rc ? rc : take(j, n, end, err);
	journal_close(j);
	if (!rc && ret_violation)
		*ret_violation = violation;
	return rc;
}

/* ---- the process ---- */

struct loop {
	const struct agent_opts *o;
	struct notes *n;
	pid_t parent;
	uint64_t fold_ns; /* how long violations are put together; 0: none was said lately */
	uint64_t fold_until_ns, look_ns;
	uint64_t seen; /* notes there were when it last looked */
	bool failed;
};

static bool is_last(const struct loop *l)
{
	return __atomic_load_n(&l->n->closing, __ATOMIC_ACQUIRE) || getppid() != l->parent;
}

/* After a violation was said, the next ones are put together; longer, while they go on. */
static void fold(struct loop *l, bool violation)
{
	uint64_t now = xo_now_ns();

	if (violation)
		l->fold_ns = !l->fold_ns		 ? FOLD_FIRST_NS
			     : l->fold_ns < FOLD_LAST_NS ? l->fold_ns * 2
							 : FOLD_LAST_NS;
	else if (l->fold_ns && now >= l->fold_until_ns && l->n->taken == notes_nr(l->n))
		l->fold_ns = 0;
	if (violation)
		l->fold_until_ns = now + l->fold_ns;
}

static void turn(struct loop *l, bool last)
{
	uint64_t now = xo_now_ns(), taken = l->n->taken;
	bool violation = false;
	struct xerr err = {0};
	int rc;

	l->seen = notes_nr(l->n);
	rc = record_notes(l->o, l->n, last || now >= l->fold_until_ns, &violation, &err);

	fold(l, violation);
	if (!rc && (l->n->taken != taken || l->failed || now >= l->look_ns || last)) {
		fault_pass(FAULT_record_noted);
		rc = record_flush(l->o, &err);
		l->look_ns = now + LOOK_NS;
	}
	l->failed = rc != 0;
	snprintf(l->n->failed, sizeof(l->n->failed), "%.255s",
		 rc ? err.code ? err.text : xo_code_text(rc) : "");
}

static uint64_t timeout_ns(const struct loop *l)
{
	uint64_t now = xo_now_ns(), ns = l->failed ? RETRY_NS : LOOK_NS;

	if (l->fold_ns && l->fold_until_ns > now && l->fold_until_ns - now < ns)
		ns = l->fold_until_ns - now;
	else if (l->fold_ns && l->fold_until_ns <= now)
		ns = 1;
	return ns;
}

static void on_parent_death(int sig)
{
	(void)sig; /* it only ends a wait */
}

/* Nothing of what the supervisor holds for a guard may stay open here. */
static void let_go(void)
{
	int null = open("/dev/null", O_RDWR);

	for (int fd = 0; fd < 2 && null >= 0; fd++)
		(void)dup2(null, fd);
	(void)syscall(SYS_close_range, 3, ~0U, 0);
}

static _Noreturn void be_recorder(const struct agent_opts *o, struct notes *n, pid_t parent)
{
	const struct sigaction sa = {.sa_handler = on_parent_death};
	struct loop l = {.o = o, .n = n, .parent = parent};
	bool last = false;

	let_go();
	(void)prctl(PR_SET_NAME, "exopatch-record");
	(void)sigaction(SIGUSR1, &sa, NULL);
	(void)prctl(PR_SET_PDEATHSIG, SIGUSR1);
	while (!last) {
		last = is_last(&l);
		turn(&l, last);
		if (!last)
			notes_wait(n, l.seen, timeout_ns(&l));
	}
	_exit(0);
}

void record_process_tend(struct record_process *p, const struct agent_opts *o, struct notes *n)
{
	struct pollfd ended = {.fd = p->pidfd, .events = POLLIN};
	pid_t parent = getpid();

	if (p->pidfd >= 0 && poll(&ended, 1, 0) > 0) {
		(void)waitpid(p->pid, NULL, WNOHANG);
		close(p->pidfd);
		p->pidfd = -1;
		p->next_ns = xo_now_ns() + RESTART_NS;
	}
	if (p->pidfd >= 0 || xo_now_ns() < p->next_ns)
		return;
	p->pid = fork();
	if (p->pid == 0)
		be_recorder(o, n, parent);
	p->next_ns = xo_now_ns() + RESTART_NS;
	p->pidfd = p->pid < 0 ? -1 : (int)syscall(SYS_pidfd_open, p->pid, 0);
}

void record_process_end(struct record_process *p, struct notes *n)
{
	struct pollfd ended = {.fd = p->pidfd, .events = POLLIN};

	notes_close(n);
	if (p->pidfd < 0)
		return;
	(void)poll(&ended, 1, END_MS);
	(void)waitpid(p->pid, NULL, WNOHANG);
	close(p->pidfd);
	p->pidfd = -1;
}
