// SPDX-License-Identifier: Apache-2.0
#include <argp.h>
#include <errno.h>
#include <string.h>

#include "vmm-agent/cli/cli.h"

#define MAX_TIMEOUT_S  86400
#define MAX_PCR	       15U
#define MAX_EVENTS_MIB (1ULL << 20)

enum {
	OPT_QMP = 256,
	OPT_DOMAIN,
	OPT_CONNECT,
	OPT_STATE,
	OPT_TRUST,
	OPT_POLICY,
	OPT_FACTS,
	OPT_LOG,
	OPT_TPM,
	OPT_PCR,
	OPT_HOME,
	OPT_TIMEOUT,
	OPT_MODE,
	OPT_VIOLATION,
	OPT_EVENTS,
	OPT_EVENTS_LIMIT,
	OPT_FORBID,
	OPT_DENY_MSR,
	OPT_MODULES,
};

static const struct argp_option options[] = {
	{"qmp", OPT_QMP, "PATH", 0, "the VM's QMP socket", 1},
	{"domain", OPT_DOMAIN, "NAME", 0, "the VM's libvirt domain, by name or UUID", 1},
	{"connect", OPT_CONNECT, "URI", 0, "libvirt's URI (default: libvirt's own choice)", 1},
	{"state", OPT_STATE, "DIR", 0, "journal directory (default: " AGENT_STATE_DIR ")", 2},
	{"trust", OPT_TRUST, "DIR", 0, "trust directory (default: " AGENT_TRUST_DIR ")", 2},
	{"policy", OPT_POLICY, "FILE", 0, "apply only what this policy allows now", 2},
	{"facts", OPT_FACTS, "FILE", 0, "facts for the policy, besides those of the VM itself", 2},
	{"log", OPT_LOG, "DIR", 0,
	 "the recorder's directory (default: attest in the state directory)", 3},
	{"tpm", OPT_TPM, "TCTI", 0,
	 "TPM that measures what is recorded, as device:/dev/tpmrm0 (default: none)", 3},
	{"pcr", OPT_PCR, "NUMBER", 0, "PCR that it extends, 1 to 15 (default: 13)", 3},
	{"home", OPT_HOME, "window|shim|auto", 0,
	 "where new code goes (default: auto, the firmware window, else the shim)", 4},
	{"timeout", OPT_TIMEOUT, "SECONDS", 0, "how long to retry while functions are busy (30)",
	 4},
	{"json", 'j', NULL, 0, "print one JSON document", 5},
	{0},
};

static const struct argp_option guard_options[] = {
	{"mode", OPT_MODE, "enforce|audit", 0,
	 "put illegal writes back (default), or only report them", 6},
	{"on-violation", OPT_VIOLATION, "discard|pause|kill|nmi", 0,
	 "what follows an illegal write besides putting it back (default: discard, nothing)", 6},
	{"events", OPT_EVENTS, "FILE", 0, "append events to FILE (default: standard output)", 6},
	{"events-limit", OPT_EVENTS_LIMIT, "MIB", 0,
	 "rename FILE to FILE.1 and begin it anew when it is that long (default: 64; 0: never)", 6},
	{"forbid", OPT_FORBID, "kprobe|ftrace|bpf", 0,
	 "treat what the kernel does for these as illegal. Repeatable", 6},
	{"deny-msr", OPT_DENY_MSR, NULL, 0,
	 "KVM: let the guest not write the MSRs of system calls; no CPU can come online then", 6},
	{"modules", OPT_MODULES, "FILE", 0,
	 "only modules on this list load (exopatch modules allow); without it, any", 6},
	{0},
};

struct parse {
	const struct cli_command *cmd;
	struct cli_args *args;
};

static void parse_home(struct argp_state *st, const char *arg, enum agent_home *ret)
{
	if (!strcmp(arg, "window"))
		*ret = AGENT_HOME_WINDOW;
	else if (!strcmp(arg, "shim"))
		*ret = AGENT_HOME_SHIM;
	else if (!strcmp(arg, "auto"))
		*ret = AGENT_HOME_AUTO;
	else
		argp_error(st, "--home: '%s' is none of window, shim, auto", arg);
}

static void parse_timeout(struct argp_state *st, const char *arg, uint64_t *ret_ns)
{
	char *end;
	double s;

	errno = 0;
	s = strtod(arg, &end);
	if (errno || end == arg || *end || !(s >= 0 && s <= MAX_TIMEOUT_S))
		argp_error(st, "--timeout: '%s' is not a number of seconds from 0 to %d", arg,
			   MAX_TIMEOUT_S);
	else
		*ret_ns = (uint64_t)(s * 1e9);
}

/* One that cannot be reset, and not the firmware's own. */
static void parse_pcr(struct argp_state *st, const char *arg, uint32_t *ret)
{
	char *end;
	unsigned long pcr;

	errno = 0;
	pcr = strtoul(arg, &end, 10);
	if (errno || end == arg || *end || pcr < 1 || pcr > MAX_PCR)
		argp_error(st, "--pcr: '%s' is not a number from 1 to %u", arg, MAX_PCR);
	else
		*ret = (uint32_t)pcr;
}

static void parse_mode(struct argp_state *st, const char *arg, struct agent_guard_opts *g)
{
	g->audit_only = !strcmp(arg, "audit");
	if (!g->audit_only && strcmp(arg, "enforce") != 0)
		argp_error(st, "--mode: '%s' is neither enforce nor audit", arg);
}

