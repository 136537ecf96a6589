// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: replaces code that is gone after boot. */
#include <linux/init.h>

static int __init __used proc_cmdline_init(void)
{
	return 0;
}
