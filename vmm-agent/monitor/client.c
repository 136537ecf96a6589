// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/monitor/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/msg.h"
#include "base/util.h"
#include "vmm-agent/monitor/client.h"
#include "vmm-agent/monitor/wire.h"

#define PROGRAM		  "exopatch-monitor"
#define ANSWER_TIMEOUT_MS 15000
#define END_TIMEOUT_MS	  2000
#define BODY_MAX	  (MSG_MAX_BYTES - sizeof(struct msg_head))

/* $EXOPATCH_LIBEXEC, or beside the running program, or ../libexec/exopatch from there. */
static int find_program(char path[PATH_MAX], struct xerr *err)
{
	const char *dir = getenv("EXOPATCH_LIBEXEC");
	char self[PATH_MAX];
	char *slash;
	ssize_t n;

	if (dir && *dir) {
		(void)snprintf(path, PATH_MAX, "%s/" PROGRAM, dir);
		return access(path, X_OK) ? xerr_set(err, errno, "%s: %s (from EXOPATCH_LIBEXEC)",
						     path, strerrordesc_np(errno))
					  : 0;
	}
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		return xerr_set(err, errno, "/proc/self/exe: %s", strerrordesc_np(errno));
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	if (snprintf(path, PATH_MAX, "%s/" PROGRAM, self) < PATH_MAX && !access(path, X_OK))
		return 0;
	if (snprintf(path, PATH_MAX, "%s/../libexec/exopatch/" PROGRAM, self) < PATH_MAX &&
	    !access(path, X_OK))
		return 0;
	return xerr_set(err, ENOENT,
			PROGRAM ": not found beside the program; set EXOPATCH_LIBEXEC");
}

/* In the child: the socket as descriptor 3, nothing else open but standard error. */
_Noreturn static void become_monitor(const char *path, int fd, char *const envp[])
{
	char *const argv[] = {(char *)(uintptr_t)PROGRAM, NULL};
	int null = open("/dev/null", O_RDWR);
	sigset_t none;

	sigemptyset(&none);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 ||
	    sigprocmask(SIG_SETMASK, &none, NULL))
		_exit(127);
	if (fd == MON_SOCKET_FD ? fcntl(fd, F_SETFD, 0) : dup2(fd, MON_SOCKET_FD) < 0)
		_exit(127);
	(void)syscall(SYS_close_range, MON_SOCKET_FD + 1, ~0u, 0);
	execve(path, argv, envp);
	_exit(127);
}

static int spawn(struct mon *m, struct xerr *err)
{
	char path[PATH_MAX];
	char fault[256];
	char *envp[2] = {NULL, NULL};
	int sv[2];
	int rc = find_program(path, err);

	if (rc)
		return rc;
	/* A small environment: fault points are looked up in it while the guest is held. */
	if (getenv("EXOPATCH_FAULT")) {
		(void)snprintf(fault, sizeof(fault), "EXOPATCH_FAULT=%s", getenv("EXOPATCH_FAULT"));
		envp[0] = fault;
	}
	rc = msg_socketpair(sv);
	if (rc)
		return xerr_set(err, rc, "socket pair: %s", strerrordesc_np(-rc));
	m->pid = fork();
	if (m->pid == 0)
		become_monitor(path, sv[1], envp);
	(void)close(sv[1]);
	m->fd = sv[0];
	return m->pid < 0 ? xerr_set(err, errno, "fork: %s", strerrordesc_np(errno)) : 0;
}

int mon_lost(struct mon *m, int rc, struct xerr *err)
{
	xo_close_ptr(&m->fd);
	m->fd = -1;
	return xerr_set(err, rc, PROGRAM " (pid %d): %s", (int)m->pid, xo_code_text(rc));
}

int mon_take_error(const struct msg *a, size_t *ret_bad, struct xerr *err)
{
	struct wire_error e;

	if (!span_copy(msg_span(a), 0, &e, sizeof(e)))
		return xerr_set(err, XO_EPROTO, PROGRAM ": an answer makes no sense");
	e.text[sizeof(e.text) - 1] = '\0';
	if (ret_bad && e.record != WIRE_NO_RECORD)
		*ret_bad = e.record;
	return xerr_set(err, a->head.status, "%s", e.text);
}

