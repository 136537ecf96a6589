// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "vmm-agent/cli/cli.h"

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

static int report_json(const struct cli_command *cmd, int rc, json_t *doc,
		       const struct refusal *why, const struct xerr *err, int code)
{
	static const char *const results[] = {
		[CLI_DONE] = "done", [CLI_ERROR] = "error", [CLI_REFUSED] = "refused"};
	json_t *out = doc ? json_incref(doc) : json_object();

	json_object_set_new(out, "operation", json_string(cmd->name));
	json_object_set_new(out, "result", json_string(results[code]));
	if (rc)
		json_object_set_new(out, "error",
				    json_pack("{s:s,s:s,s:s}", "code", xo_code_key(rc), "meaning",
					      xo_code_text(rc), "detail",
					      err->code ? err->text : ""));
	else
		json_object_set_new(out, "reasons", reasons_json(why));
	json_dumpf(out, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(out);
	return code;
}

static void print_reasons(const struct cli_command *cmd, const struct refusal *why)
{
	fprintf(stderr, "exopatch: %s refused, %zu reason%s:\n", cmd->name, why->nr + why->dropped,
		why->nr + why->dropped == 1 ? "" : "s");
	for (size_t i = 0; i < why->nr; i++)
		fprintf(stderr, "  %-20s %s\n", xo_code_key(why->reason[i].code),
			why->reason[i].detail ? why->reason[i].detail
					      : xo_code_text(why->reason[i].code));
	if (why->dropped)
		fprintf(stderr, "  and %zu more\n", why->dropped);
}

/* It was done, and the journal has the statement about it. */
static void print_unrecorded(const struct cli_command *cmd, const json_t *doc)
{
	const char *detail =
		json_string_value(json_object_get(json_object_get(doc, "unrecorded"), "detail"));

	if (detail)
		fprintf(stderr,
			"exopatch: this %s is not recorded yet: %s; the next apply, revert or "
			"recover records it\n",
			cmd->name, detail);
}

int cli_report(const struct cli_command *cmd, const struct cli_args *a, int rc, json_t *doc,
	       const struct refusal *why, const struct xerr *err)
{
	int code = rc ? CLI_ERROR : why->nr ? CLI_REFUSED : CLI_DONE;

	/* inspect of a VM that cannot be patched has still done what it was asked. */
	if (code == CLI_REFUSED && doc && !strcmp(cmd->name, "inspect"))
		code = CLI_DONE;
	if (a->json)
		return report_json(cmd, rc, doc, why, err, code);
	if (rc) {
		fprintf(stderr, "exopatch: %s: %s (%s)\n", cmd->name,
			err->code ? err->text : xo_code_text(rc), xo_code_key(rc));
		return code;
	}
	if (doc && (code == CLI_DONE || !why->nr))
		cmd->print(stdout, doc);
	fflush(stdout);
	if (why->nr && code == CLI_REFUSED)
		print_reasons(cmd, why);
	else if (why->nr)
		for (size_t i = 0; i < why->nr; i++)
			printf("  %-20s %s\n", xo_code_key(why->reason[i].code),
			       why->reason[i].detail ? why->reason[i].detail : "");
	print_unrecorded(cmd, doc);
	return code;
}
