// SPDX-License-Identifier: GPL-2.0-only
/*
 * Replaces tracing_readme_read of kernel/trace/trace.c, which has no ftrace
 * entry, so that livepatch could not: /sys/kernel/tracing/README.
 */
#include <linux/fs.h>
#include <linux/string.h>

static const char text[] = "exopatch=live\n";

static ssize_t __used tracing_readme_read(struct file *filp, char __user *ubuf, size_t cnt,
					  loff_t *ppos)
{
	return simple_read_from_buffer(ubuf, cnt, ppos, text, strlen(text));
}
