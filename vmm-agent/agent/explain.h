/* SPDX-License-Identifier: Apache-2.0 */
/* What stands in the guest's code, explained by the lists of its kernel. */
#ifndef EXOPATCH_AGENT_EXPLAIN_H
#define EXOPATCH_AGENT_EXPLAIN_H

#include "vmm-agent/agent/session.h"

/**
 * explain_bytes - may the kernel have made @after of @before, to last?
 * @addr: of the first of @len_bytes, at most a page of them, which may lie in two
 * Nothing is learnt from it.
 */
bool explain_bytes(struct session *s, uint64_t addr, const uint8_t *before, const uint8_t *after,
		   size_t len_bytes);

/**
 * explain_probes - put back what kprobes stand on, in a copy of code. What they say stood there is
 * the guest's word: whoever asks compares it with what he knows
 * @base:  of the @len_bytes at @code
 * @ret_bytes: how many were put back
 * Return: 0, -ENOMEM, or the lens's failure
 */
int explain_probes(struct session *s, uint64_t base, uint8_t *code, size_t len_bytes,
		   uint64_t *ret_bytes, struct xerr *err) XO_MUST_CHECK;

#endif
