// SPDX-License-Identifier: Apache-2.0
/*
 * Targets that die, hide, or are not what they should be, and two of us at once: a clear answer
 * within seconds each time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/util.h"
#include "tests/lib/patching.h"

#define MAX_NS	  UINT64_C(10000000000)
#define REAP_MS	  20000
#define TICK_NS	  UINT64_C(20000000)
#define MAX_TICKS 3000
#define BOOT_MS	  60000
#define SET_USER  "--reuid=65534"
#define SET_GROUP "--regid=65534"
#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct guest *g;
static char cmdline[256], two[256];

static int setup(void **state)
{
	(void)state;
	if (patching_setup() || guest_boot(&g, &(struct guest_opts){.package = GUEST_6_1}) ||
	    patch_build(GUEST_6_1, "cmdline", "cmdline", NULL, cmdline, sizeof(cmdline)))
		return -1;
	return patch_build(GUEST_6_1, "two-targets", "two-targets", NULL, two, sizeof(two));
}

static int teardown(void **state)
{
	(void)state;
	guest_free(g);
	patching_teardown();
	return 0;
}

static bool patched(struct guest *which)
{
	_cleanup_free_ char *line = guest_sh(which, "cat /proc/cmdline");

	assert_non_null(line);
	return strstr(line, "exopatch=live") != NULL;
}

/* ---- one exopatch beside the test ---- */

struct run {
	pid_t pid;
	char out[192];
};

