// SPDX-License-Identifier: GPL-2.0-only
/*
 * Replaces the function that images/patches/cmdline.c replaces, but from inside
 * the guest, with the kernel's own livepatch: the other side of the benchmark.
 */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>

static int live_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, "livepatch=live\n");
	return 0;
}

static struct klp_func funcs[] = {
	{.old_name = "cmdline_proc_show", .new_func = live_cmdline_proc_show},
	{},
};

static struct klp_object objs[] = {
	{.funcs = funcs}, /* no name: vmlinux */
	{},
};

static struct klp_patch patch = {.mod = THIS_MODULE, .objs = objs};

static int __init livepatch_cmdline_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit livepatch_cmdline_exit(void)
{
}

module_init(livepatch_cmdline_init);
module_exit(livepatch_cmdline_exit);
MODULE_DESCRIPTION("livepatch of /proc/cmdline, to measure against");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
