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
	const struct gmodtext *text; /* of the module */
	uint64_t gva;
	const uint8_t *before, *after;
	size_t len;
	struct lens_judgement *ret;
	struct gforms forms;
};

/** gwrite_say - the reason of its verdict */
void gwrite_say(struct lens_judgement *r, const char *fmt, ...) XO_PRINTF(2, 3);

/** gwrite_read - @len bytes at @addr, which are protected, as they were before the write. Return:
 *  whether they are all in areas */
bool gwrite_read(const struct gwrite *w, uint64_t addr, uint8_t *buf, size_t len);

/** gwrite_around - likewise as they were and are; 0 where there is no area */
void gwrite_around(const struct gwrite *w, uint64_t addr, size_t len, uint8_t *before,
		   uint8_t *after);

/** gwrite_sites - places that may cover @addr, nearest first. Return: how many */
size_t gwrite_sites(const struct gwrite *w, uint64_t addr, struct gsite *ret, size_t max);

/** gwrite_forms - what may stand at @s, of which @before was found right, into @w's forms
 *  @listed: ftrace's also with the trampolines that are listed, which is more work */
void gwrite_forms(struct gwrite *w, const struct gsite *s, const uint8_t *before, bool listed);

/** gwrite_fit_probe - is the byte at @addr a kprobe's? *@ret_at, *@ret_len: its bytes */
enum gform_fit gwrite_fit_probe(struct gwrite *w, uint64_t addr, uint64_t *ret_at, size_t *ret_len);

/** gwrite_undo_probes - of @len bytes at @addr, those that are kprobes' as they were before */
void gwrite_undo_probes(const struct gjudge *j, uint64_t addr, uint8_t *bytes, size_t len);

/** gwrite_is_detour - is what @p's jump would lead to the kernel's own detour for it?
 *  @was: what stood there */
bool gwrite_is_detour(const struct gwrite *w, const struct gprobe *p, const uint8_t was[5]);

/** gwrite_tell_target - where the branch at @addr that is there now leads: into the verdict */
void gwrite_tell_target(struct gwrite *w, uint64_t addr, const uint8_t *now);

/** gjudge_modules - read the list of modules again. Return: whether that went well */
bool gjudge_modules(struct gjudge *j);

/** gjudge_is_function - whether a function of the kernel's, or of a module's protected text, begins
 *  at @addr */
bool gjudge_is_function(struct gjudge *j, uint64_t addr);

/** gjudge_may_call - whether the kernel's text may call @addr, which @r has
 *  gjudge_called - what of @l it is then, or NULL */
bool gjudge_may_call(const struct gjudge *j, const struct glisted_range *r, uint64_t addr);
const struct glisted_range *gjudge_called(const struct gjudge *j, const struct glisted *l,
					  uint64_t addr);

#endif
