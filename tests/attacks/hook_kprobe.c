// SPDX-License-Identifier: GPL-2.0-only
/* A kprobe that does not return to where it was hit: /proc/execdomains fails. */
#include <linux/kprobes.h>

#include "attack.h"

ATTACK_SYMBOL(execdomains_proc_show);

static int fail(void)
{
	return -EIO;
}

static int hit(struct kprobe *kp, struct pt_regs *regs)
{
	regs->ip = (unsigned long)fail;
	return 1;
}

/* Its being there keeps the kernel from making a jump of the breakpoint. */
static void after(struct kprobe *kp, struct pt_regs *regs, unsigned long flags)
{
}

static struct kprobe probe = {.pre_handler = hit, .post_handler = after};

static int run(void)
{
	/* Behind ftrace's place, or it would be ftrace that does it. */
	probe.addr = (kprobe_opcode_t *)attack_body(execdomains_proc_show_at);
	return register_kprobe(&probe);
}

static void undo(void)
{
	unregister_kprobe(&probe);
}

ATTACK(run, undo, NULL, "kprobe hook");
