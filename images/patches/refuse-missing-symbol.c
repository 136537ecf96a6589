// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: calls a function that no kernel has. */
#include <linux/seq_file.h>

const char *exopatch_no_such_function(void);

static int __used cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, exopatch_no_such_function());
	return 0;
}
