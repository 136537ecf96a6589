// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/findings.h"

#include <string.h>

#define OTHER_BITS ~UINT64_C(0x000ffffffffff000) /* of an entry: all but the address */

/* The last of those that nothing was there before, which are many where a module is loaded. */
static struct lens_finding *least(struct gfound *all)
{
	for (size_t i = all->nr; i-- > 0;)
		if (!all->f[i].was && all->f[i].kind == LENS_FOUND_PTE)
			return &all->f[i];
	return NULL;
}

void gfound_add(struct gfound *all, const struct lens_finding *f)
{
	struct lens_finding *last = all->nr ? &all->f[all->nr - 1] : NULL;

	if (last && last->kind == f->kind && last->owner == f->owner &&
	    last->gva.v + last->len_bytes == f->gva.v && !((last->is ^ f->is) & OTHER_BITS) &&
	    !strcmp(last->what, f->what))
		last->len_bytes += f->len_bytes;
	else if (all->nr < LENS_MAX_FINDINGS)
		all->f[all->nr++] = *f;
	else if ((f->was || f->kind != LENS_FOUND_PTE) && least(all))
		*least(all) = *f;
}
