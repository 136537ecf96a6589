/* SPDX-License-Identifier: Apache-2.0 */
/* The exopatch command line. */
#ifndef EXOPATCH_CLI_H
#define EXOPATCH_CLI_H

#include <argp.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "vmm-agent/agent/agent.h"

/* Exit codes, part of the interface. */
enum cli_exit { CLI_DONE = 0, CLI_ERROR = 1, CLI_USAGE = 2, CLI_REFUSED = 3 };

/** struct cli_args - the parsed command line; strings borrowed from argv */
struct cli_args {
	struct agent_opts agent;
	const char *operand; /* package file or patch id, or NULL */
	bool json;
	struct agent_guard_opts guard;	 /* of a command that guards; its .agent is not used */
	struct agent_attest_opts attest; /* of attest; likewise */
};

/** struct cli_command - one of inspect, apply, revert, status, recover, guard */
struct cli_command {
	const char *name;
	const char *operand; /* what its operand is called, or NULL if it takes none */
	bool optional;	     /* the operand may be left out */
	bool guards;	     /* it takes the guard's options too */
	bool attests;	     /* it takes those of cli_attest_argp */
	const char *summary;
	int (*run)(const struct cli_args *a, json_t **ret, struct refusal *why, struct xerr *err);
	void (*print)(FILE *out, const json_t *doc);
};

/** cli_parse - parse @argv after the command's name; exits with CLI_USAGE on a wrong one */
void cli_parse(const struct cli_command *cmd, int argc, char **argv, struct cli_args *ret);

/** cli_modules - the command that needs no VM; @argv from its name on. Return: the exit code */
int cli_modules(int argc, char **argv);

/* Readable output of each document. */
void cli_print_inspect(FILE *out, const json_t *doc);
void cli_print_apply(FILE *out, const json_t *doc);
void cli_print_revert(FILE *out, const json_t *doc);
void cli_print_status(FILE *out, const json_t *doc);
void cli_print_recover(FILE *out, const json_t *doc);
void cli_print_guard(FILE *out, const json_t *doc);
void cli_print_attest(FILE *out, const json_t *doc);

extern const struct argp cli_attest_argp;

/** cli_policy - `exopatch policy`: its own options, no VM. Return: the exit code */
int cli_policy(int argc, char **argv);

/** cli_report - print the outcome, readable or as one JSON document. Return: the exit code */
int cli_report(const struct cli_command *cmd, const struct cli_args *a, int rc, json_t *doc,
	       const struct refusal *why, const struct xerr *err);

#endif
