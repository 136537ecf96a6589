// SPDX-License-Identifier: Apache-2.0
/*
 * What runs in whole guests, held against the vendor's own files: on a stock guest nothing is
 * unexplained, whatever it does with its own text; any bit that is not as it should be is found.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "package/kernel/kfile.h"
#include "tests/lib/attfix.h"
#include "tests/lib/guardrun.h"
#include "tests/lib/patching.h"
#include "tests/lib/ram.h"

#define NONCE  "00112233445566778899aabbccddeeff"
#define OTHER  "ffeeddccbbaa99887766554433221100"
#define MS     60000
#define PLACES 32
#define SYMBOL 128

/* One guest with its evidence, and the state that goes with it. */
struct trial {
	struct guest *g;
	const char *package;
	char image[256], modules[256], evidence[200], trust[200], reference[200];
	unsigned int nr;
	struct exo attested;
};

/* ---- running the programs ---- */

static int run(const char *const argv[], char **out)
{
	_cleanup_run_ struct run_result r = {0};

	assert_int_equal(run_program(argv, NULL, MS, &r), 0);
	if (out)
		*out = strdup(r.out ? r.out : "");
	return r.rc;
}

static const char *program(void)
{
	static char path[256];

	return run_build_path("exopatch", path, sizeof(path));
}

static void sh(const char *fmt, ...) XO_PRINTF(1, 2);
static void sh(const char *fmt, ...)
{
	char line[2048];
	const char *const argv[] = {"sh", "-c", line, NULL};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (run(argv, NULL))
		fail_msg("%s", line);
}

static void start(struct trial *t, const char *package)
{
	/* A guard may come, and guests that rewrite hot text are in for it: docs/guard.md, TCG. */
	const struct guest_opts opts = {.package = package, .one_thread = true};

	t->package = package;
	assert_int_equal(guest_boot(&t->g, &opts), 0);
	assert_non_null(guest_image_file(package, "vmlinuz", t->image, sizeof(t->image)));
	assert_non_null(guest_image_file(package, "modules", t->modules, sizeof(t->modules)));
	snprintf(t->trust, sizeof(t->trust), "%s/trust", patching_dir());
	snprintf(t->reference, sizeof(t->reference), "%s/ref.json", patching_dir());
	assert_int_equal(run((const char *const[]){program(), "reference", t->image, t->modules,
						   "-o", t->reference, NULL},
			     NULL),
			 0);
}

static void stop(struct trial *t)
{
	exo_free(&t->attested);
	guest_free(t->g);
}

/* Appraise. Return: how many bytes nothing explains */
static json_int_t attest_with(struct trial *t, const char *const more[])
{
	const char *args[24] = {"attest", "--nonce", NONCE,    "-o",	  t->evidence,
				"--from", t->image,  "--from", t->modules};
	json_int_t total = 0;
	const json_t *area;
	size_t i, n = 9;

	exo_free(&t->attested);
	snprintf(t->evidence, sizeof(t->evidence), "%s/evidence-%u", patching_dir(), t->nr++);
	for (i = 0; more && more[i]; i++)
		args[n++] = more[i];
	assert_int_equal(exo_run(&t->attested, t->g, NULL, args), 0);
	assert_int_equal(t->attested.rc, 0);
	json_array_foreach(json_object_get(json_object_get(t->attested.doc, "appraisal"), "areas"),
			   i, area) total +=
		json_integer_value(json_object_get(area, "unexplained_bytes"));
	json_array_foreach(json_object_get(t->attested.doc, "unexplained"), i, area) print_message(
		"# unexplained: %s+0x%llx\n", json_string_value(json_object_get(area, "symbol")),
		(long long)json_integer_value(json_object_get(area, "offset")));
	json_array_foreach(json_object_get(t->attested.doc, "unapproved_pages"), i, area)
		print_message("# unapproved: %s at %s\n",
			      json_string_value(json_object_get(area, "what")),
			      json_string_value(json_object_get(area, "address")));
	return total;
}

static json_int_t attest(struct trial *t)
{
	return attest_with(t, NULL);
}

