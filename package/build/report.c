// SPDX-License-Identifier: Apache-2.0
#include <jansson.h>
#include <stdio.h>

#include "package/build/build.h"

enum { DONE = 0, FAILED = 1, USAGE = 2, REFUSED = 3 };

static json_t *reasons_json(const struct refusal *why)
{
	json_t *a = json_array();

	for (size_t i = 0; i < why->nr; i++)
		json_array_append_new(
			a, json_pack("{ss,ss}", "code", xo_code_key(why->reason[i].code), "detail",
				     why->reason[i].detail ? why->reason[i].detail : ""));
	return a;
}

static json_t *done_json(const struct build_options *o, struct span manifest)
{
	char hex[XO_SHA256_HEX_SIZE] = "";
	uint8_t digest[XO_SHA256_BYTES];

	if (!xo_sha256(manifest, digest))
		xo_hex(SPAN(digest, sizeof(digest)), hex);
	return json_pack("{ss,ss,ss,so}", "result", "done", "package", o->output, "digest", hex,
			 "manifest",
			 json_loadb((const char *)manifest.p, manifest.len_bytes, 0, NULL));
}

static void tell_json(const struct build_options *o, int status, int rc, struct span manifest,
		      const struct refusal *why, const struct xerr *err)
{
	json_t *root;
	char *text;

	if (status == DONE)
		root = done_json(o, manifest);
	else if (status == REFUSED)
		root = json_pack("{ss,so}", "result", "refused", "reasons", reasons_json(why));
	else
		root = json_pack("{ss,s{ss,ss}}", "result", "error", "error", "code",
				 xo_code_key(rc), "detail", err->text);
	text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
	json_decref(root);
	puts(text ? text : "{}");
	free(text);
}

static void tell_done(const struct build_options *o, struct span manifest)
{
	json_t *m = json_loadb((const char *)manifest.p, manifest.len_bytes, 0, NULL), *t;
	const char *id = "?", *version = "?", *release = "?";
	size_t i;

	(void)json_unpack(m, "{ss,ss,s{ss}}", "id", &id, "version", &version, "kernel", "release",
			  &release);
	printf("%s: %s %s for Linux %s\n", o->output, id, version, release);
	json_array_foreach(json_object_get(m, "targets"), i, t)
	{
		const char *symbol = "?", *new = "?";
		json_t *masks = NULL;
		int size = 0;

		(void)json_unpack(t, "{ss,ss,si,so}", "symbol", &symbol, "replacement", &new,
				  "size", &size, "masks", &masks);
		printf("  replaces %s (%d bytes, %zu masks) by %s\n", symbol, size,
		       json_array_size(masks), new);
	}
	if (!o->nr_signers)
		puts("  not signed yet: exopatch-build --add-signature");
	json_decref(m);
}

int build_report(const struct build_options *o, int rc, struct span manifest,
		 const struct refusal *why, const struct xerr *err)
{
	int status = rc == -XO_EUSAGE ? USAGE : rc ? FAILED : why->nr ? REFUSED : DONE;

	if (o->json) {
		tell_json(o, status, rc, manifest, why, err);
		return status;
	}
	if (status == DONE)
		tell_done(o, manifest);
	if (status == FAILED || status == USAGE)
		fprintf(stderr, "exopatch-build: %s\n",
			err->text[0] ? err->text : xo_code_text(rc));
	if (status == REFUSED)
		fprintf(stderr, "exopatch-build: refused:\n");
	for (size_t i = 0; status == REFUSED && i < why->nr; i++)
		fprintf(stderr, "  %s: %s\n", xo_code_key(why->reason[i].code),
			why->reason[i].detail);
	return status;
}
