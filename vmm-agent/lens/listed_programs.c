// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/listed_programs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define MAX_TOLD   16 /* in one audit: other findings need room */
#define NAME_BYTES 64 /* of KSYM_NAME_LEN: bpf_prog_, its tag, _, and BPF_OBJ_NAME_LEN */

static int by_start(const void *a, const void *b)
{
	const struct gprogram *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

static bool was_told(const struct gprograms *p, const struct gprogram *one)
{
	const struct gprogram *found =
		p->nr ? bsearch(one, p->told, p->nr, sizeof(*one), by_start) : NULL;

	return found && found->end == one->end && found->name == one->name;
}

static struct gprogram describe(const struct gjudge *j, const struct glisted_range *r,
				char name[NAME_BYTES])
{
	struct gprogram p = {
		.start = r->start, .end = r->end, .name = UINT64_C(0xcbf29ce484222325)};

	memset(name, 0, NAME_BYTES);
	if (r->name)
		(void)!gspace_read(j->k->space, (struct gva){r->name}, name, NAME_BYTES - 1);
	for (size_t i = 0; i < NAME_BYTES; i++)
		p.name = (p.name ^ (uint8_t)name[i]) * UINT64_C(0x100000001b3);
	return p;
}

/* Pages that the kernel's lists explain are found again by each audit; the first ones make way. */
static bool make_room(struct gfound *all, size_t nr_before)
{
	for (size_t i = nr_before; all->nr == LENS_MAX_FINDINGS && i-- > 0;) {
		const struct lens_finding *f = &all->f[i];

		if (f->kind != LENS_FOUND_EXEC || f->owner == LENS_OWNER_UNKNOWN)
			continue;
		all->f[i] = all->f[all->nr - 1];
		all->nr--;
	}
	return all->nr < LENS_MAX_FINDINGS;
}

static void tell(const struct gjudge *j, const struct gprogram *p, const char *name,
		 struct gfound *ret)
{
	struct lens_finding f;
	struct gpage page = {0};
	char text[4 * NAME_BYTES];

	(void)!gspace_walk(j->k->space, (struct gva){p->start}, &page);
	memset(&f, 0, sizeof(f));
	f.kind = LENS_FOUND_EXEC;
	f.owner = LENS_OWNER_BPF;
	f.gva.v = p->start;
	f.gpa = page.gpa;
	f.len_bytes = p->end - p->start;
	snprintf(f.what, sizeof(f.what), "%.90s",
		 xo_escape(SPAN(name, strlen(name)), text, sizeof(text)));
	ret->f[ret->nr++] = f;
}

int gprograms_tell(struct gprograms *p, const struct gjudge *j, struct gfound *ret,
		   struct xerr *err)
{
	struct glisted l = {0};
	struct gprogram *now;
	size_t nr = 0, told = 0, nr_before = ret->nr;
	int rc = glisted_load(&l, j->k, &j->t, err);

	if (rc)
		return rc;
	now = calloc(l.nr + 1, sizeof(*now));
	for (size_t i = 0; now && i < l.nr; i++) {
		char name[NAME_BYTES];

		if (l.range[i].owner != LENS_OWNER_BPF)
			continue;
		now[nr] = describe(j, &l.range[i], name);
		if (!was_told(p, &now[nr])) {
			if (told == MAX_TOLD || !make_room(ret, nr_before))
				continue;
			tell(j, &now[nr], name, ret);
			told++;
		}
		nr++;
	}
	glisted_free(&l);
	if (!now)
		return xerr_set(err, ENOMEM, "out of memory");
	gprograms_free(p);
	p->told = now;
	p->nr = nr;
	return 0;
}

void gprograms_free(struct gprograms *p)
{
	free(p->told);
	*p = (struct gprograms){0};
}
