// SPDX-License-Identifier: Apache-2.0
/* The supervisor, with guards that do nothing but die in several ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "base/util.h"
#include "tests/lib/attfix.h"
#include "tests/lib/patience.h"
#include "tests/lib/proc.h"
#include "vmm-agent/agent/supervise.h"

/* Where the log is, also for the supervisor that a guard of ours starts: not the machine's own. */
#define STATE_DIR "EXOPATCH_TEST_STATE_DIR"

static struct agent_guard_opts opts = {.agent.target.qmp_path = "/nowhere", .stop_fd = -1};

static char dir[ATTFIX_PATH];

static int make_state_dir(void **state)
{
	static char path[ATTFIX_PATH + 8];

	(void)state;
	attfix_dir(dir);
	(void)snprintf(path, sizeof(path), "%s/state", dir);
	opts.agent.state_dir = path;
	return setenv(STATE_DIR, path, 1);
}

/* A recorder may outlive its supervisor by a moment, and make a file meanwhile. */
static int remove_state_dir(void **state)
{
	const uint64_t until_ns = patience_ns();
	int rc;

	(void)state;
	do {
		_cleanup_run_ struct run_result res = {0};

		rc = run_program((const char *[]){"rm", "-rf", dir, NULL}, NULL, PATIENCE_MS, &res);
		rc = rc ? rc : res.rc;
	} while (rc && patience_left(until_ns));
	return rc;
}

static int refuses(const struct agent_guard_opts *o, struct link *l, bool *ret_ended,
		   struct refusal *why, struct xerr *err)
{
	(void)o;
	(void)l;
	(void)err;
	refusal_add(why, XO_EARCH, "it is a toaster");
	refusal_add(why, XO_ELOCKED, "somebody toasts");
	*ret_ended = true;
	return 0;
}

static void the_outcome_is_passed_on(void **state)
{
	_cleanup_refusal_ struct refusal why = {0};
	struct xerr err = {0};

	(void)state;
	assert_int_equal(supervise(&opts, refuses, &why, &err), 0);
	assert_int_equal(why.nr, 2);
	assert_int_equal(why.reason[1].code, XO_ELOCKED);
	assert_string_equal(why.reason[0].detail, "it is a toaster");
}

static int fails(const struct agent_guard_opts *o, struct link *l, bool *ret_ended,
		 struct refusal *why, struct xerr *err)
{
	(void)o;
	(void)l;
	(void)why;
	*ret_ended = true;
	return xerr_set(err, XO_EQMP, "QEMU is asleep");
}

static void so_is_an_error(void **state)
{
	_cleanup_refusal_ struct refusal why = {0};
	struct xerr err = {0};

	(void)state;
	assert_int_equal(supervise(&opts, fails, &why, &err), -XO_EQMP);
	assert_string_equal(err.text, "QEMU is asleep");
}

/* Four guards: each finds what the one before gave away, and dies; the last one ends. */
static int dies(const struct agent_guard_opts *o, struct link *l, bool *ret_ended,
		struct refusal *why, struct xerr *err)
{
	char text[16] = "";

	(void)o;
	(void)why;
	if (l->kept->restarts == 0) {
		int fd = memfd_create("test", 0);

		if (fd < 0 || write(fd, "golden", 6) != 6)
			_exit(1);
		link_give(l, LINK_GOLDEN, fd);
		link_give(l, LINK_UFFD, fd);
		link_give(l, LINK_UFFD, -1);
		raise(SIGKILL);
	}
	if (l->fd[LINK_UFFD] != -1 || pread(l->fd[LINK_GOLDEN], text, 6, 0) != 6 ||
	    strcmp(text, "golden") != 0) {
		*ret_ended = true;
		return xerr_set(err, XO_EINTERNAL, "what was given away is not there");
	}
	*ret_ended = l->kept->restarts == 3;
	if (l->kept->restarts == 1)
		_exit(0); /* a clean end is none either, as long as it does not say so */
	return -XO_EPEERDIED;
}

static void it_hands_on_what_it_holds(void **state)
{
	_cleanup_refusal_ struct refusal why = {0};
	struct xerr err = {0};

	(void)state;
	assert_int_equal(supervise(&opts, dies, &why, &err), -XO_EPEERDIED);
}

/* Dies at once, for ever. */
static int crashes(const struct agent_guard_opts *o, struct link *l, bool *ret_ended,
		   struct refusal *why, struct xerr *err)
{
	uint64_t one = 1;

