// SPDX-License-Identifier: Apache-2.0
/*
 * Registers of a guest that nobody guards, as far as QEMU tells them: what page tables and
 * read-only memory mean depends on them. Where system calls lead (LSTAR) and whose page tables a
 * CPU has (CR3) only a guard looks at.
 */
#include <errno.h>
#include <string.h>

#include "vmm-agent/agent/appraise_core.h"
#include "vmm-agent/agent/pins.h"

#define CR0_PE	   (UINT64_C(1) << 0)
#define CR0_WP	   (UINT64_C(1) << 16)
#define CR0_PG	   (UINT64_C(1) << 31)
#define EFER_LMA   (UINT64_C(1) << 10)
#define EFER_NXE   (UINT64_C(1) << 11)
#define LOOKS	   3
#define LOOK_AGAIN UINT64_C(20000000) /* ns */

/* What they must be: bits that have to be set, and where the interrupt table is. */
struct want {
	uint64_t cr4;
	struct gpa idt;
};

static int find(struct session *s, struct want *ret, struct xerr *err)
{
	struct lens_lookup q[2] = {{.name = "cr4_pinned_bits"}, {.name = "idt_table"}};
	uint64_t left;
	int rc = lens_lookup(s->lens, q, 2, err);

	if (!rc && (!q[0].valid || !q[1].valid || !q[0].found.addr.v || !q[1].found.addr.v))
		rc = xerr_set(err, XO_ENOSYMBOL,
			      "the guest's kernel lacks cr4_pinned_bits or idt_table");
	if (!rc)
		rc = lens_read(s->lens, q[0].found.addr, &ret->cr4, sizeof(ret->cr4), err);
	if (!rc)
		rc = lens_translate(s->lens, q[1].found.addr, &ret->idt, &left, err);
	return rc;
}

static bool has(uint64_t is, uint64_t bits)
{
	return (is & bits) == bits;
}

static bool is_idt(struct session *s, uint64_t base, struct gpa want)
{
	struct xerr ignored = {0};
	struct gpa gpa;
	uint64_t left;

	return !lens_translate(s->lens, (struct gva){base}, &gpa, &left, &ignored) &&
	       gpa.v == want.v;
}

static uint64_t note(json_t *list, size_t vcpu, enum mon_reg reg, bool right)
{
	if (!right)
		json_array_append_new(list, json_sprintf("%s of vCPU %zu", pins_name(reg), vcpu));
	return !right;
}

/* Those of one that runs: others wait for their start, without page tables. Return: how many are
 * wrong */
static uint64_t look(struct session *s, const struct want *w, size_t i, json_t *list)
{
	const struct tgt_vcpu *c = &s->vm->vcpu[i];

	return note(list, i, MON_REG_CR0, has(c->cr0, CR0_PE | CR0_WP | CR0_PG)) +
	       note(list, i, MON_REG_CR4, has(c->cr4, w->cr4)) +
	       note(list, i, MON_REG_EFER, has(c->efer, EFER_LMA | EFER_NXE)) +
	       note(list, i, MON_REG_IDT_BASE, is_idt(s, c->idt_base, w->idt));
}

#define LOOKED_AT 4

int appraise_regs(struct session *s, struct att_appraisal *ret, json_t *detail, struct xerr *err)
{
	json_t *list = json_array();
	struct want want;
	int rc = list && !json_object_set_new(detail, "registers_changed", list)
			 ? find(s, &want, err)
			 : -ENOMEM;

	/* What stays counts: they are not all read in one moment. */
	for (int n = 0; !rc && n < LOOKS && (!n || ret->registers_changed); n++) {
		if (n)
			xo_sleep_ns(LOOK_AGAIN);
		json_array_clear(list);
		ret->registers = ret->registers_changed = 0;
		rc = tgt_refresh(s->tgt, err);
		for (size_t i = 0; !rc && i < s->vm->nr_vcpus; i++) {
			if (!s->vm->vcpu[i].gdt_base || !s->vm->vcpu[i].tr_base)
				continue;
			ret->registers += LOOKED_AT;
			ret->registers_changed += look(s, &want, i, list);
		}
	}
	return rc;
}
