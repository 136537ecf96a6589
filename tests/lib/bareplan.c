// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/bareplan.h"

#include <string.h>

#include "tests/lib/holding.h"
#include "tests/lib/patience.h"

void bareplan_make(struct bareplan *p, uint32_t value, uint64_t home)
{
	static const uint8_t nop5[5] = {0x0f, 0x1f, 0x44, 0x00, 0x00};
	/* A page table entry of its own for each home: removed entries live on in the TLB. */
	uint64_t slot = home == BARE_HOME_GPA ? 0 : 1;
	int32_t rel = (int32_t)(BARE_HOME_GVA + slot * 4096 - (BARE_VICTIM + 5));

	memset(p, 0, sizeof(*p));
	memset(p->code_new, 0x90, sizeof(p->code_new)); /* nop */
	p->code_new[BAREPLAN_CODE_BYTES - 6] = 0xb8;	/* mov $value, %eax */
	memcpy(&p->code_new[BAREPLAN_CODE_BYTES - 5], &value, sizeof(value));
	p->code_new[BAREPLAN_CODE_BYTES - 1] = 0xc3; /* ret */
	p->pte_new = home | BARE_PTE_FLAGS;
	memcpy(p->detour_old, nop5, sizeof(nop5));
	p->detour_new[0] = 0xe9; /* jmp */
	memcpy(p->detour_new + 1, &rel, sizeof(rel));
	p->apply[BAREPLAN_CODE] = (struct mon_write){.gpa = {home},
						     .gva = {home},
						     .len_bytes = BAREPLAN_CODE_BYTES,
						     .expected = p->code_old,
						     .replacement = p->code_new};
	p->apply[BAREPLAN_PTE] = (struct mon_write){.gpa = {BARE_HOME_PT + 8 * slot},
						    .len_bytes = sizeof(p->pte_new),
						    .expected = (uint8_t *)&p->pte_old,
						    .replacement = (uint8_t *)&p->pte_new};
	p->apply[BAREPLAN_DETOUR] = (struct mon_write){.gpa = {BARE_VICTIM},
						       .len_bytes = sizeof(p->detour_new),
						       .expected = p->detour_old,
						       .replacement = p->detour_new};
	for (size_t i = 0; i < BAREPLAN_RECORDS; i++) {
		struct mon_write *r = &p->revert[i];

		*r = p->apply[BAREPLAN_RECORDS - 1 - i];
		r->expected = p->apply[BAREPLAN_RECORDS - 1 - i].replacement;
		r->replacement = p->apply[BAREPLAN_RECORDS - 1 - i].expected;
	}
}

int bareplan_state(const struct bareplan *p, const struct bare *b, size_t i)
{
	const struct mon_write *w = &p->apply[i];
	const uint8_t *now = bare_mem(b, w->gpa.v);

	if (!memcmp(now, w->expected, w->len_bytes))
		return 0;
	return memcmp(now, w->replacement, w->len_bytes) != 0 ? -1 : 1;
}

int bareplan_undo(const struct bareplan *p, const struct bare *b, struct mon *m, struct xerr *err)
{
	for (size_t i = 0; i < BAREPLAN_RECORDS; i++) {
		size_t record = BAREPLAN_RECORDS - 1 - i;
		int rc;

		if (bareplan_state(p, b, record) == 0)
			continue;
		rc = mon_plan(m, &p->revert[i], 1, err);
		if (!rc)
			rc = patient_run(m, NULL, NULL, err);
		if (rc || (record == BAREPLAN_DETOUR && !bare_sees(b, 1, PATIENCE_MS)))
			return -1;
	}
	return 0;
}