static json_int_t number(const struct trial *t, const char *object, const char *key)
{
	return json_integer_value(json_object_get(
		json_object_get(json_object_get(t->attested.doc, "appraisal"), object), key));
}

/* Judge the last evidence. Return: the exit status; *@out: what is said, owned by the caller */
static int verify(struct trial *t, const char *nonce, char **out)
{
	if (access(t->trust, F_OK))
		sh("mkdir -p %s/log %s/statement %s/ak && cp %s/log.vkey %s/log/ && "
		   "cp %s/statement.pub %s/statement/k.pem && "
		   "if [ -f %s/ak.pub ]; then cp %s/ak.pub %s/ak/k.pem; fi",
		   t->trust, t->trust, t->trust, t->evidence, t->trust, t->evidence, t->trust,
		   t->evidence, t->evidence, t->trust);
	return run((const char *const[]){program(), "verify", t->evidence, "--trust", t->trust,
					 "--reference", t->reference, "--nonce", nonce, NULL},
		   out);
}

static void expect_trusted(struct trial *t)
{
	_cleanup_free_ char *said = NULL;
	int rc = verify(t, NONCE, &said);

	if (rc)
		fail_msg("%s", said);
}

/* ---- what a stock guest does with its own text ---- */

static void in_guest(struct trial *t, const char *command)
{
	_cleanup_free_ char *out = guest_sh(t->g, command);

	if (!out)
		fail_msg("%s", command);
}

static const struct {
	const char *name, *on, *off;
} doing[] = {
	{"ftrace",
	 "cd /sys/kernel/tracing && echo cmdline_proc_show > set_ftrace_filter && "
	 "echo function > current_tracer",
	 "cd /sys/kernel/tracing && echo nop > current_tracer && echo > set_ftrace_filter"},
	{"function_graph of everything that begins with vfs_",
	 "cd /sys/kernel/tracing && echo 'vfs_*' > set_ftrace_filter && "
	 "echo function_graph > current_tracer",
	 "cd /sys/kernel/tracing && echo nop > current_tracer && echo > set_ftrace_filter"},
	{"a kprobe behind a function's entry, which becomes a jump",
	 "cd /sys/kernel/tracing && for o in 5 9; do "
	 "echo \"p:t cmdline_proc_show+$o\" > kprobe_events && break; done 2>/dev/null; "
	 "echo 1 > events/kprobes/enable && sleep 1",
	 "cd /sys/kernel/tracing && echo 0 > events/kprobes/enable && echo > kprobe_events"},
	{"a kprobe at a function's entry",
	 "cd /sys/kernel/tracing && echo 'p:t cmdline_proc_show' > kprobe_events && "
	 "echo 1 > events/kprobes/enable",
	 "cd /sys/kernel/tracing && echo 0 > events/kprobes/enable && echo > kprobe_events"},
	{"tracepoints", "echo 1 > /sys/kernel/tracing/events/sched/enable",
	 "echo 0 > /sys/kernel/tracing/events/sched/enable"},
	{"module loop", "insmod /modules/loop.ko", "rmmod loop"},
	{"a breakpoint in a module",
	 "insmod /modules/loop.ko && echo 0 > /proc/sys/debug/kprobes-optimization && "
	 "cd /sys/kernel/tracing && for o in 5 9; do "
	 "echo \"p:t lo_ioctl+$o\" > kprobe_events && break; done 2>/dev/null; "
	 "echo 1 > events/kprobes/enable && grep -q lo_ioctl /sys/kernel/debug/kprobes/list",
	 "true"},
	{"the jump that is made of it",
	 "echo 1 > /proc/sys/debug/kprobes-optimization && for i in $(seq 50); do "
	 "grep -q 'lo_ioctl.*OPTIMIZED' /sys/kernel/debug/kprobes/list && exit 0; sleep 0.1; done; "
	 "exit 1",
	 "cd /sys/kernel/tracing && echo 0 > events/kprobes/enable && echo > kprobe_events && "
	 "rmmod loop"},
};