/* @fault: for its environment, or NULL */
static void spawn(struct run *r, const char *qmp, const char *fault, const char *const args[])
{
	static unsigned int nr;
	char exopatch[256], state_dir[160];
	const char *argv[16] = {run_build_path("exopatch", exopatch, sizeof(exopatch)),
				args[0],
				"--json",
				"--qmp",
				qmp,
				state_dir};
	const char *const envp[] = {fault, NULL};
	_cleanup_close_ int fd = -1;
	size_t n = 6;

	snprintf(state_dir, sizeof(state_dir), "--state=%s/state", patching_dir());
	snprintf(r->out, sizeof(r->out), "%s/out-%u", patching_dir(), nr++);
	if (!strcmp(args[0], "apply"))
		argv[n++] = "--trust=build/dev-keys/trust";
	for (size_t i = 1; args[i]; i++)
		argv[n++] = args[i];
	fd = open(r->out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	r->pid = proc_spawn(argv, fault ? envp : NULL, fd, -1, NULL);
	assert_true(r->pid > 0);
}

/* Its exit status and document. */
static void finish(struct run *r, struct exo *ret)
{
	_cleanup_xbuf_ struct xbuf text = XBUF(1u << 20);
	int status = proc_reap(r->pid, REAP_MS);

	memset(ret, 0, sizeof(*ret));
	ret->rc = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	assert_int_equal(xbuf_read_file(&text, r->out), 0);
	ret->doc = json_loadb((const char *)text.data, text.len_bytes, 0, NULL);
	assert_non_null(ret->doc);
}

static bool is_error(const struct exo *e, const char *const codes[])
{
	const char *code = exo_str(e, "error", "code", NULL);

	for (size_t i = 0; e->rc == 1 && codes[i]; i++)
		if (!strcmp(code, codes[i]))
			return true;
	fprintf(stderr, "exit status %d, %s: %s\n", e->rc, code,
		exo_str(e, "error", "detail", NULL));
	return false;
}

#define IS_ERROR(e, ...) is_error(e, ARGS(__VA_ARGS__))

/* ---- QEMU dies ---- */

/* The monitor cannot say that it is there, but holds the guest then. */
static void killed_at(const char *point, const char *const args[], bool held)
{
	bool in_monitor = !strncmp(point, "monitor_", 8);
	_cleanup_guest_ struct guest *victim = NULL;
	_cleanup_exo_ struct exo e = {0};
	struct meeting at;
	char pause[64];
	struct run r;
	uint64_t start;

	assert_int_equal(guest_boot(&victim, &(struct guest_opts){.package = GUEST_6_1}), 0);
	if (!strcmp(args[0], "revert"))
		assert_true(exo_done(victim, "apply", cmdline));
	snprintf(pause, sizeof(pause), "EXOPATCH_FAULT=%s=pause:2000", point);
	meeting_plan(&at, point);
	spawn(&r, guest_qmp_path(victim), in_monitor ? pause : at.env, args);
	for (int i = 0; in_monitor && i < MAX_TICKS && guest_is_running(victim); i++)
		xo_sleep_ns(TICK_NS);
	if (!in_monitor)
		meeting_reached(&at);
	if (held)
		assert_false(guest_is_running(victim));
	start = xo_now_ns();
	assert_int_equal(kill(guest_pid(victim), SIGKILL), 0);
	if (!in_monitor)
		meeting_over(&at);
	finish(&r, &e);
	print_message("%s, %s: %s: %s, %u ms\n", args[0], point, exo_str(&e, "error", "code", NULL),
		      exo_str(&e, "error", "detail", NULL),
		      (unsigned int)((xo_now_ns() - start) / 1000000));
	assert_true(xo_now_ns() - start < MAX_NS);
	assert_true(IS_ERROR(&e, "target-gone"));
}

static void qemu_killed_under_apply(void **state)
{
	(void)state;
	killed_at("agent_planned", ARGS("apply", cmdline), false);
	killed_at("agent_held", ARGS("apply", cmdline), true);
	killed_at("monitor_write_some", ARGS("apply", cmdline), true);
}

static void qemu_killed_under_revert(void **state)
{
	(void)state;
	killed_at("agent_held", ARGS("revert", "cmdline"), true);
}

static void qemu_killed_before(void **state)
{
	struct guest *victim = NULL;
	_cleanup_exo_ struct exo e = {0};
	struct guest_opts opts = {.paused = true};
	siginfo_t dead;

	(void)state;
	assert_int_equal(guest_start(&victim, &opts), 0);
	assert_int_equal(kill(guest_pid(victim), SIGKILL), 0);
	assert_int_equal(waitid(P_PID, (id_t)guest_pid(victim), &dead, WEXITED | WNOWAIT), 0);
	assert_int_equal(EXO(&e, victim, "apply", cmdline), 0);
	assert_true(IS_ERROR(&e, "no-such-target"));
	guest_free(victim);
}

/* ---- not ours to touch ---- */

/* The caller may talk to QEMU, but not look into its process. */
static void an_unprivileged_caller(void **state)
{
	char exopatch[256], state_dir[192], sockets[192], trust[192], copy[256], *text;
	struct stat was;
	_cleanup_run_ struct run_result r = {0}, applied = {0}, copied = {0};
	json_t *doc;

	(void)state;
	run_build_path("exopatch", exopatch, sizeof(exopatch));
	snprintf(state_dir, sizeof(state_dir), "--state=%s/nobody", patching_dir());
	snprintf(sockets, sizeof(sockets), "%s", guest_dir(g));
	snprintf(trust, sizeof(trust), "--trust=%s/trust", patching_dir());
	snprintf(copy, sizeof(copy), "cp -r build/dev-keys/trust %s && chmod -R a+rX %s/trust",
		 patching_dir(), patching_dir());
	assert_int_equal(run_program(ARGS("sh", "-c", copy), NULL, 10000, &copied), 0);
	assert_int_equal(copied.rc, 0);
	assert_int_equal(stat(sockets, &was), 0);
	assert_int_equal(chmod(sockets, 0711), 0);
	assert_int_equal(chmod(guest_qmp_path(g), 0666), 0);
	assert_int_equal(chmod(patching_dir(), 0711), 0);
	assert_int_equal(chmod(cmdline, 0644), 0);
	assert_int_equal(
		run_program(ARGS("setpriv", SET_USER, SET_GROUP, "--clear-groups", exopatch,
				 "inspect", "--json", "--qmp", guest_qmp_path(g)),
			    NULL, 20000, &r),
		0);
	assert_int_equal(run_program(ARGS("setpriv", SET_USER, SET_GROUP, "--clear-groups",
					  exopatch, "apply", "--json", "--qmp", guest_qmp_path(g),
					  state_dir, trust, cmdline),
				     NULL, 20000, &applied),
			 0);
	assert_int_equal(chmod(sockets, was.st_mode & 0777), 0);
	doc = json_loads(r.out, 0, NULL);
	assert_non_null(doc);
	text = json_dumps(json_object_get(doc, "reasons"), JSON_COMPACT);
	print_message("inspect: %d, %s\n", r.rc, text);
	assert_int_equal(r.rc, 0);
	assert_true(json_is_false(json_object_get(doc, "eligible")));
	assert_non_null(strstr(text, "\"not-privileged\""));
	free(text);
	json_decref(doc);
	doc = json_loads(applied.out, 0, NULL);
	assert_non_null(doc);
	assert_int_equal(applied.rc, 3);
	assert_non_null(strstr(applied.out, "\"not-privileged\""));
	json_decref(doc);
	assert_false(patched(g));
}

/* It listens where it is to be found before it greets on a socket of ours. */
static pid_t start_other(const char *program, const char *machine, char qmp[192])
{
	char server[256], ours[64];
	const char *const argv[] = {program,
				    "-machine",
				    machine,
				    "-nodefaults",
				    "-display",
				    "none",
				    "-S",
				    "-qmp",
				    server,
				    "-chardev",
				    ours,
				    "-mon",
				    "chardev=ours,mode=control",
				    NULL};
	_cleanup_close_ int here = -1, there = -1;
	struct pollfd greeting = {.events = POLLIN};
	int pair[2];
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	greeting.fd = here = pair[0];
	there = pair[1];
	snprintf(qmp, 192, "%s/other-qmp", patching_dir());
	snprintf(server, sizeof(server), "unix:%s,server=on,wait=off", qmp);
	snprintf(ours, sizeof(ours), "socket,id=ours,fd=%d", there);
	unlink(qmp);
	pid = proc_spawn(argv, NULL, -1, -1, (const int[]){there, -1});
	assert_true(pid > 0);
	assert_int_equal(poll(&greeting, 1, BOOT_MS), 1);
	return pid;
}

static void another_architecture(void **state)
{
	_cleanup_exo_ struct exo e = {0}, apply = {0};
	char qmp[192];
	const char *const vm[] = {"--qmp", qmp, NULL};
	pid_t pid;

	(void)state;
	pid = start_other("qemu-system-i386", "q35", qmp);
	assert_int_equal(exo_run_on(&e, vm, NULL, ARGS("inspect")), 0);
	assert_int_equal(exo_run_on(&apply, vm, NULL, ARGS("apply", cmdline)), 0);
	proc_reap(pid, 0);
	assert_int_equal(e.rc, 0);
	assert_true(json_is_false(json_object_get(e.doc, "eligible")));
	assert_string_equal(exo_str(&e, "vm", "arch", NULL), "i386");
	assert_string_equal(exo_str(&e, "reasons", "0", "reason", NULL), "other-architecture");
	assert_int_equal(apply.rc, 3);
	assert_string_equal(exo_str(&apply, "reasons", "0", "reason", NULL), "other-architecture");
}

static void a_qemu_without_a_machine(void **state)
{
	_cleanup_exo_ struct exo e = {0};
	char qmp[192];
	const char *const vm[] = {"--qmp", qmp, NULL};
	pid_t pid;

	(void)state;
	pid = start_other("qemu-system-x86_64", "none", qmp);
	assert_int_equal(exo_run_on(&e, vm, NULL, ARGS("inspect")), 0);
	proc_reap(pid, 0);
	assert_true(e.rc == 1 || (e.rc == 0 && json_is_false(json_object_get(e.doc, "eligible"))));
}

static void a_qmp_socket_that_another_client_holds(void **state)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	_cleanup_exo_ struct exo e = {0};
	uint64_t start;

	(void)state;
	assert_true(strlen(guest_qmp_path(g)) < sizeof(addr.sun_path));
	memcpy(addr.sun_path, guest_qmp_path(g), strlen(guest_qmp_path(g)));
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	start = xo_now_ns();
	assert_int_equal(EXO(&e, g, "apply", cmdline), 0);
	assert_true(xo_now_ns() - start < MAX_NS);
	assert_true(IS_ERROR(&e, "timeout"));
	assert_non_null(strstr(exo_str(&e, "error", "detail", NULL), "another client"));
}

