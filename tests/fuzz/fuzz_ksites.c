// SPDX-License-Identifier: Apache-2.0
/* The lists of rewritten places in a vmlinux, and masks made from them. */
#include <elf.h>

#include "package/build/target.h"

#define BASE UINT64_C(0xffffffff81000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char names[] = "_text";
	static struct ksym sym = {.addr = BASE, .type = 'T'};
	static uint32_t bucket = 1, chain;
	struct kfile k = {.text = BASE,
			  .text_end = BASE + 0x1000,
			  .end = BASE + 0x1000,
			  .syms = {.nr = 1,
				   .sym = &sym,
				   .names = names,
				   .names_bytes = sizeof(names),
				   .bucket = &bucket,
				   .chain = &chain,
				   .nr_buckets = 1}};
	struct pkg_target t = {.symbol = "f", .size_bytes = 0x1000};
	struct ksites s = {0};

	/* The KASLR table is the last 24 bytes. */
	if (size < 24 || elf64_open(&k.elf, SPAN(data, size), ET_EXEC, NULL))
		return 0;
	k.relocs = SPAN(data + size - 24, 24);
	if (!ksites_read(&s, &k, NULL)) {
		if (!target_masks(&t, &s, BASE, NULL))
			free(t.mask);
		ksites_free(&s);
	}
	return 0;
}