static void explains_stock(const char *package)
{
	struct trial t = {0};
	_cleanup_free_ char *said = NULL;

	start(&t, package);
	assert_int_equal(attest(&t), 0);
	expect_trusted(&t);
	assert_int_equal(number(&t, "taken_on_trust", "runtime_bytes"), 0);
	assert_true(number(&t, "taken_on_trust", "init_bytes") > 0);
	assert_int_equal(verify(&t, OTHER, &said), 4);
	in_guest(&t, "mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null;"
		     "mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null; true");
	for (size_t i = 0; i < XO_ARRAY_SIZE(doing); i++) {
		print_message("# %s\n", doing[i].name);
		in_guest(&t, doing[i].on);
		assert_int_equal(attest(&t), 0);
		assert_int_equal(number(&t, "modules", "unknown"), 0);
		/* The first has a tracer of its own made. */
		assert_true(i || number(&t, "taken_on_trust", "runtime_bytes") > 0);
		assert_int_equal(number(&t, "executable_pages", "unapproved"), 0);
		expect_trusted(&t);
		in_guest(&t, doing[i].off);
	}
	assert_true(guest_dmesg_clean(t.g));
	stop(&t);
}

static void explains_stock_6_1(void **state)
{
	(void)state;
	explains_stock(GUEST_6_1);
}

static void explains_stock_6_12(void **state)
{
	(void)state;
	explains_stock(GUEST_6_12);
}

/* ---- what must be found ---- */

struct flip {
	uint64_t link; /* address as linked */
	char symbol[SYMBOL];
};

struct flips {
	struct kfile *k;
	size_t nr;
	struct flip flip[PLACES];
};

static void add_flip(struct flips *f, uint64_t link)
{
	ssize_t i = ksyms_at(&f->k->syms, link);

	assert_true(i >= 0 && f->nr < PLACES);
	f->flip[f->nr].link = link;
	snprintf(f->flip[f->nr++].symbol, SYMBOL, "%s",
		 ksyms_name(&f->k->syms, &f->k->syms.sym[i]));
}

static uint64_t symbol(const struct flips *f, const char *name)
{
	size_t i;

	assert_true(ksyms_lookup(&f->k->syms, name, &i, 1) > 0);
	return f->k->syms.sym[i].addr;
}

/* The last byte of one place of each kind, in the middle of the text, where init code is not. */
static void add_places(struct flips *f)
{
	struct ksites s = {0};
	struct xerr err = {0};
	bool done[KSITE_RELOC_INVERSE + 1] = {false};

	assert_int_equal(ksites_read(&s, f->k, &err), 0);
	for (size_t i = ksites_first(&s, symbol(f, "cmdline_proc_show"));
	     i < s.nr && s.site[i].addr < f->k->text_end; i++) {
		if (done[s.site[i].kind])
			continue;
		done[s.site[i].kind] = true;
		add_flip(f, s.site[i].addr + s.site[i].len_bytes - 1);
	}
	ksites_free(&s);
}

static void choose(struct flips *f, const struct trial *t)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(KFILE_MAX_BYTES);
	struct xerr err = {0};

	assert_int_equal(xbuf_read_file(&file, t->image), 0);
	if (kfile_open(&f->k, xbuf_span(&file), &err))
		fail_msg("%s", err.text);
	add_flip(f, f->k->text + 1);
	add_flip(f, symbol(f, "cmdline_proc_show") + 6);
	add_flip(f, symbol(f, "vfs_read") + 17);
	add_flip(f, symbol(f, "linux_banner") + 20);
	add_flip(f, symbol(f, "sys_call_table") + 8UL * 59 + 3);
	add_flip(f, symbol(f, "__start___jump_table") + 16UL * 7 + 2);
	add_places(f);
}

/* Turn bit @bit of each over, or back. */
static void turn(struct trial *t, const struct flips *f, int fd, uint64_t base)
{
	for (size_t i = 0; i < f->nr; i++) {
		uint64_t gpa = guest_gpa(t->g, f->flip[i].link - f->k->text + base);
		uint8_t byte;

		assert_int_not_equal(gpa, 0);
		assert_int_equal(pread(fd, &byte, 1, (off_t)gpa), 1);
		byte ^= 1;
		assert_int_equal(pwrite(fd, &byte, 1, (off_t)gpa), 1);
	}
}

