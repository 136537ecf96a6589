// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/record_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "vmm-agent/agent/record.h"

#define NS_PER_S      UINT64_C(1000000000)
#define FOLD_FIRST_NS NS_PER_S /* violations are said again after a second, then two, four, ... */
#define FOLD_LAST_NS  (64 * NS_PER_S)
#define LOOK_NS	      (60 * NS_PER_S) /* into the journal: others may have died over it */
#define RETRY_NS      (5 * NS_PER_S)
#define RESTART_NS    NS_PER_S
#define END_MS	      10000

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

/* After a violation, or a lapse, was said, the next ones are put together; longer, while they go
 * on. */
static void fold(struct loop *l, bool folded)
{
	uint64_t now = xo_now_ns();

	if (folded)
		l->fold_ns = !l->fold_ns		 ? FOLD_FIRST_NS
			     : l->fold_ns < FOLD_LAST_NS ? l->fold_ns * 2
							 : FOLD_LAST_NS;
	else if (l->fold_ns && now >= l->fold_until_ns && l->n->taken == notes_nr(l->n))
		l->fold_ns = 0;
	if (folded)
		l->fold_until_ns = now + l->fold_ns;
}

/* The first violation of a boot does not wait for the last ones of the boot before. */
static void unfold(struct loop *l)
{
	for (uint64_t i = l->n->taken; i < l->seen; i++)
		if (notes_get(l->n, i)->kind == NOTE_ON)
			l->fold_ns = l->fold_until_ns = 0;
}

static void turn(struct loop *l, bool last)
{
	uint64_t now = xo_now_ns(), taken = l->n->taken;
	bool folded = false;
	struct xerr err = {0};
	int rc;

	l->seen = notes_nr(l->n);
	unfold(l);
	rc = record_notes(l->o, l->n, last || now >= l->fold_until_ns, &folded, &err);

	fold(l, folded);
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

void record_process_end(struct record_process *p, const struct agent_opts *o, struct notes *n)
{
	struct pollfd ended;

	notes_close(n);
	/* One that died just now has left something to say. */
	record_process_tend(p, o, n);
	if (p->pidfd < 0 && n->taken != notes_nr(n)) {
		p->next_ns = 0;
		record_process_tend(p, o, n);
	}
	if (p->pidfd < 0)
		return;
	ended = (struct pollfd){.fd = p->pidfd, .events = POLLIN};
	(void)poll(&ended, 1, END_MS);
	(void)waitpid(p->pid, NULL, WNOHANG);
	close(p->pidfd);
	p->pidfd = -1;
}
