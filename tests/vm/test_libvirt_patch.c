// SPDX-License-Identifier: Apache-2.0
/* The main job as most operators have it: a domain of libvirt, its QEMU unprivileged and sandboxed.
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

#include "tests/lib/libvirt_env.h"
#include "tests/lib/patching.h"
#include "vmm-agent/target/metadata.h"

#define DOMAIN	  "main"
#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct lvenv *env;
static struct guest *g;
static virConnectPtr conn;
static virDomainPtr domain;
static char cmdline[256];

static int setup(void **state)
{
	(void)state;
	if (patching_setup() || lvenv_start(&env) ||
	    lvenv_boot(env, &(struct lvenv_opts){.name = DOMAIN, .package = GUEST_6_12, .vcpus = 1},
		       &g) ||
	    guest_wait_boot(g))
		return -1;
	conn = virConnectOpen(lvenv_uri(env));
	domain = conn ? virDomainLookupByName(conn, DOMAIN) : NULL;
	if (!domain)
		return -1;
	return patch_build(GUEST_6_12, "cmdline", "cmdline", NULL, cmdline, sizeof(cmdline));
}

static int teardown(void **state)
{
	(void)state;
	if (domain)
		virDomainFree(domain);
	if (conn)
		virConnectClose(conn);
	guest_free(g);
	lvenv_free(env);
	patching_teardown();
	return 0;
}

static int libvirt_state(void)
{
	int now = -1, reason;

	assert_int_equal(virDomainGetState(domain, &now, &reason, 0), 0);
	return now;
}

static void run_with(struct exo *e, const char *name, const char *const envp[],
		     const char *const args[])
{
	const char *const vm[] = {"--domain", name, "--connect", lvenv_uri(env), NULL};

	assert_int_equal(exo_run_on(e, vm, envp, args), 0);
}

static void done(const char *const args[])
{
	_cleanup_exo_ struct exo e = {0};

	run_with(&e, DOMAIN, NULL, args);
	assert_int_equal(e.rc, 0);
}

static void fails(const char *name, const char *const args[], const char *code)
{
	_cleanup_exo_ struct exo e = {0};

	run_with(&e, name, NULL, args);
	assert_int_equal(e.rc, 1);
	assert_string_equal(exo_str(&e, "error", "code", NULL), code);
}

static bool patched(void)
{
	_cleanup_free_ char *line = guest_sh(g, "cat /proc/cmdline");

	assert_non_null(line);
	return strstr(line, "exopatch=live") != NULL;
}

static void inspected(void **state)
{
	_cleanup_exo_ struct exo e = {0}, by_uuid = {0};
	char uuid[37];

	(void)state;
	run_with(&e, DOMAIN, NULL, ARGS("inspect"));
	assert_int_equal(e.rc, 0);
	assert_true(json_is_true(json_object_get(e.doc, "eligible")));
	assert_string_equal(exo_str(&e, "vm", "name", NULL), DOMAIN);
	assert_true(json_is_true(json_object_get(json_object_get(e.doc, "vm"), "libvirt")));
	assert_int_equal(lvenv_uuid(env, DOMAIN, uuid), 0);
	assert_string_equal(exo_str(&e, "vm", "uuid", NULL), uuid);
	run_with(&by_uuid, uuid, NULL, ARGS("inspect"));
	assert_int_equal(by_uuid.rc, 0);
	assert_int_equal(libvirt_state(), VIR_DOMAIN_RUNNING);
	assert_null(json_object_get(json_object_get(e.doc, "facts"), "metadata"));
}

/* What the operator wrote about the domain is a fact for policies. */
static void metadata_is_a_fact(void **state)
{
	_cleanup_exo_ struct exo e = {0};

	(void)state;
	assert_int_equal(virDomainSetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT,
					      "<vm tier='gold' owner='web team'/>", "exopatch",
					      METADATA_URI, VIR_DOMAIN_AFFECT_LIVE),
			 0);
	run_with(&e, DOMAIN, NULL, ARGS("inspect"));
	assert_int_equal(e.rc, 0);
	assert_string_equal(exo_str(&e, "facts", "metadata", "tier", NULL), "gold");
	assert_string_equal(exo_str(&e, "facts", "metadata", "owner", NULL), "web team");
}