static bool is_found(const struct trial *t, const struct flip *f)
{
	const json_t *item;
	size_t i;

	json_array_foreach(json_object_get(t->attested.doc, "unexplained"), i, item)
	{
		if (!strcmp(json_string_value(json_object_get(item, "symbol")), f->symbol))
			return true;
	}
	return false;
}

static void finds_flips(const char *package)
{
	static const char *const names[] = {"_text", NULL};
	struct trial t = {0};
	struct flips f = {0};
	_cleanup_free_ char *said = NULL;
	uint64_t base;
	int fd;

	start(&t, package);
	choose(&f, &t);
	assert_int_equal(guest_symbols(t.g, names, &base), 0);
	fd = ram_open(t.g);
	assert_true(fd >= 0);
	assert_int_equal(guest_pause(t.g), 0);
	turn(&t, &f, fd, base);
	assert_true(attest(&t) >= (json_int_t)f.nr);
	for (size_t i = 0; i < f.nr; i++)
		if (!is_found(&t, &f.flip[i]))
			fail_msg("%s, as linked at 0x%llx, was not found", f.flip[i].symbol,
				 (unsigned long long)f.flip[i].link);
	assert_int_equal(verify(&t, NONCE, &said), 3);
	assert_non_null(strstr(said, "unexplained-code"));
	assert_non_null(strstr(said, "vfs_read+0x11"));
	turn(&t, &f, fd, base);
	assert_int_equal(attest(&t), 0);
	expect_trusted(&t);
	close(fd);
	kfile_free(f.k);
	stop(&t);
}

static void finds_flips_6_1(void **state)
{
	(void)state;
	finds_flips(GUEST_6_1);
}

static void finds_flips_6_12(void **state)
{
	(void)state;
	finds_flips(GUEST_6_12);
}

/* ---- under a guard, with patches ---- */

static json_int_t judged(const struct trial *t)
{
	return json_integer_value(
		json_object_get(json_object_get(t->attested.doc, "took"), "pages_judged"));
}

static const char *mode(const struct trial *t)
{
	return exo_str(&t->attested, "appraisal", "guard", "mode", NULL);
}

static void explains_patches(const char *package)
{
	struct trial t = {0};
	char patch[256];
	struct guardrun *guard;
	_cleanup_free_ char *said = NULL;

	assert_int_equal(patch_build(package, "cmdline", "cmdline", NULL, patch, sizeof(patch)), 0);
	start(&t, package);
	assert_true(exo_done(t.g, "apply", patch));
	assert_int_equal(attest(&t), 0);
	expect_trusted(&t);
	assert_true(exo_done(t.g, "revert", "cmdline"));
	guard = guardrun_start(t.g, "enforce", NULL);
	assert_non_null(guard);
	in_guest(&t, "insmod /modules/loop.ko");
	assert_int_equal(attest(&t), 0);
	assert_string_equal(mode(&t), "enforce");
	assert_true(judged(&t) > 1000);
	assert_true(number(&t, "registers", "pinned") > 0);
	expect_trusted(&t);
	/* From here on it is only what changes. */
	assert_int_equal(attest(&t), 0);
	assert_true(judged(&t) < 50);
	assert_true(exo_done(t.g, "apply", patch));
	assert_int_equal(attest(&t), 0);
	print_message("# after a patch: %lld pages judged\n", (long long)judged(&t));
	assert_true(judged(&t) < 50);
	assert_int_equal(number(&t, "modules", "total"), 1);
	assert_int_equal(number(&t, "modules", "unknown"), 0);
	expect_trusted(&t);
	/* A rootkit tries, and is put back: the code is right, the evidence says what happened. */
	in_guest(&t, "/attacks/load text_vmap_alias; true");
	assert_int_equal(attest(&t), 0);
	assert_true(number(&t, "guard", "violations") > 0);
	assert_int_equal(verify(&t, NONCE, &said), 3);
	assert_int_equal(guardrun_stop(guard), 0);
	stop(&t);
}

static void explains_patches_6_1(void **state)
{
	(void)state;
	explains_patches(GUEST_6_1);
}