	(void)ret_ended;
	(void)why;
	(void)err;
	if (l->kept->rapid == 6 && write(o->stop_fd, &one, sizeof(one)) != sizeof(one))
		abort();
	return -XO_EINTERNAL;
}

/* 0, 0, 0, 0.1, 0.2, 0.4 s between them; and it can be told to stop while there is none. */
static void it_does_not_spin(void **state)
{
	struct agent_guard_opts o = opts;
	_cleanup_refusal_ struct refusal why = {0};
	uint64_t start = xo_now_ns();
	struct xerr err = {0};

	(void)state;
	o.stop_fd = eventfd(0, EFD_CLOEXEC);
	assert_true(o.stop_fd >= 0);
	assert_int_equal(supervise(&o, crashes, &why, &err), 0);
	assert_true(xo_now_ns() - start > UINT64_C(700000000));
	assert_true(xo_now_ns() - start < UINT64_C(30000000000));
	close(o.stop_fd);
}

static int waits(const struct agent_guard_opts *o, struct link *l, bool *ret_ended,
		 struct refusal *why, struct xerr *err)
{
	bool stop = false, started = false;

	(void)o;
	(void)why;
	while (!stop) {
		struct pollfd p = {.fd = l->sock, .events = POLLIN};

		poll(&p, 1, -1);
		link_tend(l, &stop, &started);
	}
	*ret_ended = true;
	return xerr_set(err, XO_ETIMEOUT, "told to stop");
}

static void it_tells_the_guard_to_stop(void **state)
{
	struct agent_guard_opts o = opts;
	_cleanup_refusal_ struct refusal why = {0};
	struct xerr err = {0};

	(void)state;
	o.stop_fd = eventfd(1, EFD_CLOEXEC);
	assert_true(o.stop_fd >= 0);
	assert_int_equal(supervise(&o, waits, &why, &err), -XO_ETIMEOUT);
	assert_string_equal(err.text, "told to stop");
	close(o.stop_fd);
}

static bool is_stopped(pid_t pid)
{
	char path[64], text[256] = "";
	_cleanup_close_ int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && strstr(text, ") T ");
}

/* Its supervisor does not answer for seconds: it has another one started, which is this program,
 * and goes on with that. Then the first one wakes up. */
static int is_left_alone(const struct agent_guard_opts *o, struct link *l, bool *ret_ended,
			 struct refusal *why, struct xerr *err)
{
	bool stop = false, started = false;
	pid_t old = getppid();
	int fd = memfd_create("test", MFD_CLOEXEC);

	(void)o;
	(void)why;
	*ret_ended = true;
	while (__atomic_load_n(&l->kept->owner, __ATOMIC_SEQ_CST) == -old)
		xo_sleep_ns(1000000); /* it is still starting this guard */
	if (l->kept->restarts || l->kept->owner != old || kill(old, SIGSTOP))
		return xerr_set(err, XO_EINTERNAL, "it is not the first guard");
	while (!is_stopped(old))
		xo_sleep_ns(1000000);
	link_give(l, LINK_GOLDEN, fd);
	for (int i = 0; i < 100 && !started; i++) {
		link_tend(l, &stop, &started);
		xo_sleep_ns(50000000);
	}
	if (!started || l->kept->owner == old || l->kept->owner <= 0)
		_exit(1);
	(void)kill(old, SIGCONT);
	xo_sleep_ns(500000000);
	return 0;
}

/* There is one supervisor: the first one ends when it wakes, and starts no guard of its own. */
static void one_that_was_replaced_ends(void **state)
{
	_cleanup_refusal_ struct refusal why = {0};
	struct xerr err = {0};
	uint64_t start = xo_now_ns();

	(void)state;
	assert_int_equal(supervise(&opts, is_left_alone, &why, &err), -XO_EPEERDIED);
	assert_non_null(strstr(err.text, "another one"));
	assert_true(xo_now_ns() - start > UINT64_C(1000000000));
}

int main(void)
{
	struct xerr err = {0};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_outcome_is_passed_on),
		cmocka_unit_test(so_is_an_error),
		cmocka_unit_test(it_hands_on_what_it_holds),
		cmocka_unit_test(it_does_not_spin),
		cmocka_unit_test(it_tells_the_guard_to_stop),
		cmocka_unit_test(one_that_was_replaced_ends),
	};

	/* A guard of ours has started it as its supervisor (link.c). */
	opts.agent.state_dir = getenv(STATE_DIR);
	if (getenv("EXOPATCH_SUPERVISE"))
		return supervise(&opts, waits, &(struct refusal){0}, &err) != 0;
	return cmocka_run_group_tests(tests, make_state_dir, remove_state_dir);
}
