// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/target/mtree.h"

#include "base/util.h"
#include "vmm-agent/target/text.h"

enum kind { KIND_OTHER, KIND_RAM, KIND_ROM };

/* "ram", "rom", and "romd" (flash that reads as memory); not "ramd", which is a real device's. */
static enum kind take_kind(struct span *s)
{
	if (text_skip(s, "ram): "))
		return KIND_RAM;
	if (text_skip(s, "rom): ") || text_skip(s, "romd): "))
		return KIND_ROM;
	return KIND_OTHER;
}

/* "NAME", "NAME @OFFSET", either with " KVM" behind it; a name may hold spaces. */
static void take_block(struct span s, struct mtree_range *r)
{
	static const char kvm[] = " KVM";
	size_t tail = sizeof(kvm) - 1;
	size_t at;

	if (s.len_bytes > tail && !memcmp(s.p + s.len_bytes - tail, kvm, tail))
		s.len_bytes -= tail;
	r->block_off = 0;
	at = text_find(s, " @");
	if (at < s.len_bytes) {
		struct span off = SPAN(s.p + at + 2, s.len_bytes - at - 2);

		if (text_hex(&off, &r->block_off) && !off.len_bytes)
			s.len_bytes = at;
		else
			r->block_off = 0;
	}
	xo_escape(s, r->block, sizeof(r->block));
}

/* "  FIRST-LAST (prio N, KIND): BLOCK". Return: 1 if @ret is set, 0 if the line is none of ours */
static int take_range(struct span line, struct mtree_range *ret)
{
	uint64_t first, last;
	enum kind kind;
	size_t at;

	if (!text_skip(&line, "  ") || !text_hex(&line, &first) || !text_skip(&line, "-") ||
	    !text_hex(&line, &last) || !text_skip(&line, " (prio "))
		return 0;
	at = text_find(line, ", ");
	if (at == line.len_bytes)
		return 0;
	line = SPAN(line.p + at + 2, line.len_bytes - at - 2);
	kind = take_kind(&line);
	if (kind == KIND_OTHER)
		return 0;
	if (last < first || last - first == UINT64_MAX)
		return -XO_EMALFORMED;
	if ((first & XO_PAGE_MASK) || ((last - first + 1) & XO_PAGE_MASK))
		return 0;
	ret->gpa.v = first;
	ret->len_bytes = last - first + 1;
	ret->rom = kind == KIND_ROM;
	take_block(line, ret);
	return 1;
}

static int take_view(struct span text, struct mtree_range *ret, size_t max, size_t *ret_nr,
		     struct xerr *err)
{
	uint64_t free_from = 0; /* end of the range before */
	struct span line;
	size_t nr = 0;

	while (text_line(&text, &line)) {
		struct mtree_range r;
		int rc;

		if (text_skip(&line, "FlatView #"))
			break;
		rc = take_range(line, &r);
		if (!rc)
			continue;
		if (rc < 0 || r.gpa.v < free_from || (nr && !free_from))
			return xerr_set(err, XO_EMALFORMED,
					"QEMU's memory map: ranges overlap or wrap");
		if (nr == max)
			return xerr_set(err, XO_ELIMIT,
					"QEMU's memory map: more than %zu memory ranges", max);
		free_from = r.gpa.v + r.len_bytes; /* 0 if it ends with the address space */
		ret[nr++] = r;
	}
	if (!nr)
		return xerr_set(err, XO_EMALFORMED, "QEMU's memory map: holds no memory");
	*ret_nr = nr;
	return 0;
}

int mtree_parse(struct span text, struct mtree_range *ret, size_t max, size_t *ret_nr,
		struct xerr *err)
{
	struct span line;

	while (text_line(&text, &line)) {
		if (text_skip(&line, " AS \"memory\", root: "))
			return take_view(text, ret, max, ret_nr, err);
	}
	return xerr_set(err, XO_EMALFORMED, "QEMU's memory map: no address space \"memory\"");
}
