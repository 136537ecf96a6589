// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/listed.h"

#include <stdlib.h>

#include "base/buf.h"
#include "vmm-agent/lens/list.h"

#define KPROBE_TABLE_SIZE 64 /* kernel/kprobes.c */
#define MAX_KPROBES	  (1u << 14)
#define IMAGE		  UINT64_C(0xffffffff80000000) /* all of this code is within reach of it */
#define PACK_BYTES	  (UINT64_C(2) << 20)	       /* BPF_PROG_PACK_SIZE, kernel/bpf/core.c */

struct listing {
	const char *head; /* a struct list_head, at @head_off of that symbol */
	uint32_t head_off;
	enum lens_owner owner;
	const struct gmember *node, *start;
	const struct gmember *size, *end; /* one of them, or neither: @bytes */
	const struct gmember *program;	  /* a byte: whether it is one */
	const struct gmember *name;
	uint64_t bytes;
};

static int walk(struct xbuf *all, const struct gkernel *k, const struct listing *l)
{
	uint64_t head = gkernel_symbol(k, l->head);
	uint32_t left = GLISTED_MAX;
	struct glist w = {.at = head + l->head_off, .left = &left};
	int rc = 0;

	if (!head || !l->node->known || !l->start->known)
		return 0;
	head = w.at;
	while (!rc && !glist_next(k->space, &w) && w.at != head) {
		struct glisted_range r = {.owner = l->owner};
		uint64_t obj = w.at - l->node->off, size = l->bytes;
		uint8_t program = 0;

		if (gspace_u64(k->space, (struct gva){obj + l->start->off}, &r.start))
			break;
		if (l->size && (!l->size->known ||
				gspace_u64(k->space, (struct gva){obj + l->size->off}, &size)))
			break;
		if (l->end && (!l->end->known ||
			       gspace_u64(k->space, (struct gva){obj + l->end->off}, &size)))
			break;
		if (l->end)
			size = size > r.start ? size - r.start : 0;
		if (l->program && l->program->known &&
		    gspace_read(k->space, (struct gva){obj + l->program->off}, &program, 1))
			break;
		r.is_program = program;
		r.name = l->name && l->name->known ? obj + l->name->off : 0;
		r.end = r.start + size;
		if (r.start >= IMAGE && r.end >= r.start)
			rc = xbuf_add(all, &r, sizeof(r));
	}
	return rc;
}

static int by_start(const void *a, const void *b)
{
	const struct glisted_range *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

int glisted_load(struct glisted *ret, const struct gkernel *k, const struct gguard_types *t,
		 struct xerr *err)
{
	const struct listing lists[] = {
		{.head = "ftrace_ops_trampoline_list",
		 .owner = LENS_OWNER_FTRACE,
		 .node = &t->ops_list,
		 .start = &t->ops_trampoline,
		 .size = &t->ops_trampoline_bytes},
		{.head = "bpf_kallsyms",
		 .owner = LENS_OWNER_BPF,
		 .node = &t->bpf_list,
		 .start = &t->bpf_start,
		 .end = &t->bpf_end,
		 .program = &t->bpf_program,
		 .name = &t->bpf_name},
		{.head = "pack_list",
		 .owner = LENS_OWNER_BPF_PACK,
		 .node = &t->pack_list,
		 .start = &t->pack_ptr,
		 .bytes = PACK_BYTES},
		{.head = "kprobe_insn_slots",
		 .head_off = t->slots_pages.off,
		 .owner = LENS_OWNER_KPROBE,
		 .node = &t->slot_list,
		 .start = &t->slot_insns,
		 .bytes = XO_PAGE_SIZE},
		{.head = "kprobe_optinsn_slots",
		 .head_off = t->slots_pages.off,
		 .owner = LENS_OWNER_KPROBE,
		 .node = &t->slot_list,
		 .start = &t->slot_insns,
		 .bytes = XO_PAGE_SIZE},
	};
	_cleanup_xbuf_ struct xbuf all = XBUF(GLISTED_MAX * sizeof(struct glisted_range));
	int rc = 0;

	for (size_t i = 0; !rc && i < XO_ARRAY_SIZE(lists); i++)
		rc = walk(&all, k, &lists[i]);
	if (rc)
		return xerr_set(err, rc, "code that the kernel lists: %s", xo_code_text(rc));
	glisted_free(ret);
	ret->nr = all.len_bytes / sizeof(struct glisted_range);
	ret->range = (struct glisted_range *)(void *)XO_TAKE_PTR(all.data);
	if (ret->nr)
		qsort(ret->range, ret->nr, sizeof(struct glisted_range), by_start);
	return 0;
}

const struct glisted_range *glisted_overlap(const struct glisted *l, uint64_t start, uint64_t end)
{
	for (size_t i = 0; i < l->nr && l->range[i].start < end; i++)
		if (l->range[i].end > start)
			return &l->range[i];
	return NULL;
}

void glisted_free(struct glisted *l)
{
	free(l->range);
	*l = (struct glisted){0};
}

/* Only an aggregate is ever optimised, and its handler says that it is one (kernel/kprobes.c). */
static bool read_probe(const struct gkernel *k, const struct gguard_types *t, struct gprobe *ret)
{
	uint64_t probe = ret->self;
	uint64_t aggr = gkernel_symbol(k, "aggr_pre_handler"), handler = 0;

	if (gspace_read(k->space, (struct gva){probe + t->kprobe_opcode.off}, &ret->opcode, 1))
		return false;
	ret->slot = 0;
	if (aggr && t->opt_insn.known && t->opt_copied.known && t->kprobe_pre_handler.known &&
	    !gspace_u64(k->space, (struct gva){probe + t->kprobe_pre_handler.off}, &handler) &&
	    handler == aggr &&
	    (gspace_u64(k->space, (struct gva){probe + t->opt_insn.off}, &ret->slot) ||
	     gspace_read(k->space, (struct gva){probe + t->opt_copied.off}, ret->tail,
			 sizeof(ret->tail))))
		ret->slot = 0;
	return true;
}

void gprobes_walk(const struct gkernel *k, const struct gguard_types *t, uint64_t first,
		  uint64_t last, bool (*fn)(void *ctx, const struct gprobe *p), void *ctx)
{
	const struct goffs *o = &k->off;
	uint64_t table = gkernel_symbol(k, "kprobe_table");
	uint32_t left = MAX_KPROBES;

	if (!table || !o->kprobe_hlist.known || !o->kprobe_addr.known || !t->kprobe_opcode.known)
		return;
	for (uint64_t i = 0; i < KPROBE_TABLE_SIZE; i++) {
		struct glist w = {.at = table + i * sizeof(uint64_t), .left = &left};

		while (!glist_next(k->space, &w) && w.at) {
			struct gprobe p = {.self = w.at - o->kprobe_hlist.off};

			if (gspace_u64(k->space, (struct gva){p.self + o->kprobe_addr.off},
				       &p.addr))
				break;
			if (p.addr >= first && p.addr <= last && read_probe(k, t, &p) &&
			    !fn(ctx, &p))
				return;
		}
	}
}
