// SPDX-License-Identifier: Apache-2.0
/* exopatch verify: judge an evidence directory, offline. */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "attest/attest.h"
#include "vmm-agent/cli/cli.h"
#include "vmm-agent/cli/offline.h"

enum {
	OPT_TRUST = 256,
	OPT_REFERENCE,
	OPT_NONCE,
	OPT_MAX_AGE,
	OPT_AT,
	OPT_VM,
	OPT_BOOT,
	OPT_TPM,
	OPT_GUARD,
	OPT_NO_RUNTIME,
	OPT_REMEMBER
};

struct args {
	const char *evidence, *trust, *reference;
	struct att_expect expect;
	uint8_t nonce[ATT_MAX_NONCE], boot[XO_SHA256_BYTES];
	bool json, remember;
};

static const struct argp_option options[] = {
	{"trust", OPT_TRUST, "DIR", 0, "whom to believe: keys of logs, TPMs, CAs, witnesses", 1},
	{"reference", OPT_REFERENCE, "FILE", 0, "what the vendor's kernel package holds", 1},
	{"nonce", OPT_NONCE, "HEX", 0, "the nonce that was sent; without it, the age counts", 2},
	{"max-age", OPT_MAX_AGE, "SECONDS", 0, "how old evidence may be without a nonce (300)", 2},
	{"at", OPT_AT, "TIME", 0, "judge as of YYYY-MM-DDTHH:MM:SSZ instead of now", 2},
	{"vm", OPT_VM, "UUID", 0, "the machine it must be about", 3},
	{"boot", OPT_BOOT, "HEX", 0, "the boot it must be about", 3},
	{"require-tpm", OPT_TPM, NULL, 0, "evidence without a TPM is incomplete", 3},
	{"require-guard", OPT_GUARD, NULL, 0, "an unguarded guest is incomplete", 3},
	{"no-runtime-code", OPT_NO_RUNTIME, NULL, 0,
	 "code that the guest made while it ran, and only its own lists explain, speaks against it",
	 3},
	{"remember", OPT_REMEMBER, NULL, 0,
	 "remember trusted evidence in the trust directory: what comes later must go on from it",
	 4},
	{"json", 'j', NULL, 0, "print one JSON document", 4},
	{0},
};

static void parse_nonce(struct argp_state *st, const char *arg, struct args *a)
{
	size_t n = strlen(arg) / 2;

	if (!n || n > sizeof(a->nonce) || !xo_unhex(arg, a->nonce, n))
		argp_error(st, "--nonce: is not hex of 1 to %d bytes", ATT_MAX_NONCE);
	a->expect.nonce = a->nonce;
	a->expect.nonce_len = n;
}

static void parse_at(struct argp_state *st, const char *arg, struct args *a)
{
	struct tm tm = {0};
	const char *end = strptime(arg, "%Y-%m-%dT%H:%M:%SZ", &tm);

	if (!end || *end)
		argp_error(st, "--at: '%s' is not YYYY-MM-DDTHH:MM:SSZ", arg);
	a->expect.now_s = timegm(&tm);
}

static void parse_age(struct argp_state *st, const char *arg, struct args *a)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(arg, &end, 10);
	if (errno || end == arg || *end || !v || v > UINT32_MAX)
		argp_error(st, "--max-age: '%s' is not a number of seconds", arg);
	a->expect.max_age_s = v;
}

