// SPDX-License-Identifier: Apache-2.0
#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/util.h"
#include "vmm-agent/cli/cli.h"
#include "vmm-agent/cli/offline.h"

#define PROGRESS_AFTER_NS UINT64_C(1000000000)

static int run_inspect(const struct cli_args *a, json_t **ret, struct refusal *why,
		       struct xerr *err)
{
	return agent_inspect(&a->agent, ret, why, err);
}

static int run_apply(const struct cli_args *a, json_t **ret, struct refusal *why, struct xerr *err)
{
	return agent_apply(&a->agent, a->operand, ret, why, err);
}

static int run_revert(const struct cli_args *a, json_t **ret, struct refusal *why, struct xerr *err)
{
	return agent_revert(&a->agent, a->operand, ret, why, err);
}

static int run_status(const struct cli_args *a, json_t **ret, struct refusal *why, struct xerr *err)
{
	return agent_status(&a->agent, ret, why, err);
}

static int run_recover(const struct cli_args *a, json_t **ret, struct refusal *why,
		       struct xerr *err)
{
	return agent_recover(&a->agent, ret, why, err);
}

/* The guard runs until it is told to stop, by a signal or by `guard stop`. */
static int guard_until_signal(const struct cli_args *a, struct refusal *why, struct xerr *err)
{
	struct agent_guard_opts o = a->guard;
	_cleanup_close_ int fd = -1;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (fd < 0)
		return xerr_set(err, errno, "signalfd: %s", strerror(errno));
	o.agent = a->agent;
	o.stop_fd = fd;
	return agent_guard(&o, why, err);
}

static int run_guard(const struct cli_args *a, json_t **ret, struct refusal *why, struct xerr *err)
{
	if (!a->operand)
		return guard_until_signal(a, why, err);
	if (!strcmp(a->operand, "status"))
		return agent_guard_status(&a->agent, ret, why, err);
	if (!strcmp(a->operand, "stop"))
		return agent_guard_stop(&a->agent, ret, why, err);
	return xerr_set(err, XO_EUSAGE, "guard: '%s' is neither status nor stop", a->operand);
}

static int run_attest(const struct cli_args *a, json_t **ret, struct refusal *why, struct xerr *err)
{
	struct agent_attest_opts o = a->attest;

	o.agent = a->agent;
	return agent_attest(&o, ret, why, err);
}

static const struct cli_command commands[] = {
	{"inspect", NULL, false, false, false,
	 "Show what a running VM is, and whether it can be patched.", run_inspect,
	 cli_print_inspect},
	{"apply", "PACKAGE", false, false, false,
	 "Verify an .xpatch package and apply it to a running guest.", run_apply, cli_print_apply},
	{"revert", "PATCH-ID", false, false, false, "Take an active patch out of a running guest.",
	 run_revert, cli_print_revert},
	{"status", NULL, false, false, false,
	 "List the patches of a VM and compare each with the guest's memory.", run_status,
	 cli_print_status},
	{"recover", NULL, false, false, false,
	 "Finish what an interrupted apply or revert left behind.", run_recover, cli_print_recover},
	{"guard", "status|stop", true, true, false,
	 "Keep a guest's code as it is, until told to stop; or ask the guard.", run_guard,
	 cli_print_guard},
	{"attest", NULL, false, false, true,
	 "Appraise what runs in a guest, and write evidence of it.", run_attest, cli_print_attest},
};

/* Commands with a command line of their own: they are about files, not about a VM. */
static const struct {
	const char *name, *operand, *summary;
	int (*run)(int argc, char **argv);
} offline[] = {
	{"verify", "EVIDENCE", "Judge an evidence directory, offline.", cli_verify},
	{"reference", "PACKAGE", "What a vendor's kernel package holds, for verify.",
	 cli_reference},
	{"log", "show|...", "Read the transparency log.", cli_log},
	{"modules", "allow", "List the modules that a guarded guest may load.", cli_modules},
	{"policy", "check|...", "Who may be patched, when, in what order, and why not now.",
	 cli_policy},
};

static void usage(FILE *out)
{
	fputs("Usage: exopatch COMMAND (--qmp PATH | --domain NAME [--connect URI]) "
	      "[OPTION...]\n\n",
	      out);
	for (size_t i = 0; i < XO_ARRAY_SIZE(commands); i++)
		fprintf(out, "  %-9s %-11s %s\n", commands[i].name,
			commands[i].operand ? commands[i].operand : "", commands[i].summary);
	for (size_t i = 0; i < XO_ARRAY_SIZE(offline); i++)
		fprintf(out, "  %-9s %-11s %s\n", offline[i].name, offline[i].operand,
			offline[i].summary);
	fputs("\nexopatch COMMAND --help lists the command's options.\n"
	      "Exit codes: 0 done, 1 error, 2 usage, 3 refused.\n",
	      out);
}

static const struct cli_command *find_command(const char *name)
{
	for (size_t i = 0; i < XO_ARRAY_SIZE(commands); i++)
		if (!strcmp(name, commands[i].name))
			return &commands[i];
	return NULL;
}

struct progress {
	uint64_t start_ns;
	bool shown;
};

/* Nothing for the first second; then one line on the terminal, rewritten in place. */
static void show_progress(void *arg, const char *what)
{
	struct progress *p = arg;

	if (xo_now_ns() - p->start_ns < PROGRESS_AFTER_NS)
		return;
	fprintf(stderr, "\r\033[K%s ...", what);
	fflush(stderr);
	p->shown = true;
}

int main(int argc, char **argv)
{
	struct progress progress = {.start_ns = xo_now_ns()};
	const struct cli_command *cmd;
	struct cli_args args = {0};
	struct refusal why = {0};
	struct xerr err = {0};
	json_t *doc = NULL;
	int rc, code;

	for (size_t i = 0; argc > 1 && i < XO_ARRAY_SIZE(offline); i++)
		if (!strcmp(argv[1], offline[i].name))
			return offline[i].run(argc - 1, argv + 1);
	if (argc < 2 || !(cmd = find_command(argv[1]))) {
		bool help = argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help"));

		if (argc > 1 && !help)
			fprintf(stderr, "exopatch: no command '%s'\n", argv[1]);
		usage(help ? stdout : stderr);
		return help ? CLI_DONE : CLI_USAGE;
	}
	cli_parse(cmd, argc - 1, argv + 1, &args);
	if (isatty(STDERR_FILENO)) {
		args.agent.progress = show_progress;
		args.agent.progress_arg = &progress;
	}
	rc = cmd->run(&args, &doc, &why, &err);
	if (progress.shown)
		fputs("\r\033[K", stderr);
	code = cli_report(cmd, &args, rc, doc, &why, &err);
	json_decref(doc);
	refusal_free(&why);
	return code;
}
