// SPDX-License-Identifier: Apache-2.0
/* Attaching to domains of a real libvirtd, whose QEMU is unprivileged and sandboxed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/util.h"
#include "tests/lib/gdb_client.h"
#include "tests/lib/libvirt_env.h"
#include "vmm-agent/target/target.h"

#define MIB	      UINT64_C(1048576)
#define ATTACH_MAX_MS 1000 /* on a host that does much else; 10 to 25 on one that does not */

static struct lvenv *env;
static struct guest *guest; /* of domain "main" */

static int attach(const char *domain, struct tgt **ret, struct refusal *why, struct xerr *err)
{
	struct tgt_spec spec = {.domain = domain, .connect_uri = lvenv_uri(env)};

	return tgt_attach(ret, &spec, why, err);
}

static struct tgt *attach_fit(const char *domain)
{
	_cleanup_refusal_ struct refusal why = {0};
	struct xerr err = {0};
	struct tgt *t = NULL;

	if (attach(domain, &t, &why, &err))
		fail_msg("attach: %s", err.text);
	if (why.nr)
		fail_msg("refused: %s", why.reason[0].detail);
	return t;
}

static int set_up(void **state)
{
	(void)state;
	if (lvenv_start(&env))
		return -1;
	if (lvenv_boot(env, &(struct lvenv_opts){.name = "main", .vcpus = 1}, &guest))
		return -1;
	return guest_wait_boot(guest);
}

static int tear_down(void **state)
{
	(void)state;
	guest_free(guest);
	lvenv_free(env);
	return 0;
}

/* ---- the normal case ---- */

static void qemu_is_confined(void **state)
{
	_cleanup_xbuf_ struct xbuf status = XBUF(65536);
	struct tgt *t = attach_fit("main");
	struct stat ours, its;
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)tgt_info(t)->pid);
	assert_int_equal(xbuf_read_file(&status, path), 0);
	assert_int_equal(xbuf_add(&status, "", 1), 0);
	assert_null(strstr((char *)status.data, "\nUid:\t0\t"));
	assert_non_null(strstr((char *)status.data, "\nSeccomp:\t2"));
	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)tgt_info(t)->pid);
	assert_int_equal(stat(path, &its), 0);
	assert_int_equal(stat("/proc/self/ns/mnt", &ours), 0);
	assert_int_not_equal(its.st_ino, ours.st_ino);
	tgt_free(t);
}

static void knows_the_domain(void **state)
{
	struct tgt *t = attach_fit("main");
	const struct tgt_info *f = tgt_info(t);
	char uuid[37];

	(void)state;
	assert_int_equal(lvenv_uuid(env, "main", uuid), 0);
	assert_string_equal(f->name, "main");
	assert_string_equal(f->uuid, uuid);
	assert_true(f->via_libvirt);
	assert_true(f->running);
	assert_int_equal(f->accel, TGT_TCG);
	assert_int_equal(f->nr_vcpus, 1);
	assert_int_equal(f->nr_backends, 1);
	assert_int_equal(f->ram_bytes, 512 * MIB);
	assert_string_equal(f->region[0].block, "pc.ram");
	tgt_free(t);
	t = attach_fit(uuid);
	assert_string_equal(tgt_info(t)->name, "main");
	tgt_free(t);
}

static void attach_is_quick(void **state)
{
	uint64_t best_ns = UINT64_MAX;

	(void)state;
	for (int i = 0; i < 5; i++) {
		uint64_t from_ns = xo_now_ns();
		struct tgt *t = attach_fit("main");
		uint64_t took_ns = xo_now_ns() - from_ns;

		tgt_free(t);
		if (took_ns < best_ns)
			best_ns = took_ns;
	}
	print_message("attach: %.1f ms\n", (double)best_ns / 1e6);
	assert_true(best_ns < ATTACH_MAX_MS * UINT64_C(1000000));
}

