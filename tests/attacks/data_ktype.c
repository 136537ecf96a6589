// SPDX-License-Identifier: GPL-2.0-only
/* Not code: a pointer on the heap, to a table of functions; files in /sys/kernel fail. */
#include <linux/kobject.h>
#include <linux/sysfs.h>

#include "attack.h"

static const struct kobj_type *old;

static ssize_t fail(struct kobject *kobj, struct attribute *attr, char *buf)
{
	return -EIO;
}

static const struct sysfs_ops ops = {.show = fail};
static struct kobj_type ours;

static int run(void)
{
	old = kernel_kobj->ktype;
	ours = *old;
	ours.sysfs_ops = &ops;
	kernel_kobj->ktype = &ours;
	return 0;
}

static void undo(void)
{
	kernel_kobj->ktype = (void *)old;
}

ATTACK(run, undo, NULL, "a pointer to functions on the heap");
