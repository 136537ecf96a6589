/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the judge: one write, and the forms that a place of it may have. */
#ifndef EXOPATCH_LENS_JUDGE_CORE_H
#define EXOPATCH_LENS_JUDGE_CORE_H

#include "vmm-agent/lens/forms.h"
#include "vmm-agent/lens/judge.h"

/* One request. */
struct gwrite {
	struct gjudge *j;
	const struct lens_area *area;
	const struct gmodule
		*module; /* NULL: vmlinux; else @own: the list is read again meanwhile */
	struct gmodule own;
	uint64_t gva;
	const uint8_t *before, *after;
	size_t len;
	struct lens_judgement *ret;
	struct gforms forms;
};

/** gwrite_say - the reason of its verdict */
void gwrite_say(struct lens_judgement *r, const char *fmt, ...) XO_PRINTF(2, 3);

/** gwrite_forms - what may stand at @s, of which @before was found right, into @w's forms
 *  @listed: ftrace's also with the trampolines that are listed, which is more work */
void gwrite_forms(struct gwrite *w, const struct gsite *s, const uint8_t *before, bool listed);

/** gjudge_modules - read the list of modules again. Return: whether that went well */
bool gjudge_modules(struct gjudge *j);

#endif
