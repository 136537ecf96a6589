// SPDX-License-Identifier: Apache-2.0
#include <errno.h>

#include "base/util.h"
#include "vmm-agent/agent/decide.h"
#include "vmm-agent/agent/home.h"
#include "vmm-agent/agent/ops.h"

static int add_home(struct session *s, enum agent_home kind, json_t *list, struct refusal *none,
		    struct xerr *err)
{
	_cleanup_home_ struct home h = {0};
	int rc = home_survey(s, kind, &h, none, err);

	if (rc || !h.nr_pages)
		return rc;
	if (json_array_append_new(
		    list, json_pack("{s:s,s:o,s:I,s:I}", "kind", h.kind, "address",
				    json_sprintf("0x%llx", (unsigned long long)h.page[0].gva.v),
				    "size_bytes", (json_int_t)(h.nr_pages * XO_PAGE_SIZE),
				    "free_bytes", (json_int_t)h.free_bytes)))
		return xerr_set(err, ENOMEM, "out of memory");
	return 0;
}

/* Both homes; a VM is eligible if it has one. */
static int homes(struct session *s, json_t *list, struct refusal *why, struct xerr *err)
{
	_cleanup_refusal_ struct refusal none = {0};
	int rc;

	session_progress(s, "looking for homes");
	rc = add_home(s, AGENT_HOME_WINDOW, list, &none, err);
	if (!rc && s->kernel.has_shim)
		rc = add_home(s, AGENT_HOME_SHIM, list, &none, err);
	if (rc || json_array_size(list))
		return rc;
	for (size_t i = 0; i < none.nr; i++)
		refusal_add(why, none.reason[i].code, "%s", none.reason[i].detail);
	return 0;
}

/* What was done to the VM, if anything was ever: inspect makes no journal. */
static int read_journal(struct session *s, struct xerr *err)
{
	const char *dir = agent_state_dir(s->opts);
	_cleanup_free_ char *path = NULL;

	if (asprintf(&path, "%s/journal.db", dir) < 0)
		return xerr_set(err, ENOMEM, "out of memory");
	return s->journal || access(path, F_OK) ? 0 : session_journal(s, err);
}

int op_inspect(struct session *s, json_t **ret, struct refusal *why, struct xerr *err)
{
	_cleanup_json_ json_t *doc = NULL, *facts = NULL, *list = json_array();
	struct xerr unknown = {0};
	int rc = 0;

	if (s->discovered)
		rc = homes(s, list, why, err);
	rc = rc ? rc : read_journal(s, err);
	if (rc)
		return rc;
	/* What cannot be found out of them is in the way of a policy, not of a look. */
	if (s->discovered)
		facts = decide_vm_facts(s, json_array_size(list) != 0, &unknown);
	doc = op_doc(s, "inspect");
	if (!doc || json_object_set(doc, "homes", list) ||
	    json_object_set_new(doc, "eligible", json_boolean(!why->nr)) ||
	    (facts && json_object_set(doc, "facts", facts)) ||
	    json_object_set_new(doc, "time_ms",
				json_real((double)(xo_now_ns() - s->opened_ns) / 1e6)))
		return xerr_set(err, ENOMEM, "out of memory");
	*ret = XO_TAKE_PTR(doc);
	return 0;
}