static void explains_patches_6_12(void **state)
{
	(void)state;
	explains_patches(GUEST_6_12);
}

/* ---- a patch that is taken out behind our back ---- */

#define FUNCTION_BYTES 64

/* Unexplained bytes of an area, or -1 if there is no such. */
static json_int_t unexplained_of(const struct trial *t, const char *name)
{
	const json_t *area;
	size_t i;

	json_array_foreach(json_object_get(json_object_get(t->attested.doc, "appraisal"), "areas"),
			   i, area)
	{
		if (!strcmp(json_string_value(json_object_get(area, "name")), name))
			return json_integer_value(json_object_get(area, "unexplained_bytes"));
	}
	return -1;
}

/* The vendor's bytes again where the detour is: no difference from the vendor's file. */
static void put_back(struct trial *t, int fd, uint64_t gpa, const uint8_t vendor[FUNCTION_BYTES])
{
	_cleanup_free_ char *said = NULL;
	uint8_t patched[FUNCTION_BYTES];

	assert_int_equal(pread(fd, patched, sizeof(patched), (off_t)gpa), sizeof(patched));
	assert_memory_not_equal(patched, vendor, sizeof(patched));
	assert_int_equal(pwrite(fd, vendor, FUNCTION_BYTES, (off_t)gpa), FUNCTION_BYTES);
	(void)attest(t);
	assert_int_equal(unexplained_of(t, "text"), 0);
	assert_true(unexplained_of(t, "patches") > 0);
	assert_int_equal(verify(t, NONCE, &said), 3);
	assert_non_null(strstr(said, "cmdline:detour"));
	assert_int_equal(pwrite(fd, patched, sizeof(patched), (off_t)gpa), sizeof(patched));
}

static void finds_a_fix_taken_out(const char *package)
{
	static const char *const names[] = {"cmdline_proc_show", NULL};
	struct trial t = {0};
	uint8_t vendor[FUNCTION_BYTES];
	uint64_t function, gpa;
	char patch[256];
	int fd;

	assert_int_equal(patch_build(package, "cmdline", "cmdline", NULL, patch, sizeof(patch)), 0);
	start(&t, package);
	assert_int_equal(guest_symbols(t.g, names, &function), 0);
	gpa = guest_gpa(t.g, function);
	fd = ram_open(t.g);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, vendor, sizeof(vendor), (off_t)gpa), sizeof(vendor));
	assert_true(exo_done(t.g, "apply", patch));
	put_back(&t, fd, gpa, vendor);
	assert_int_equal(attest(&t), 0);
	assert_int_equal(unexplained_of(&t, "patches"), 0);
	expect_trusted(&t);
	assert_true(number(&t, "registers", "pinned") > 0);
	assert_int_equal(number(&t, "registers", "changed"), 0);
	/* The detour is there, and what it leads to is another page. */
	in_guest(&t, "/attacks/load window_pte");
	(void)attest(&t);
	assert_int_equal(unexplained_of(&t, "text"), 0);
	assert_true(unexplained_of(&t, "patches") > 0);
	assert_true(number(&t, "executable_pages", "unapproved") > 0);
	/* Nobody guards, and yet: */
	in_guest(&t, "/attacks/load cr0_wp_stays");
	(void)attest(&t);
	assert_true(number(&t, "registers", "changed") > 0);
	close(fd);
	stop(&t);
}

static void finds_a_fix_taken_out_6_1(void **state)
{
	(void)state;
	finds_a_fix_taken_out(GUEST_6_1);
}

static void finds_a_fix_taken_out_6_12(void **state)
{
	(void)state;
	finds_a_fix_taken_out(GUEST_6_12);
}

/* A list of modules: the guest's own code leads to the gate then, which is ours. */
static void explains_the_gate(void **state)
{
	struct trial t = {0};
	struct guardrun *guard;
	char list[256];
	const char *const options[] = {"--modules", list, "--trust", "build/dev-keys/trust", NULL};

	(void)state;
	start(&t, GUEST_6_1);
	assert_int_equal(modules_allow(GUEST_6_1, list, sizeof(list)), 0);
	guard = guardrun_start_with(t.g, "enforce", options, NULL);
	assert_non_null(guard);
	in_guest(&t, "insmod /modules/loop.ko");
	assert_int_equal(attest(&t), 0);
	assert_int_equal(number(&t, "modules", "unknown"), 0);
	expect_trusted(&t);
	assert_int_equal(guardrun_stop(guard), 0);
	assert_int_equal(attest(&t), 0);
	stop(&t);
}

