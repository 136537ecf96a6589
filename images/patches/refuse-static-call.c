// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: a call that the kernel patches, so an entry in .static_call_sites. */
#include <linux/init.h>
#include <linux/sched.h>
#include <linux/seq_file.h>

static int __used cmdline_proc_show(struct seq_file *m, void *v)
{
	cond_resched();
	seq_puts(m, saved_command_line);
	return 0;
}