int mon_call(struct mon *m, uint32_t op, struct span body, const int *fds, size_t nr_fds, void *ret,
	     size_t want, size_t *ret_bad, struct xerr *err)
{
	_cleanup_msg_ struct msg a = {0};
	int rc;

	if (m->fd < 0)
		return xerr_set(err, XO_EPEERDIED, PROGRAM " (pid %d): ended", (int)m->pid);
	rc = msg_send(m->fd, op, 0, body.p, body.len_bytes, fds, nr_fds);
	if (!rc)
		rc = msg_recv(m->fd, ANSWER_TIMEOUT_MS, &a);
	if (rc)
		return mon_lost(m, rc, err);
	if (a.head.op != op || a.head.nr_fds || (!a.head.status && a.head.len_bytes != want))
		return mon_lost(m, XO_EPROTO, err);
	if (a.head.status)
		return mon_take_error(&a, ret_bad, err);
	if (want && ret && !span_copy(msg_span(&a), 0, ret, want))
		return mon_lost(m, XO_EPROTO, err);
	return 0;
}

static int simple(struct mon *m, uint32_t op, struct xerr *err)
{
	return mon_call(m, op, SPAN(NULL, 0), NULL, 0, NULL, 0, NULL, err);
}

static int start_body(struct xbuf *b, const struct mon_vm *vm)
{
	struct wire_start head = {
		.version = MON_WIRE_VERSION,
		.accel = vm->accel,
		.pid = vm->pid,
		.nr_vcpus = (uint32_t)vm->nr_vcpus,
		.nr_regions = (uint32_t)vm->nr_regions,
		.nr_backends = (uint32_t)vm->nr_backends,
	};
	int rc = xbuf_add(b, &head, sizeof(head));

	for (size_t i = 0; i < vm->nr_vcpus && !rc; i++) {
		int32_t tid = vm->tid[i];

		rc = xbuf_add(b, &tid, sizeof(tid));
	}
	for (size_t i = 0; i < vm->nr_regions && !rc; i++) {
		const struct mon_region *r = &vm->region[i];
		struct wire_region w = {
			.gpa = r->gpa.v,
			.len_bytes = r->len_bytes,
			.hva = r->hva.v,
			.backend_off = r->backend_off,
			.backend = r->backend,
			.rom = r->rom,
		};

		rc = xbuf_add(b, &w, sizeof(w));
	}
	return rc;
}

int mon_start(struct mon **ret, const struct mon_vm *vm, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf body = XBUF(BODY_MAX);
	struct mon *m;
	int rc;

	if (vm->nr_vcpus > MON_MAX_VCPUS || vm->nr_regions > MON_MAX_REGIONS ||
	    vm->nr_backends > MON_MAX_BACKENDS)
		return xerr_set(err, XO_ELIMIT, "VM: %zu vCPUs, %zu regions, %zu backends",
				vm->nr_vcpus, vm->nr_regions, vm->nr_backends);
	m = calloc(1, sizeof(*m));
	if (!m || start_body(&body, vm)) {
		free(m);
		return xerr_set(err, ENOMEM, "monitor: out of memory");
	}
	*m = (struct mon){.fd = -1, .pid = -1, .events = -1, .nr_vcpus = vm->nr_vcpus};
	rc = spawn(m, err);
	if (!rc)
		rc = mon_call(m, MON_OP_START, xbuf_span(&body), vm->backend_fd, vm->nr_backends,
			      NULL, 0, NULL, err);
	if (rc) {
		mon_free(m);
		return rc;
	}
	*ret = m;
	return 0;
}

static int add_record(struct xbuf *b, const struct mon_write *w)
{
	struct wire_write head = {
		.gpa = w->gpa.v,
		.gva = w->gva.v,
		.len_bytes = w->len_bytes,
	};
	int rc = xbuf_add(b, &head, sizeof(head));

	if (!rc)
		rc = xbuf_add(b, w->expected, w->len_bytes);
	return rc ? rc : xbuf_add(b, w->replacement, w->len_bytes);
}

