/* SPDX-License-Identifier: GPL-2.0-only */
/* What a live module's structure says of its code, changed by the module itself. */
#ifndef EXOPATCH_TESTS_OWN_PARTS_H
#define EXOPATCH_TESTS_OWN_PARTS_H

#include <linux/delay.h>
#include <linux/version.h>
#include <linux/workqueue.h>

#include "attack.h"

#define OWN_LOOKS_MS 2000 /* whoever looks at modules has looked by then */

struct own_parts {
	struct module was;
};

static inline void own_parts_save(struct own_parts *p)
{
	p->was = *THIS_MODULE;
}

/* It has no code, and what was its code is data. */
static inline void own_parts_no_text(void)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
	WRITE_ONCE(THIS_MODULE->core_layout.text_size, 0);
	WRITE_ONCE(THIS_MODULE->core_layout.ro_size, 0);
	WRITE_ONCE(THIS_MODULE->core_layout.ro_after_init_size, 0);
#else
	struct module_memory *mem = THIS_MODULE->mem;

	WRITE_ONCE(mem[MOD_INIT_DATA].base, mem[MOD_TEXT].base);
	WRITE_ONCE(mem[MOD_INIT_DATA].size, mem[MOD_TEXT].size);
	WRITE_ONCE(mem[MOD_TEXT].size, 0);
#endif
}

/* A page is code that only its start needs. */
static inline void own_parts_init_text(void *page)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
	WRITE_ONCE(THIS_MODULE->init_layout.text_size, PAGE_SIZE);
	WRITE_ONCE(THIS_MODULE->init_layout.ro_size, PAGE_SIZE);
	WRITE_ONCE(THIS_MODULE->init_layout.size, PAGE_SIZE);
	WRITE_ONCE(THIS_MODULE->init_layout.base, page);
#else
	WRITE_ONCE(THIS_MODULE->mem[MOD_INIT_TEXT].size, PAGE_SIZE);
	WRITE_ONCE(THIS_MODULE->mem[MOD_INIT_TEXT].base, page);
#endif
}

static inline void own_parts_restore(const struct own_parts *p)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
	THIS_MODULE->core_layout.text_size = p->was.core_layout.text_size;
	THIS_MODULE->core_layout.ro_size = p->was.core_layout.ro_size;
	THIS_MODULE->core_layout.ro_after_init_size = p->was.core_layout.ro_after_init_size;
	THIS_MODULE->init_layout.base = p->was.init_layout.base;
	THIS_MODULE->init_layout.size = p->was.init_layout.size;
	THIS_MODULE->init_layout.text_size = p->was.init_layout.text_size;
	THIS_MODULE->init_layout.ro_size = p->was.init_layout.ro_size;
#else
	for (int i = MOD_TEXT; i <= MOD_INIT_TEXT + 2; i++) {
		THIS_MODULE->mem[i].base = p->was.mem[i].base;
		THIS_MODULE->mem[i].size = p->was.mem[i].size;
	}
#endif
}

#endif
