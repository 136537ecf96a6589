// SPDX-License-Identifier: GPL-2.0-only
/* A table of operations in read-only data: /proc/stat cannot be opened any more. */
#include <linux/fs.h>
#include <linux/proc_fs.h>

#include "attack.h"

ATTACK_SYMBOL(stat_proc_ops);
static void *old_open;

static int refuse(struct inode *inode, struct file *file)
{
	return -EIO;
}

static int set_open(void *function)
{
	struct proc_ops *ops = (void *)stat_proc_ops_at;

	return attack_write(&ops->proc_open, &function, sizeof(function));
}

static int run(void)
{
	old_open = ((struct proc_ops *)stat_proc_ops_at)->proc_open;
	return set_open(refuse);
}

static void undo(void)
{
	(void)set_open(old_open);
}

ATTACK(run, undo, NULL, "a table of operations in rodata");
