// SPDX-License-Identifier: Apache-2.0
/* OpenVEX 0.2.0: which advisories the patches active in a guest have fixed in its kernel. */
#include <errno.h>

#include "attest/statement.h"

#define VEX_CONTEXT "https://openvex.dev/ns/v0.2.0"

static json_t *vex_statement(const struct att_statement *s, const char *advisory)
{
	char product[160], when[21], note[200];

	(void)snprintf(product, sizeof(product), "pkg:generic/linux@%s?build_id=%s", s->release,
		       s->build_id);
	(void)snprintf(note, sizeof(note), "live patch %s %s", s->action.package.id,
		       s->action.package.version);
	return json_pack("{s:{s:s},s:[{s:s}],s:s,s:s,s:s}", "vulnerability", "name", advisory,
			 "products", "@id", product, "status", "fixed", "status_notes", note,
			 "timestamp", json_time(s->finished_s, when));
}

int vex_format(struct xbuf *out, const struct att_statement *const *fixes, size_t nr,
	       int64_t when_s)
{
	json_t *list = json_array();
	_cleanup_json_ json_t *root = NULL;
	_cleanup_free_ char *text = NULL;
	char when[21], id[128];

	for (size_t i = 0; i < nr; i++)
		for (size_t k = 0; k < fixes[i]->action.nr_advisories; k++)
			json_array_append_new(
				list, vex_statement(fixes[i], fixes[i]->action.advisory[k]));
	(void)snprintf(id, sizeof(id), "urn:uuid:%s#%lld", nr ? fixes[0]->vm_uuid : "",
		       (long long)when_s);
	root = json_pack("{s:s,s:s,s:s,s:s,s:i,s:o}", "@context", VEX_CONTEXT, "@id", id, "author",
			 "exopatch", "timestamp", json_time(when_s, when), "version", 1,
			 "statements", list);
	text = root ? json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
	if (!text)
		return -ENOMEM;
	return xbuf_addf(out, "%s\n", text);
}
