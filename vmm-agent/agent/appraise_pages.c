// SPDX-License-Identifier: Apache-2.0
/* Executable pages of all address spaces: text, modules' and patches' are approved (lens/audit.c);
 * what else there is, is listed by the kernel, or nobody's. */
#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "vmm-agent/agent/appraise_core.h"
#include "vmm-agent/agent/ops.h"

#define AUDITS	       64UL /* address spaces are many, and an audit is bounded */
#define MAX_FINDINGS   (AUDITS * LENS_MAX_FINDINGS)
#define SECOND_LOOK_NS UINT64_C(100000000)
#define LOOKS	       4

struct pages {
	json_t *unapproved, *listed;
	struct xbuf seen; /* struct lens_finding: each counts once */
	uint64_t nr_unapproved, nr_listed;
};

/* Whose code the kernel's own lists name may be there: docs/guard.md. */
static bool is_approved(const struct lens_finding *f)
{
	return f->kind == LENS_FOUND_EXEC && f->owner != LENS_OWNER_UNKNOWN;
}

/* What is wrong without being a page of its own is no less wrong. */
static uint64_t pages_of(const struct lens_finding *f)
{
	uint64_t n = f->len_bytes / XO_PAGE_SIZE + (f->len_bytes % XO_PAGE_SIZE != 0);

	return n ? n : 1;
}

static bool is_seen(const struct pages *p, const struct lens_finding *f)
{
	const struct lens_finding *seen = (const void *)p->seen.data;

	for (size_t i = 0; i < p->seen.len_bytes / sizeof(*f); i++)
		if (!memcmp(&seen[i], f, sizeof(*f)))
			return true;
	return false;
}

static int add(struct pages *p, const struct lens_finding *f, bool approved)
{
	if (is_seen(p, f))
		return 0;
	*(approved ? &p->nr_listed : &p->nr_unapproved) += pages_of(f);
	if (json_array_append_new(approved ? p->listed : p->unapproved,
				  json_pack("{s:s,s:s,s:o,s:o,s:I}", "what", f->what, "owner",
					    lens_owner_name(f->owner), "address",
					    json_sprintf("0x%llx", (unsigned long long)f->gva.v),
					    "physical_address",
					    json_sprintf("0x%llx", (unsigned long long)f->gpa.v),
					    "size_bytes", (json_int_t)f->len_bytes)))
		return -ENOMEM;
	return xbuf_add(&p->seen, f, sizeof(*f));
}

static void forget(struct pages *p)
{
	p->nr_unapproved = p->nr_listed = 0;
	p->seen.len_bytes = 0;
	json_array_clear(p->unapproved);
	json_array_clear(p->listed);
}

/* What was not looked at is not approved. */
static int add_rest(struct pages *p, uint32_t nr_left)
{
	struct lens_finding f;

	if (!nr_left)
		return 0;
	memset(&f, 0, sizeof(f));
	f.kind = LENS_FOUND_INCOMPLETE;
	snprintf(f.what, sizeof(f.what), "%u address spaces, which were not looked at", nr_left);
	return add(p, &f, false);
}

/* All address spaces, from the first to the last. */
static int audit(struct session *s, const struct appraise_guard *g, struct att_appraisal *ret,
		 struct pages *p, struct xerr *err)
{
	size_t nr_homes = 0;
	_cleanup_free_ struct lens_approved *home = session_homes(s, appraise_row, &nr_homes);
	struct lens_audit_stats stats = {.nr_left = 1};
	int rc = home ? 0 : -ENOMEM;

	forget(p);
	for (size_t i = 0; !rc && i < AUDITS && stats.nr_left; i++) {
		struct lens_finding f[LENS_MAX_FINDINGS];
		size_t nr = 0;

		rc = lens_audit(s->lens, home, nr_homes, f, &nr, &stats, err);
		for (size_t k = 0; !rc && k < nr; k++)
			rc = add(p, &f[k], is_approved(&f[k]));
		if (!rc && g && stats.nr_left)
			rc = g->step(g->arg, err);
	}
	ret->exec_pages = stats.nr_exec_pages;
	return rc ? rc : add_rest(p, stats.nr_left);
}

/* The guard looks all the time, and knows what stays. */
static int take(const struct appraise_guard *g, struct att_appraisal *ret, struct pages *p)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < g->nr_findings; i++)
		rc = add(p, &g->finding[i].finding, g->finding[i].approved);
	ret->exec_pages = g->exec_pages;
	return rc;
}

static int look(struct session *s, const struct appraise_guard *g, struct att_appraisal *ret,
		struct pages *p, struct xerr *err)
{
	int rc = 0;

	if (g && g->saw_all)
		return take(g, ret, p);
	/* A module or tracer that comes or goes has pages that nobody owns, for a moment. */
	for (int i = 0; !rc && i < LOOKS && (!i || p->nr_unapproved); i++) {
		if (i)
			xo_sleep_ns(SECOND_LOOK_NS);
		rc = audit(s, g, ret, p, err);
	}
	return rc;
}

int appraise_pages(struct session *s, const struct appraise_guard *g, struct att_appraisal *ret,
		   json_t *detail, struct xerr *err)
{
	_cleanup_json_ json_t *unapproved = json_array(), *listed = json_array();
	struct pages p = {.unapproved = unapproved,
			  .listed = listed,
			  .seen = XBUF((MAX_FINDINGS + 1) * sizeof(struct lens_finding))};
	int rc = look(s, g, ret, &p, err);

	ret->exec_pages_unapproved = p.nr_unapproved;
	ret->runtime_pages = p.nr_listed;
	xbuf_free(&p.seen);
	if (!rc && (json_object_set(detail, "unapproved_pages", unapproved) ||
		    json_object_set(detail, "listed_pages", listed)))
		rc = -ENOMEM;
	return rc;
}