/* ---- with a TPM ---- */

static void roots_in_a_tpm(void **state)
{
	struct trial t = {0};
	struct attfix_tpm tpm = {0};
	_cleanup_free_ char *said = NULL;

	(void)state;
	if (!attfix_tpm_start(&tpm))
		skip();
	start(&t, GUEST_6_1);
	assert_int_equal(attest_with(&t, (const char *const[]){"--tpm", tpm.tcti, NULL}), 0);
	assert_int_equal(verify(&t, NONCE, &said), 0);
	assert_non_null(strstr(said, "rooted in a TPM"));
	/* Others' tools say so too. */
	sh("cd %s && key=$(sed '/^$/,$d' checkpoint | sha256sum | cut -d' ' -f1) && "
	   "binding=$(printf 'exopatch-quote/1\\nnonce %s\\ncheckpoint %%s\\n' \"$key\" | "
	   "sha256sum | cut -d' ' -f1) && "
	   "tpm2_checkquote -u ak.pub -m quote.msg -s quote.sig -f quote.pcr -l sha256:%d "
	   "-g sha256 -q \"$binding\"",
	   t.evidence, NONCE, ATT_DEFAULT_PCR);
	stop(&t);
	attfix_tpm_remove(&tpm);
}

/* ---- references ---- */

/* The same package as files, as a directory, as a .deb: one reference. */
static void references_agree(void **state)
{
	char image[256], modules[256];
	const char *dir = patching_dir();

	(void)state;
	assert_non_null(guest_image_file(GUEST_6_1, "vmlinuz", image, sizeof(image)));
	assert_non_null(guest_image_file(GUEST_6_1, "modules", modules, sizeof(modules)));
	sh("mkdir -p %s/p/DEBIAN %s/p/boot %s/p/lib/modules/x/kernel && cp %s %s/p/boot/vmlinuz-x "
	   "&& "
	   "cp %s/*.ko %s/p/lib/modules/x/kernel && xz %s/p/lib/modules/x/kernel/loop.ko && "
	   "printf 'Package: p\\nVersion: 1\\nArchitecture: amd64\\nMaintainer: x "
	   "<x@example.org>\\n"
	   "Description: x\\n' > %s/p/DEBIAN/control && dpkg-deb -Zgzip -b %s/p %s/p.deb",
	   dir, dir, dir, image, dir, modules, dir, dir, dir, dir, dir);
	sh("%s reference %s %s -o %s/files.json && %s reference %s/p -o %s/dir.json && "
	   "%s reference %s/p.deb -o %s/deb.json && cmp %s/files.json %s/dir.json && "
	   "cmp %s/files.json %s/deb.json",
	   program(), image, modules, dir, program(), dir, dir, program(), dir, dir, dir, dir, dir,
	   dir);
	/* No kernel, two kernels, no such package. */
	sh("! %s reference %s -o %s/none.json && ! %s reference %s %s/p -o %s/none.json && "
	   "! %s reference linux-image-none -o %s/none.json && [ ! -e %s/none.json ]",
	   program(), modules, dir, program(), image, dir, dir, program(), dir, dir);
}

static int setup(void **state)
{
	(void)state;
	return patching_setup();
}

static int teardown(void **state)
{
	(void)state;
	patching_teardown();
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(references_agree),
		TEST(explains_stock_6_1),
		TEST(explains_stock_6_12),
		TEST(finds_flips_6_1),
		TEST(finds_flips_6_12),
		TEST(explains_the_gate),
		TEST(roots_in_a_tpm),
		TEST(explains_patches_6_1),
		TEST(explains_patches_6_12),
		TEST(finds_a_fix_taken_out_6_1),
		TEST(finds_a_fix_taken_out_6_12),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("attest", tests, NULL, NULL);
}
