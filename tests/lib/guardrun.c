// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/guardrun.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>

#include "base/util.h"
#include "tests/lib/patching.h"

#define MAX_ARGS 32
#define START_MS 20000
#define STOP_MS	 20000
#define POLL_NS	 UINT64_C(5000000)
#define NS_PER_S UINT64_C(1000000000)

#define VM_ARGS 8

struct guardrun {
	const char *vm[VM_ARGS]; /* how exopatch finds it, NULL-terminated */
	pid_t pid;
	char path[192];
	FILE *events;
	char line[65536];
	size_t len;
	json_int_t seq;
	unsigned int missing;
};

static int ask(struct exo *e, const struct guardrun *r, const char *what)
{
	return exo_run_on(e, r->vm, NULL, (const char *const[]){"guard", what, NULL});
}

/* A guard starts another supervisor when its own dies, and that one another guard: neither may see
 * the other's end. */
static void end_both(pid_t supervisor)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[64];
	int child;

	(void)kill(supervisor, SIGSTOP);
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)supervisor, (int)supervisor);
	f = fopen(path, "re");
	while (f && fscanf(f, "%d", &child) == 1)
		(void)kill(child, SIGKILL);
	(void)kill(supervisor, SIGKILL);
}

/* Return: the wait status of what was started, which has @ms to end by itself */
static int reap(struct guardrun *r, unsigned int ms)
{
	_cleanup_close_ int fd = pidfd_open(r->pid, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int status;

	if (fd < 0 || poll(&p, 1, (int)ms) <= 0)
		end_both(r->pid);
	status = proc_reap(r->pid, STOP_MS);
	r->pid = -1;
	return status;
}

static bool stops(const struct guardrun *r)
{
	_cleanup_exo_ struct exo e = {0};

	return !ask(&e, r, "stop") && e.rc == 0;
}

static void guardrun_free(struct guardrun *r)
{
	if (r->pid > 0)
		(void)reap(r, stops(r) ? STOP_MS : 0);
	if (r->events)
		fclose(r->events);
	unlink(r->path);
	free(r);
}

static bool is_on(const struct guardrun *r)
{
	_cleanup_exo_ struct exo e = {0};

	return !ask(&e, r, "status") && e.rc == 0;
}

/* It is told where to say things, so the file is there before it is. */
static bool wait_on(struct guardrun *r)
{
	uint64_t end_ns = xo_now_ns() + START_MS * UINT64_C(1000000);
	json_t *event;

	while ((event = guardrun_next(r, end_ns))) {
		bool on = !strcmp(guardrun_says(event, "kind"), "guard-on");

		json_decref(event);
		if (on)
			return is_on(r);
	}
	return false;
}

static pid_t spawn(const struct guardrun *r, const char *mode, const char *const options[],
		   const char *const env[])
{
	char exopatch[256], state[160];
	const char *argv[MAX_ARGS + 1] = {run_build_path("exopatch", exopatch, sizeof(exopatch)),
					  "guard"};
	size_t nr = 2;

	snprintf(state, sizeof(state), "--state=%s/state", patching_dir());
	for (size_t i = 0; r->vm[i]; i++)
		argv[nr++] = r->vm[i];
	argv[nr++] = state;
	argv[nr++] = "--trust=build/dev-keys/trust";
	argv[nr++] = "--events";
	argv[nr++] = r->path;
	argv[nr++] = "--mode";
	argv[nr++] = mode;
	for (size_t i = 0; options && options[i] && nr < MAX_ARGS; i++)
		argv[nr++] = options[i];
	return proc_spawn(argv, env, -1, -1, NULL);
}

static struct guardrun *start(const char *const vm[], const char *mode, const char *const options[],
			      const char *const env[])
{
	static unsigned int nr; /* each has a file of its own */
	struct guardrun *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	for (size_t i = 0; i < VM_ARGS - 1 && vm[i]; i++)
		r->vm[i] = vm[i];
	snprintf(r->path, sizeof(r->path), "%s/events-%u", patching_dir(), nr++);
	unlink(r->path);
	r->events = fopen(r->path, "w+e");
	if (r->events)
		r->pid = spawn(r, mode, options, env);
	if (r->pid > 0 && wait_on(r))
		return r;
	fprintf(stderr, "guard: does not come up\n");
	guardrun_free(r);
	return NULL;
}

struct guardrun *guardrun_start_on(const char *const vm[], const char *mode, const char *option)
{
	const char *const options[] = {option, NULL};

	return start(vm, mode, options, NULL);
}

struct guardrun *guardrun_start_with(struct guest *g, const char *mode, const char *const options[],
				     const char *const env[])
{
	const char *const vm[] = {"--qmp", guest_qmp_path(g), NULL};

	return start(vm, mode, options, env);
}

struct guardrun *guardrun_start(struct guest *g, const char *mode, const char *option)
{
	const char *const options[] = {option, NULL};

	return guardrun_start_with(g, mode, options, NULL);
}

int guardrun_stop(struct guardrun *r)
{
	int status;
	bool ok;

	if (!r)
		return 0;
	ok = stops(r);
	status = reap(r, ok ? STOP_MS : 0);
	guardrun_free(r);
	if (ok && WIFEXITED(status) && !WEXITSTATUS(status))
		return 0;
	fprintf(stderr, "guard: ended with wait status %#x\n", (unsigned int)status);
	return -EIO;
}

/* The same number twice is the same event, written twice. */
static json_t *count(struct guardrun *r, json_t *event)
{
	json_int_t seq = json_integer_value(json_object_get(event, "seq"));

	if (seq > r->seq + 1)
		r->missing += (unsigned int)(seq - r->seq - 1);
	if (seq > r->seq)
		r->seq = seq;
	return event;
}

json_t *guardrun_next(struct guardrun *r, uint64_t end_ns)
{
	for (;;) {
		while (r->len + 1 < sizeof(r->line)) {
			int c = fgetc(r->events);

			if (c == EOF || c == '\n')
				break;
			r->line[r->len++] = (char)c;
		}
		if (feof(r->events)) {
			clearerr(r->events);
			if (xo_now_ns() >= end_ns)
				return NULL;
			xo_sleep_ns(POLL_NS);
			continue;
		}
		r->line[r->len] = '\0';
		r->len = 0;
		return count(r, json_loads(r->line, JSON_REJECT_DUPLICATES, NULL));
	}
}

pid_t guardrun_pid(const struct guardrun *r)
{
	return r->pid;
}

json_t *guardrun_status(struct guardrun *r)
{
	_cleanup_exo_ struct exo e = {0};

	if (ask(&e, r, "status") || e.rc)
		return NULL;
	return json_incref(json_object_get(e.doc, "guard"));
}

json_int_t guardrun_number(struct guardrun *r, const char *key)
{
	json_t *status = guardrun_status(r);
	json_int_t n = status ? json_integer_value(json_object_get(status, key)) : -1;

	json_decref(status);
	return n;
}

json_t *guardrun_find(struct guardrun *r, const char *kind, unsigned int ms)
{
	uint64_t end_ns = xo_now_ns() + ms * UINT64_C(1000000);
	json_t *event;

	while ((event = guardrun_next(r, end_ns))) {
		if (!strcmp(guardrun_says(event, "kind"), kind))
			return event;
		json_decref(event);
	}
	return NULL;
}

bool guardrun_saw(struct guardrun *r, const char *kind, unsigned int ms)
{
	json_t *event = guardrun_find(r, kind, ms);

	json_decref(event);
	return event != NULL;
}

unsigned int guardrun_missing(const struct guardrun *r)
{
	return r->missing;
}

int guardrun_wait(struct guardrun *r, unsigned int ms)
{
	return reap(r, ms);
}

void guardrun_drop(struct guardrun *r)
{
	if (r)
		guardrun_free(r);
}

unsigned int guardrun_settle(struct guardrun *r, unsigned int ms)
{
	uint64_t end_ns = xo_now_ns() + ms * UINT64_C(1000000);
	unsigned int others = 0;
	json_t *event;

	while ((event = guardrun_next(r, end_ns))) {
		const char *verdict = guardrun_says(event, "verdict");

		if (*verdict && strcmp(verdict, "kept") != 0) {
			fprintf(stderr, "guard: %s\n", r->line);
			others++;
			end_ns = xo_now_ns() + ms * UINT64_C(1000000);
		}
		json_decref(event);
	}
	return others;
}

uint64_t guardrun_time_ns(const json_t *event)
{
	struct tm tm = {0};
	const char *rest = strptime(guardrun_says(event, "time"), "%Y-%m-%dT%H:%M:%S", &tm);

	if (!rest || *rest != '.')
		return 0;
	return (uint64_t)timegm(&tm) * NS_PER_S + strtoull(rest + 1, NULL, 10);
}

const char *guardrun_says(const json_t *event, const char *key)
{
	const char *s = json_string_value(json_object_get(event, key));

	return s ? s : "";
}
