// SPDX-License-Identifier: Apache-2.0
/*
 * A kernel's file, and a guest's memory that is it but for what the input's last bytes change: both
 * hostile. The file's symbols are the fixture's, whose layout the seeds have.
 */
#include <stdlib.h>
#include <string.h>

#include "package/kernref.h"

#define BASE	  UINT64_C(0xffffffff81000000)
#define TABLE	  20 /* bytes of KASLR's table, the file's last */
#define MAX_PAGES 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct {
	const char *name;
	uint32_t off;
	char type;
} symbols[] = {
	{"_text", 0, 'T'},
	{"function", 0x80, 'T'},
	{"ftrace_caller", 0x90, 'T'},
	{"__x86_return_thunk", 0xa0, 'T'},
	{"__x86_indirect_thunk_rax", 0xc0, 'T'},
	{"__SCT__x", 0xd0, 'T'},
	{"__start_rodata", 0x1000, 'R'},
	{"__start_ro_after_init", 0x1100, 'D'},
	{"__start___jump_table", 0x1110, 'D'},
	{"__stop___jump_table", 0x1130, 'D'},
	{"__end_ro_after_init", 0x1130, 'D'},
	{"__end_rodata", 0x2000, 'R'},
	{"__SCK__x", 0x2000, 'd'},
	{"x", 0x2010, 'd'},
	{"pv_ops", 0x2020, 'd'},
	{"behind", 0x2030, 'd'},
	{"__start_static_call_sites", 0x2200, 'd'},
	{"__stop_static_call_sites", 0x2208, 'd'},
	{"__start_mcount_loc", 0x2220, 'd'},
	{"__stop_mcount_loc", 0x2228, 'd'},
};

struct input {
	const uint8_t *data;
	size_t size;
};

static bool read_kernel(void *arg, uint64_t addr, void *buf, size_t len_bytes)
{
	const struct input *in = arg;

	for (size_t i = 0; i < len_bytes; i++)
		((uint8_t *)buf)[i] = in->data[(addr + i) % in->size];
	return addr & 1 || in->data[0] & 1;
}

static bool is_legal(void *arg, uint64_t addr, const uint8_t *before, const uint8_t *after,
		     size_t len_bytes)
{
	(void)arg;
	if (len_bytes > 8 || !memcmp(before, after, len_bytes))
		abort();
	return addr & 1;
}

static void unexplained(void *arg, uint64_t addr, size_t len_bytes)
{
	(void)arg;
	(void)addr;
	if (!len_bytes)
		abort();
}

/* Pairs of bytes from the input's end: where, and what. */
static void change(const struct input *in, uint8_t *p, size_t bytes)
{
	for (size_t i = 0; bytes && i < 32 && 4 * i + 4 <= in->size; i++) {
		const uint8_t *x = in->data + in->size - 4 * i - 4;

		p[((size_t)x[0] << 8 | x[1]) % bytes] ^= x[2];
	}
}

static void compare(const struct input *in, struct kernref *r)
{
	struct kernref_guest guest = {.arg = (void *)(uintptr_t)in,
				      .read = read_kernel,
				      .is_legal = is_legal,
				      .unexplained = unexplained};
	struct kernref_image image = {0};
	uint8_t *have[KERNREF_AREAS];
	struct kernref_run *run;

	for (size_t k = 0; k < KERNREF_AREAS; k++) {
		size_t bytes = kernref_area(r, (enum kernref_area_kind)k)->bytes;

		have[k] = calloc(1, bytes + 1);
		if (!have[k])
			abort();
		memcpy(have[k], in->data, bytes < in->size ? bytes : in->size);
		change(in, have[k], bytes);
		image.bytes[k] = have[k];
	}
	run = kernref_run_new(r, &image, &guest);
	for (size_t k = 0; run && k < KERNREF_AREAS; k++) {
		size_t pages = kernref_pages(kernref_area(r, (enum kernref_area_kind)k));
		struct kernref_page p;

		for (size_t i = 0; i < pages && i < MAX_PAGES; i++)
			if (kernref_compare(run, (enum kernref_area_kind)k, i, &p))
				abort();
	}
	kernref_run_free(run);
	for (size_t k = 0; k < KERNREF_AREAS; k++)
		free(have[k]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct input in = {data, size};
	struct ksyms_builder b = KSYMS_BUILDER;
	struct kfile k = {.text = BASE, .text_end = BASE + 0x100, .end = BASE + 0x3000};
	struct kernref *r = NULL;
	int rc = 0;

	if (size < TABLE || elf64_open(&k.elf, SPAN(data, size), ET_EXEC, NULL))
		return 0;
	k.relocs = SPAN(data + size - TABLE, TABLE);
	for (size_t i = 0; !rc && i < XO_ARRAY_SIZE(symbols); i++)
		rc = ksyms_add(&b, BASE + symbols[i].off, symbols[i].type, symbols[i].name);
	if (!rc)
		rc = ksyms_build(&k.syms, &b);
	ksyms_builder_free(&b);
	if (!rc && !kernref_make(&r, &k, NULL)) {
		kernref_move(r, (uint64_t)data[size - 1] << 21);
		compare(&in, r);
		kernref_free(r);
	}
	ksyms_free(&k.syms);
	return 0;
}
