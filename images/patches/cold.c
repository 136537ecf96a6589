// SPDX-License-Identifier: GPL-2.0-only
/*
 * Replaces drop_caches_sysctl_handler of fs/drop_caches.c, which in 6.1 has a
 * .cold part elsewhere: writing to /proc/sys/vm/drop_caches is forbidden.
 */
#include <linux/errno.h>
#include <linux/types.h>

struct ctl_table;
int drop_caches_sysctl_handler(const struct ctl_table *table, int write, void *buffer,
			       size_t *length, loff_t *ppos);
int proc_dointvec_minmax(const struct ctl_table *table, int write, void *buffer, size_t *length,
			 loff_t *ppos);

int drop_caches_sysctl_handler(const struct ctl_table *table, int write, void *buffer,
			       size_t *length, loff_t *ppos)
{
	if (write)
		return -EPERM;
	return proc_dointvec_minmax(table, write, buffer, length, ppos);
}
