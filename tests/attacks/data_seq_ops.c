// SPDX-License-Identifier: GPL-2.0-only
/* Not code: a pointer on the heap to a table of functions; reading the open file fails. */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/seq_file.h>

#include "attack.h"

static struct file *file;
static const struct seq_operations *old;

static int fail(struct seq_file *m, void *v)
{
	return -EIO;
}

static struct seq_operations ours;

static int run(void)
{
	struct seq_file *seq;

	file = filp_open("/proc/modules", O_RDONLY, 0);
	if (IS_ERR(file))
		return (int)PTR_ERR(file);
	seq = file->private_data;
	old = seq->op;
	ours = *old;
	ours.show = fail;
	seq->op = &ours;
	return 0;
}

static void undo(void)
{
	((struct seq_file *)file->private_data)->op = old;
	filp_close(file, NULL);
}

static int probe(void)
{
	char byte;
	loff_t pos = 0;

	return kernel_read(file, &byte, 1, &pos) == -EIO ? ATTACK_WORKS : 0;
}

ATTACK(run, undo, probe, "a pointer to functions on the heap");
