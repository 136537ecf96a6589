// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: calls a function that the kernel freed after it had booted. */
#include <linux/seq_file.h>

void start_kernel(void);

static int __used cmdline_proc_show(struct seq_file *m, void *v)
{
	if (v)
		start_kernel();
	return 0;
}
