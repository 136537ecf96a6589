// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two functions in one object, which share a helper: version_proc_show of
 * fs/proc/version.c (/proc/version) and execdomains_proc_show of
 * kernel/exec_domain.c (/proc/execdomains), the latter a very short one.
 */
#include <linux/seq_file.h>
#include <linux/utsname.h>

static noinline void put_mark(struct seq_file *m)
{
	seq_puts(m, " exopatch=live\n");
}

static int __used version_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%s version %s", utsname()->sysname, utsname()->release);
	put_mark(m);
	return 0;
}

static int __used execdomains_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, "0-0\tLinux           \t[kernel]");
	put_mark(m);
	return 0;
}
