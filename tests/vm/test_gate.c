// SPDX-License-Identifier: Apache-2.0
/*
 * The module gate on stock Debian guests: what is listed loads and works, what is not does not, the
 * guest's log says so, and when the guard stops nothing of the gate is left.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "package/kernel/elf64.h"
#include "package/modref.h"
#include "tests/lib/guardrun.h"
#include "tests/lib/lens_guest.h"
#include "tests/lib/patching.h"
#include "tests/lib/ram.h"
#include "vmm-agent/lens/guard.h"
#include "vmm-agent/lens/modgate.h"

#define BOOT_MS	 60000
#define EVENT_NS UINT64_C(5000000000)
#define REFUSED	 "is not on the host's list, refused"
#define ATTACK	 "/attacks/plain_module.ko"
#define TRUST	 "--trust=build/dev-keys/trust"

static struct guest *g;
static struct guardrun *guard;
static char lists[2][192]; /* of 6.1 and 6.12 */

static int setup(void **state)
{
	(void)state;
	if (patching_setup() || modules_allow(GUEST_6_1, lists[0], sizeof(lists[0])))
		return -1;
	return modules_allow(GUEST_6_12, lists[1], sizeof(lists[1]));
}

static int teardown(void **state)
{
	(void)state;
	patching_teardown();
	return 0;
}

static int end(void **state)
{
	(void)state;
	if (guard && guardrun_stop(guard))
		fprintf(stderr, "the guard did not stop\n");
	guard = NULL;
	guest_free(g);
	g = NULL;
	return 0;
}

static void start(const struct guest_opts *o, const char *mode)
{
	char option[512];

	snprintf(option, sizeof(option), "--modules=%s",
		 lists[o->package && !strcmp(o->package, GUEST_6_12)]);
	assert_int_equal(guest_boot(&g, o), 0);
	guard = guardrun_start(g, mode, option);
	assert_non_null(guard);
}

/* The next event of that kind; others that nobody expects fail the test. Those without a verdict
 * are about the host. */
static json_t *expect(const char *kind)
{
	uint64_t end_ns = xo_now_ns() + EVENT_NS;
	json_t *e;

	while ((e = guardrun_next(guard, end_ns))) {
		const char *verdict = guardrun_says(e, "verdict");

		if (!strcmp(guardrun_says(e, "kind"), kind))
			return e;
		if (*verdict && strcmp(verdict, "kept") != 0 &&
		    strncmp(guardrun_says(e, "kind"), "module-gate", 11) != 0 &&
		    strcmp(guardrun_says(e, "kind"), "guard-restarted") != 0) {
			_cleanup_free_ char *text = json_dumps(e, 0);

			fail_msg("unexpected: %s", text);
		}
		json_decref(e);
	}
	fail_msg("no %s event", kind);
	return NULL;
}

/* What happens again is said later, with a number. */
static size_t times(const json_t *e)
{
	json_int_t n = json_integer_value(json_object_get(e, "repeated"));

	return n > 0 ? (size_t)n : 1;
}

static void expect_loads(size_t nr, const char *module, const char *verdict, const char *reason)
{
	while (nr) {
		json_t *e = expect("module-load");

		fprintf(stderr, "%s %s: held %.0f us: %s\n", guardrun_says(e, "module"),
			guardrun_says(e, "verdict"), json_real_value(json_object_get(e, "held_us")),
			guardrun_says(e, "reason"));
		assert_string_equal(guardrun_says(e, "module"), module);
		assert_string_equal(guardrun_says(e, "verdict"), verdict);
		assert_non_null(strstr(guardrun_says(e, "reason"), reason));
		assert_true(times(e) <= nr);
		nr -= times(e);
		json_decref(e);
	}
}

static void expect_load(const char *module, const char *verdict, const char *reason)
{
	expect_loads(1, module, verdict, reason);
}

static int run(const char *command)
{
	int rc = -1;

	assert_int_equal(guest_run(g, command, 0, NULL, &rc), 0);
	return rc;
}

static void assert_log_has(unsigned int times)
{
	_cleanup_free_ char *n = guest_sh(g, "dmesg | grep -c \"" REFUSED "\"; true");

	assert_non_null(n);
	assert_int_equal(strtoul(n, NULL, 10), times);
}

static json_t *gate_status(void)
{
	_cleanup_exo_ struct exo e = {0};

	assert_int_equal(EXO(&e, g, "guard", "status"), 0);
	assert_int_equal(e.rc, 0);
	return json_incref(json_object_get(e.doc, "module_gate"));
}