int mon_plan(struct mon *m, const struct mon_write *w, size_t nr, struct xerr *err)
{
	uint32_t flags = WIRE_PLAN_FIRST;
	size_t done = 0;

	if (nr > MON_MAX_WRITES)
		return xerr_set(err, XO_EPLAN, "plan: %zu records; the limit is %d", nr,
				MON_MAX_WRITES);
	do {
		_cleanup_xbuf_ struct xbuf b = XBUF(BODY_MAX);
		struct wire_plan head = {.flags = flags};
		int rc = xbuf_add(&b, &head, sizeof(head));

		for (; done < nr && !rc; done++) {
			size_t len = w[done].len_bytes;

			if (len > MON_MAX_WRITE_BYTES)
				return xerr_set(err, XO_EPLAN, "plan record %zu: %zu bytes", done,
						len);
			if (sizeof(struct wire_write) + 2 * len > BODY_MAX - b.len_bytes)
				break;
			rc = add_record(&b, &w[done]);
			head.nr++;
		}
		if (done == nr)
			head.flags |= WIRE_PLAN_LAST;
		if (rc)
			return xerr_set(err, rc, "plan: out of memory");
		memcpy(b.data, &head, sizeof(head));
		rc = mon_call(m, MON_OP_PLAN, xbuf_span(&b), NULL, 0, NULL, 0, NULL, err);
		if (rc)
			return rc;
		flags = 0;
	} while (done < nr);
	return 0;
}

int mon_gdb(struct mon *m, int fd, bool resume, struct xerr *err)
{
	struct wire_gdb w = {.resume = resume};

	return mon_call(m, MON_OP_GDB, SPAN(&w, sizeof(w)), &fd, 1, NULL, 0, NULL, err);
}

int mon_hold(struct mon *m, struct xerr *err)
{
	return simple(m, MON_OP_HOLD, err);
}

int mon_regs(struct mon *m, struct mon_regs *ret, struct xerr *err)
{
	return mon_call(m, MON_OP_REGS, SPAN(NULL, 0), NULL, 0, ret, m->nr_vcpus * sizeof(*ret),
			NULL, err);
}

int mon_commit(struct mon *m, size_t *ret_bad, struct xerr *err)
{
	return mon_call(m, MON_OP_COMMIT, SPAN(NULL, 0), NULL, 0, NULL, 0, ret_bad, err);
}

int mon_release(struct mon *m, struct mon_times *times, struct xerr *err)
{
	return mon_call(m, MON_OP_RELEASE, SPAN(NULL, 0), NULL, 0, times, sizeof(*times), NULL,
			err);
}

int mon_run(struct mon *m, struct mon_times *times, size_t *ret_bad, struct xerr *err)
{
	return mon_call(m, MON_OP_RUN, SPAN(NULL, 0), NULL, 0, times, sizeof(*times), ret_bad, err);
}

int mon_read(struct mon *m, struct gpa gpa, void *buf, size_t len_bytes, struct xerr *err)
{
	struct wire_read w = {.gpa = gpa.v, .len_bytes = (uint32_t)len_bytes};

	if (len_bytes > MON_MAX_READ)
		return xerr_set(err, XO_ELIMIT, "read of %zu bytes; the limit is %d", len_bytes,
				MON_MAX_READ);
	return mon_call(m, MON_OP_READ, SPAN(&w, sizeof(w)), NULL, 0, buf, len_bytes, NULL, err);
}

pid_t mon_pid(const struct mon *m)
{
	return m->pid;
}

/* It ends when its socket does; one that does not is killed. */
static void reap(pid_t pid)
{
	uint64_t deadline_ns = xo_now_ns() + END_TIMEOUT_MS * UINT64_C(1000000);

	while (waitpid(pid, NULL, WNOHANG) == 0) {
		if (xo_now_ns() >= deadline_ns) {
			(void)kill(pid, SIGKILL);
			(void)waitpid(pid, NULL, 0);
			return;
		}
		xo_sleep_ns(1000000);
	}
}

void mon_end(struct mon *m)
{
	if (m->fd >= 0)
		(void)shutdown(m->fd, SHUT_RDWR);
	if (m->events >= 0)
		(void)shutdown(m->events, SHUT_RDWR);
	xo_close_ptr(&m->fd);
	xo_close_ptr(&m->events);
	m->fd = m->events = -1;
}

void mon_free(struct mon *m)
{
	if (!m)
		return;
	xo_close_ptr(&m->fd);
	xo_close_ptr(&m->events);
	if (m->pid > 0)
		reap(m->pid);
	free(m);
}
