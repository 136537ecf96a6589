// SPDX-License-Identifier: Apache-2.0
#include "policy/admit.h"

#include <string.h>

static const struct pol_active *find_active(const struct pol_facts *f, const char *id)
{
	for (size_t i = 0; i < f->nr_active; i++)
		if (!strcmp(f->active[i].id, id))
			return &f->active[i];
	return NULL;
}

static bool right_kernel(const struct pol_facts *f, const struct pol_package *p,
			 struct refusal *why)
{
	if (strcmp(p->arch, f->guest_arch) != 0) {
		refusal_add(why, XO_EARCH, "package is for %s, the guest is %s", p->arch,
			    f->guest_arch);
		return false;
	}
	if (strcmp(p->build_id, f->guest_build_id) != 0) {
		refusal_add(why, XO_EBUILDID,
			    "package is for %s (build-id %s), the guest runs %s (build-id %s)",
			    p->release, p->build_id, f->guest_release, f->guest_build_id);
		return false;
	}
	return true;
}

static void check_rollback(const struct pol_seen *s, const struct pol_package *p,
			   struct refusal *why)
{
	if (p->security_epoch < s->security_epoch)
		refusal_add(why, XO_ESERIAL, "%s: security epoch %llu, but %llu was applied before",
			    s->subject, (unsigned long long)p->security_epoch,
			    (unsigned long long)s->security_epoch);
	else if (p->serial < s->serial)
		refusal_add(why, XO_ESERIAL, "%s: serial %llu, but %llu was applied before",
			    s->subject, (unsigned long long)p->serial,
			    (unsigned long long)s->serial);
}

/* A function belongs to one patch at a time. */
static void check_overlap(const struct pol_active *a, const struct pol_package *p,
			  struct refusal *why)
{
	for (size_t i = 0; i < p->nr_functions; i++)
		for (size_t k = 0; k < a->nr_functions; k++)
			if (!strcmp(p->function[i], a->function[k]))
				refusal_add(why, XO_EINUSE,
					    "%s: replaced by active patch %s; revert that first",
					    p->function[i], a->id);
}

void pol_admit(const struct pol_facts *f, const struct pol_package *p, struct refusal *why)
{
	const struct pol_active *same;

	if (!right_kernel(f, p, why))
		return;
	same = find_active(f, p->id);
	if (same)
		refusal_add(why, XO_EAPPLIED, "%s: version %s is active; revert it first", p->id,
			    same->version);
	for (size_t i = 0; i < p->nr_requires; i++)
		if (!find_active(f, p->requires_id[i]))
			refusal_add(why, XO_EPREREQ, "%s: needs %s, which is not active", p->id,
				    p->requires_id[i]);
	for (size_t i = 0; i < f->nr_seen; i++)
		check_rollback(&f->seen[i], p, why);
	for (size_t i = 0; i < f->nr_active; i++)
		if (&f->active[i] != same)
			check_overlap(&f->active[i], p, why);
}

/* Is @id one of the words in @list? */
static bool has_word(const char *list, const char *id)
{
	size_t n = strlen(id);

	for (const char *p = list; (p = strstr(p, id)); p += n)
		if ((p == list || p[-1] == ' ') && (p[n] == '\0' || p[n] == ' '))
			return true;
	return false;
}

void pol_retire(const struct pol_facts *f, const char *id, struct refusal *why)
{
	if (!id[0] || !find_active(f, id)) {
		refusal_add(why, XO_ENOTAPPLIED, "%s: not active on this VM; see exopatch status",
			    id);
		return;
	}
	for (size_t i = 0; i < f->nr_active; i++)
		if (strcmp(f->active[i].id, id) != 0 && has_word(f->active[i].requires_ids, id))
			refusal_add(why, XO_EINUSE,
				    "%s: active patch %s needs it; revert that first", id,
				    f->active[i].id);
}
