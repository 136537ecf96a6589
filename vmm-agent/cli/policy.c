// SPDX-License-Identifier: Apache-2.0
/*
 * exopatch policy check|plan|explain|simulate: reads the files, asks policy/,
 * prints. Nothing here decides anything.
 */
#include <argp.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "policy/policy.h"
#include "vmm-agent/cli/cli.h"
#include "vmm-agent/cli/policy.h"

#define MAX_FAILURES 1000

enum { OPT_FACTS = 256, OPT_AT, OPT_FROM, OPT_TO, OPT_VM, OPT_PATCH, OPT_FAIL, OPT_ALL };

static const struct argp_option options[] = {
	{"facts", OPT_FACTS, "FILE", 0, "facts about VMs and patches, JSON. Repeatable", 1},
	{"at", OPT_AT, "TIME", 0, "judge as of TIME, YYYY-MM-DDTHH:MM:SSZ (default: now)", 2},
	{"from", OPT_FROM, "TIME", 0, "simulate from TIME (default: now)", 2},
	{"to", OPT_TO, "TIME", 0, "simulate up to TIME", 2},
	{"fail", OPT_FAIL, "VM:PATCH", 0, "simulate that the patch does harm there. Repeatable", 2},
	{"vm", OPT_VM, "NAME", 0, "explain for this VM", 3},
	{"patch", OPT_PATCH, "ID", 0, "explain for this patch", 3},
	{"all", OPT_ALL, NULL, 0, "plan: also list what is active already or for another kernel",
	 3},
	{"json", 'j', NULL, 0, "print one JSON document", 4},
	{0},
};

struct command {
	const char *verb;
	const char *policy[POL_MAX_FILES], *facts[POL_MAX_FILES];
	size_t nr_policy, nr_facts;
	const char *vm, *patch;
	int64_t at, from, to;
	struct pol_failure failure[MAX_FAILURES];
	size_t nr_failures;
	bool all, json;
	/* What the files gave. */
	struct pol_policy *p;
	struct pol_fleet *f;
};

/* ---- the command line ---- */

static int64_t parse_time(struct argp_state *st, const char *option, const char *arg)
{
	int64_t t = 0;

	if (!pol_parse_time(arg, &t))
		argp_error(st, "--%s: '%s' is not YYYY-MM-DDTHH:MM:SSZ from 2000 to 2037", option,
			   arg);
	return t;
}

static void parse_fail(struct argp_state *st, char *arg, struct command *c)
{
	char *colon = strrchr(arg, ':');

	if (!colon || c->nr_failures == MAX_FAILURES) {
		argp_error(st, "--fail: '%s' is not VM:PATCH, or one too many", arg);
		return;
	}
	*colon = '\0';
	c->failure[c->nr_failures++] = (struct pol_failure){.vm = arg, .patch = colon + 1};
}

static void add_file(struct argp_state *st, const char **list, size_t *nr, const char *arg)
{
	if (*nr == POL_MAX_FILES)
		argp_error(st, "'%s': more than %d files", arg, POL_MAX_FILES);
	else
		list[(*nr)++] = arg;
}

static void check_complete(struct argp_state *st, const struct command *c)
{
	static const char *const verbs[] = {"check", "plan", "explain", "simulate"};
	bool known = false;

	for (size_t i = 0; c->verb && i < XO_ARRAY_SIZE(verbs); i++)
		known = known || !strcmp(c->verb, verbs[i]);
	if (!c->verb || !known) {
		argp_error(st, "say what to do: check, plan, explain or simulate");
		return;
	}
	if (!c->nr_policy)
		argp_error(st, "%s: the policy's file is missing", c->verb);
	if (strcmp(c->verb, "check") != 0 && !c->nr_facts)
		argp_error(st, "%s: --facts FILE is missing", c->verb);
	if (!strcmp(c->verb, "explain") && (!c->vm || !c->patch))
		argp_error(st, "explain: --vm NAME and --patch ID are needed");
	if (!strcmp(c->verb, "simulate") && !c->to)
		argp_error(st, "simulate: --to TIME is missing");
	if (!strcmp(c->verb, "simulate") && c->to < c->from)
		argp_error(st, "simulate: --to comes before --from");
}

