// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: calls a function whose name several functions of the kernel have. */
#include <linux/seq_file.h>

int m_show(struct seq_file *m, void *v);

static int __used cmdline_proc_show(struct seq_file *m, void *v)
{
	return m_show(m, v);
}
