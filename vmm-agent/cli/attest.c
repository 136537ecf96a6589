// SPDX-License-Identifier: Apache-2.0
/* exopatch attest and reference. */
#include <argp.h>
#include <errno.h>
#include <string.h>

#include "package/build/output.h"
#include "vmm-agent/agent/vendor.h"
#include "vmm-agent/cli/cli.h"
#include "vmm-agent/cli/offline.h"

enum { OPT_NONCE = 512, OPT_FROM, OPT_SINCE };

/* ---- attest: the options that it has besides those of every command on a VM ---- */

static const struct argp_option attest_options[] = {
	{"nonce", OPT_NONCE, "HEX", 0, "what the asker has sent, 1 to 64 bytes", 5},
	{"output", 'o', "DIR", 0, "directory to write the evidence to; must not exist", 5},
	{"from", OPT_FROM, "PACKAGE|DIR", 0,
	 "the vendor's kernel package: name of an installed one, .deb file, directory. Once a "
	 "kernel; repeatable for further modules",
	 5},
	{"since", OPT_SINCE, "SIZE", 0,
	 "prove that the log goes on from that size, and leave out what was accepted then", 5},
	{0},
};

static void parse_nonce(struct argp_state *st, const char *arg, struct agent_attest_opts *o)
{
	uint8_t nonce[ATT_MAX_NONCE];
	size_t n = strlen(arg) / 2;

	if (!n || n > sizeof(nonce) || !xo_unhex(arg, nonce, n))
		argp_error(st, "--nonce: is not hex of 1 to %d bytes", ATT_MAX_NONCE);
	o->nonce = arg;
}

static void parse_since(struct argp_state *st, const char *arg, uint64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoull(arg, &end, 10);
	if (errno || end == arg || *end || *arg == '-')
		argp_error(st, "--since: '%s' is not a number", arg);
}

static error_t parse_attest(int key, char *arg, struct argp_state *st)
{
	struct agent_attest_opts *o = st->input;

	switch (key) {
	case OPT_NONCE:
		parse_nonce(st, arg, o);
		break;
	case 'o':
		o->out = arg;
		break;
	case OPT_FROM:
		if (o->nr_from == AGENT_MAX_FROM)
			argp_error(st, "--from: at most %d times", AGENT_MAX_FROM);
		o->from[o->nr_from++] = arg;
		break;
	case OPT_SINCE:
		parse_since(st, arg, &o->since);
		break;
	case ARGP_KEY_END:
		if (!o->nonce || !o->out)
			argp_error(st, "--nonce HEX and --output DIR are needed");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

const struct argp cli_attest_argp = {.options = attest_options, .parser = parse_attest};

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static long long number(const json_t *o, const char *key)
{
	return (long long)json_integer_value(json_object_get(o, key));
}

void cli_print_attest(FILE *out, const json_t *doc)
{
	const json_t *a = json_object_get(doc, "appraisal"), *item;
	const json_t *modules = json_object_get(a, "modules");
	const json_t *pages = json_object_get(a, "executable_pages");
	const json_t *trust = json_object_get(a, "taken_on_trust");
	size_t i;

	fprintf(out, "%s (%s): evidence in %s\n", text(json_object_get(doc, "vm"), "name"),
		text(json_object_get(doc, "kernel"), "release"), text(doc, "evidence"));
	json_array_foreach(json_object_get(a, "areas"), i, item)
		fprintf(out, "  %-8s %10lld bytes, %lld unexplained\n", text(item, "name"),
			number(item, "size_bytes"), number(item, "unexplained_bytes"));
	fprintf(out, "  modules  %10lld, %lld unknown\n", number(modules, "total"),
		number(modules, "unknown"));
	fprintf(out, "  pages    %10lld executable, %lld that nobody approved\n",
		number(pages, "audited"), number(pages, "unapproved"));
	fprintf(out,
		"  on trust %10lld pages and %lld bytes of code made while it ran, %lld bytes set "
		"at its start\n",
		number(trust, "runtime_pages"), number(trust, "runtime_bytes"),
		number(trust, "init_bytes"));
	fprintf(out, "  guard    %s\n", text(json_object_get(a, "guard"), "mode"));
	json_array_foreach(json_object_get(doc, "unexplained"), i, item)
		fprintf(out, "  UNEXPLAINED %s+0x%llx, %lld bytes\n", text(item, "symbol"),
			(unsigned long long)number(item, "offset"), number(item, "bytes"));
	json_array_foreach(json_object_get(doc, "unapproved_pages"), i, item)
		fprintf(out, "  UNAPPROVED  %s at %s\n", text(item, "what"), text(item, "address"));
}

/* ---- reference ---- */

struct reference {
	struct vendor_from from;
	const char *output;
};

static const struct argp_option reference_options[] = {
	{"output", 'o', "FILE", 0, "the reference to write", 1},
	{0},
};

static error_t parse_reference(int key, char *arg, struct argp_state *st)
{
	struct reference *r = st->input;

	switch (key) {
	case 'o':
		r->output = arg;
		break;
	case ARGP_KEY_ARG:
		if (r->from.nr == VENDOR_MAX_SOURCES)
			argp_error(st, "at most %d packages", VENDOR_MAX_SOURCES);
		r->from.source[r->from.nr++] = arg;
		break;
	case ARGP_KEY_END:
		if (!r->from.nr || !r->output)
			argp_error(st, "PACKAGE and --output FILE are needed");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

int cli_reference(int argc, char **argv)
{
	static const struct argp argp = {
		.options = reference_options,
		.parser = parse_reference,
		.args_doc = "PACKAGE...",
		.doc = "What a vendor's kernel package holds, for exopatch verify.\v"
		       "PACKAGE is the name of an installed one, a .deb file, or a directory."};
	_cleanup_xbuf_ struct xbuf json = XBUF(ATT_REFERENCE_MAX_BYTES);
	struct reference r = {0};
	struct xerr err = {0};
	char name[] = "exopatch reference";
	int rc;

	argp_err_exit_status = CLI_USAGE;
	argv[0] = name;
	if (argp_parse(&argp, argc, argv, 0, NULL, &r))
		return CLI_USAGE;
	rc = vendor_reference(&r.from, &json, &err);
	if (!rc)
		rc = output_file(r.output, xbuf_span(&json), &err);
	if (rc)
		(void)fprintf(stderr, "exopatch: reference: %s (%s)\n",
			      err.code ? err.text : xo_code_text(rc), xo_code_key(rc));
	return rc ? CLI_ERROR : CLI_DONE;
}
