// SPDX-License-Identifier: Apache-2.0
/* exopatch log: read a recorder's transparency log. */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "attest/attest.h"
#include "vmm-agent/cli/cli.h"
#include "vmm-agent/cli/offline.h"

#define SHOWN	  20
#define ENTRY_MAX 65536
#define TEXT_MAX  (1U << 20)

enum { OPT_LOG = 256, OPT_SINCE };

struct args {
	const char *verb, *dir;
	uint64_t index, since;
	bool have_index;
};

static const struct argp_option options[] = {
	{"log", OPT_LOG, "DIR", 0, "the recorder's directory (default: " ATT_DEFAULT_DIR ")", 1},
	{"since", OPT_SINCE, "SIZE", 0, "checkpoint: with a proof that the log goes on from SIZE",
	 1},
	{0},
};

static uint64_t number(struct argp_state *st, const char *arg)
{
	unsigned long long v;
	char *end;

	errno = 0;
	v = strtoull(arg, &end, 10);
	if (errno || end == arg || *end || *arg == '-')
		argp_error(st, "'%s' is not a number", arg);
	return v;
}

static error_t parse_one(int key, char *arg, struct argp_state *st)
{
	struct args *a = st->input;

	switch (key) {
	case OPT_LOG:
		a->dir = arg;
		break;
	case OPT_SINCE:
		a->since = number(st, arg);
		break;
	case ARGP_KEY_ARG:
		if (st->arg_num > 1)
			argp_error(st, "'%s' is one argument too many", arg);
		if (!st->arg_num) {
			a->verb = arg;
		} else {
			a->index = number(st, arg);
			a->have_index = true;
		}
		break;
	case ARGP_KEY_END:
		if (!a->verb)
			argp_error(st, "show, prove or checkpoint?");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* One line about entry @index. */
static int show_line(const struct args *a, uint64_t index, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf entry = XBUF(ENTRY_MAX), line = XBUF(TEXT_MAX);
	int rc = att_log_entry(a->dir, index, &entry, err);

	if (!rc)
		rc = att_statement_line(xbuf_span(&entry), &line, err);
	if (!rc)
		printf("%8" PRIu64 "  %.*s\n", index, (int)line.len_bytes, line.data);
	return rc;
}

/* The last entries, or the whole of one. */
static int show(const struct args *a, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf entry = XBUF(ENTRY_MAX);
	uint64_t size = 0;
	int rc;

	if (a->have_index) {
		rc = att_log_entry(a->dir, a->index, &entry, err);
		if (!rc)
			fwrite(entry.data, 1, entry.len_bytes, stdout);
		return rc;
	}
	rc = att_log_size(a->dir, &size, err);
	for (uint64_t i = size > SHOWN ? size - SHOWN : 0; !rc && i < size; i++)
		rc = show_line(a, i, err);
	return rc;
}

static int run(const struct args *a, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf out = XBUF(TEXT_MAX);
	int rc;

	if (!strcmp(a->verb, "show"))
		return show(a, err);
	if (!strcmp(a->verb, "prove") && a->have_index)
		rc = att_log_prove(a->dir, a->index, &out, err);
	else if (!strcmp(a->verb, "checkpoint") && !a->have_index)
		rc = a->since ? att_log_consistency(a->dir, a->since, &out, err)
			      : att_log_read_checkpoint(a->dir, &out, err);
	else
		return xerr_set(err, XO_EUSAGE,
				"log: it is `show [INDEX]`, `prove INDEX` or `checkpoint`");
	if (!rc)
		fwrite(out.data, 1, out.len_bytes, stdout);
	return rc;
}

int cli_log(int argc, char **argv)
{
	const struct argp argp = {
		.options = options,
		.parser = parse_one,
		.args_doc = "show [INDEX] | prove INDEX | checkpoint",
		.doc = "Read the transparency log: entries, a proof that one is in it, its state."};
	struct args a = {.dir = ATT_DEFAULT_DIR};
	struct xerr err = {0};
	char name[] = "exopatch log";
	int rc;

	argp_err_exit_status = CLI_USAGE;
	argv[0] = name;
	if (argp_parse(&argp, argc, argv, 0, NULL, &a))
		return CLI_USAGE;
	rc = run(&a, &err);
	if (rc)
		(void)fprintf(stderr, "exopatch: log: %s (%s)\n",
			      err.code ? err.text : xo_code_text(rc), xo_code_key(rc));
	return !rc ? CLI_DONE : rc == -XO_EUSAGE ? CLI_USAGE : CLI_ERROR;
}
