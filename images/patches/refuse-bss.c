// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: defines a writable variable that starts as zero. */
#include <linux/seq_file.h>

static unsigned int calls;

static int __used cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%u\n", calls++);
	return 0;
}
