// SPDX-License-Identifier: GPL-2.0-only
/* Replaces cmdline_proc_show, with more constants than the firmware window holds. */
#include <linux/seq_file.h>

static const char ballast[300000] = {1};

static int __used cmdline_proc_show(struct seq_file *m, void *v)
{
	const char *volatile p = ballast;

	seq_printf(m, "exopatch=live %d\n", p[1]);
	return 0;
}
