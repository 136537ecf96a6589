// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/guardrun.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "base/util.h"
#include "tests/lib/patching.h"

#define START_MS 20000
#define STOP_MS	 20000
#define POLL_NS	 UINT64_C(5000000)
#define NS_PER_S UINT64_C(1000000000)

struct guardrun {
	struct guest *guest;
	pid_t pid;
	char path[192];
	FILE *events;
	char line[65536];
	size_t len;
};

static void guardrun_free(struct guardrun *r)
{
	if (r->pid > 0)
		(void)proc_reap(r->pid, 0);
	if (r->events)
		fclose(r->events);
	unlink(r->path);
	free(r);
}

static bool is_on(struct guest *g)
{
	_cleanup_exo_ struct exo e = {0};

	return !EXO(&e, g, "guard", "status") && e.rc == 0;
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
			return is_on(r->guest);
	}
	return false;
}

struct guardrun *guardrun_start(struct guest *g, const char *mode, const char *option)
{
	struct guardrun *r = calloc(1, sizeof(*r));
	char exopatch[256], state[160];

	if (!r)
		return NULL;
	snprintf(state, sizeof(state), "--state=%s/state", patching_dir());
	snprintf(r->path, sizeof(r->path), "%s/events", patching_dir());
	unlink(r->path);
	r->guest = g;
	r->events = fopen(r->path, "w+e");
	if (r->events) {
		const char *const argv[] = {run_build_path("exopatch", exopatch, sizeof(exopatch)),
					    "guard",
					    "--qmp",
					    guest_qmp_path(g),
					    state,
					    "--trust=build/dev-keys/trust",
					    "--events",
					    r->path,
					    "--mode",
					    mode,
					    option,
					    NULL};

		r->pid = proc_spawn(argv, NULL, -1, -1, NULL);
	}
	if (r->pid > 0 && wait_on(r))
		return r;
	fprintf(stderr, "guard: does not come up\n");
	guardrun_free(r);
	return NULL;
}

int guardrun_stop(struct guardrun *r)
{
	_cleanup_exo_ struct exo e = {0};
	_cleanup_free_ char *figures = NULL;
	int status;
	bool ok;

	if (!r)
		return 0;
	ok = !EXO(&e, r->guest, "guard", "stop") && e.rc == 0;
	figures = json_dumps(json_object_get(e.doc, "guard"), JSON_COMPACT);
	fprintf(stderr, "guard: %s\n", figures ? figures : "says nothing of itself");
	status = proc_reap(r->pid, ok ? STOP_MS : 0);
	r->pid = -1;
	guardrun_free(r);
	if (ok && WIFEXITED(status) && !WEXITSTATUS(status))
		return 0;
	fprintf(stderr, "guard: ended with wait status %#x\n", (unsigned int)status);
	return -EIO;
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
		return json_loads(r->line, JSON_REJECT_DUPLICATES, NULL);
	}
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
