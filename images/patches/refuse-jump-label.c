// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: a branch that the kernel patches, so an entry in __jump_table. */
#include <linux/sched/smt.h>
#include <linux/seq_file.h>

static int __used cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, static_branch_unlikely(&sched_smt_present) ? "smt\n" : "no smt\n");
	return 0;
}
