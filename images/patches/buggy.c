// SPDX-License-Identifier: GPL-2.0-only
/*
 * Replaces loadavg_proc_show of fs/proc/loadavg.c, wrongly: every load is 100
 * too high. A patch that one wants to get rid of again.
 */
#include <linux/sched.h>
#include <linux/sched/loadavg.h>
#include <linux/seq_file.h>

extern int nr_threads;

static int __used loadavg_proc_show(struct seq_file *m, void *v)
{
	unsigned long load[3];

	get_avenrun(load, 100 * FIXED_1, 0);
	seq_printf(m, "%lu.%02lu %lu.%02lu %lu.%02lu 1/%d 1\n", LOAD_INT(load[0]),
		   LOAD_FRAC(load[0]), LOAD_INT(load[1]), LOAD_FRAC(load[1]), LOAD_INT(load[2]),
		   LOAD_FRAC(load[2]), nr_threads);
	return 0;
}
