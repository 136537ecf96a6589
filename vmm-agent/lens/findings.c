// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/findings.h"

#include <stdio.h>
#include <string.h>

#define OTHER_BITS ~UINT64_C(0x000ffffffffff000) /* of an entry: all but the address */
#define MAX	   (LENS_MAX_FINDINGS - 1)	 /* the last place is for what had none */

/* Whose code it is, or a new entry among modules: alike ones are as good as one. */
static bool is_minor(const struct lens_finding *f)
{
	return (f->kind == LENS_FOUND_EXEC && f->owner != LENS_OWNER_UNKNOWN) ||
	       (f->kind == LENS_FOUND_PTE && !f->was);
}

static bool is_alike(const struct lens_finding *a, const struct lens_finding *b)
{
	return a->kind == b->kind && a->owner == b->owner;
}

/* The last minor one of which there is another like it, or that another like @f replaces. */
static struct lens_finding *least(struct gfound *all)
{
	for (size_t i = all->nr; i-- > 0;)
		for (size_t k = 0; is_minor(&all->f[i]) && k < i; k++)
			if (is_alike(&all->f[i], &all->f[k]))
				return &all->f[i];
	return NULL;
}

static bool has_alike(const struct gfound *all, const struct lens_finding *f)
{
	for (size_t i = 0; i < all->nr; i++)
		if (is_alike(&all->f[i], f))
			return true;
	return false;
}

void gfound_add(struct gfound *all, const struct lens_finding *f)
{
	struct lens_finding *last = all->nr ? &all->f[all->nr - 1] : NULL;

	if (last && last->kind == f->kind && last->owner == f->owner &&
	    last->gva.v + last->len_bytes == f->gva.v && !((last->is ^ f->is) & OTHER_BITS) &&
	    !strcmp(last->what, f->what)) {
		last->len_bytes += f->len_bytes;
		return;
	}
	if (all->nr < MAX) {
		all->f[all->nr++] = *f;
		return;
	}
	if (is_minor(f) && has_alike(all, f))
		return;
	last = all->nr_lost ? NULL : least(all);
	if (last)
		*last = *f;
	else
		all->nr_lost++;
}

void gfound_join(struct gfound *all, const struct gfound *more)
{
	for (size_t i = 0; i < more->nr; i++)
		gfound_add(all, &more->f[i]);
	all->nr_lost += more->nr_lost;
}

void gfound_close(struct gfound *all)
{
	struct lens_finding *f = &all->f[MAX];

	if (!all->nr_lost)
		return;
	memset(f, 0, sizeof(*f));
	f->kind = LENS_FOUND_INCOMPLETE;
	snprintf(f->what, sizeof(f->what), "more findings than can be told");
	all->nr = MAX + 1;
}