static void parse_violation(struct argp_state *st, const char *arg, struct agent_guard_opts *g)
{
	static const char *const names[] = {[AGENT_DISCARD] = "discard",
					    [AGENT_PAUSE] = "pause",
					    [AGENT_KILL] = "kill",
					    [AGENT_NMI] = "nmi"};

	for (size_t i = 0; i < XO_ARRAY_SIZE(names); i++) {
		if (!strcmp(arg, names[i])) {
			g->on_violation = (enum agent_on_violation)i;
			return;
		}
	}
	argp_error(st, "--on-violation: '%s' is none of discard, pause, kill, nmi", arg);
}

static void parse_limit(struct argp_state *st, const char *arg, uint64_t *ret_bytes)
{
	char *end;
	unsigned long long mib;

	errno = 0;
	mib = strtoull(arg, &end, 10);
	if (errno || end == arg || *end || mib > MAX_EVENTS_MIB)
		argp_error(st, "--events-limit: '%s' is not a number of MiB from 0 to %llu", arg,
			   MAX_EVENTS_MIB);
	else
		*ret_bytes = mib << 20;
}

static void parse_forbid(struct argp_state *st, const char *arg, struct agent_guard_opts *g)
{
	if (!strcmp(arg, "kprobe"))
		g->forbid_kprobes = true;
	else if (!strcmp(arg, "ftrace"))
		g->forbid_ftrace = true;
	else if (!strcmp(arg, "bpf"))
		g->forbid_bpf = true;
	else
		argp_error(st, "--forbid: '%s' is none of kprobe, ftrace, bpf", arg);
}

static error_t parse_guard(int key, char *arg, struct argp_state *st)
{
	struct agent_guard_opts *g = st->input;

	switch (key) {
	case OPT_MODE:
		parse_mode(st, arg, g);
		break;
	case OPT_VIOLATION:
		parse_violation(st, arg, g);
		break;
	case OPT_EVENTS:
		g->events_path = arg;
		break;
	case OPT_EVENTS_LIMIT:
		parse_limit(st, arg, &g->events_limit_bytes);
		break;
	case OPT_FORBID:
		parse_forbid(st, arg, g);
		break;
	case OPT_DENY_MSR:
		g->deny_msrs = true;
		break;
	case OPT_MODULES:
		g->modules_path = arg;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp guard_argp = {.options = guard_options, .parser = parse_guard};

static void check_complete(struct argp_state *st, const struct parse *p)
{
	const struct tgt_spec *t = &p->args->agent.target;

	if (!t->qmp_path == !t->domain)
		argp_error(st, "name the VM with one of --qmp PATH and --domain NAME");
	if (p->args->agent.policy && strcmp(p->cmd->name, "apply") != 0)
		argp_error(st, "--policy goes with apply");
	if (p->args->agent.facts && !p->args->agent.policy)
		argp_error(st, "--facts goes with --policy");
	if (t->connect_uri && !t->domain)
		argp_error(st, "--connect goes with --domain");
	if (p->cmd->operand && !p->cmd->optional && !p->args->operand)
		argp_error(st, "%s is missing", p->cmd->operand);
}

static error_t parse_one(int key, char *arg, struct argp_state *st)
{
	struct parse *p = st->input;
	struct agent_opts *o = &p->args->agent;

	switch (key) {
	case OPT_QMP:
		o->target.qmp_path = arg;
		break;
	case OPT_DOMAIN:
		o->target.domain = arg;
		break;
	case OPT_CONNECT:
		o->target.connect_uri = arg;
		break;
	case OPT_STATE:
		o->state_dir = arg;
		break;
	case OPT_TRUST:
		o->trust_dir = arg;
		break;
	case OPT_POLICY:
		o->policy = arg;
		break;
	case OPT_FACTS:
		o->facts = arg;
		break;
	case OPT_LOG:
		o->log_dir = arg;
		break;
	case OPT_TPM:
		o->tpm = arg;
		break;
	case OPT_PCR:
		parse_pcr(st, arg, &o->pcr);
		break;
	case OPT_HOME:
		parse_home(st, arg, &o->home);
		break;
	case OPT_TIMEOUT:
		parse_timeout(st, arg, &o->timeout_ns);
		break;
	case 'j':
		p->args->json = true;
		break;
	case ARGP_KEY_ARG:
		if (!p->cmd->operand || p->args->operand)
			argp_error(st, "'%s' is one argument too many", arg);
		p->args->operand = arg;
		break;
	case ARGP_KEY_INIT:
		if (p->cmd->guards)
			st->child_inputs[0] = &p->args->guard;
		if (p->cmd->attests)
			st->child_inputs[0] = &p->args->attest;
		break;
	case ARGP_KEY_END:
		check_complete(st, p);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

void cli_parse(const struct cli_command *cmd, int argc, char **argv, struct cli_args *ret)
{
	const struct argp_child guarding[] = {{&guard_argp, 0, "Guarding:", 0}, {0}};
	const struct argp_child attesting[] = {{&cli_attest_argp, 0, "Attesting:", 0}, {0}};
	struct argp argp = {.options = options, .parser = parse_one};
	struct parse p = {.cmd = cmd, .args = ret};
	char name[64];

	ret->agent.timeout_ns = AGENT_TIMEOUT_NS;
	ret->guard.events_limit_bytes = AGENT_EVENTS_LIMIT_BYTES;
	argp_err_exit_status = CLI_USAGE;
	argp.args_doc = cmd->optional ? "[status|stop]" : cmd->operand;
	argp.children = cmd->guards ? guarding : cmd->attests ? attesting : NULL;
	argp.doc = cmd->summary;
	snprintf(name, sizeof(name), "exopatch %s", cmd->name);
	argv[0] = name;
	if (argp_parse(&argp, argc, argv, 0, NULL, &p))
		exit(CLI_USAGE);
}
