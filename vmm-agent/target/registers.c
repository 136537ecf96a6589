// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/target/registers.h"

#include <stdbool.h>

#include "vmm-agent/target/text.h"

enum { HAVE_CR = 1, HAVE_EFER = 2, HAVE_ALL = HAVE_CR | HAVE_EFER };

/* "CR0=80050033 CR2=0000000002d71730 CR3=0000000002450000 CR4=000006b0" */
static bool take_cr(struct span line, struct control_regs *r)
{
	uint64_t cr2;

	return text_skip(&line, "CR0=") && text_hex(&line, &r->cr0) && text_skip(&line, " CR2=") &&
	       text_hex(&line, &cr2) && text_skip(&line, " CR3=") && text_hex(&line, &r->cr3) &&
	       text_skip(&line, " CR4=") && text_hex(&line, &r->cr4) && !line.len_bytes;
}

/* "GDT=     fffffe0000001000 0000007f", "TR =0040 fffffe0000003000 00004087 00008900 DPL=0 ..." */
static bool take_base(struct span line, const char *label, uint64_t *ret_base, uint64_t *ret_limit)
{
	uint64_t selector;

	if (!text_skip(&line, label))
		return false;
	if (!text_skip(&line, "     ") && (!text_hex(&line, &selector) || !text_skip(&line, " ")))
		return false;
	return text_hex(&line, ret_base) && text_skip(&line, " ") && text_hex(&line, ret_limit);
}

static void take_table(struct span line, struct control_regs *r)
{
	uint64_t base, limit;

	if (take_base(line, "TR =", &base, &limit)) {
		r->tr_base = base;
	} else if (take_base(line, "IDT=", &base, &limit)) {
		r->idt_base = base;
	} else if (take_base(line, "GDT=", &base, &limit)) {
		r->gdt_base = base;
		r->gdt_limit = limit;
	}
}

static bool take_number(struct span line, const char *label, uint64_t *ret,
			bool (*take)(struct span *, uint64_t *))
{
	return text_skip(&line, label) && take(&line, ret) && !line.len_bytes;
}

int registers_parse(struct span text, struct control_regs *ret, size_t max, size_t *ret_nr,
		    struct xerr *err)
{
	unsigned int have = HAVE_ALL;
	struct span line;
	uint64_t index;
	size_t nr = 0;

	while (text_line(&text, &line)) {
		if (take_number(line, "CPU#", &index, text_dec)) {
			if (have != HAVE_ALL || nr == max)
				break;
			ret[nr++] = (struct control_regs){.cpu_index = index};
			have = 0;
		} else if (!nr) {
			continue;
		} else if (take_cr(line, &ret[nr - 1])) {
			have |= HAVE_CR;
		} else if (take_number(line, "EFER=", &ret[nr - 1].efer, text_hex)) {
			have |= HAVE_EFER;
		} else {
			take_table(line, &ret[nr - 1]);
		}
	}
	if (!nr || have != HAVE_ALL)
		return xerr_set(err, XO_EMALFORMED,
				"QEMU's register dump: a vCPU lacks its control registers");
	*ret_nr = nr;
	return 0;
}
