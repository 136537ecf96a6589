// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: a WARN_ON, so an entry in __bug_table. */
#include <linux/bug.h>
#include <linux/init.h>
#include <linux/seq_file.h>

static int __used cmdline_proc_show(struct seq_file *m, void *v)
{
	if (WARN_ON(!saved_command_line))
		return 0;
	seq_puts(m, saved_command_line);
	return 0;
}