static error_t parse_one(int key, char *arg, struct argp_state *st)
{
	struct args *a = st->input;

	switch (key) {
	case OPT_TRUST:
		a->trust = arg;
		break;
	case OPT_REFERENCE:
		a->reference = arg;
		break;
	case OPT_NONCE:
		parse_nonce(st, arg, a);
		break;
	case OPT_MAX_AGE:
		parse_age(st, arg, a);
		break;
	case OPT_AT:
		parse_at(st, arg, a);
		break;
	case OPT_VM:
		a->expect.vm_uuid = arg;
		break;
	case OPT_BOOT:
		if (!xo_unhex(arg, a->boot, sizeof(a->boot)))
			argp_error(st, "--boot: is not hex of 32 bytes");
		a->expect.boot = a->boot;
		break;
	case OPT_TPM:
		a->expect.require_tpm = true;
		break;
	case OPT_GUARD:
		a->expect.require_guard = true;
		break;
	case OPT_NO_RUNTIME:
		a->expect.forbid_runtime = true;
		break;
	case OPT_REMEMBER:
		a->remember = true;
		break;
	case 'j':
		a->json = true;
		break;
	case ARGP_KEY_ARG:
		if (a->evidence)
			argp_error(st, "'%s' is one argument too many", arg);
		a->evidence = arg;
		break;
	case ARGP_KEY_END:
		if (!a->evidence || !a->trust)
			argp_error(st, "EVIDENCE and --trust DIR are needed");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static int exit_code(enum att_verdict_of_evidence v)
{
	static const int codes[] = {[ATT_TRUSTED] = CLI_DONE,
				    [ATT_UNTRUSTED] = CLI_UNTRUSTED,
				    [ATT_STALE] = CLI_STALE,
				    [ATT_INCOMPLETE] = CLI_INCOMPLETE};

	return codes[v];
}

static const char *guard_name(enum att_guard g)
{
	return g == ATT_GUARD_ENFORCE ? "enforce" : g == ATT_GUARD_AUDIT ? "audit" : "none";
}

static void time_text(int64_t when_s, char out[32])
{
	time_t t = when_s;
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static json_t *reasons_json(const struct refusal *why)
{
	json_t *list = json_array();

	for (size_t i = 0; i < why->nr; i++)
		json_array_append_new(
			list, json_pack("{s:s,s:s,s:s}", "reason", xo_code_key(why->reason[i].code),
					"meaning", xo_code_text(why->reason[i].code), "detail",
					why->reason[i].detail ? why->reason[i].detail : ""));
	return list;
}

static json_t *patches_json(const struct att_result *r)
{
	json_t *list = json_array();
	char hex[XO_SHA256_HEX_SIZE];

	for (size_t i = 0; i < r->nr_patches; i++) {
		xo_hex(SPAN(r->patch[i].manifest, XO_SHA256_BYTES), hex);
		json_array_append_new(list,
				      json_pack("{s:s,s:s,s:s}", "id", r->patch[i].id, "version",
						r->patch[i].version, "manifest_sha256", hex));
	}
	return list;
}

/* What the verdict is not about. */
static json_t *trust_json(const struct att_result *r)
{
	return r->tells_trust
		       ? json_pack("{s:I,s:I,s:I}", "runtime_pages", (json_int_t)r->runtime_pages,
				   "runtime_bytes", (json_int_t)r->runtime_bytes, "init_bytes",
				   (json_int_t)r->init_bytes)
		       : json_null();
}

static void print_json(const struct att_result *r, const struct refusal *why)
{
	char when[32], since[32];
	json_t *doc;

	time_text(r->appraised_s, when);
	time_text(r->guarded_since_s, since);
	doc = json_pack("{s:s,s:s,s:o,s:s,s:{s:s},s:{s:s,s:s},s:{s:s,s:I,s:I},s:I,s:s,s:s,s:s*,s:b,"
			"s:I,s:I,s:o,s:I,s:o}",
			"operation", "verify", "result", att_verdict_name(r->verdict), "reasons",
			reasons_json(why), "root", r->tpm_rooted ? "tpm" : "software", "vm", "uuid",
			r->vm_uuid, "kernel", "release", r->release, "build_id", r->build_id, "log",
			"origin", r->log_origin, "size", (json_int_t)r->log_size, "witnesses",
			(json_int_t)r->nr_witnesses, "statements", (json_int_t)r->nr_statements,
			"appraised", when, "guard", guard_name(r->guard), "guarded_since",
			r->guarded_since_s ? since : NULL, "guard_lapsed", r->guard_lapsed,
			"unseen_boots", (json_int_t)r->unseen_boots, "unexplained_bytes",
			(json_int_t)r->unexplained_bytes, "taken_on_trust", trust_json(r),
			"registers", (json_int_t)r->registers, "patches", patches_json(r));
	json_dumpf(doc, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(doc);
}

static void print_trust(const struct att_result *r)
{
	if (!r->tells_trust)
		printf("  on trust  not told\n");
	else
		printf("  on trust  %" PRIu64 " pages and %" PRIu64
		       " bytes of code made while it ran; %" PRIu64 " bytes set at its start\n",
		       r->runtime_pages, r->runtime_bytes, r->init_bytes);
	if (!r->registers)
		printf("  unknown   registers of its CPUs were not looked at: no guard\n");
}

static void print_text(const struct att_result *r, const struct refusal *why)
{
	char when[32], since[32];

	time_text(r->appraised_s, when);
	time_text(r->guarded_since_s, since);
	printf("%s, rooted in %s\n", att_verdict_name(r->verdict),
	       r->tpm_rooted ? "a TPM" : "software");
	if (r->vm_uuid[0])
		printf("  machine   %s, %s, build-id %s\n", r->vm_uuid, r->release, r->build_id);
	if (r->appraised_s)
		printf("  appraised %s: %" PRIu64 " unexplained bytes, guard: %s\n", when,
		       r->unexplained_bytes, guard_name(r->guard));
	if (r->appraised_s)
		print_trust(r);
	if (r->guarded_since_s)
		printf("  guarded   since %s%s\n", since,
		       r->guard_lapsed ? "; before that, in the same boot, for a while not" : "");
	if (r->unseen_boots)
		printf("  rebooted  %zu times, as the guest says; nobody saw a reset\n",
		       r->unseen_boots);
	for (size_t i = 0; i < r->nr_patches; i++)
		printf("  patch     %s %s\n", r->patch[i].id, r->patch[i].version);
	if (r->log_origin[0])
		printf("  log       %s, %" PRIu64 " entries, %zu witnesses, %zu statements\n",
		       r->log_origin, r->log_size, r->nr_witnesses, r->nr_statements);
	for (size_t i = 0; i < why->nr; i++)
		printf("  %-22s %s\n", xo_code_key(why->reason[i].code),
		       why->reason[i].detail ? why->reason[i].detail : "");
	if (why->dropped)
		printf("  and %zu more reasons\n", why->dropped);
}

/* Judge. Return: 0 or a negative code */
static int judge(struct args *a, struct att_files *evidence, struct att_files *trust,
		 struct att_result *ret, struct refusal *why, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf ref = XBUF(ATT_REFERENCE_MAX_BYTES);
	int rc = att_files_load(evidence, a->evidence, err);

	if (!rc)
		rc = att_files_load(trust, a->trust, err);
	if (!rc && a->reference) {
		rc = xbuf_read_file(&ref, a->reference);
		if (rc)
			return xerr_set(err, -rc, "%s: cannot be read", a->reference);
		a->expect.reference = xbuf_span(&ref);
	}
	return rc ? rc : att_verify(ret, evidence, trust, &a->expect, why, err);
}

int cli_verify(int argc, char **argv)
{
	const struct argp argp = {.options = options,
				  .parser = parse_one,
				  .args_doc = "EVIDENCE",
				  .doc = "Judge an evidence directory, offline.\v"
					 "Exit codes: 0 trusted, 1 error, 2 usage, 3 untrusted, 4 "
					 "stale, 5 incomplete."};
	struct att_files evidence = {0}, trust = {0};
	struct args a = {.expect.now_s = time(NULL)};
	static struct att_result res;
	struct refusal why = {0};
	struct xerr err = {0};
	char name[] = "exopatch verify";
	int rc;

	argp_err_exit_status = CLI_USAGE;
	argv[0] = name;
	if (argp_parse(&argp, argc, argv, 0, NULL, &a))
		return CLI_USAGE;
	rc = judge(&a, &evidence, &trust, &res, &why, &err);
	if (!rc && a.remember && res.verdict == ATT_TRUSTED)
		rc = att_remember(a.trust, &evidence, &res, &err);
	att_files_free(&evidence);
	att_files_free(&trust);
	if (rc)
		(void)fprintf(stderr, "exopatch: verify: %s (%s)\n",
			      err.code ? err.text : xo_code_text(rc), xo_code_key(rc));
	else if (a.json)
		print_json(&res, &why);
	else
		print_text(&res, &why);
	refusal_free(&why);
	return rc ? CLI_ERROR : exit_code(res.verdict);
}
