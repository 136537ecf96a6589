// SPDX-License-Identifier: Apache-2.0
/*
 * The guard beside a stock libvirt: QEMU runs as libvirt's own user, with its seccomp filter, in a
 * mount namespace, and may not open /dev/userfaultfd. Once with RAM as libvirt gives it by default,
 * private to QEMU, and once with shared RAM.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <libvirt/libvirt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "tests/lib/guardrun.h"
#include "tests/lib/libvirt_env.h"
#include "tests/lib/patching.h"

#define EVENT_NS  UINT64_C(20000000000)
#define BOOT_MS	  30000
#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct lvenv *env;
static struct guest *g;
static struct guardrun *guard;
static const char *vm[] = {"--domain", NULL, "--connect", NULL, NULL};
static char cmdline[256];

static int setup(void **state)
{
	(void)state;
	if (patching_setup() || lvenv_start(&env))
		return -1;
	vm[3] = lvenv_uri(env);
	return patch_build(GUEST_6_1, "cmdline", "cmdline", NULL, cmdline, sizeof(cmdline));
}

static int teardown(void **state)
{
	(void)state;
	lvenv_free(env);
	patching_teardown();
	return 0;
}

static int end_domain(void **state)
{
	int r = guardrun_stop(guard);

	(void)state;
	guard = NULL;
	if (g && lvenv_destroy(env, vm[1]))
		r = -1;
	guest_free(g);
	g = NULL;
	return r;
}

static void run(struct exo *e, const char *const args[])
{
	assert_int_equal(exo_run_on(e, vm, NULL, args), 0);
	assert_int_equal(e->rc, 0);
}

static void done(const char *command, const char *operand)
{
	_cleanup_exo_ struct exo e = {0};

	run(&e, ARGS(command, operand));
}

static bool patched(void)
{
	_cleanup_free_ char *line = guest_sh(g, "cat /proc/cmdline");

	assert_non_null(line);
	return strstr(line, "exopatch=live") != NULL;
}

static bool can_read(const char *path)
{
	char line[128];
	int rc = -1;

	snprintf(line, sizeof(line), "cat %s >/dev/null 2>&1", path);
	return !guest_run(g, line, 0, NULL, &rc) && rc == 0;
}

/* As the user that libvirt has for it, not as root; the process is the one that exopatch found. */
static void is_confined(const struct exo *e, bool private_ram)
{
	const json_t *v = json_object_get(e->doc, "vm");
	const json_t *ram = json_array_get(json_object_get(v, "ram_backends"), 0);
	_cleanup_fclose_ FILE *f = NULL;
	unsigned int uid = 0, filter = 0;
	char path[64], line[256];

	snprintf(path, sizeof(path), "/proc/%d/status",
		 (int)json_integer_value(json_object_get(v, "pid")));
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		(void)sscanf(line, "Uid: %u", &uid);
		(void)sscanf(line, "Seccomp: %u", &filter);
	}
	assert_int_not_equal(uid, 0);
	assert_int_equal(filter, 2);
	assert_int_equal(json_is_true(json_object_get(ram, "private")), private_ram);
}

/* An attack of several stores is several events. */
static void attack_is_put_back(void)
{
	bool found = false;
	uint64_t end_ns;
	json_t *event;

	assert_true(can_read("/proc/execdomains"));
	free(guest_sh(g, "/attacks/load text_vmap_alias; true"));
	end_ns = xo_now_ns() + EVENT_NS;
	while (!found && (event = guardrun_next(guard, end_ns))) {
		found = !strcmp(guardrun_says(event, "kind"), "violation") &&
			!strcmp(guardrun_says(event, "verdict"), "put-back");
		json_decref(event);
	}
	assert_true(found);
	assert_true(can_read("/proc/execdomains"));
}

static void domain_is_guarded(const char *name, bool private_ram)
{
	const struct lvenv_opts opts = {.name = name, .vcpus = 1, .private_ram = private_ram};
	_cleanup_exo_ struct exo inspected = {0}, status = {0};
	const json_t *counts;

	vm[1] = name;
	assert_int_equal(lvenv_boot(env, &opts, &g), 0);
	assert_int_equal(guest_wait_boot(g), 0);
	run(&inspected, ARGS("inspect"));
	assert_true(json_is_true(json_object_get(inspected.doc, "eligible")));
	is_confined(&inspected, private_ram);
	done("apply", cmdline);
	assert_true(patched());
	guard = guardrun_start_on(vm, "enforce", NULL);
	assert_non_null(guard);
	attack_is_put_back();
	run(&status, ARGS("guard", "status"));
	counts = json_object_get(status.doc, "guard");
	assert_true(json_integer_value(json_object_get(counts, "violations")) > 0);
	done("revert", "cmdline");
	assert_false(patched());
	done("apply", cmdline);
	assert_true(patched());
	assert_int_equal(guardrun_stop(guard), 0);
	guard = NULL;
	done("revert", "cmdline");
	assert_false(patched());
	assert_true(guest_dmesg_clean(g));
}

static void private_ram(void **state)
{
	(void)state;
	domain_is_guarded("private", true);
}

static void shared_ram(void **state)
{
	(void)state;
	domain_is_guarded("shared", false);
}

/* libvirt passes QEMU's events on; nobody else would know of a reset. */
static void reset_domain(void)
{
	virConnectPtr conn = virConnectOpen(vm[3]);
	virDomainPtr domain = conn ? virDomainLookupByName(conn, vm[1]) : NULL;

	assert_non_null(domain);
	assert_int_equal(virDomainReset(domain, 0), 0);
	virDomainFree(domain);
	virConnectClose(conn);
}

static bool is_connected(void)
{
	json_t *status = guardrun_status(guard);
	bool yes = status && json_is_true(json_object_get(status, "connected"));

	json_decref(status);
	return yes;
}

static void killed_and_reset(void **state)
{
	const struct lvenv_opts opts = {.name = "reset", .vcpus = 1};
	pid_t pid;

	(void)state;
	vm[1] = opts.name;
	assert_int_equal(lvenv_boot(env, &opts, &g), 0);
	assert_int_equal(guest_wait_boot(g), 0);
	guard = guardrun_start_on(vm, "enforce", NULL);
	assert_non_null(guard);
	pid = (pid_t)guardrun_number(guard, "guard_pid");
	assert_true(pid > 1);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_true(guardrun_saw(guard, "guard-restarted", BOOT_MS));
	attack_is_put_back();
	for (int i = 0; i < 100 && !is_connected(); i++)
		xo_sleep_ns(50000000);
	assert_true(is_connected());
	reset_domain();
	assert_true(guardrun_saw(guard, "guest-reset", BOOT_MS));
	assert_int_equal(guest_wait_boot(g), 0);
	assert_true(guardrun_saw(guard, "guard-on", BOOT_MS));
	attack_is_put_back();
	assert_int_equal(guardrun_missing(guard), 0);
	assert_true(guest_dmesg_clean(g));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(private_ram, end_domain),
		cmocka_unit_test_teardown(shared_ram, end_domain),
		cmocka_unit_test_teardown(killed_and_reset, end_domain),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, setup, teardown);
}
