// SPDX-License-Identifier: Apache-2.0
/*
 * What recording adds to each action of the agent: making sure beforehand that it can be recorded,
 * and afterwards the way from the journal into the log, measured and published. While a recorder is
 * open, others wait: so this is also how long they do. With thousands of statements since the host
 * booted it must still be quick.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/lib/attfix.h"
#include "tests/lib/bench.h"
#include "vmm-agent/agent/record.h"

#define ACTIONS 30
#define MANY	2000
#define SHM	"/dev/shm/exopatch-bench-record" /* shows our own work, not the disk's */
#define MAX_MS	500.0 /* of both together, on a busy host with a slow disk */

static void die(const char *what)
{
	(void)fprintf(stderr, "bench_record: %s\n", what);
	exit(1);
}

static double ms_since(uint64_t start_ns)
{
	return (double)(xo_now_ns() - start_ns) / 1e6;
}

static void ready(const struct agent_opts *o)
{
	struct xerr err = {0};

	if (record_ready(o, &err))
		die(err.text);
}

static void queue(const struct agent_opts *o, const struct att_statement *s)
{
	struct journal *j = NULL;
	struct xerr err = {0};

	if (journal_open(&j, o->state_dir, &err) || record_queue(j, s, &err))
		die(err.text);
	journal_close(j);
}

static void late(const struct agent_opts *o)
{
	json_t *doc = json_object();

	record_late(o, doc);
	if (json_object_size(doc))
		die("not recorded");
	json_decref(doc);
}

static void actions(struct bench *b, const struct agent_opts *o, const char *what)
{
	const struct bench_figure limit = {.max = MAX_MS};
	static struct bench_series before, after;
	char name[96];

	before.nr = after.nr = 0;
	for (int i = 0; i < ACTIONS; i++) {
		struct att_statement *s = attfix_action(ATT_APPLY);
		uint64_t start = xo_now_ns();

		ready(o);
		bench_note(&before, ms_since(start));
		queue(o, s);
		start = xo_now_ns();
		late(o);
		bench_note(&after, ms_since(start));
		free(s);
	}
	(void)snprintf(name, sizeof(name), "record: before an action, %s", what);
	bench_series(b, &before, name, "ms", &limit);
	(void)snprintf(name, sizeof(name), "record: after an action, %s", what);
	bench_series(b, &after, name, "ms", &limit);
}

/* As many statements as a busy host makes in weeks. */
static void fill(const struct agent_opts *o)
{
	struct att_recorder *r = NULL;
	struct xerr err = {0};

	if (record_open(o, &r, &err))
		die(err.text);
	for (int i = 0; i < MANY; i++)
		attfix_record(r, attfix_action(ATT_GUARD_ON));
	att_recorder_close(r);
}

static void measure(struct bench *b, const char *dir, const char *tcti, const char *what, bool many)
{
	char state[ATTFIX_PATH + 32], name[64];
	struct agent_opts o = {.state_dir = state, .tpm = tcti, .timeout_ns = AGENT_TIMEOUT_NS};

	(void)snprintf(state, sizeof(state), "%s/%s%s", dir, tcti ? "tpm" : "software",
		       many ? "-many" : "");
	(void)snprintf(name, sizeof(name), many ? "%s, %d entries, in memory" : "%s", what, MANY);
	if (many)
		fill(&o);
	actions(b, &o, name);
}

int main(int argc, char **argv)
{
	struct bench *b = bench_open(argc, argv, "record");
	char dir[ATTFIX_PATH];
	struct attfix_tpm tpm = {0};

	attfix_dir(dir);
	attfix_remove(SHM);
	if (mkdir(SHM, 0700))
		die(SHM ": cannot be made");
	measure(b, dir, NULL, "no TPM", false);
	measure(b, SHM, NULL, "no TPM", true);
	if (attfix_tpm_start(&tpm)) {
		measure(b, dir, tpm.tcti, "swtpm", false);
		attfix_tpm_remove(&tpm);
		tpm = (struct attfix_tpm){0};
	}
	if (attfix_tpm_start(&tpm))
		measure(b, SHM, tpm.tcti, "swtpm", true);
	else
		bench_skip(b, "record: swtpm", "there is no swtpm");
	attfix_tpm_remove(&tpm);
	attfix_remove(SHM);
	attfix_remove(dir);
	return bench_close(b);
}
