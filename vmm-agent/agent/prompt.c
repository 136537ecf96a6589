// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/prompt.h"

#include <linux/sched/types.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TURN_NS 100000 /* the shortest there is: kernel/sched/syscalls.c, __setparam_fair */

void prompt_ask(void)
{
	struct sched_attr a = {.size = sizeof(a)};

	if (syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0) || a.sched_policy)
		return;
	a.sched_runtime = TURN_NS;
	(void)!syscall(SYS_sched_setattr, 0, &a, 0);
}
