// SPDX-License-Identifier: GPL-2.0-only
/*
 * The optional guest side of exopatch: memory that the host may put code and
 * constants into, and a table in which the host says what it has put there.
 *
 * Nothing here writes to either, and nothing here calls into the arena. All of
 * it is read-only to the guest; the host writes through its own mapping of guest
 * RAM. The host also takes this module's exit function away while a patch is
 * active, so that it cannot be unloaded (docs/formats/shim-abi.md).
 */
#include <linux/kobject.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/objtool.h>
#include <linux/sched.h>
#include <linux/stringify.h>
#include <linux/sysfs.h>

#include "shim_abi.h"

static_assert(PAGE_SIZE == EXOSHIM_PAGE_BYTES);

/*
 * The text arena: whole pages of int3. In .kprobes.text, because kprobes refuse
 * to put their own int3 there; assembler, because nothing of it is a function
 * to the compiler, to ftrace or to objtool. Code is entered by direct jumps
 * only, so there is no endbr64 to stand at its start.
 */
extern const u8 exopatch_text_arena[];
/* clang-format off */
asm(".pushsection .kprobes.text, \"ax\", @progbits\n"
    ".balign " __stringify(EXOSHIM_PAGE_BYTES) ", 0xcc\n"
    ".globl exopatch_text_arena\n"
    ".type exopatch_text_arena, @object\n"
    "exopatch_text_arena:\n"
    ANNOTATE_NOENDBR
    ".skip " __stringify(EXOSHIM_TEXT_BYTES) ", 0xcc\n"
    ".size exopatch_text_arena, . - exopatch_text_arena\n"
    ".popsection\n");
/* clang-format on */

extern const u8 exopatch_rodata_arena[EXOSHIM_RODATA_BYTES];
const u8 exopatch_rodata_arena[EXOSHIM_RODATA_BYTES] __aligned(PAGE_SIZE) = {0};

/*
 * Addresses are filled in by the module loader's relocations. In .rodata, since
 * only the host changes it afterwards.
 */
extern const struct exoshim_abi exopatch_abi;
const struct exoshim_abi exopatch_abi __aligned(PAGE_SIZE) = {
	.magic = EXOSHIM_MAGIC,
	.abi_version = EXOSHIM_ABI_VERSION,
	.size_bytes = sizeof(struct exoshim_abi),
	.patch_off_bytes = offsetof(struct exoshim_abi, patch),
	.patch_size_bytes = sizeof(struct exoshim_patch),
	.patch_max = EXOSHIM_MAX_PATCHES,
	.text = {(unsigned long)exopatch_text_arena, EXOSHIM_TEXT_BYTES},
	.rodata = {(unsigned long)exopatch_rodata_arena, EXOSHIM_RODATA_BYTES},
};

#define SNAPSHOT_TRIES 64

/* A line: id, blank, version, blank, digest in hexadecimal, newline */
#define LINE_BYTES                                                                                 \
	(sizeof_field(struct exoshim_patch, id) + sizeof_field(struct exoshim_patch, version) +    \
	 2 * sizeof_field(struct exoshim_patch, digest) + 1)
#define TEXT_BYTES (EXOSHIM_MAX_PATCHES * LINE_BYTES)

struct report {
	struct exoshim_patch patch[EXOSHIM_MAX_PATCHES];
	char text[TEXT_BYTES + 1];
};

/* The host's writes are not known to the compiler, which sees a constant. */
static const struct exoshim_abi *abi_as_written(void)
{
	const struct exoshim_abi *abi = &exopatch_abi;

	OPTIMIZER_HIDE_VAR(abi);
	return abi;
}

/*
 * The host changes slots while this vCPU stands still, perhaps in the middle of
 * the copy: a second look finds that. The count is for a host that does not hold.
 */
static int snapshot(struct exoshim_patch *to)
{
	const struct exoshim_abi *abi = abi_as_written();
	unsigned int tries;

	for (tries = 0; tries < SNAPSHOT_TRIES; tries++) {
		u32 seq = smp_load_acquire(&abi->seq);

		if (!(seq & 1)) {
			memcpy(to, abi->patch, sizeof(abi->patch));
			smp_rmb();
			if (memcmp(to, abi->patch, sizeof(abi->patch)) == 0) {
				smp_rmb(); /* both looks are over before the count is seen again */
				if (READ_ONCE(abi->seq) == seq)
					return 0;
			}
		}
		cond_resched();
	}
	return -EAGAIN;
}

/* One word of a line: printable and without blanks whatever the field holds, never empty */
static size_t put_word(char *to, const char *field, size_t field_bytes)
{
	size_t i;

	for (i = 0; i < field_bytes - 1 && field[i]; i++)
		to[i] = field[i] > ' ' && field[i] <= '~' ? field[i] : '?';
	if (i == 0)
		to[i++] = '-';
	return i;
}

static size_t put_line(char *to, const struct exoshim_patch *p)
{
	char *at = to;

	at += put_word(at, p->id, sizeof(p->id));
	*at++ = ' ';
	at += put_word(at, p->version, sizeof(p->version));
	*at++ = ' ';
	at = bin2hex(at, p->digest, sizeof(p->digest));
	*at++ = '\n';
	return at - to;
}

/* 64 patches do not fit the one page of an ordinary attribute, hence a binary one. */
static ssize_t patches_read(struct file *file, struct kobject *kobj, struct bin_attribute *attr,
			    char *buf, loff_t off, size_t count)
{
	struct report *r = kvmalloc(sizeof(*r), GFP_KERNEL);
	size_t i, len = 0;
	ssize_t ret;

	if (!r)
		return -ENOMEM;
	ret = snapshot(r->patch);
	if (ret)
		goto out;
	for (i = 0; i < EXOSHIM_MAX_PATCHES; i++) {
		if (r->patch[i].flags & EXOSHIM_PATCH_ACTIVE)
			len += put_line(r->text + len, &r->patch[i]);
	}
	ret = memory_read_from_buffer(buf, count, &off, r->text, len);
out:
	kvfree(r);
	return ret;
}
static BIN_ATTR_RO(patches, 0);

static ssize_t abi_version_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", exopatch_abi.abi_version);
}
static struct kobj_attribute abi_version_attr = __ATTR_RO(abi_version);

static ssize_t arena_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "text %llu\nrodata %llu\n", exopatch_abi.text.size_bytes,
			  exopatch_abi.rodata.size_bytes);
}
static struct kobj_attribute arena_attr = __ATTR_RO(arena);

static struct attribute *exopatch_attrs[] = {
	&abi_version_attr.attr,
	&arena_attr.attr,
	NULL,
};
static struct bin_attribute *exopatch_bin_attrs[] = {
	&bin_attr_patches,
	NULL,
};
static const struct attribute_group exopatch_group = {
	.attrs = exopatch_attrs,
	.bin_attrs = exopatch_bin_attrs,
};

static struct kobject *exopatch_kobj;

static int __init exopatch_init(void)
{
	int ret;

	exopatch_kobj = kobject_create_and_add("exopatch", kernel_kobj);
	if (!exopatch_kobj)
		return -ENOMEM;
	ret = sysfs_create_group(exopatch_kobj, &exopatch_group);
	if (ret)
		kobject_put(exopatch_kobj);
	return ret;
}

static void __exit exopatch_exit(void)
{
	sysfs_remove_group(exopatch_kobj, &exopatch_group);
	kobject_put(exopatch_kobj);
}

module_init(exopatch_init);
module_exit(exopatch_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Room for patches from the host, and a list of those that are active");
