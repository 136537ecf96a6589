// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/util.h"

#define NS_PER_MS	1000000U
#define OUTPUT_MAX	(16U << 20)
#define EXOPATCH_MAX_MS 60000

void run_result_free(struct run_result *r)
{
	free(r->out);
	free(r->err);
	*r = (struct run_result){0};
}

static void child_exec(const char *const argv[], const char *const env[], int out_fd, int err_fd,
		       const int *keep_fds, pid_t parent) __attribute__((noreturn));

/* Between fork and exec: nothing here may allocate, but putenv and execvp do so only once. */
static void child_exec(const char *const argv[], const char *const env[], int out_fd, int err_fd,
		       const int *keep_fds, pid_t parent)
{
	int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 ||
	    (out_fd >= 0 && dup2(out_fd, STDOUT_FILENO) < 0) ||
	    (err_fd >= 0 && dup2(err_fd, STDERR_FILENO) < 0))
		_exit(126);
	for (; keep_fds && *keep_fds >= 0; keep_fds++)
		fcntl(*keep_fds, F_SETFD, 0);
	for (; env && *env; env++)
		putenv((char *)(uintptr_t)*env);
	execvp(argv[0], (char *const *)(uintptr_t)argv);
	dprintf(STDERR_FILENO, "%s: cannot be run\n", argv[0]);
	_exit(127);
}

pid_t proc_spawn(const char *const argv[], const char *const env[], int out_fd, int err_fd,
		 const int *keep_fds)
{
	pid_t parent = getpid();
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (!pid)
		child_exec(argv, env, out_fd, err_fd, keep_fds, parent);
	return pid;
}

int proc_reap(pid_t pid, unsigned int timeout_ms)
{
	_cleanup_close_ int fd = pidfd_open(pid, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int status = 0;

	if (fd < 0 || poll(&p, 1, (int)timeout_ms) <= 0)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

/* What a pipe holds now; *@open is cleared at its end. Past the cap output is dropped. */
static int drain(int fd, struct xbuf *b, bool *open)
{
	uint8_t chunk[65536];
	ssize_t n;

	while ((n = read(fd, chunk, sizeof(chunk))) > 0) {
		if (xbuf_add(b, chunk, (size_t)n) == -ENOMEM)
			return -ENOMEM;
	}
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return -errno;
	*open = n < 0;
	return 0;
}

/*
 * Output until the program ends, not until the pipes do: something it left
 * behind may hold them open.
 */
static int collect(int pidfd, const int fd[2], struct xbuf b[2], uint64_t end_ns)
{
	struct pollfd p[3] = {{.fd = pidfd, .events = POLLIN},
			      {.fd = fd[0], .events = POLLIN},
			      {.fd = fd[1], .events = POLLIN}};
	bool ended = false;

	while (!ended) {
		uint64_t now_ns = xo_now_ns();

		if (now_ns >= end_ns)
			return -ETIMEDOUT;
		if (poll(p, 3, (int)((end_ns - now_ns) / NS_PER_MS) + 1) < 0 && errno != EINTR)
			return -errno;
		ended = p[0].revents != 0;
		for (int i = 0; i < 2; i++) {
			bool open = true;
			int r = p[i + 1].fd < 0 ? 0 : drain(fd[i], &b[i], &open);

			if (r)
				return r;
			if (!open)
				p[i + 1].fd = -1;
		}
	}
	return 0;
}

static int run_piped(const char *const argv[], const char *const env[], unsigned int timeout_ms,
		     struct xbuf b[2], int *status)
{
	uint64_t end_ns = xo_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	_cleanup_close_ int out_r = -1, out_w = -1, err_r = -1, err_w = -1, pidfd = -1;
	int fd[2];
	pid_t pid;
	int r;

	if (pipe2(fd, O_CLOEXEC))
		return -errno;
	out_r = fd[0];
	out_w = fd[1];
	if (pipe2(fd, O_CLOEXEC))
		return -errno;
	err_r = fd[0];
	err_w = fd[1];
	if (fcntl(out_r, F_SETFL, O_NONBLOCK) || fcntl(err_r, F_SETFL, O_NONBLOCK))
		return -errno;
	pid = proc_spawn(argv, env, out_w, err_w, NULL);
	if (pid < 0)
		return (int)pid;
	pidfd = pidfd_open(pid, 0);
	r = pidfd < 0 ? -errno : collect(pidfd, (const int[]){out_r, err_r}, b, end_ns);
	*status = proc_reap(pid, 0);
	return r;
}

static char *text_of(const struct xbuf *b)
{
	char *s = malloc(b->len_bytes + 1);

	if (s) {
		if (b->len_bytes)
			memcpy(s, b->data, b->len_bytes);
		s[b->len_bytes] = '\0';
	}
	return s;
}

int run_program(const char *const argv[], const char *const env[], unsigned int timeout_ms,
		struct run_result *res)
{
	struct xbuf b[2] = {XBUF(OUTPUT_MAX), XBUF(OUTPUT_MAX)};
	struct run_result got = {0};
	uint64_t start_ns = xo_now_ns();
	int status = 0;
	int r;

	r = run_piped(argv, env, timeout_ms, b, &status);
	got.wall_ns = xo_now_ns() - start_ns;
	got.out = text_of(&b[0]);
	got.err = text_of(&b[1]);
	if (!r && (!got.out || !got.err))
		r = -ENOMEM;
	if (r) {
		fprintf(stderr, "%s: %s\n%s%s", argv[0], strerror(-r), got.out ? got.out : "",
			got.err ? got.err : "");
		run_result_free(&got);
	} else {
		got.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
		got.rc = got.signal ? 128 + got.signal : WEXITSTATUS(status);
		*res = got;
	}
	xbuf_free(&b[0]);
	xbuf_free(&b[1]);
	return r;
}

void use_built_programs(void)
{
	const char *build = getenv("BUILD");

	if (setenv("EXOPATCH_LIBEXEC", build ? build : "build", 0))
		perror("EXOPATCH_LIBEXEC");
}

char *run_build_path(const char *name, char *path, size_t size)
{
	const char *build = getenv("BUILD");

	snprintf(path, size, "%s/%s", build ? build : "build", name);
	return path;
}

int run_exopatch(const char *const args[], const char *const env[], char **out, char **err, int *rc)
{
	_cleanup_run_ struct run_result res = {0};
	const char *argv[64] = {0};
	char path[256];
	size_t n = 0;
	int r;

	argv[n++] = run_build_path("exopatch", path, sizeof(path));
	for (; *args; args++) {
		if (n == XO_ARRAY_SIZE(argv) - 1)
			return -E2BIG;
		argv[n++] = *args;
	}
	r = run_program(argv, env, EXOPATCH_MAX_MS, &res);
	if (r)
		return r;
	*rc = res.rc;
	if (out)
		*out = XO_TAKE_PTR(res.out);
	if (err)
		*err = XO_TAKE_PTR(res.err);
	return 0;
}

int proc_own_mounts(void)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -errno;
	return 0;
}
