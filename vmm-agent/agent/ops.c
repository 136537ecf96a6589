// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/ops.h"

#include <string.h>

int op_begin(struct session *s, const struct agent_opts *o, struct refusal *why, struct xerr *err)
{
	int rc = session_open(s, o, why, err);

	if (rc || why->nr)
		return rc;
	return session_journal(s, err);
}

void op_pending(const struct session *s, struct refusal *why)
{
	for (size_t i = 0; i < s->nr_rows; i++) {
		const struct jrow *r = &s->row[i];

		if (r->state == J_APPLYING || r->state == J_REVERTING)
			refusal_add(why, XO_ENEEDSRECOVER,
				    "%s: left %s by a process that ended; run exopatch recover",
				    r->patch_id, jstate_name(r->state));
	}
}

bool op_same_kernel(const struct session *s, const struct jrow *row)
{
	return row->kernel_base.v == s->kernel.base.v && !strcmp(row->build_id, s->build_id);
}

bool op_live(const struct session *s, const struct jrow *row)
{
	return jrow_live(row) && op_same_kernel(s, row);
}

static json_t *targets_json(const struct jrow *row)
{
	json_t *list = json_array();

	for (size_t i = 0; i < row->nr_targets; i++) {
		const struct jtarget *t = &row->target[i];

		if (!t->replacement.v)
			continue;
		json_array_append_new(
			list,
			json_pack("{s:s,s:o,s:I,s:i,s:o}", "symbol", t->symbol, "address",
				  json_sprintf("0x%llx", (unsigned long long)t->addr.v),
				  "size_bytes", (json_int_t)t->size_bytes, "detour_offset",
				  (int)t->detour_off, "replacement",
				  json_sprintf("0x%llx", (unsigned long long)t->replacement.v)));
	}
	return list;
}

json_t *op_row_json(const struct jrow *row)
{
	return json_pack(
		"{s:s,s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:s,s:o,s:I,s:s,s:s,s:f,s:o}", "id",
		row->patch_id, "version", row->version, "state", jstate_name(row->state),
		"manifest_sha256", row->manifest_sha256, "payload_sha256", row->payload_sha256,
		"build_id", row->build_id, "serial", (json_int_t)row->serial, "security_epoch",
		(json_int_t)row->security_epoch, "home", row->home_kind, "home_address",
		json_sprintf("0x%llx", (unsigned long long)row->home.v), "home_bytes",
		(json_int_t)row->home_bytes, "created", row->created, "updated", row->updated,
		"blackout_us", (double)row->blackout_ns / 1e3, "functions", targets_json(row));
}

json_t *op_doc(const struct session *s, const char *operation)
{
	json_t *doc = json_pack("{s:s}", "operation", operation);

	if (doc && session_vm_json(s, doc)) {
		json_decref(doc);
		return NULL;
	}
	return doc;
}
