// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>

#include "vmm-agent/agent/ops.h"

/* What the guest's memory says of a live row; here a record counts though others share it. */
static const char *in_guest(const struct session *s, const struct jrow *row,
			    const struct survey *sv)
{
	size_t nr_new = 0;

	if (!session_same_kernel(s, row))
		return "rebooted";
	if (sv->nr_foreign)
		return "changed";
	for (size_t i = 0; i < sv->nr; i++)
		nr_new += sv->side[i] == SIDE_NEW;
	if (nr_new == sv->nr)
		return "new";
	return sv->nr_new ? "mixed" : "old";
}

/* Does something in the guest, a livepatch say, lead around one of the row's functions? */
static int is_redirected(struct session *s, const struct jrow *row, bool *ret, struct xerr *err)
{
	*ret = false;
	for (size_t i = 0; i < row->nr_targets && !*ret; i++) {
		const struct jtarget *t = &row->target[i];
		_cleanup_refusal_ struct refusal why = {0};
		struct lens_site site;
		int rc;

		if (!t->replacement.v)
			continue;
		rc = lens_site(s->lens, t->addr, t->size_bytes, NULL, 0, &site, &why, err);
		if (rc && rc != -XO_ENOROOM)
			return rc;
		for (size_t k = 0; k < why.nr; k++)
			*ret = *ret || why.reason[k].code == XO_EREDIRECTED;
	}
	return 0;
}

static int add_row(struct session *s, struct jrow *row, json_t *list, struct xerr *err)
{
	_cleanup_survey_ struct survey sv = {0};
	bool redirected = false;
	const char *guest = "old";
	json_t *item;
	int rc = 0;

	if (jrow_live(row)) {
		if (session_same_kernel(s, row))
			rc = change_survey(s, row, &sv, err);
		if (!rc && session_same_kernel(s, row))
			rc = is_redirected(s, row, &redirected, err);
		if (!rc)
			guest = in_guest(s, row, &sv);
		if (!rc && row->state == J_ACTIVE && !session_same_kernel(s, row))
			rc = journal_set_state(s->journal, row, J_LOST, 0, err);
	}
	if (rc)
		return rc;
	item = op_row_json(row);
	if (!item || json_object_set_new(item, "guest", json_string(guest)) ||
	    json_object_set_new(item, "redirected", json_boolean(redirected)) ||
	    json_object_set_new(item, "consistent",
				json_boolean(row->state != J_ACTIVE ||
					     (!strcmp(guest, "new") && !redirected))) ||
	    json_array_append_new(list, item))
		return xerr_set(err, ENOMEM, "out of memory");
	return 0;
}

int op_status(struct session *s, json_t **ret, struct xerr *err)
{
	_cleanup_json_ json_t *doc = NULL, *list = json_array();
	int rc = 0;

	for (size_t i = 0; i < s->nr_rows && !rc; i++)
		rc = add_row(s, &s->row[i], list, err);
	if (rc)
		return rc;
	doc = op_doc(s, "status");
	if (!doc || json_object_set(doc, "patches", list))
		return xerr_set(err, ENOMEM, "out of memory");
	*ret = XO_TAKE_PTR(doc);
	return 0;
}
