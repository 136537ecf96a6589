// SPDX-License-Identifier: Apache-2.0
/* exopatch modules allow: needs no VM, so it has options of its own. */
#include <argp.h>
#include <string.h>

#include "package/build/modules.h"
#include "vmm-agent/cli/cli.h"

enum { OPT_FROM = 256, OPT_SIGN };

static const struct argp_option options[] = {
	{"from", OPT_FROM, "PACKAGE|DIR", 0,
	 "A Debian package (.deb), a directory, or one module. Repeatable", 1},
	{"output", 'o', "FILE", 0, "The list to write", 1},
	{"sign", OPT_SIGN, "ROLE:CERT.pem:KEY.pem", 0,
	 "Sign in that role; the signature becomes FILE.ROLE.KEYID.p7s. Repeatable", 2},
	{"json", 'j', NULL, 0, "print one JSON document", 3},
	{0},
};

struct parse {
	struct modules_options o;
	struct cli_args args;
};

static void parse_signer(struct argp_state *st, struct modules_options *o, char *arg)
{
	char *cert = strchr(arg, ':'), *key = cert ? strchr(cert + 1, ':') : NULL;
	struct build_signer *s = &o->signer[o->nr_signers];

	if (!key || o->nr_signers == PKG_MAX_SIGNERS || cert == arg ||
	    (size_t)(cert - arg) >= sizeof(s->role)) {
		argp_error(st, "--sign %s: must be ROLE:CERT.pem:KEY.pem, at most %d times", arg,
			   PKG_MAX_SIGNERS);
		return;
	}
	memcpy(s->role, arg, (size_t)(cert - arg));
	*key = '\0';
	s->cert = cert + 1;
	s->key = key + 1;
	o->nr_signers++;
}

static error_t parse_one(int key, char *arg, struct argp_state *st)
{
	struct parse *p = st->input;

	switch (key) {
	case OPT_FROM:
		if (p->o.nr_from == MODULES_MAX_SOURCES)
			argp_error(st, "--from: at most %d times", MODULES_MAX_SOURCES);
		else
			p->o.from[p->o.nr_from++] = arg;
		break;
	case OPT_SIGN:
		parse_signer(st, &p->o, arg);
		break;
	case 'o':
		p->o.output = arg;
		break;
	case 'j':
		p->args.json = true;
		break;
	case ARGP_KEY_ARG:
		if (p->args.operand)
			argp_error(st, "'%s' is one argument too many", arg);
		p->args.operand = arg;
		break;
	case ARGP_KEY_END:
		if (!p->args.operand || strcmp(p->args.operand, "allow") != 0)
			argp_error(st, "say: exopatch modules allow");
		if (!p->o.nr_from || !p->o.output)
			argp_error(st, "--from and --output are needed");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static void print(FILE *out, const json_t *doc)
{
	const json_t *l = json_object_get(doc, "list");

	fprintf(out, "%s: %lld modules, sha256 %s, %lld signature%s\n",
		json_string_value(json_object_get(l, "file")),
		(long long)json_integer_value(json_object_get(l, "modules")),
		json_string_value(json_object_get(l, "sha256")),
		(long long)json_integer_value(json_object_get(l, "signatures")),
		json_integer_value(json_object_get(l, "signatures")) == 1 ? "" : "s");
}

static json_t *describe(const struct modules_options *o, const struct modlist *l)
{
	char hex[XO_SHA256_HEX_SIZE];

	xo_hex(SPAN(l->sha256, sizeof(l->sha256)), hex);
	return json_pack("{ss,s{ss,sI,ss,sI}}", "operation", "modules", "list", "file", o->output,
			 "modules", (json_int_t)l->nr, "sha256", hex, "signatures",
			 (json_int_t)o->nr_signers);
}

int cli_modules(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse_one,
		.args_doc = "allow",
		.doc = "List modules that a guarded guest may load (exopatch guard --modules)."};
	static const struct cli_command cmd = {.name = "modules", .print = print};
	_cleanup_modlist_ struct modlist *l = NULL;
	_cleanup_refusal_ struct refusal why = {0};
	struct parse p = {0};
	struct xerr err = {0};
	json_t *doc = NULL;
	char name[] = "exopatch modules";
	int rc, code;

	argp_err_exit_status = CLI_USAGE;
	argv[0] = name;
	if (argp_parse(&argp, argc, argv, 0, NULL, &p))
		return CLI_USAGE;
	rc = modules_allow(&l, &p.o, &why, &err);
	if (l)
		doc = describe(&p.o, l);
	code = cli_report(&cmd, &p.args, rc, doc, &why, &err);
	json_decref(doc);
	return code;
}