static void backend_is_the_guests_memory(void **state)
{
	_cleanup_close_ int fd = -1;
	struct tgt *t = attach_fit("main");
	struct xerr err = {0};
	unsigned char bios[5];

	(void)state;
	fd = tgt_backend_open(t, 0, true, &err);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, bios, sizeof(bios), 0xffff0), sizeof(bios));
	assert_memory_equal(bios, "\xea\x5b\xe0\x00\xf0", sizeof(bios)); /* SeaBIOS, shadowed */
	tgt_free(t);
}

static void gdb_visit(void **state)
{
	struct tgt *t = attach_fit("main");
	struct xerr err = {0};
	char answer[256];
	int fd = -1;

	(void)state;
	assert_int_equal(tgt_gdb_open(t, &fd, &err), 0);
	assert_int_equal(tgt_gdb_attach(t, &err), 0);
	assert_int_equal(tgt_refresh(t, &err), 0);
	assert_false(tgt_info(t)->running);
	assert_int_equal(gdb_ask(fd, "Qqemu.PhyMemMode:1", answer, sizeof(answer)), 0);
	assert_string_equal(answer, "OK");
	assert_int_equal(gdb_ask(fd, "mffff0,5", answer, sizeof(answer)), 0);
	assert_string_equal(answer, "ea5be000f0");
	assert_int_equal(gdb_ask(fd, "D", answer, sizeof(answer)), 0);
	close(fd);
	assert_int_equal(tgt_gdb_close(t, &err), 0);
	assert_int_equal(tgt_refresh(t, &err), 0);
	assert_true(tgt_info(t)->running);
	tgt_free(t);
	t = attach_fit("main");
	assert_false(tgt_gdb_stale(t));
	tgt_free(t);
	assert_int_equal(guest_run(guest, "true", 0, NULL, NULL), 0);
}

static void second_exopatch_is_refused(void **state)
{
	_cleanup_refusal_ struct refusal why = {0};
	struct tgt *first = attach_fit("main"), *second = NULL;
	struct xerr err = {0};

	(void)state;
	assert_int_equal(attach("main", &second, &why, &err), 0);
	assert_int_equal(why.nr, 1);
	assert_int_equal(why.reason[0].code, XO_ELOCKED);
	tgt_free(second);
	tgt_free(first);
	tgt_free(attach_fit("main"));
}

static void guest_is_unharmed(void **state)
{
	(void)state;
	assert_true(guest_dmesg_clean(guest));
}

/* ---- refusals and errors ---- */

static void no_such_domain(void **state)
{
	_cleanup_refusal_ struct refusal why = {0};
	struct xerr err = {0};
	struct tgt *t = NULL;

	(void)state;
	assert_int_equal(attach("nobody", &t, &why, &err), -XO_ENOTARGET);
	assert_null(t);
}

static void shut_off_domain(void **state)
{
	_cleanup_refusal_ struct refusal why = {0};
	struct xerr err = {0};
	struct tgt *t = NULL;

	(void)state;
	assert_int_equal(lvenv_define(env, &(struct lvenv_opts){.name = "off"}), 0);
	assert_int_equal(attach("off", &t, &why, &err), -XO_ESHUTOFF);
	assert_null(t);
}

static void no_libvirtd(void **state)
{
	struct tgt_spec spec = {.domain = "main",
				.connect_uri = "qemu+unix:///system?socket=/nonexistent"};
	_cleanup_refusal_ struct refusal why = {0};
	struct xerr err = {0};
	struct tgt *t = NULL;

	(void)state;
	assert_int_equal(tgt_attach(&t, &spec, &why, &err), -XO_ELIBVIRT);
}

static void other_hypervisor(void **state)
{
	struct tgt_spec spec = {.domain = "test", .connect_uri = "test:///default"};
	_cleanup_refusal_ struct refusal why = {0};
	struct xerr err = {0};
	struct tgt *t = NULL;

	(void)state;
	assert_int_equal(tgt_attach(&t, &spec, &why, &err), -XO_ENOTQEMU);
}

