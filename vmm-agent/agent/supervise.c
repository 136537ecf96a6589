// SPDX-License-Identifier: Apache-2.0
/* The supervisor's process, and how there comes to be one. */
#include "vmm-agent/agent/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/msg.h"
#include "base/util.h"
#include "vmm-agent/agent/control.h"
#include "vmm-agent/agent/link.h"
#include "vmm-agent/agent/prompt.h"
#include "vmm-agent/agent/record_guard.h"
#include "vmm-agent/monitor/guard.h"
#include "vmm-agent/target/proc.h"

#define BACKOFF_FREE	 3 /* that many rapid deaths may be an accident: no waiting */
#define BACKOFF_FIRST_NS UINT64_C(100000000)
#define BACKOFF_LAST_NS	 UINT64_C(10000000000)
#define ANSWER_AFTER_NS	 UINT64_C(500000000) /* who waits longer for a guard is told */
#define STOP_MS		 15000
#define TAKE_MS		 5000
#define REPLACED_MS	 100

typedef int (*guard_fn)(const struct agent_guard_opts *o, struct link *link, bool *ret_ended,
			struct refusal *why, struct xerr *err);

struct supervisor {
	const struct agent_guard_opts *opts;
	guard_fn guard;
	struct link held; /* what is handed to the next guard; its sock is to the guard there is */
	int pidfd;	  /* of the guard, or -1: there is none */
	uint64_t born_ns, next_ns;
	struct record_process recorder;
	bool stopping, ended;
	bool guard_ended; /* as against died: it has cleaned up behind itself */
	bool replaced;	  /* another one is the guard's supervisor now */
	uint64_t kill_ns; /* a guard that was told to stop has until then */
	int rc;
	struct refusal *why;
	struct xerr *err;
};

static int map_kept(struct link *l, struct xerr *err)
{
	void *p = mmap(NULL, sizeof(struct guard_kept), PROT_READ | PROT_WRITE, MAP_SHARED,
		       l->kept_fd, 0);

	if (p == MAP_FAILED)
		return xerr_set(err, errno, "guard's memory: %s", strerrordesc_np(errno));
	l->kept = p;
	return 0;
}

static int make_kept(struct link *l, struct xerr *err)
{
	int rc;

	l->kept_fd = memfd_create("exopatch-guard", MFD_CLOEXEC);
	if (l->kept_fd < 0 || ftruncate(l->kept_fd, sizeof(struct guard_kept)))
		return xerr_set(err, errno, "guard's memory: %s", strerrordesc_np(errno));
	rc = map_kept(l, err);
	if (!rc && notes_init(&l->kept->notes))
		rc = xerr_set(err, errno, "guard's memory: %s", strerrordesc_np(errno));
	return rc;
}

/* ---- the guard's process ---- */

/* Never returns: the process that called supervise() is another one. */
static _Noreturn void be_guard(struct supervisor *s, int sock)
{
	struct link l = s->held;
	_cleanup_refusal_ struct refusal why = {0};
	struct xerr err = {0};
	bool ended = false;
	int rc;

	xo_close_ptr(&s->held.sock);
	xo_close_ptr(&s->pidfd);
	xo_close_ptr(&s->recorder.pidfd);
	l.sock = sock;
	(void)prctl(PR_SET_NAME, "exopatch-guard");
	l.kept->guard = getpid();
	rc = s->guard(s->opts, &l, &ended, &why, &err);
	if (ended)
		link_end(&l, rc, &why, &err);
	fflush(NULL);
	_exit(ended ? 0 : 1);
}

/*
 * There is one owner, who alone starts guards. A guard that got no answer in time has started
 * another supervisor, and that one took over unless a guard was being started just then.
 */
