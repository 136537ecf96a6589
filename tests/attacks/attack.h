/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the attacks share. Each is a module that attacks when it is loaded, says
 * "attack NAME: done" in the kernel's log, and undoes what it did when it is
 * removed. Whether it worked is seen from user space: in the behaviour of a
 * kernel function, or in /sys/module/NAME/parameters/probe, which tries the
 * attack's effect each time it is read and is ATTACK_WORKS if it is there.
 *
 * Addresses of symbols that are not exported come as parameters: the script
 * "load" takes them from /proc/kallsyms. So an attack writes nothing but what
 * it is about.
 */
#ifndef EXOPATCH_TESTS_ATTACK_H
#define EXOPATCH_TESTS_ATTACK_H

#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pgtable.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#define ATTACK_WORKS 4919

/* ATTACK_SYMBOL - declare variable NAME_at with the address of kernel symbol NAME */
#define ATTACK_SYMBOL(name)                                                                        \
	static unsigned long name##_at;                                                            \
	module_param_named(name, name##_at, ulong, 0)

/* ATTACK_CHANGED - says when it is done, where that is not when the module is loaded */
#define ATTACK_CHANGED() pr_info("attack " KBUILD_MODNAME ": changed\n")

/* ATTACK - start and end of the module. @try: what "probe" says; may be NULL */
#define ATTACK(run, undo, try, text)                                                               \
	static int attack_probe_get(char *buf, const struct kernel_param *kp)                      \
	{                                                                                          \
		int (*f)(void) = try;                                                              \
                                                                                                   \
		return sysfs_emit(buf, "%d\n", f ? f() : 0);                                       \
	}                                                                                          \
	static const struct kernel_param_ops attack_probe_ops = {.get = attack_probe_get};         \
	module_param_cb(probe, &attack_probe_ops, NULL, 0444);                                     \
	static int __init attack_init(void)                                                        \
	{                                                                                          \
		int r = run();                                                                     \
                                                                                                   \
		if (r)                                                                             \
			pr_err("attack " KBUILD_MODNAME ": cannot be made here: %d\n", r);         \
		else                                                                               \
			pr_info("attack " KBUILD_MODNAME ": done\n");                              \
		return r;                                                                          \
	}                                                                                          \
	static void __exit attack_exit(void)                                                       \
	{                                                                                          \
		undo();                                                                            \
	}                                                                                          \
	module_init(attack_init);                                                                  \
	module_exit(attack_exit);                                                                  \
	MODULE_DESCRIPTION(text);                                                                  \
	MODULE_LICENSE("GPL")

/* ---- code ---- */

/* mov $-EIO, %eax; ret: a function that begins so fails, which is seen by who reads its file. */
static const u8 attack_fail[6] __maybe_unused = {0xb8, 0xfb, 0xff, 0xff, 0xff, 0xc3};

/* mov $ATTACK_WORKS, %eax; ret */
static const u8 attack_works[6] __maybe_unused = {0xb8, 0x37, 0x13, 0x00, 0x00, 0xc3};

/* The first byte of a function that neither ftrace nor IBT claims. */
static inline u8 *attack_body(unsigned long function)
{
	static const u8 endbr[4] = {0xf3, 0x0f, 0x1e, 0xfa};
	u8 *p = (u8 *)function;

	if (!memcmp(p, endbr, sizeof(endbr)))
		p += sizeof(endbr);
	return p[0] == 0x0f || p[0] == 0xe8 ? p + 5 : p;
}

static inline int attack_call(const void *code)
{
	return ((int (*)(void))code)();
}

/* ---- memory ---- */

static inline phys_addr_t attack_pa(const void *p)
{
	return slow_virt_to_phys((void *)p);
}

/* A second, writable mapping of kernel memory, at most two pages of it: no right has to change. */
static inline void *attack_alias(void *at)
{
	struct page *pages[2] = {pfn_to_page(attack_pa(at) >> PAGE_SHIFT),
				 pfn_to_page(attack_pa((u8 *)at + PAGE_SIZE) >> PAGE_SHIFT)};
	u8 *map = vmap(pages, 2, VM_MAP, PAGE_KERNEL);

	return map ? map + offset_in_page(at) : NULL;
}

static inline void attack_unalias(void *alias)
{
	vunmap((void *)((unsigned long)alias & PAGE_MASK));
}

static inline int attack_write(void *at, const void *bytes, size_t len)
{
	void *alias = attack_alias(at);

	if (!alias)
		return -ENOMEM;
	if (len == sizeof(u64) && IS_ALIGNED((unsigned long)at, sizeof(u64)))
		WRITE_ONCE(*(u64 *)alias, *(const u64 *)bytes);
	else
		memcpy(alias, bytes, len);
	attack_unalias(alias);
	return 0;
}

/*
 * Five bytes of text as text_poke_bp() writes them: a breakpoint, what is behind it, the first.
 * Nobody may come by. Who is not let through takes the breakpoint back.
 */
static inline int attack_poke(u8 *at, const u8 bytes[5])
{
	static const u8 int3 = 0xcc;
	u8 first = *at;
	int r = attack_write(at, &int3, 1);

	if (!r)
		r = attack_write(at + 1, bytes + 1, 4);
	if (!r)
		r = attack_write(at, memcmp(at + 1, bytes + 1, 4) ? &first : bytes, 1);
	return r;
}

static inline void attack_flush_this(void *unused)
{
	unsigned long cr4;

	asm volatile("mov %%cr4, %0" : "=r"(cr4));
	asm volatile("mov %0, %%cr4" : : "r"(cr4 ^ X86_CR4_PGE) : "memory");
	asm volatile("mov %0, %%cr4" : : "r"(cr4) : "memory");
}

/* Every processor forgets its translations, global ones too. */
static inline void attack_flush(void)
{
	on_each_cpu(attack_flush_this, NULL, 1);
}

/* Set and clear bits of the entry that maps @at, whatever its level. Return: the old entry */
static inline u64 attack_edit_entry(void *at, u64 set, u64 clear)
{
	unsigned int level;
	u64 *entry = (u64 *)lookup_address((unsigned long)at, &level);
	u64 old = READ_ONCE(*entry);

	WRITE_ONCE(*entry, (old & ~clear) | set);
	attack_flush();
	return old;
}

/* ---- attacks that only differ in how they write into text: a function that shows a file ---- */

#define ATTACK_TEXT(writer, function, text)                                                        \
	ATTACK_SYMBOL(function);                                                                   \
	static u8 attack_old[sizeof(attack_fail)];                                                 \
	static int attack_text(void)                                                               \
	{                                                                                          \
		u8 *at = attack_body(function##_at);                                               \
                                                                                                   \
		memcpy(attack_old, at, sizeof(attack_old));                                        \
		return writer(at, attack_fail, sizeof(attack_fail));                               \
	}                                                                                          \
	static void attack_text_undo(void)                                                         \
	{                                                                                          \
		if (writer(attack_body(function##_at), attack_old, sizeof(attack_old)))            \
			pr_err("attack " KBUILD_MODNAME ": cannot be undone\n");                   \
	}                                                                                          \
	ATTACK(attack_text, attack_text_undo, NULL, text)

#endif