/* The guest's insmod tries both system calls, and so rings twice. */
static void expect_refusal(const char *insmod, const char *module, const char *reason)
{
	assert_int_not_equal(run(insmod), 0);
	expect_loads(2, module, "refused", reason);
}

/* ---- listed and not ---- */

static void listed_and_not(const char *package)
{
	json_t *status;

	start(&(struct guest_opts){.package = package, .vcpus = 1}, "enforce");
	json_decref(expect("module-gate-on"));
	assert_int_equal(run("insmod /modules/dummy.ko"), 0);
	expect_load("dummy", "kept", "listed");
	assert_int_equal(run("ip link add d0 type dummy && ip link show d0"), 0);
	for (int i = 0; i < 2; i++) {
		expect_refusal("insmod " ATTACK, "plain_module", "no module of that name");
		assert_int_not_equal(run("grep -q ^plain_module /proc/modules"), 0);
	}
	assert_log_has(4);
	assert_int_equal(run("insmod /modules/loop.ko max_loop=3"), 0);
	expect_load("loop", "kept", "listed");
	assert_int_equal(run("dd if=/dev/zero of=/tmp/f bs=4096 count=8 2>/dev/null && "
			     "losetup /dev/loop0 /tmp/f && cmp /dev/loop0 /tmp/f && "
			     "losetup -d /dev/loop0"),
			 0);
	assert_int_equal(run("ip link del d0; rmmod dummy && rmmod loop"), 0);
	assert_int_equal(run("insmod /modules/dummy.ko"), 0);
	expect_load("dummy", "kept", "listed");
	assert_int_equal(guardrun_settle(guard, 1500), 0);
	status = gate_status();
	assert_true(json_is_true(json_object_get(status, "on")));
	assert_int_equal(json_integer_value(json_object_get(status, "allowed")), 3);
	assert_int_equal(json_integer_value(json_object_get(status, "refused")), 4);
	json_decref(status);
	assert_true(guest_dmesg_clean(g));
}

static void listed_and_not_6_1(void **state)
{
	(void)state;
	listed_and_not(GUEST_6_1);
}

static void listed_and_not_6_12(void **state)
{
	(void)state;
	listed_and_not(GUEST_6_12);
}

/* ---- a listed name, other bytes ---- */

/* Offset in dummy.ko of a byte of text that nobody rewrites. *@ret_bytes: without the signature */
static size_t quiet_byte(const char *package, size_t *ret_bytes)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(MODREF_MAX_FILE);
	_cleanup_modref_ struct modref *r = NULL;
	struct xerr err = {0};
	struct elf64 elf;
	char path[256];
	Elf64_Shdr sh;
	size_t at = 0;

	assert_non_null(guest_image_file(package, "modules/dummy.ko", path, sizeof(path)));
	assert_int_equal(xbuf_read_file(&file, path), 0);
	assert_int_equal(modref_make(&r, xbuf_span(&file), &err), 0);
	assert_int_equal(elf64_open(&elf, xbuf_span(&file), ET_REL, &err), 0);
	assert_true(elf64_find(&elf, ".text", &sh) != 0);
	for (size_t i = 0; i < r->nr_relocs && r->reloc[i].part == MODREF_TEXT; i++)
		if (r->reloc[i].off <= at && at - r->reloc[i].off < 8)
			at = r->reloc[i].off + 8u;
	for (size_t i = 0; i < r->nr_sites && r->site[i].part == MODREF_TEXT; i++)
		if (r->site[i].off <= at && at - r->site[i].off < r->site[i].len_bytes)
			at = r->site[i].off + (size_t)r->site[i].len_bytes;
	assert_true(at < sh.sh_size);
	*ret_bytes = (size_t)elf.eh.e_shoff + elf.eh.e_shnum * sizeof(Elf64_Shdr);
	return (size_t)sh.sh_offset + at;
}

