// SPDX-License-Identifier: Apache-2.0
/*
 * Memory of the three processes of an apply, besides the mapping of guest RAM.
 * Each is looked at again and again until it ends; its peak is the highest sum
 * of anonymous and file pages (shared libraries count in each), or what the
 * kernel's own high-water mark leaves without shared memory, if that is more.
 * The sum adds peaks that need not be at the same time.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/util.h"
#include "tests/lib/bench.h"
#include "tests/lib/patching.h"

#define ROUNDS	    10
#define LOOK_NS	    300000
#define APPLY_MS    20000
#define LIMIT_MIB   64
#define MAX_HELPERS 8

enum role { AGENT, LENS, MONITOR, NR_ROLES };

static const struct {
	const char *comm; /* TASK_COMM_LEN cuts it */
	const char *figure;
} roles[NR_ROLES] = {
	[AGENT] = {"exopatch", "memory of an apply: exopatch"},
	[LENS] = {"exopatch-lens", "memory of an apply: exopatch-lens"},
	[MONITOR] = {"exopatch-monito", "memory of an apply: exopatch-monitor"},
};

struct run {
	struct guest *g;
	char package[256];
	char state[160];
	struct bench_series peak[NR_ROLES], anon, sum, shared; /* MiB */
};

/* The highest seen of one process, KiB. */
struct usage {
	double peak, anon, shmem;
};

static void die(const char *what)
{
	(void)fprintf(stderr, "bench_memory: %s failed\n", what);
	exit(1);
}

static bool read_proc(pid_t pid, const char *what, struct xbuf *ret)
{
	char path[80];

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
	ret->len_bytes = 0;
	return !xbuf_read_file(ret, path) && !xbuf_add(ret, "", 1);
}

static double field(const struct xbuf *status, const char *name)
{
	const char *at = strstr((const char *)status->data, name);

	return at ? strtod(at + strlen(name), NULL) : 0;
}

static double larger(double a, double b)
{
	return a > b ? a : b;
}

static void look_at(pid_t pid, struct usage u[NR_ROLES])
{
	_cleanup_xbuf_ struct xbuf status = XBUF(65536);
	char comm[32] = "";

	if (!read_proc(pid, "status", &status) ||
	    sscanf((const char *)status.data, "Name: %31s", comm) != 1)
		return;
	for (size_t i = 0; i < NR_ROLES; i++) {
		double anon = field(&status, "\nRssAnon:");
		double own = anon + field(&status, "\nRssFile:");
		double shmem = field(&status, "\nRssShmem:");
		double hwm = field(&status, "\nVmHWM:");

		if (strcmp(comm, roles[i].comm) != 0)
			continue;
		u[i].anon = larger(u[i].anon, anon);
		u[i].shmem = larger(u[i].shmem, shmem);
		u[i].peak = larger(u[i].peak, larger(own, hwm - u[i].shmem));
	}
}

static void look_at_all(pid_t agent, struct usage u[NR_ROLES])
{
	_cleanup_xbuf_ struct xbuf list = XBUF(65536);
	char path[64], *at, *end;

	look_at(agent, u);
	(void)snprintf(path, sizeof(path), "task/%d/children", (int)agent);
	if (!read_proc(agent, path, &list))
		return;
	at = (char *)list.data;
	for (int i = 0; i < MAX_HELPERS; i++) {
		long pid = strtol(at, &end, 10);

		if (end == at)
			return;
		look_at((pid_t)pid, u);
		at = end;
	}
}

static void watch_apply(struct run *r, struct usage u[NR_ROLES])
{
	char program[256];
	const char *const argv[] = {run_build_path("exopatch", program, sizeof(program)),
				    "apply",
				    "--trust=build/dev-keys/trust",
				    r->state,
				    "--qmp",
				    guest_qmp_path(r->g),
				    r->package,
				    NULL};
	const char *const env[] = {"EXOPATCH_FAULT=agent_held=pause:5", NULL};
	uint64_t end = xo_now_ns() + APPLY_MS * UINT64_C(1000000);
	_cleanup_close_ int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	pid_t pid = proc_spawn(argv, env, null_fd, -1, NULL);
	siginfo_t info = {0};

	if (pid < 0)
		die("exopatch");
	while (xo_now_ns() < end && !waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) &&
	       !info.si_pid) {
		look_at_all(pid, u);
		xo_sleep_ns(LOOK_NS);
	}
	if (proc_reap(pid, 0) != 0)
		die("apply");
}

static void one_round(struct run *r)
{
	_cleanup_exo_ struct exo e = {0};
	struct usage u[NR_ROLES] = {0};
	double sum = 0, anon = 0, shared = 0;

	watch_apply(r, u);
	for (size_t i = 0; i < NR_ROLES; i++) {
		if (u[i].peak <= 0)
			die(roles[i].comm);
		bench_note(&r->peak[i], u[i].peak / 1024);
		sum += u[i].peak;
		anon += u[i].anon;
		shared += u[i].shmem;
	}
	bench_note(&r->sum, sum / 1024);
	bench_note(&r->anon, anon / 1024);
	bench_note(&r->shared, shared / 1024);
	if (EXO(&e, r->g, "revert", "bench") || e.rc)
		die("revert");
}

int main(int argc, char **argv)
{
	struct bench *b = bench_open(argc, argv, "memory");
	const struct bench_figure limit = {.max = LIMIT_MIB};
	static struct run r;

	if (patching_setup() || guest_boot(&r.g, &(struct guest_opts){0}))
		return 1;
	if (patch_build(GUEST_6_1, "cmdline", "bench", NULL, r.package, sizeof(r.package)))
		die("exopatch-build");
	(void)snprintf(r.state, sizeof(r.state), "--state=%s/state", patching_dir());
	for (size_t i = 0; i < ROUNDS; i++)
		one_round(&r);
	guest_free(r.g);
	patching_teardown();
	for (size_t i = 0; i < NR_ROLES; i++)
		bench_series(b, &r.peak[i], roles[i].figure, "MiB", NULL);
	bench_series(b, &r.shared, "memory of an apply: guest RAM touched", "MiB", NULL);
	bench_series(b, &r.anon, "memory of an apply: anonymous, sum of peaks", "MiB", NULL);
	bench_series(b, &r.sum, "memory of an apply: all but guest RAM, sum of peaks", "MiB",
		     &limit);
	return bench_close(b);
}
