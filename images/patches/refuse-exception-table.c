// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: a load that may fault, so an entry in __ex_table. */
#include <asm/word-at-a-time.h>
#include <linux/init.h>
#include <linux/seq_file.h>

static int __used cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%lx\n", load_unaligned_zeropad(saved_command_line));
	return 0;
}
