// SPDX-License-Identifier: Apache-2.0
/* provenance.json: an in-toto Statement v1 with a SLSA v1 predicate. */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "package/build/build.h"

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* {"name": ..., "digest": {"sha256": ...}} */
static json_t *resource(const char *name, struct span content)
{
	char hex[XO_SHA256_HEX_SIZE];
	uint8_t digest[XO_SHA256_BYTES];

	if (xo_sha256(content, digest))
		return NULL;
	xo_hex(SPAN(digest, sizeof(digest)), hex);
	return json_pack("{ss,s{ss}}", "name", base_name(name), "digest", "sha256", hex);
}

int build_provenance(struct xbuf *out, const struct build_options *o, struct span kernel,
		     struct span object, struct span payload)
{
	json_t *root;
	char *text;
	int rc;

	root = json_pack(
		"{ss,s[o],ss,s{s{ss,s{ss},s[oo]},s{s{ss}}}}", "_type",
		"https://in-toto.io/Statement/v1", "subject", resource("payload.o", payload),
		"predicateType", "https://slsa.dev/provenance/v1", "predicate", "buildDefinition",
		"buildType", "exopatch-build/1", "externalParameters", "id", o->id,
		"resolvedDependencies", resource(o->kernel, kernel), resource(o->object, object),
		"runDetails", "builder", "id", "exopatch-build");
	text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	if (!text)
		return -ENOMEM;
	rc = xbuf_addf(out, "%s\n", text);
	free(text);
	return rc;
}