static void tampered(const char *package)
{
	char command[512];
	size_t at, bytes;

	at = quiet_byte(package, &bytes);
	start(&(struct guest_opts){.package = package, .vcpus = 1}, "enforce");
	json_decref(expect("module-gate-on"));
	snprintf(command, sizeof(command),
		 "head -c %zu /modules/dummy.ko >/tmp/y.ko && cp /tmp/y.ko /tmp/x.ko && "
		 "printf '\\314' | dd of=/tmp/x.ko bs=1 seek=%zu conv=notrunc 2>/dev/null && "
		 "! cmp -s /tmp/x.ko /tmp/y.ko",
		 bytes, at);
	assert_int_equal(run(command), 0);
	expect_refusal("insmod /tmp/x.ko", "dummy", "not the file that is listed as dummy");
	assert_int_equal(run("insmod /tmp/y.ko"), 0); /* its signature is not what is compared */
	expect_load("dummy", "kept", "listed");
	assert_true(guest_dmesg_clean(g));
}

static void tampered_6_1(void **state)
{
	(void)state;
	tampered(GUEST_6_1);
}

static void tampered_6_12(void **state)
{
	(void)state;
	tampered(GUEST_6_12);
}

/* ---- guards that die ---- */

/* The guard is killed; the one that follows knows the gate, and answers. */
static void a_guard_that_dies_leaves_the_gate(void **state)
{
	json_t *status;

	(void)state;
	start(&(struct guest_opts){.vcpus = 1}, "enforce");
	json_decref(expect("module-gate-on"));
	for (int i = 0; i < 2; i++) {
		json_int_t pid = guardrun_number(guard, "guard_pid");

		assert_true(pid > 0);
		assert_int_equal(kill((pid_t)pid, SIGKILL), 0);
		expect_refusal("insmod " ATTACK, "plain_module", "no module of that name");
		assert_int_equal(run("insmod /modules/dummy.ko && rmmod dummy"), 0);
		expect_load("dummy", "kept", "listed");
	}
	assert_int_equal(guardrun_settle(guard, 1500), 0);
	status = gate_status();
	assert_true(json_is_true(json_object_get(status, "on")));
	json_decref(status);
	assert_int_equal(guardrun_number(guard, "violations"), 0);
	assert_true(guest_dmesg_clean(g));
}

/* ---- let go, and back ---- */

#define RAM_BYTES (512ul << 20)

/* The entry of the smallest page that maps @gva, by the kernel's own tables. */
static uint64_t *entry_of(struct lens *l, uint8_t *ram, struct gva gva)
{
	struct lens_lookup q = {.name = "init_top_pgt"};
	struct xerr err = {0};
	struct gpa table;
	uint64_t left;

	assert_int_equal(lens_lookup(l, &q, 1, &err), 0);
	assert_int_equal(lens_translate(l, q.found.addr, &table, &left, &err), 0);
	for (unsigned int shift = 39;; shift -= 9) {
		uint64_t *e = (uint64_t *)(void *)(ram + table.v) + ((gva.v >> shift) & 511);

		assert_true(*e & 1);
		if (shift == 12)
			return e;
		table.v = *e & UINT64_C(0x000ffffffffff000);
	}
}

static struct gva text_of(struct lens *l, const char *module)
{
	struct lens_module *m = calloc(LENS_MAX_MODULES, sizeof(*m));
	struct gva at = {0};
	struct xerr err = {0};
	size_t nr = 0;

	assert_non_null(m);
	assert_int_equal(lens_modules(l, m, &nr, &err), 0);
	for (size_t i = 0; i < nr; i++)
		if (!strcmp(m[i].name, module))
			at = m[i].part[LENS_PART_TEXT].base;
	free(m);
	assert_true(at.v != 0);
	return at;
}

/* A page that is mapped nowhere for a while is anybody's; what comes back is not taken for what it
 * was. */
static void changed_while_let_go(void **state)
{
	struct lens *l = NULL;
	struct xerr err = {0};
	struct lens_kernel k;
	struct lens_vm desc;
	char libexec[512];
	uint64_t *entry, old;
	uint8_t *ram;
	int fd;

	(void)state;
	setenv("EXOPATCH_LIBEXEC", run_build_path(".", libexec, sizeof(libexec)), 1);
	start(&(struct guest_opts){.vcpus = 1}, "enforce");
	json_decref(expect("module-gate-on"));
	assert_int_equal(run("insmod /modules/dummy.ko"), 0);
	expect_load("dummy", "kept", "listed");
	fd = ram_open(g);
	assert_true(fd >= 0);
	ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(ram != MAP_FAILED);
	close(fd);
	assert_int_equal(lens_guest_vm(g, &desc), 0);
	assert_int_equal(lens_start(&l, &desc, &err), 0);
	assert_int_equal(lens_discover(l, &k, &err), 0);
	assert_int_equal(lens_guard_prepare(l, &err), 0);
	lens_guest_vm_close(&desc);
	entry = entry_of(l, ram, text_of(l, "dummy"));
	old = *entry;
	/* The same bytes. */
	*entry = 0;
	assert_int_equal(guardrun_settle(guard, 2500), 0);
	*entry = old;
	assert_int_equal(guardrun_settle(guard, 2500), 0);
	*entry = 0;
	assert_int_equal(guardrun_settle(guard, 2500), 0);
	ram[(old & UINT64_C(0x000ffffffffff000)) + XO_PAGE_SIZE - 1] ^= 0x55;
	*entry = old;
	json_decref(expect("module-without-gate"));
	lens_free(l);
	munmap(ram, RAM_BYTES);
}

