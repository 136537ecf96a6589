// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/facts.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"

void facts_free(struct facts *f)
{
	free(f->active);
	free(f->function);
	free(f->seen);
	memset(f, 0, sizeof(*f));
}

static bool counts(const struct session *s, const struct jrow *r)
{
	return r->state == J_ACTIVE && session_same_kernel(s, r);
}

static int gather_active(const struct session *s, struct facts *f)
{
	size_t nr = 0, nr_functions = 0, n = 0;

	for (size_t i = 0; i < s->nr_rows; i++) {
		nr += counts(s, &s->row[i]);
		nr_functions += s->row[i].nr_targets;
	}
	f->active = calloc(nr + 1, sizeof(*f->active));
	f->function = calloc(nr_functions + 1, sizeof(*f->function));
	if (!f->active || !f->function)
		return -ENOMEM;
	for (size_t i = 0; i < s->nr_rows; i++) {
		const struct jrow *r = &s->row[i];

		if (!counts(s, r))
			continue;
		f->active[f->f.nr_active++] = (struct pol_active){
			.id = r->patch_id,
			.version = r->version,
			.nr_functions = r->nr_targets,
			.function = f->function + n,
			.requires_ids = r->requires_ids,
		};
		for (size_t k = 0; k < r->nr_targets; k++)
			f->function[n++] = r->target[k].symbol;
	}
	return 0;
}

static int gather_seen(struct session *s, const struct pkg_manifest *m, struct facts *f,
		       struct xerr *err)
{
	f->seen = calloc(m->nr_advisories + 1, sizeof(*f->seen));
	if (!f->seen)
		return xerr_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i <= m->nr_advisories; i++) {
		struct pol_seen *seen = &f->seen[i];
		int rc;

		seen->subject = i ? m->advisory[i - 1] : m->id;
		rc = journal_newest(s->journal, s->build_id, seen->subject, &seen->serial,
				    &seen->security_epoch, err);
		if (rc)
			return rc;
		f->f.nr_seen++;
	}
	return 0;
}

int facts_gather(struct session *s, const struct pkg_manifest *m, struct facts *ret,
		 struct xerr *err)
{
	_cleanup_facts_ struct facts f = {.f = {.guest_arch = s->vm->arch,
						.guest_build_id = s->build_id,
						.guest_release = s->kernel.release}};
	int rc;

	if (gather_active(s, &f))
		return xerr_set(err, ENOMEM, "out of memory");
	rc = m ? gather_seen(s, m, &f, err) : 0;
	if (rc)
		return rc;
	f.f.active = f.active;
	f.f.seen = f.seen;
	*ret = f;
	f = (struct facts){0};
	return 0;
}

void facts_admit(const struct facts *f, const struct pkg_manifest *m, struct refusal *why)
{
	const char *function[PKG_MAX_TARGETS], *prereq[PKG_MAX_PREREQS];
	char build_id[41];
	struct pol_package p = {
		.id = m->id,
		.arch = m->arch,
		.build_id = build_id,
		.release = m->kernel_release,
		.serial = m->serial,
		.security_epoch = m->security_epoch,
		.nr_requires = m->nr_prereqs,
		.requires_id = prereq,
		.nr_functions = m->nr_targets,
		.function = function,
	};

	xo_hex(SPAN(m->build_id, m->build_id_bytes), build_id);
	for (size_t i = 0; i < m->nr_prereqs; i++)
		prereq[i] = m->prereq[i];
	for (size_t i = 0; i < m->nr_targets; i++)
		function[i] = m->target[i].symbol;
	pol_admit(&f->f, &p, why);
}
