// SPDX-License-Identifier: GPL-2.0-only
/* ftrace's own hook, as livepatch uses it: /proc/execdomains fails. */
#include <linux/ftrace.h>

#include "attack.h"

ATTACK_SYMBOL(execdomains_proc_show);

static int fail(void)
{
	return -EIO;
}

static void notrace hook(unsigned long ip, unsigned long parent, struct ftrace_ops *ops,
			 struct ftrace_regs *regs)
{
	ftrace_get_regs(regs)->ip = (unsigned long)fail;
}

static struct ftrace_ops ops = {.func = hook,
				.flags = FTRACE_OPS_FL_SAVE_REGS | FTRACE_OPS_FL_IPMODIFY};

static int run(void)
{
	int r = ftrace_set_filter_ip(&ops, execdomains_proc_show_at, 0, 0);

	return r ? r : register_ftrace_function(&ops);
}

static void undo(void)
{
	unregister_ftrace_function(&ops);
}

ATTACK(run, undo, NULL, "ftrace hook");
