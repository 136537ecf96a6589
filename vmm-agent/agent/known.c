// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/known.h"

#include <string.h>

/* But for how far it goes, since neighbours come and go, and for the name of the process. */
static bool same(const struct lens_finding *a, const struct lens_finding *b)
{
	return a->kind == b->kind && a->owner == b->owner && a->gva.v == b->gva.v &&
	       a->gpa.v == b->gpa.v && a->is == b->is && (a->gva.v || !strcmp(a->what, b->what));
}

static const struct known_finding *find(const struct known *k, const struct lens_finding *f)
{
	for (size_t i = 0; i < k->nr; i++)
		if (same(&k->item[i].finding, f))
			return &k->item[i];
	return NULL;
}

static bool is_in(const struct lens_finding *f, const struct lens_finding *list, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		if (same(&list[i], f))
			return true;
	return false;
}

/* The kernel's half is looked at by every audit; a process's by one of each round. */
static bool may_be_there(const struct known *k, const struct known_finding *i, bool round_over)
{
	bool user_half = (int64_t)i->finding.gva.v >= 0;

	return user_half && (i->round == k->round || !round_over);
}

void known_take(struct known *k, const struct lens_finding *f, size_t nr, uint64_t now_ns,
		bool was_there, bool round_over)
{
	struct known_finding now[LENS_MAX_FINDINGS];
	size_t kept = 0;

	for (; kept < nr && kept < LENS_MAX_FINDINGS; kept++) {
		const struct known_finding *before = find(k, &f[kept]);
		struct known_finding *i = &now[kept];

		*i = before ? *before
			    : (struct known_finding){.since_ns = now_ns, .was_there = was_there};
		/* What has grown has pages that were not told. */
		i->said &= before && f[kept].len_bytes <= before->finding.len_bytes;
		i->again = before != NULL;
		i->round = k->round;
		i->finding = f[kept];
	}
	for (size_t i = 0; i < k->nr && kept < LENS_MAX_FINDINGS; i++)
		if (may_be_there(k, &k->item[i], round_over) && !is_in(&k->item[i].finding, f, nr))
			now[kept++] = k->item[i];
	k->nr = 0; /* who dies here has found nothing, and finds it again */
	memcpy(k->item, now, kept * sizeof(now[0]));
	k->round += round_over;
	k->nr = kept;
}

void known_forget_unsaid(struct known *k)
{
	size_t kept = 0;

	if (k->nr > LENS_MAX_FINDINGS)
		k->nr = 0;
	for (size_t i = 0; i < k->nr; i++)
		if (k->item[i].said)
			k->item[kept++] = k->item[i];
	k->nr = kept;
}
