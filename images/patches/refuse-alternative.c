// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: instructions chosen at boot, so an entry in .altinstructions. */
#include <asm/smap.h>
#include <linux/init.h>
#include <linux/seq_file.h>

static int __used cmdline_proc_show(struct seq_file *m, void *v)
{
	stac();
	clac();
	seq_puts(m, saved_command_line);
	return 0;
}
