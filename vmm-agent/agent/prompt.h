/* SPDX-License-Identifier: Apache-2.0 */
/* A process that must not wait long for a processor, and needs it for a moment only. */
#ifndef EXOPATCH_AGENT_PROMPT_H
#define EXOPATCH_AGENT_PROMPT_H

/**
 * prompt_ask - have the scheduler give this process and what it starts short turns, and so soon
 * ones, without a greater share: Linux 6.12 (Documentation/scheduler/sched-eevdf.rst). Where that
 * is not known, or not allowed, all is as before.
 */
void prompt_ask(void);

#endif
