// SPDX-License-Identifier: Apache-2.0
#include <argp.h>
#include <errno.h>
#include <string.h>

#include "package/build/build.h"

enum {
	OPT_ID = 256,
	OPT_VERSION,
	OPT_SUMMARY,
	OPT_SERIAL,
	OPT_EPOCH,
	OPT_ADVISORY,
	OPT_REQUIRES,
	OPT_IMPORT,
	OPT_SIGN,
	OPT_ADD_SIGNATURE,
	OPT_JSON,
};

static const struct argp_option options[] = {
	{"kernel", 'k', "FILE", 0, "The kernel to patch: vmlinuz as in /boot", 1},
	{"object", 'O', "FILE.o", 0, "The replacement, compiled for that kernel", 1},
	{"target", 't', "SYMBOL[@N][=NEW]", 0,
	 "A function to replace, the N-th of that name by address, by NEW of the object (default: "
	 "the same name). Repeatable; without it every function of the object that is unique by "
	 "name in the kernel",
	 1},
	{"import", OPT_IMPORT, "SYMBOL@N", 0,
	 "Which of several kernel symbols the object means. Repeatable", 1},
	{"id", OPT_ID, "ID", 0, "What is patched, the same for all versions", 2},
	{"serial", OPT_SERIAL, "N", 0, "Grows with each version", 2},
	{"pkg-version", OPT_VERSION, "TEXT", 0, "For people (default: the serial)", 2},
	{"security-epoch", OPT_EPOCH, "N", 0, "Raised to bar all before (default: 0)", 2},
	{"summary", OPT_SUMMARY, "TEXT", 0, "One line (default: the targets)", 2},
	{"advisory", OPT_ADVISORY, "NAME", 0, "Such as CVE-2026-1234. Repeatable", 2},
	{"requires", OPT_REQUIRES, "ID", 0, "A patch that must be active before. Repeatable", 2},
	{"sign", OPT_SIGN, "ROLE:CERT.pem:KEY.pem", 0, "Sign in that role. Repeatable", 3},
	{"add-signature", OPT_ADD_SIGNATURE, "PACKAGE", 0,
	 "Add signatures to a package instead of making one (-o: where to; default: in place)", 3},
	{"output", 'o', "FILE", 0, "The package to write", 4},
	{"json", OPT_JSON, NULL, 0, "Tell the outcome as one JSON document", 4},
	{0},
};

static uint64_t number(struct argp_state *state, const char *arg, uint64_t max)
{
	unsigned long long v;
	char *end;

	errno = 0;
	v = strtoull(arg, &end, 10);
	if (errno || end == arg || *end || arg[0] == '-' || v > max)
		argp_error(state, "\"%s\" is not a number up to %llu", arg,
			   (unsigned long long)max);
	return v;
}

static void copy(struct argp_state *state, char *out, size_t size, const char *from, size_t len)
{
	if (!len || len >= size)
		argp_error(state, "\"%s\": a name must have 1 to %zu characters", from, size - 1);
	else
		memcpy(out, from, len);
}

static void target(struct argp_state *state, struct build_target *t, char *arg)
{
	char *eq = strchr(arg, '='), *at;

	if (eq) {
		copy(state, t->replacement, sizeof(t->replacement), eq + 1, strlen(eq + 1));
		*eq = '\0';
	}
	at = strchr(arg, '@');
	if (at) {
		t->sympos = (uint32_t)number(state, at + 1, UINT16_MAX);
		*at = '\0';
	}
	copy(state, t->symbol, sizeof(t->symbol), arg, strlen(arg));
}

static void signer(struct argp_state *state, struct build_signer *s, char *arg)
{
	char *cert = strchr(arg, ':'), *key = cert ? strchr(cert + 1, ':') : NULL;

	if (!key) {
		argp_error(state, "--sign %s: must be ROLE:CERT.pem:KEY.pem", arg);
		return;
	}
	*cert = *key = '\0';
	copy(state, s->role, sizeof(s->role), arg, strlen(arg));
	s->cert = cert + 1;
	s->key = key + 1;
}

/* The next free place of a list; argp_error() does not come back. */
static size_t next(struct argp_state *state, size_t *nr, size_t max)
{
	if (*nr == max)
		argp_error(state, "an option was given more than %zu times", max);
	return (*nr)++;
}

static void finish(struct argp_state *state, struct build_options *o, bool has_serial)
{
	if (o->add_signature) {
		if (!o->nr_signers)
			argp_error(state, "--add-signature needs --sign");
		if (o->kernel || o->object || o->id)
			argp_error(state, "--add-signature goes without --kernel, --object, --id");
		if (!o->output)
			o->output = o->add_signature;
		return;
	}
	if (!o->kernel || !o->object || !o->id || !has_serial || !o->output)
		argp_error(state, "--kernel, --object, --id, --serial and --output are needed");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct build_options *o = state->input;
	static bool has_serial;

	switch (key) {
	case 'k':
		o->kernel = arg;
		break;
	case 'O':
		o->object = arg;
		break;
	case 'o':
		o->output = arg;
		break;
	case 't':
		target(state, &o->target[next(state, &o->nr_targets, PKG_MAX_TARGETS)], arg);
		break;
	case OPT_IMPORT:
		target(state, &o->import[next(state, &o->nr_imports, PKG_MAX_TARGETS)], arg);
		break;
	case OPT_ID:
		o->id = arg;
		break;
	case OPT_VERSION:
		o->version = arg;
		break;
	case OPT_SUMMARY:
		o->summary = arg;
		break;
	case OPT_SERIAL:
		o->serial = number(state, arg, INT64_MAX);
		has_serial = true;
		break;
	case OPT_EPOCH:
		o->security_epoch = number(state, arg, INT64_MAX);
		break;
	case OPT_ADVISORY:
		o->advisory[next(state, &o->nr_advisories, PKG_MAX_ADVISORIES)] = arg;
		break;
	case OPT_REQUIRES:
		o->requires
		[next(state, &o->nr_requires, PKG_MAX_PREREQS)] = arg;
		break;
	case OPT_SIGN:
		signer(state, &o->signer[next(state, &o->nr_signers, PKG_MAX_SIGNERS)], arg);
		break;
	case OPT_ADD_SIGNATURE:
		o->add_signature = arg;
		break;
	case OPT_JSON:
		o->json = true;
		break;
	case ARGP_KEY_END:
		finish(state, o, has_serial);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

void build_options_parse(struct build_options *ret, int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = "Make a signed package that replaces functions of one kernel build.\v"
		       "The package is reproducible but for its signatures; SOURCE_DATE_EPOCH sets "
		       "the time in it. Exit status: 0 done, 1 error, 2 usage, 3 refused with all "
		       "reasons."};

	argp_err_exit_status = 2;
	memset(ret, 0, sizeof(*ret));
	if (argp_parse(&argp, argc, argv, 0, NULL, ret))
		exit(2);
}
