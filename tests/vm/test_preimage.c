// SPDX-License-Identifier: Apache-2.0
/*
 * Preimages against the truth: every function of a running kernel, under KASLR,
 * must have the digest that a package would record from the kernel's file.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "package/build/target.h"
#include "tests/lib/guest.h"

#define MEM_MIB	    256
#define MEM_BYTES   ((size_t)MEM_MIB << 20)
#define ALIGN_BYTES (2u << 20) /* CONFIG_PHYSICAL_ALIGN */
#define BANNER_SIZE 100

/* A kernel file beside the memory of a guest that runs it. */
struct pair {
	struct kfile *k;
	struct ksites sites;
	uint8_t *ram;
	uint64_t phys;	/* of _text */
	uint64_t shift; /* KASLR's */
	size_t nr, nr_rewritten, nr_differ;
};

static void load_kernel(struct pair *p, const char *package)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(KFILE_MAX_BYTES);
	struct xerr err = {0};
	char path[4096];

	assert_non_null(guest_image_file(package, "vmlinuz", path, sizeof(path)));
	assert_int_equal(xbuf_read_file(&file, path), 0);
	if (kfile_open(&p->k, xbuf_span(&file), &err) || ksites_read(&p->sites, p->k, &err))
		fail_msg("%s", err.text);
}

static void map_ram(struct pair *p, struct guest *g)
{
	char path[512], line[600];
	char *answer;
	int fd;

	snprintf(path, sizeof(path), "%s/ram", guest_dir(g));
	snprintf(line, sizeof(line), "pmemsave 0 0x%zx \"%s\"", MEM_BYTES, path);
	assert_int_equal(guest_pause(g), 0);
	answer = guest_hmp(g, line);
	assert_string_equal(answer, "");
	free(answer);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0); /* the guest's directory must end empty */
	p->ram = mmap(NULL, MEM_BYTES, PROT_READ, MAP_PRIVATE, fd, 0);
	assert_true(p->ram != MAP_FAILED);
	close(fd);
}

/* The first 8-byte field that KASLR shifts, in read-only data. */
static uint64_t shifted_field(const struct pair *p, uint64_t from)
{
	size_t i = ksites_first(&p->sites, from);

	while (i < p->sites.nr &&
	       (p->sites.site[i].kind != KSITE_RELOC || p->sites.site[i].len_bytes != 8))
		i++;
	assert_true(i < p->sites.nr);
	return p->sites.site[i].addr;
}

/* Find the kernel in RAM by its banner. */
static void find_kernel(struct pair *p)
{
	const struct kfile *k = p->k;
	uint64_t banner, field, linked, shifted;
	struct span text, value;
	const uint8_t *at = p->ram;
	size_t i;

	assert_int_equal(ksyms_lookup(&k->syms, "linux_banner", &i, 1), 1);
	banner = k->syms.sym[i].addr;
	field = shifted_field(p, banner);
	if (!kfile_at(k, banner, BANNER_SIZE, &text) || !kfile_at(k, field, 8, &value)) {
		fail();
		return;
	}
	memcpy(&linked, value.p, 8);
	while ((at = memmem(at, MEM_BYTES - (size_t)(at - p->ram), text.p, BANNER_SIZE))) {
		p->phys = (uint64_t)(at - p->ram) - (banner - k->text);
		at++;
		if (p->phys % ALIGN_BYTES || p->phys + (k->end - k->text) > MEM_BYTES)
			continue;
		memcpy(&shifted, p->ram + p->phys + (field - k->text), 8);
		p->shift = shifted - linked;
		if (p->shift % ALIGN_BYTES == 0 && p->shift < 1u << 30)
			return;
	}
	fail_msg("no kernel in the guest's memory");
}

static void show_difference(const struct pkg_target *t, const uint8_t *file, const uint8_t *ram)
{
	size_t m = 0, shown = 0;

	print_message("# %s differs:", t->symbol);
	for (uint32_t off = 0; off < t->size_bytes && shown < 16; off++) {
		while (m < t->nr_masks && t->mask[m].off + t->mask[m].len_bytes <= off)
			m++;
		if (file[off] != ram[off] && (m == t->nr_masks || off < t->mask[m].off)) {
			print_message(" +0x%x %02x>%02x", off, file[off], ram[off]);
			shown++;
		}
	}
	print_message("\n");
}