/* Whatever else is said meanwhile. */
static void await(const char *kind)
{
	uint64_t end_ns = xo_now_ns() + EVENT_NS;
	bool found = false;
	json_t *e;

	while (!found && (e = guardrun_next(guard, end_ns))) {
		found = !strcmp(guardrun_says(e, "kind"), kind);
		json_decref(e);
	}
	if (!found)
		fail_msg("no %s event", kind);
}

/* What is changed while there is no guard is compared before anything is taken for what it should
 * be, also by a guard that finds a gate there: the null descriptor, which no processor uses. */
static void change_between_guards(bool breaks_list)
{
	struct lens_area *a = calloc(LENS_MAX_AREAS, sizeof(*a));
	struct lens_lookup q = {.name = "modules"};
	uint64_t *list, left, first;
	struct gpa list_gpa;
	struct lens *l = NULL;
	struct xerr err = {0};
	struct lens_vm desc;
	struct lens_kernel k;
	char libexec[512];
	pid_t supervisor, pid;
	size_t nr = 0;
	uint8_t *ram;
	int fd;

	assert_non_null(a);
	setenv("EXOPATCH_LIBEXEC", run_build_path(".", libexec, sizeof(libexec)), 1);
	start(&(struct guest_opts){.vcpus = 1}, "enforce");
	json_decref(expect("module-gate-on"));
	fd = ram_open(g);
	assert_true(fd >= 0);
	ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(ram != MAP_FAILED);
	close(fd);
	assert_int_equal(lens_guest_vm(g, &desc), 0);
	assert_int_equal(lens_start(&l, &desc, &err), 0);
	assert_int_equal(lens_discover(l, &k, &err), 0);
	assert_int_equal(lens_guard_prepare(l, &err), 0);
	assert_int_equal(lens_lookup(l, &q, 1, &err), 0);
	assert_int_equal(lens_translate(l, q.found.addr, &list_gpa, &left, &err), 0);
	list = (uint64_t *)(void *)(ram + list_gpa.v);
	first = *list;
	assert_int_equal(lens_areas_left_out(l, a, LENS_MAX_AREAS, &nr, &err), 0);
	lens_guest_vm_close(&desc);
	while (nr && a[nr - 1].kind != LENS_AREA_GDT)
		nr--;
	assert_true(nr > 0);
	assert_int_equal(guardrun_settle(guard, 1500), 0);
	supervisor = (pid_t)guardrun_number(guard, "supervisor_pid");
	pid = (pid_t)guardrun_number(guard, "guard_pid");
	assert_true(supervisor > 0 && pid > 0);
	assert_int_equal(kill(supervisor, SIGSTOP), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	xo_sleep_ns(100 * UINT64_C(1000000));
	ram[a[nr - 1].gpa.v] ^= 1;
	if (breaks_list)
		*list = UINT64_C(1) << 60;
	assert_int_equal(kill(supervisor, SIGCONT), 0);
	await("descriptor");
	if (breaks_list)
		await("audit-failed");
	*list = first;
	ram[a[nr - 1].gpa.v] ^= 1;
	await("descriptor");
	assert_int_equal(guardrun_number(guard, "restarts"), 1);
	lens_free(l);
	munmap(ram, RAM_BYTES);
	free(a);
}

static void changed_between_guards(void **state)
{
	(void)state;
	change_between_guards(false);
}

/* A list of modules that leads nowhere neither hides that nor keeps the next guard from its work.
 */
static void list_broken_between_guards(void **state)
{
	(void)state;
	change_between_guards(true);
}

/* ---- the rest ---- */

/* What was there before the guard is looked at once, however often its labels were patched. */
static void loaded_before(const char *package)
{
	char option[512];
	json_t *e;

	assert_int_equal(guest_boot(&g, &(struct guest_opts){.package = package, .vcpus = 1}), 0);
	assert_int_equal(
		run("insmod /modules/dummy.ko && insmod /modules/loop.ko && insmod " ATTACK), 0);
	snprintf(option, sizeof(option), "--modules=%s", lists[!strcmp(package, GUEST_6_12)]);
	guard = guardrun_start(g, "enforce", option);
	assert_non_null(guard);
	e = expect("module-loaded-before");
	assert_string_equal(guardrun_says(e, "module"), "plain_module");
	json_decref(e);
	assert_int_equal(guardrun_settle(guard, 1500), 0);
}

static void loaded_before_6_1(void **state)
{
	(void)state;
	loaded_before(GUEST_6_1);
}

static void loaded_before_6_12(void **state)
{
	(void)state;
	loaded_before(GUEST_6_12);
}

static void a_reboot_gets_its_gate(void **state)
{
	static const char *const reboots[] = {"-action", "reboot=reset", NULL};

	(void)state;
	start(&(struct guest_opts){.vcpus = 1, .extra = reboots}, "enforce");
	json_decref(expect("module-gate-on"));
	assert_int_equal(run("insmod /modules/dummy.ko"), 0);
	expect_load("dummy", "kept", "listed");
	assert_int_equal(guest_qmp(g, "system_reset", NULL, NULL), 0);
	assert_int_equal(guest_wait_boot(g), 0);
	assert_true(guardrun_saw(guard, "module-gate-on", BOOT_MS));
	expect_refusal("insmod " ATTACK, "plain_module", "no module of that name");
	assert_int_equal(run("insmod /modules/dummy.ko"), 0);
	expect_load("dummy", "kept", "listed");
	assert_true(guest_dmesg_clean(g));
}

/* Functions that are traced from their module's first moment on. */
static void traced_from_the_start(void **state)
{
	(void)state;
	start(&(struct guest_opts){.vcpus = 1}, "enforce");
	json_decref(expect("module-gate-on"));
	assert_int_equal(
		run("cd /sys/kernel/tracing && echo cmdline_proc_show >set_ftrace_filter && "
		    "echo ':mod:dummy' >>set_ftrace_filter && "
		    "echo function >current_tracer"),
		0);
	assert_int_equal(run("insmod /modules/dummy.ko"), 0);
	expect_load("dummy", "kept", "listed");
	assert_int_equal(run("ip link add d0 type dummy && ip link set d0 up && "
			     "grep -q dummy_ /sys/kernel/tracing/trace && ip link del d0 && "
			     "rmmod dummy && echo nop >/sys/kernel/tracing/current_tracer"),
			 0);
	assert_int_equal(guardrun_settle(guard, 1500), 0);
	assert_true(guest_dmesg_clean(g));
}

static void audit_mode_lets_in(void **state)
{
	(void)state;
	start(&(struct guest_opts){.vcpus = 1}, "audit");
	json_decref(expect("module-gate-on"));
	assert_int_equal(run("insmod " ATTACK), 0);
	expect_load("plain_module", "reported", "no module of that name");
	assert_int_equal(run("grep -q ^plain_module /proc/modules"), 0);
	assert_int_equal(guardrun_settle(guard, 2500), 0);
	assert_log_has(0);
}

/* Loads on two CPUs meet at one bell. */
static void two_at_once(void **state)
{
	size_t kept = 0, refused = 0;

	(void)state;
	start(&(struct guest_opts){.vcpus = 2, .one_thread = true}, "enforce");
	json_decref(expect("module-gate-on"));
	assert_int_equal(
		run("for i in 1 2 3; do insmod /modules/dummy.ko; rmmod dummy; done >/tmp/a 2>&1 & "
		    "for i in 1 2 3; do insmod " ATTACK "; done >/tmp/b 2>&1; wait; "
		    "! grep . /tmp/a && ! grep -q ^plain_module /proc/modules"),
		0);
	while (kept + refused < 9) {
		json_t *e = expect("module-load");
		bool ok = !strcmp(guardrun_says(e, "verdict"), "kept");

		assert_string_equal(guardrun_says(e, "module"), ok ? "dummy" : "plain_module");
		*(ok ? &kept : &refused) += times(e);
		json_decref(e);
	}
	assert_int_equal(kept, 3);
	assert_int_equal(refused, 6);
	assert_true(guest_dmesg_clean(g));
}

static json_int_t window_free(void)
{
	_cleanup_exo_ struct exo e = {0};

	assert_int_equal(EXO(&e, g, "inspect"), 0);
	return json_integer_value(
		json_object_get(json_array_get(json_object_get(e.doc, "homes"), 0), "free_bytes"));
}

static void stopping_leaves_nothing(void **state)
{
	_cleanup_free_ uint8_t *before = NULL, *after = NULL;
	size_t before_bytes = 0, after_bytes = 0;
	_cleanup_exo_ struct exo e = {0};
	json_int_t room;
	char option[512];

	(void)state;
	assert_int_equal(guest_boot(&g, &(struct guest_opts){.vcpus = 1}), 0);
	assert_int_equal(run("insmod /modules/dummy.ko && rmmod dummy"), 0);
	before = guest_text(g, &before_bytes);
	room = window_free();
	snprintf(option, sizeof(option), "--modules=%s", lists[0]);
	guard = guardrun_start(g, "enforce", option);
	assert_non_null(guard);
	json_decref(expect("module-gate-on"));
	assert_int_equal(run("insmod /modules/dummy.ko && rmmod dummy"), 0);
	expect_load("dummy", "kept", "listed");
	expect_refusal("insmod " ATTACK, "plain_module", "no module of that name");
	assert_true(window_free() < room);
	assert_int_equal(guardrun_stop(guard), 0);
	guard = NULL;
	after = guest_text(g, &after_bytes);
	assert_non_null(before);
	assert_non_null(after);
	assert_int_equal(before_bytes, after_bytes);
	assert_memory_equal(before, after, before_bytes);
	assert_int_equal(window_free(), room);
	assert_int_equal(run("insmod " ATTACK), 0);
	assert_int_equal(EXO(&e, g, "status"), 0);
	assert_string_equal(exo_str(&e, "patches", "0", "id", NULL), "_module-gate");
	assert_string_equal(exo_str(&e, "patches", "0", "state", NULL), "reverted");
	assert_true(guest_dmesg_clean(g));
}

/* A list that too few signed starts no guard, and one that was changed neither. */
static void unsigned_lists_are_refused(void **state)
{
	_cleanup_exo_ struct exo e = {0}, f = {0};
	char option[512], copy[224], command[1024];

	(void)state;
	assert_int_equal(guest_boot(&g, &(struct guest_opts){.vcpus = 1}), 0);
	snprintf(copy, sizeof(copy), "%s/copy.json", patching_dir());
	snprintf(option, sizeof(option), "--modules=%s", copy);
	snprintf(command, sizeof(command), "cp %s %s", lists[0], copy);
	assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a test's own files */
	assert_int_equal(EXO(&e, g, "guard", option, TRUST), 0);
	assert_true(EXO_REFUSED(&e, "unsigned"));
	snprintf(command, sizeof(command),
		 "for s in %s.*.p7s; do cp $s %s${s#%s}; done; sed -i 's/dummy/Dummy/' %s",
		 lists[0], copy, lists[0], copy);
	assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
	assert_int_equal(EXO(&f, g, "guard", option, TRUST), 0);
	assert_true(EXO_REFUSED(&f, "bad-signature", "too-few-signers"));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(listed_and_not_6_1, end),
		cmocka_unit_test_teardown(listed_and_not_6_12, end),
		cmocka_unit_test_teardown(tampered_6_1, end),
		cmocka_unit_test_teardown(tampered_6_12, end),
		cmocka_unit_test_teardown(a_guard_that_dies_leaves_the_gate, end),
		cmocka_unit_test_teardown(changed_while_let_go, end),
		cmocka_unit_test_teardown(changed_between_guards, end),
		cmocka_unit_test_teardown(list_broken_between_guards, end),
		cmocka_unit_test_teardown(loaded_before_6_1, end),
		cmocka_unit_test_teardown(loaded_before_6_12, end),
		cmocka_unit_test_teardown(traced_from_the_start, end),
		cmocka_unit_test_teardown(a_reboot_gets_its_gate, end),
		cmocka_unit_test_teardown(audit_mode_lets_in, end),
		cmocka_unit_test_teardown(two_at_once, end),
		cmocka_unit_test_teardown(stopping_leaves_nothing, end),
		cmocka_unit_test_teardown(unsigned_lists_are_refused, end),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, setup, teardown);
}