static void patched_and_reverted(void **state)
{
	_cleanup_exo_ struct exo status = {0};

	(void)state;
	assert_false(patched());
	done(ARGS("apply", cmdline));
	assert_true(patched());
	assert_int_equal(libvirt_state(), VIR_DOMAIN_RUNNING);
	run_with(&status, DOMAIN, NULL, ARGS("status"));
	assert_int_equal(status.rc, 0);
	assert_string_equal(exo_str(&status, "patches", "0", "state", NULL), "active");
	assert_string_equal(exo_str(&status, "patches", "0", "guest", NULL), "new");
	done(ARGS("revert", "cmdline"));
	assert_false(patched());
	assert_int_equal(libvirt_state(), VIR_DOMAIN_RUNNING);
	assert_true(guest_dmesg_clean(g));
}

static void a_paused_domain_stays_paused(void **state)
{
	(void)state;
	assert_int_equal(virDomainSuspend(domain), 0);
	done(ARGS("apply", cmdline));
	assert_int_equal(libvirt_state(), VIR_DOMAIN_PAUSED);
	assert_int_equal(virDomainResume(domain), 0);
	assert_true(patched());
	assert_int_equal(virDomainSuspend(domain), 0);
	done(ARGS("revert", "cmdline"));
	assert_int_equal(libvirt_state(), VIR_DOMAIN_PAUSED);
	assert_int_equal(virDomainResume(domain), 0);
	assert_false(patched());
	assert_int_equal(libvirt_state(), VIR_DOMAIN_RUNNING);
}

static void killed_while_it_works(void **state)
{
	static const char *const points[] = {"agent_held", "monitor_write_some", "agent_committed"};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(points); i++) {
		_cleanup_exo_ struct exo died = {0}, e = {0};
		char fault[64];
		bool now;

		snprintf(fault, sizeof(fault), "EXOPATCH_FAULT=%s=kill", points[i]);
		run_with(&died, DOMAIN, ARGS(fault), ARGS("apply", cmdline));
		assert_int_not_equal(died.rc, 0);
		run_with(&e, DOMAIN, NULL, ARGS("recover"));
		assert_int_equal(e.rc, 0);
		assert_int_equal(libvirt_state(), VIR_DOMAIN_RUNNING);
		now = patched();
		assert_int_equal(now,
				 !strcmp(exo_str(&e, "recovered", "0", "state", NULL), "active"));
		if (now)
			done(ARGS("revert", "cmdline"));
		assert_false(patched());
	}
}

static void no_such_domain(void **state)
{
	const char *const vm[] = {"--domain", DOMAIN, "--connect",
				  "qemu+unix:///system?socket=/nonexistent", NULL};
	_cleanup_exo_ struct exo e = {0};

	(void)state;
	fails("nobody", ARGS("inspect"), "no-such-target");
	fails("nobody", ARGS("apply", cmdline), "no-such-target");
	assert_int_equal(exo_run_on(&e, vm, NULL, ARGS("status")), 0);
	assert_int_equal(e.rc, 1);
	assert_string_equal(exo_str(&e, "error", "code", NULL), "libvirt");
}

/* The last one: the domain is gone afterwards. */
static void shut_off(void **state)
{
	(void)state;
	assert_int_equal(lvenv_define(env, &(struct lvenv_opts){.name = "off"}), 0);
	fails("off", ARGS("inspect"), "shut-off");
	fails("off", ARGS("apply", cmdline), "shut-off");
	fails("off", ARGS("revert", "cmdline"), "shut-off");
	done(ARGS("apply", cmdline));
	assert_int_equal(lvenv_destroy(env, DOMAIN), 0);
	fails(DOMAIN, ARGS("revert", "cmdline"), "no-such-target");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inspected),
		cmocka_unit_test(metadata_is_a_fact),
		cmocka_unit_test(patched_and_reverted),
		cmocka_unit_test(a_paused_domain_stays_paused),
		cmocka_unit_test(killed_while_it_works),
		cmocka_unit_test(no_such_domain),
		cmocka_unit_test(shut_off),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