static error_t parse_one(int key, char *arg, struct argp_state *st)
{
	struct command *c = st->input;

	switch (key) {
	case OPT_FACTS:
		add_file(st, c->facts, &c->nr_facts, arg);
		break;
	case OPT_AT:
		c->at = parse_time(st, "at", arg);
		break;
	case OPT_FROM:
		c->from = parse_time(st, "from", arg);
		break;
	case OPT_TO:
		c->to = parse_time(st, "to", arg);
		break;
	case OPT_FAIL:
		parse_fail(st, arg, c);
		break;
	case OPT_VM:
		c->vm = arg;
		break;
	case OPT_PATCH:
		c->patch = arg;
		break;
	case OPT_ALL:
		c->all = true;
		break;
	case 'j':
		c->json = true;
		break;
	case ARGP_KEY_ARG:
		if (!c->verb)
			c->verb = arg;
		else
			add_file(st, c->policy, &c->nr_policy, arg);
		break;
	case ARGP_KEY_END:
		check_complete(st, c);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* ---- reading ---- */

struct files {
	struct xbuf buf[POL_MAX_FILES];
	struct pol_text text[POL_MAX_FILES];
	size_t nr;
};

static void files_free(struct files *f)
{
	for (size_t i = 0; i < f->nr; i++)
		xbuf_free(&f->buf[i]);
}

static int read_files(struct files *f, const char *const *path, size_t nr, size_t max_bytes,
		      struct xerr *err)
{
	for (size_t i = 0; i < nr; i++) {
		int rc;

		f->buf[i] = XBUF(max_bytes);
		f->nr = i + 1;
		rc = xbuf_read_file(&f->buf[i], path[i]);
		if (rc == -XO_ELIMIT)
			return xerr_set(err, XO_ELIMIT, "%s: larger than %zu bytes", path[i],
					max_bytes);
		if (rc)
			return xerr_set(err, -rc, "%s: %s", path[i], xo_code_text(rc));
		f->text[i] = (struct pol_text){.name = path[i], .text = xbuf_span(&f->buf[i])};
	}
	return 0;
}

static int load(struct command *c, struct pol_errors *errors, struct xerr *err)
{
	XO_CLEANUP(files_free) struct files policy = {0}, facts = {0};
	int rc = read_files(&policy, c->policy, c->nr_policy, POL_POLICY_MAX_BYTES, err);
	int also = 0;

	rc = rc ? rc : read_files(&facts, c->facts, c->nr_facts, POL_FACTS_MAX_BYTES, err);
	rc = rc ? rc : pol_policy_load(policy.text, policy.nr, &c->p, errors);
	/* Errors in the facts are worth knowing together with those of the policy. */
	if ((!rc || rc == -XO_EMALFORMED) && facts.nr)
		also = pol_fleet_load(facts.text, facts.nr,
				      strcmp(c->verb, "simulate") ? c->at : c->from, &c->f, errors);
	rc = rc ? rc : also;
	if (rc && !err->code && errors->nr)
		xerr_set(err, -rc, "%zu error%s; nothing was loaded", errors->nr + errors->dropped,
			 errors->nr + errors->dropped == 1 ? "" : "s");
	return rc;
}

/* ---- printing ---- */

static json_t *errors_json(const struct pol_errors *e)
{
	json_t *list = json_array();

	for (size_t i = 0; i < e->nr; i++)
		json_array_append_new(list,
				      json_pack("{s:s,s:i,s:i,s:s}", "file", e->error[i].file,
						"line", (int)e->error[i].line, "column",
						(int)e->error[i].column, "text", e->error[i].text));
	return list;
}

static int print_json(json_t *doc, const struct command *c, const char *result, int code)
{
	json_object_set_new(doc, "operation", json_sprintf("policy %s", c->verb));
	json_object_set_new(doc, "result", json_string(result));
	json_dumpf(doc, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(doc);
	return code;
}

static int report_error(const struct command *c, int rc, const struct pol_errors *errors,
			const struct xerr *err)
{
	const char *text = err->code ? err->text : xo_code_text(rc);

	if (c->json)
		return print_json(json_pack("{s:o,s:{s:s,s:s,s:s}}", "errors", errors_json(errors),
					    "error", "code", xo_code_key(rc), "meaning",
					    xo_code_text(rc), "detail", text),
				  c, "error", CLI_ERROR);
	for (size_t i = 0; i < errors->nr; i++) {
		const struct pol_error *e = &errors->error[i];

		if (e->line)
			fprintf(stderr, "%s:%u:%u: %s\n", e->file, e->line, e->column, e->text);
		else
			fprintf(stderr, "%s: %s\n", e->file, e->text);
	}
	if (errors->dropped)
		fprintf(stderr, "and %zu more\n", errors->dropped);
	fprintf(stderr, "exopatch: policy %s: %s (%s)\n", c->verb, text, xo_code_key(rc));
	return CLI_ERROR;
}

/* ---- check ---- */

static int run_check(const struct command *c)
{
	char hex[XO_SHA256_HEX_SIZE];

	xo_hex(SPAN(pol_policy_digest(c->p), XO_SHA256_BYTES), hex);
	if (c->json)
		return print_json(json_pack("{s:s}", "policy_sha256", hex), c, "done", CLI_DONE);
	printf("the policy is good\npolicy_sha256  %s\n", hex);
	return CLI_DONE;
}

/* ---- plan ---- */

static int run_plan(const struct command *c, struct xerr *err)
{
	_cleanup_pol_plan_ struct pol_plan *plan = NULL;
	int rc = pol_plan_new(c->p, c->f, c->at, &plan);

	if (rc)
		return xerr_set(err, -rc, "plan: %s", xo_code_text(rc));
	return c->json ? policy_print_plan_json(plan, c->p, c->f, c->at, c->all)
		       : policy_print_plan(plan, c->at, c->all);
}

/* ---- explain ---- */

static int run_explain(const struct command *c, int *ret_code, struct xerr *err)
{
	_cleanup_pol_plan_ struct pol_plan *plan = NULL;
	long vm = pol_find_vm(c->f, c->vm), patch = pol_find_patch(c->f, c->patch);
	uint8_t digest[XO_SHA256_BYTES];
	const struct pol_verdict *v;
	char hex[XO_SHA256_HEX_SIZE];
	json_t *statement, *decision;
	int rc;

	if (vm < 0 || patch < 0)
		return xerr_set(err, XO_EUSAGE, "the facts have no %s '%s'",
				vm < 0 ? "VM" : "patch", vm < 0 ? c->vm : c->patch);
	rc = pol_plan_new(c->p, c->f, c->at, &plan);
	if (rc)
		return xerr_set(err, -rc, "plan: %s", xo_code_text(rc));
	v = pol_plan_verdict(plan, (size_t)vm, (size_t)patch);
	rc = pol_statement(plan, v, &statement, digest);
	decision = rc ? NULL : pol_verdict_json(plan, v, true);
	if (!decision)
		return xerr_set(err, ENOMEM, "out of memory");
	*ret_code = v->state == POL_ALLOWED ? CLI_DONE : CLI_REFUSED;
	xo_hex(SPAN(digest, XO_SHA256_BYTES), hex);
	if (c->json) {
		json_t *doc = json_pack("{s:o,s:o,s:s}", "decision", decision, "statement",
					statement, "decision_sha256", hex);

		print_json(doc, c, *ret_code ? "refused" : "done", *ret_code);
		return 0;
	}
	policy_print_explanation(decision, hex);
	json_decref(decision);
	json_decref(statement);
	return 0;
}

/* ---- simulate ---- */

static int run_simulate(const struct command *c, struct xerr *err)
{
	json_t *doc;
	int rc;

	for (size_t i = 0; i < c->nr_failures; i++)
		if (pol_find_vm(c->f, c->failure[i].vm) < 0 ||
		    pol_find_patch(c->f, c->failure[i].patch) < 0)
			return xerr_set(err, XO_EUSAGE,
					"--fail: the facts have no VM '%s' or no patch '%s'",
					c->failure[i].vm, c->failure[i].patch);
	rc = pol_simulate(c->p, c->f, c->from, c->to, c->failure, c->nr_failures, &doc);

	if (rc)
		return xerr_set(err, -rc, "simulate: %s", xo_code_text(rc));
	if (c->json) {
		print_json(doc, c, "done", CLI_DONE);
		return 0;
	}
	policy_print_timeline(doc);
	json_decref(doc);
	return 0;
}

static int run(struct command *c, int *ret_code, struct xerr *err)
{
	if (!strcmp(c->verb, "plan"))
		return run_plan(c, err);
	if (!strcmp(c->verb, "explain"))
		return run_explain(c, ret_code, err);
	if (!strcmp(c->verb, "simulate"))
		return run_simulate(c, err);
	*ret_code = run_check(c);
	return 0;
}

int cli_policy(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse_one,
		.args_doc = "check|plan|explain|simulate POLICY...",
		.doc = "Check a policy, or ask it who may be patched, when, in what order and why "
		       "not now."};
	static struct command c;
	_cleanup_pol_errors_ struct pol_errors errors = {0};
	struct xerr err = {0};
	char name[] = "exopatch policy";
	int code = CLI_DONE, rc;

	c.at = c.from = (int64_t)time(NULL);
	argp_err_exit_status = CLI_USAGE;
	argv[0] = name;
	if (argp_parse(&argp, argc, argv, 0, NULL, &c))
		return CLI_USAGE;
	rc = load(&c, &errors, &err);
	rc = rc ? rc : run(&c, &code, &err);
	if (rc)
		code = report_error(&c, rc, &errors, &err);
	pol_fleet_free(c.f);
	pol_policy_free(c.p);
	return code;
}