/* The calls in ftrace's own trampoline, which no list names: they change while it traces. */
static bool is_ftrace_slot(const char *name)
{
	return !strcmp(name, "ftrace_call") || !strcmp(name, "ftrace_regs_call");
}

static void compare(struct pair *p, size_t i)
{
	const struct kfile *k = p->k;
	const struct ksym *s = &k->syms.sym[i];
	uint8_t want[XO_SHA256_BYTES], got[XO_SHA256_BYTES];
	struct pkg_target t = {.size_bytes = (uint32_t)ksyms_size(&k->syms, i)};
	const uint8_t *ram = p->ram + p->phys + (s->addr - k->text);
	struct xerr err = {0};
	struct span file;

	if (s->addr < k->text || s->addr >= k->text_end || !target_is_code(s->type))
		return;
	if (t.size_bytes > k->text_end - s->addr)
		t.size_bytes = (uint32_t)(k->text_end - s->addr);
	snprintf(t.symbol, sizeof(t.symbol), "%s", ksyms_name(&k->syms, s));
	if (target_masks(&t, &p->sites, s->addr, &err))
		fail_msg("%s", err.text);
	assert_true(kfile_at(k, s->addr, t.size_bytes, &file));
	assert_int_equal(pkg_preimage_digest(&t, file.p, 0, want), 0);
	assert_int_equal(pkg_preimage_digest(&t, ram, p->shift, got), 0);
	p->nr++;
	p->nr_rewritten += memcmp(file.p, ram, t.size_bytes) != 0;
	if (memcmp(want, got, sizeof(want)) != 0 && !is_ftrace_slot(t.symbol) &&
	    p->nr_differ++ < 40)
		show_difference(&t, file.p, ram);
	free(t.mask);
}

static void check(const struct guest_opts *opts, const char *command)
{
	struct pair p = {0};
	_cleanup_guest_ struct guest *g = NULL;
	char *out;

	assert_int_equal(guest_boot(&g, opts), 0);
	if (command) {
		out = guest_sh(g, command);
		assert_non_null(out);
		free(out);
	}
	load_kernel(&p, opts->package);
	map_ram(&p, g);
	find_kernel(&p);
	for (size_t i = 0; i < p.k->syms.nr; i++)
		compare(&p, i);
	print_message("# %s: %zu functions, %zu rewritten, %zu differ; KASLR shift 0x%llx\n",
		      p.k->release, p.nr, p.nr_rewritten, p.nr_differ, (unsigned long long)p.shift);
	assert_true(p.nr > 40000);
	assert_true(p.nr_rewritten > 40000); /* without masks next to nothing would match */
	assert_int_equal(p.nr_differ, 0);
	munmap(p.ram, MEM_BYTES);
	ksites_free(&p.sites);
	kfile_free(p.k);
}

static void test_6_1(void **state)
{
	(void)state;
	check(&(struct guest_opts){.package = GUEST_6_1, .mem_mib = MEM_MIB}, NULL);
}

/* Many features on, one processor: other alternatives, and lock prefixes are taken out. */
static void test_6_1_max_up(void **state)
{
	(void)state;
	check(
		&(struct guest_opts){
			.package = GUEST_6_1, .mem_mib = MEM_MIB, .la57 = true, .vcpus = 1},
		NULL);
}

/* While ftrace traces every function, and a kprobe one. */
static void test_6_12(void **state)
{
	(void)state;
	check(&(struct guest_opts){.package = GUEST_6_12, .mem_mib = MEM_MIB},
	      "cd /sys/kernel/tracing; echo function >current_tracer; "
	      "echo p:x cmdline_proc_show >kprobe_events; echo 1 >events/kprobes/x/enable");
}

static void test_6_12_max_up(void **state)
{
	(void)state;
	check(
		&(struct guest_opts){
			.package = GUEST_6_12, .mem_mib = MEM_MIB, .la57 = true, .vcpus = 1},
		NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_6_1),
		cmocka_unit_test(test_6_1_max_up),
		cmocka_unit_test(test_6_12),
		cmocka_unit_test(test_6_12_max_up),
	};

	return cmocka_run_group_tests_name("preimage", tests, NULL, NULL);
}