/* ---- the journal ---- */

static void a_state_directory_that_cannot_be_used(void **state)
{
	char file[272], corrupt[192];
	const char *const bad[] = {"--state=/proc/exopatch", file, corrupt};
	FILE *f;

	(void)state;
	snprintf(file, sizeof(file), "--state=%s", cmdline);
	snprintf(corrupt, sizeof(corrupt), "--state=%s/corrupt", patching_dir());
	assert_int_equal(mkdir(corrupt + strlen("--state="), 0700), 0);
	snprintf(corrupt, sizeof(corrupt), "--state=%s/corrupt/journal.db", patching_dir());
	f = fopen(corrupt + strlen("--state="), "w");
	assert_non_null(f);
	for (int i = 0; i < 4096; i++)
		fputs("garbage ", f);
	fclose(f);
	snprintf(corrupt, sizeof(corrupt), "--state=%s/corrupt", patching_dir());
	for (size_t i = 0; i < XO_ARRAY_SIZE(bad); i++) {
		_cleanup_exo_ struct exo e = {0}, status = {0};

		assert_int_equal(EXO(&e, g, "apply", bad[i], cmdline), 0);
		assert_true(IS_ERROR(&e, "state-store"));
		assert_int_equal(EXO(&status, g, "status", bad[i]), 0);
		assert_true(IS_ERROR(&status, "state-store"));
	}
	assert_false(patched(g));
}