/* What libvirt gives a domain that asks for nothing. */
static void private_ram_is_reached(void **state)
{
	struct lvenv_opts opts = {.name = "private", .private_ram = true, .paused = true};
	struct guest *g = NULL;
	struct xerr err = {0};
	struct tgt *t = NULL;
	int fd;

	(void)state;
	assert_int_equal(lvenv_boot(env, &opts, &g), 0);
	t = attach_fit("private");
	assert_int_equal(tgt_info(t)->nr_backends, 0);
	assert_true(tgt_info(t)->region[0].ram);
	assert_int_equal(tgt_info(t)->region[0].backend, -1);
	fd = tgt_memory_open(t, &err);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(lvenv_destroy(env, "private"), 0);
	assert_int_equal(tgt_memory_open(t, &err), -XO_ETARGETGONE);
	tgt_free(t);
	guest_free(g);
}

static void paused_domain_stays_paused_and_death_is_noticed(void **state)
{
	struct lvenv_opts opts = {.name = "paused", .machine = "pc", .vcpus = 2, .paused = true};
	struct guest *g = NULL;
	struct xerr err = {0};
	struct tgt *t;
	int fd = -1;

	(void)state;
	assert_int_equal(lvenv_boot(env, &opts, &g), 0);
	t = attach_fit("paused");
	assert_int_equal(tgt_info(t)->nr_vcpus, 2);
	assert_false(tgt_info(t)->running);
	assert_int_equal(tgt_gdb_open(t, &fd, &err), 0);
	assert_int_equal(tgt_gdb_attach(t, &err), 0);
	close(fd);
	assert_int_equal(tgt_gdb_close(t, &err), 0);
	assert_int_equal(tgt_refresh(t, &err), 0);
	assert_false(tgt_info(t)->running);
	assert_int_equal(lvenv_destroy(env, "paused"), 0);
	assert_int_equal(tgt_refresh(t, &err), -XO_ETARGETGONE);
	err = (struct xerr){0};
	assert_int_equal(tgt_backend_open(t, 0, false, &err), -XO_ETARGETGONE);
	tgt_free(t);
	guest_free(g);
}

static void uefi_domain(void **state)
{
	struct lvenv_opts opts = {.name = "uefi", .vcpus = 1, .ovmf = true};
	struct guest *g = NULL;
	struct tgt *t;
	bool rom = false;

	(void)state;
	assert_int_equal(lvenv_boot(env, &opts, &g), 0);
	assert_int_equal(guest_wait_boot(g), 0);
	t = attach_fit("uefi");
	for (size_t i = 0; i < tgt_info(t)->nr_regions; i++) {
		const struct tgt_region *r = &tgt_info(t)->region[i];

		rom = rom || (r->gpa.v == 0xc0000 && r->rom && r->backend == -1 &&
			      !strcmp(r->block, "pc.rom"));
	}
	assert_true(rom);
	tgt_free(t);
	assert_int_equal(lvenv_destroy(env, "uefi"), 0);
	guest_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(qemu_is_confined),
		cmocka_unit_test(knows_the_domain),
		cmocka_unit_test(attach_is_quick),
		cmocka_unit_test(backend_is_the_guests_memory),
		cmocka_unit_test(gdb_visit),
		cmocka_unit_test(second_exopatch_is_refused),
		cmocka_unit_test(no_such_domain),
		cmocka_unit_test(shut_off_domain),
		cmocka_unit_test(no_libvirtd),
		cmocka_unit_test(other_hypervisor),
		cmocka_unit_test(private_ram_is_reached),
		cmocka_unit_test(paused_domain_stays_paused_and_death_is_noticed),
		cmocka_unit_test(uefi_domain),
		cmocka_unit_test(guest_is_unharmed),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