static bool move_owner(struct guard_kept *k, pid_t from, pid_t to)
{
	return __atomic_compare_exchange_n(&k->owner, &from, to, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

static int fork_guard(struct supervisor *s)
{
	pid_t pid;
	int sv[2];

	xo_close_ptr(&s->held.sock);
	s->held.sock = -1;
	if (msg_socketpair(sv))
		return -errno;
	pid = fork();
	if (pid == 0) {
		close(sv[0]);
		be_guard(s, sv[1]);
	}
	close(sv[1]);
	if (pid < 0) {
		close(sv[0]);
		return -errno;
	}
	s->held.sock = sv[0];
	s->held.kept->guard = pid;
	s->born_ns = xo_now_ns();
	s->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	return 0;
}

static int start_guard(struct supervisor *s)
{
	pid_t me = getpid();
	int rc;

	if (!move_owner(s->held.kept, me, -me)) {
		s->replaced = true;
		return -XO_EPEERDIED;
	}
	rc = fork_guard(s);
	(void)move_owner(s->held.kept, -me, me);
	return rc;
}

/* ---- the supervisor's ---- */

static uint64_t backoff_ns(const struct guard_kept *k)
{
	uint64_t ns = BACKOFF_FIRST_NS;

	if (k->rapid <= BACKOFF_FREE)
		return 0;
	for (uint32_t i = BACKOFF_FREE + 1; i < k->rapid && ns < BACKOFF_LAST_NS; i++)
		ns *= 2;
	return ns < BACKOFF_LAST_NS ? ns : BACKOFF_LAST_NS;
}

static void take(struct supervisor *s, struct msg *m)
{
	switch (m->head.op) {
	case LINK_OP_GIVE:
		link_take(&s->held, m);
		(void)!msg_send(s->held.sock, LINK_OP_GIVE, 0, NULL, 0, NULL, 0);
		break;
	case LINK_OP_END:
		s->ended = s->guard_ended = true;
		s->rc = control_unpack(m->body, m->head.len_bytes, NULL, s->why, s->err);
		break;
	default:
		break;
	}
}

/* All that the guard has said. */
static void listen_to(struct supervisor *s)
{
	for (;;) {
		_cleanup_msg_ struct msg m = {0};

		if (s->held.sock < 0)
			return;
		switch (msg_recv(s->held.sock, 0, &m)) {
		case 0:
			take(s, &m);
			break;
		case -XO_ETIMEOUT:
			return;
		default:
			xo_close_ptr(&s->held.sock);
			s->held.sock = -1;
			return;
		}
	}
}

static bool is_there(pid_t pid, uint64_t started)
{
	uint64_t start_time = 0;

	return pid > 0 && !proc_start_time(pid, &start_time, NULL) && start_time == started;
}

static struct mon_guard_fds guard_fds(const struct supervisor *s)
{
	return (struct mon_guard_fds){.uffd = s->held.fd[LINK_UFFD],
				      .golden = s->held.fd[LINK_GOLDEN]};
}

/* Guard and monitor died together: nobody else is there to shut what the monitor had open. */
static void shut(const struct supervisor *s)
{
	const struct guard_kept *k = s->held.kept;
	struct mon_guard_fds fds = guard_fds(s);

	if (k->armed && !k->lifted && !is_there(k->monitor.pid, k->monitor.start_time) &&
	    is_there(k->vm.pid, k->vm.start_time))
		mon_guard_shut(&fds, k->vm.pid);
}

/* Nobody will judge any more what QEMU was stopped for. */
static void thaw(const struct supervisor *s)
{
	const struct guard_kept *k = s->held.kept;
	struct mon_guard_fds fds = guard_fds(s);

	if (is_there(k->vm.pid, k->vm.start_time))
		mon_guard_thaw(&fds, k->vm.pid);
}

static void guard_died(struct supervisor *s)
{
	struct guard_kept *k = s->held.kept;
	uint64_t now = xo_now_ns();

	listen_to(s);
	xo_close_ptr(&s->pidfd);
	s->pidfd = -1;
	if (s->ended)
		return;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	shut(s);
	k->died_ns = now;
	k->restarts++;
	k->rapid = now - s->born_ns < SUPERVISE_RAPID_NS ? k->rapid + 1 : 1;
	s->next_ns = now + backoff_ns(k);
	if (s->stopping)
		s->ended = true;
}

static void stop(struct supervisor *s)
{
	s->stopping = true;
	if (s->pidfd < 0) {
		s->ended = true;
		return;
	}
	s->kill_ns = xo_now_ns() + STOP_MS * UINT64_C(1000000);
	(void)!msg_send(s->held.sock, LINK_OP_STOP, 0, NULL, 0, NULL, 0);
}

/* Somebody asks the guard while there is none for a while. */
static void answer_for_guard(struct supervisor *s)
{
	_cleanup_refusal_ struct refusal why = {0};
	struct control_request r = {0};
	struct control *c = NULL;
	struct xerr err = {0};
	int fd = -1;

	if (control_adopt(&c, &s->opts->agent, s->held.fd[LINK_CONTROL], &err))
		return;
	if (!control_accept(c, &r, &fd, &err)) {
		err = (struct xerr){0};
		xerr_set(&err, XO_EPEERDIED,
			 "the guard of this VM died %u times in a row, the next try is in %.1f s; "
			 "writers wait. To give up and let them write: exopatch guard stop",
			 s->held.kept->rapid,
			 s->next_ns > xo_now_ns() ? (double)(s->next_ns - xo_now_ns()) / 1e9 : 0.0);
		if (r.op == CONTROL_GUARD_STOP)
			s->ended = true;
		control_answer(fd, s->ended ? 0 : -XO_EPEERDIED, NULL, &why, &err);
		control_request_free(&r);
	}
	control_leave(c);
}

static uint64_t answers_from_ns(const struct supervisor *s)
{
	return s->held.kept->died_ns + ANSWER_AFTER_NS;
}

static int timeout_ms(const struct supervisor *s)
{
	uint64_t now = xo_now_ns(), due = s->pidfd < 0 ? s->next_ns : s->kill_ns;

	if (s->pidfd >= 0 && s->held.sock < 0)
		return REPLACED_MS; /* the guard lives: it will have another one, or asks again */
	if (s->pidfd >= 0 && !due && s->recorder.pidfd >= 0)
		return -1;
	if (s->recorder.pidfd < 0 && (!due || s->recorder.next_ns < due))
		due = s->recorder.next_ns;
	if (s->pidfd < 0 && now < answers_from_ns(s) && answers_from_ns(s) < due)
		due = answers_from_ns(s);
	return due > now ? (int)((due - now) / 1000000 + 1) : 0;
}

static bool answers(const struct supervisor *s)
{
	return s->pidfd < 0 && s->held.fd[LINK_CONTROL] >= 0 && xo_now_ns() > answers_from_ns(s);
}

static int turn(struct supervisor *s)
{
	struct pollfd p[] = {
		{.fd = s->held.sock, .events = POLLIN},
		{.fd = s->pidfd, .events = POLLIN},
		{.fd = s->stopping ? -1 : s->opts->stop_fd, .events = POLLIN},
		{.fd = answers(s) ? s->held.fd[LINK_CONTROL] : -1, .events = POLLIN},
		{.fd = s->recorder.pidfd, .events = POLLIN},
	};

	if (poll(p, XO_ARRAY_SIZE(p), timeout_ms(s)) < 0 && errno != EINTR)
		return -errno;
	if (__atomic_load_n(&s->held.kept->owner, __ATOMIC_SEQ_CST) != getpid()) {
		s->replaced = true;
		return 0;
	}
	/* The guard, and what guards that died have left to their next parent. */
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	if (p[0].revents)
		listen_to(s);
	if (p[1].revents)
		guard_died(s);
	if (p[2].revents)
		stop(s);
	if (p[3].revents)
		answer_for_guard(s);
	if (s->pidfd >= 0 && s->kill_ns && xo_now_ns() >= s->kill_ns)
		(void)syscall(SYS_pidfd_send_signal, s->pidfd, SIGKILL, NULL, 0);
	if (s->pidfd < 0 && !s->ended && xo_now_ns() >= s->next_ns && start_guard(s))
		s->next_ns = xo_now_ns() + BACKOFF_FIRST_NS;
	record_process_tend(&s->recorder, &s->opts->agent, &s->held.kept->notes);
	return 0;
}

/* It stops holding what it held, and so the kernel drops what is still protected. */
static void let_go(struct supervisor *s)
{
	struct control *c = NULL;

	if (!s->guard_ended && !s->replaced && s->held.fd[LINK_CONTROL] >= 0 &&
	    !control_adopt(&c, &s->opts->agent, s->held.fd[LINK_CONTROL], NULL))
		control_close(c);
	if (!s->replaced)
		thaw(s);
	for (size_t i = 0; i < LINK_NR; i++)
		xo_close_ptr(&s->held.fd[i]);
	xo_close_ptr(&s->held.sock);
	/* No writer waits any more. If it was replaced, its recorder leaves with it, and the other
	 * one's goes on. */
	if (!s->replaced)
		record_process_end(&s->recorder, &s->opts->agent, &s->held.kept->notes);
	(void)munmap(s->held.kept, sizeof(*s->held.kept));
	xo_close_ptr(&s->held.kept_fd);
}

static int run(struct supervisor *s)
{
	int rc = 0;

	/* Nobody may look into a process that holds what protects guests. */
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	(void)prctl(PR_SET_NAME, "exopatch-superv");
	s->held.kept->supervisor = getpid();
	while (!rc && !s->replaced && (!s->ended || s->pidfd >= 0))
		rc = turn(s);
	let_go(s);
	if (s->replaced)
		return xerr_set(
			s->err, XO_EPEERDIED,
			"this supervisor did not answer, and the guard goes on with another "
			"one; exopatch guard status shows it");
	if (rc)
		return xerr_set(s->err, rc, "supervisor: %s", xo_code_text(rc));
	return s->rc;
}

/* Started by a guard whose supervisor died (link.c): it sends all that is to be held. */
static int take_over(struct supervisor *s, int sock)
{
	_cleanup_msg_ struct msg m = {0};
	int rc = msg_recv(sock, TAKE_MS, &m);
	pid_t owner;

	if (!rc && (m.head.op != LINK_OP_TAKE || m.head.nr_fds < 1))
		rc = -XO_EPROTO;
	if (rc)
		return xerr_set(s->err, rc, "supervisor: the guard that started it is gone");
	s->held.kept_fd = XO_TAKE_FD(m.fds[0]);
	rc = map_kept(&s->held, s->err);
	if (rc)
		return rc;
	owner = __atomic_load_n(&s->held.kept->owner, __ATOMIC_SEQ_CST);
	if (owner < 0 || !move_owner(s->held.kept, owner, getpid()))
		return xerr_set(s->err, XO_EPEERDIED, "supervisor: the one before is at work");
	link_take(&s->held, &m);
	s->held.sock = sock;
	s->held.kept->supervisors++;
	s->born_ns = xo_now_ns();
	s->pidfd = (int)syscall(SYS_pidfd_open, s->held.kept->guard, 0);
	rc = s->pidfd < 0 ? -errno : msg_send(sock, LINK_OP_TAKE, 0, NULL, 0, NULL, 0);
	if (!rc)
		return 0;
	(void)move_owner(s->held.kept, getpid(), owner);
	return xerr_set(s->err, rc, "supervisor: the guard that started it is gone");
}

int supervise(const struct agent_guard_opts *o, guard_fn guard, struct refusal *why,
	      struct xerr *err)
{
	struct supervisor s = {
		.opts = o,
		.guard = guard,
		.held = {.opts = o, .kept_fd = -1, .sock = -1, .child = -1},
		.pidfd = -1,
		.recorder = {.pidfd = -1},
		.why = why,
		.err = err,
	};
	int sock = link_inherited(), rc;

	prompt_ask(); /* a guard that waits for a processor sees nothing */
	for (size_t i = 0; i < LINK_NR; i++)
		s.held.fd[i] = -1;
	rc = sock >= 0 ? take_over(&s, sock) : make_kept(&s.held, err);
	if (!rc && sock < 0) {
		s.held.kept->owner = getpid();
		rc = start_guard(&s);
		if (rc)
			return xerr_set(err, rc, "fork: %s", xo_code_text(rc));
	}
	return rc ? rc : run(&s);
}