/* Two VMs, one journal, at the same time: each waits for the other's transactions. */
static void two_vms_share_a_journal(void **state)
{
	_cleanup_guest_ struct guest *other = NULL;

	(void)state;
	assert_int_equal(guest_boot(&other, &(struct guest_opts){.package = GUEST_6_1}), 0);
	for (int i = 0; i < 4; i++) {
		struct exo e[2];
		struct run r[2];
		const char *const *args =
			i % 2 ? ARGS("revert", "cmdline") : ARGS("apply", cmdline);

		spawn(&r[0], guest_qmp_path(g), NULL, args);
		spawn(&r[1], guest_qmp_path(other), NULL, args);
		for (size_t k = 0; k < 2; k++) {
			finish(&r[k], &e[k]);
			assert_int_equal(e[k].rc, 0);
			exo_free(&e[k]);
		}
		assert_int_equal(patched(g), i % 2 == 0);
		assert_int_equal(patched(other), i % 2 == 0);
	}
}

/* Two of us on one VM with different patches: one waits at the socket, or is told so. */
static void two_on_one_vm(void **state)
{
	_cleanup_exo_ struct exo first = {0}, second = {0};
	struct run r[2];

	(void)state;
	spawn(&r[0], guest_qmp_path(g), "EXOPATCH_FAULT=agent_intent=pause:1000",
	      ARGS("apply", cmdline));
	spawn(&r[1], guest_qmp_path(g), NULL, ARGS("apply", two));
	finish(&r[0], &first);
	finish(&r[1], &second);
	assert_true(first.rc == 0 || second.rc == 0);
	for (const struct exo *e = &first; e; e = e == &first ? &second : NULL)
		assert_true(e->rc == 0 || IS_ERROR(e, "timeout"));
	assert_int_equal(patched(g), first.rc == 0);
	if (first.rc == 0)
		assert_true(exo_done(g, "revert", "cmdline"));
	if (second.rc == 0)
		assert_true(exo_done(g, "revert", "two-targets"));
	assert_false(patched(g));
	assert_true(guest_dmesg_clean(g));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(qemu_killed_under_apply),
		cmocka_unit_test(qemu_killed_under_revert),
		cmocka_unit_test(qemu_killed_before),
		cmocka_unit_test(an_unprivileged_caller),
		cmocka_unit_test(another_architecture),
		cmocka_unit_test(a_qemu_without_a_machine),
		cmocka_unit_test(a_qmp_socket_that_another_client_holds),
		cmocka_unit_test(a_state_directory_that_cannot_be_used),
		cmocka_unit_test(two_vms_share_a_journal),
		cmocka_unit_test(two_on_one_vm),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
