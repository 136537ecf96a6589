// SPDX-License-Identifier: GPL-2.0-only
/* Replaces cmdline_proc_show of fs/proc/cmdline.c: /proc/cmdline says that it is patched. */
#include <linux/init.h>
#include <linux/seq_file.h>

static int __used cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, saved_command_line);
	seq_puts(m, " exopatch=live\n");
	return 0;
}
