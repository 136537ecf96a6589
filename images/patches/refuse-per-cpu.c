// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: defines a per-CPU variable. */
#include <linux/percpu.h>
#include <linux/seq_file.h>

static DEFINE_PER_CPU(unsigned int, calls);

static int __used cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%u\n", this_cpu_inc_return(calls));
	return 0;
}
