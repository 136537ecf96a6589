// SPDX-License-Identifier: Apache-2.0
/*
 * Attaching to a QEMU that is played by the test itself: its thread is the vCPU, its memfd the
 * guest's RAM, its answers those that a real QEMU here never gives.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/lib/fake_qmp.h"
#include "vmm-agent/target/proc.h"
#include "vmm-agent/target/target.h"

#define PAGE  4096
#define PAGES 4

#define REGISTERS "\r\nCPU#0\r\nCR0=80050033 CR2=0 CR3=1000 CR4=6b0\r\nEFER=0000000000000d01\r\n"
#define MTREE                                                                                      \
	"FlatView #0\r\n AS \"memory\", root: system\r\n"                                          \
	"  0000000000000000-0000000000003fff (prio 0, ram): ram0\r\n"                              \
	"  00000000fffff000-00000000ffffffff (prio 0, rom): pc.bios\r\n"

static struct {
	int memfd;
	char *ram; /* PAGES of the memfd */
	char *rom; /* one private page */
	char cpus[128], ram_hva[128], rom_hva[128];
} host;

static struct fake_answer usual[] = {
	{"query-version",
	 "{\"qemu\": {\"major\": 7, \"minor\": 2, \"micro\": 22}, \"package\": \"\"}"},
	{"query-name", "{\"name\": \"a\\u001bb\"}"},
	{"query-uuid", "{\"UUID\": \"00000000-0000-0000-0000-000000000000\"}"},
	{"query-target", "{\"arch\": \"x86_64\"}"},
	{"query-kvm", "{\"enabled\": true, \"present\": true}"},
	{"qom-get", "\"\""},
	{"query-status", "{\"status\": \"running\", \"running\": true, \"singlestep\": false}"},
	{"query-cpus-fast", host.cpus},
	{"query-memdev", "[{\"id\": \"ram0\", \"share\": true}]"},
	{"query-chardev", "[]"},
	{"getfd", "{}"},
	{"closefd", "{}"},
	{"hmp:info mtree -f", MTREE},
	{"hmp:info registers -a", REGISTERS},
	{"hmp:gpa2hva 0x0", host.ram_hva},
	{"hmp:gpa2hva 0xfffff000", host.rom_hva},
	{NULL, NULL},
};

static void say_hva(char *ret, size_t size, uint64_t gpa, const char *block, const void *at)
{
	snprintf(ret, size, "Host virtual address for 0x%" PRIx64 " (%s) is %p\r\n", gpa, block,
		 at);
}

static int set_up(void **state)
{
	(void)state;
	host.memfd = memfd_create("guest-ram", MFD_CLOEXEC);
	if (host.memfd < 0 || ftruncate(host.memfd, (off_t)PAGES * PAGE))
		return -1;
	host.ram =
		mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, host.memfd, 0);
	host.rom = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (host.ram == MAP_FAILED || host.rom == MAP_FAILED)
		return -1;
	snprintf(host.cpus, sizeof(host.cpus), "[{\"thread-id\": %d, \"cpu-index\": 0}]",
		 (int)gettid());
	say_hva(host.ram_hva, sizeof(host.ram_hva), 0, "ram0", host.ram);
	say_hva(host.rom_hva, sizeof(host.rom_hva), 0xfffff000, "pc.bios", host.rom);
	return 0;
}

/* ---- attaching with some answers changed ---- */

struct visit {
	struct fake_opts opts;
	const struct fake_answer *lists[3];
	struct fake_qmp *fake;
	struct tgt *t;
	struct refusal why;
	struct xerr err;
};

static int attach(struct visit *v, const struct fake_answer *changed)
{
	struct tgt_spec spec = {0};

	v->lists[0] = changed ? changed : usual;
	v->lists[1] = changed ? usual : NULL;
	v->opts.answers = v->lists;
	v->fake = fake_qmp_start(&v->opts);
	assert_non_null(v->fake);
	spec.qmp_path = fake_qmp_path(v->fake);
	return tgt_attach(&v->t, &spec, &v->why, &v->err);
}

static void leave(struct visit *v)
{
	tgt_free(v->t);
	refusal_free(&v->why);
	fake_qmp_free(v->fake);
}

static bool refused_for(const struct refusal *why, int code)
{
	for (size_t i = 0; i < why->nr; i++) {
		if (why->reason[i].code == code)
			return true;
	}
	return false;
}

/* The error of an attach that cannot be made. */
static int error_of(const struct fake_answer *changed)
{
	struct visit v = {0};
	int rc = attach(&v, changed);

	assert_true(rc || v.t);
	assert_true(!rc || !v.t);
	leave(&v);
	return rc;
}

#define ERROR_OF(command, value)                                                                   \
	error_of((const struct fake_answer[]){{(command), (value)}, {NULL, NULL}})

/* ---- tests ---- */

/* One was taken out and another one put in its place: QEMU tells that one last. */
static void replugged(void **state)
{
	char cpus[160];
	const struct fake_answer changed[] = {
		{"query-cpus-fast", cpus},
		{"hmp:info registers -a",
		 "\r\nCPU#0\r\nCR0=80050033 CR2=0 CR3=1000 CR4=6b0\r\nEFER=0000000000000d01\r\n"
		 "\r\nCPU#2\r\nCR0=80050033 CR2=0 CR3=3000 CR4=6b0\r\nEFER=0000000000000d01\r\n"
		 "\r\nCPU#1\r\nCR0=80050033 CR2=0 CR3=2000 CR4=6b0\r\nEFER=0000000000000d01\r\n"},
		{NULL, NULL}};
	struct visit v = {0};
	const struct tgt_info *f;

	(void)state;
	snprintf(cpus, sizeof(cpus),
		 "[{\"thread-id\": %d, \"cpu-index\": 0}, {\"thread-id\": %d, \"cpu-index\": 2}, "
		 "{\"thread-id\": %d, \"cpu-index\": 1}]",
		 (int)gettid(), (int)gettid(), (int)gettid());
	assert_int_equal(attach(&v, changed), 0);
	f = tgt_info(v.t);
	assert_int_equal(f->nr_vcpus, 3);
	for (size_t i = 0; i < f->nr_vcpus; i++) {
		assert_int_equal(f->vcpu[i].cpu_index, i);
		assert_int_equal(f->vcpu[i].cr3, (i + 1) * 0x1000);
	}
	leave(&v);
}

static void fit(void **state)
{
	struct visit v = {0};
	const struct tgt_info *f;

	(void)state;
	assert_int_equal(attach(&v, NULL), 0);
	assert_int_equal(v.why.nr, 0);
	f = tgt_info(v.t);
	assert_string_equal(f->name, "a\\x1bb");
	assert_int_equal(f->pid, getpid());
	assert_int_equal(f->accel, TGT_KVM);
	assert_int_equal(f->ram_bytes, PAGES * PAGE);
	assert_int_equal(f->vcpu[0].cr4, 0x6b0);
	assert_int_equal(f->nr_regions, 2);
	assert_int_equal(f->region[0].backend, 0);
	assert_int_equal(f->region[0].hva.v, (uintptr_t)host.ram);
	assert_int_equal(f->region[1].backend, -1);
	assert_true(f->region[1].rom);
	assert_int_equal(f->nr_backends, 1);
	assert_string_equal(f->backend[0].name, "/memfd:guest-ram");
	leave(&v);
}

static void all_reasons_at_once(void **state)
{
	static const struct fake_answer changed[] = {
		{"query-version", "{\"qemu\": {\"major\": 6, \"minor\": 9, \"micro\": 0}}"},
		{"query-target", "{\"arch\": \"aarch64\"}"},
		{"qom-get", "\"/objects/sev0\""},
		{"query-status", "{\"status\": \"inmigrate\", \"running\": false}"},
		{"query-chardev", "[{\"label\": \"gdb\", \"filename\": \"tcp:1:2 <-> 3:4\", "
				  "\"frontend-open\": true}]"},
		{"query-memdev", "[{\"id\": \"ram0\"}, {\"id\": \"pc.bios\"}]"},
		{NULL, NULL},
	};
	struct visit v = {0};

	(void)state;
	assert_int_equal(attach(&v, changed), 0);
	assert_non_null(v.t);
	assert_int_equal(v.why.nr, 6);
	assert_true(refused_for(&v.why, XO_EQEMUVERSION));
	assert_true(refused_for(&v.why, XO_EARCH));
	assert_true(refused_for(&v.why, XO_ECONFIDENTIAL));
	assert_true(refused_for(&v.why, XO_ESHUTOFF));
	assert_true(refused_for(&v.why, XO_EDEBUGGER));
	assert_true(refused_for(&v.why, XO_ERAMREADONLY));
	leave(&v);
}

static void state_is(const char *name, bool fits)
{
	char text[128];
	const struct fake_answer changed[] = {{"query-status", text}, {NULL, NULL}};
	struct visit v = {0};

	snprintf(text, sizeof(text), "{\"status\": \"%s\", \"running\": false}", name);
	assert_int_equal(attach(&v, changed), 0);
	assert_string_equal(tgt_info(v.t)->state, name);
	assert_int_equal(refused_for(&v.why, XO_ESHUTOFF), !fits);
	leave(&v);
}

static void run_states(void **state)
{
	static const char *const fit_ones[] = {"paused", "prelaunch", "suspended",     "watchdog",
					       "debug",	 "io-error",  "guest-panicked"};
	static const char *const unfit[] = {"inmigrate", "postmigrate", "finish-migrate",
					    "shutdown", "internal-error"};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(fit_ones); i++)
		state_is(fit_ones[i], true);
	for (size_t i = 0; i < XO_ARRAY_SIZE(unfit); i++)
		state_is(unfit[i], false);
}

static void range_over_several_mappings(void **state)
{
	struct visit v = {0};
	const struct tgt_region *r;

	(void)state;
	/* pages 2 and 3 now show pages 3 and 2 of the file */
	assert_ptr_not_equal(mmap(host.ram + (ptrdiff_t)2 * PAGE, PAGE, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, host.memfd, (off_t)3 * PAGE),
			     MAP_FAILED);
	assert_ptr_not_equal(mmap(host.ram + (ptrdiff_t)3 * PAGE, PAGE, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, host.memfd, (off_t)2 * PAGE),
			     MAP_FAILED);
	assert_int_equal(attach(&v, NULL), 0);
	r = tgt_info(v.t)->region;
	assert_int_equal(tgt_info(v.t)->nr_regions, 4);
	assert_int_equal(r[0].len_bytes, 2 * PAGE);
	assert_int_equal(r[0].backend_off, 0);
	assert_int_equal(r[1].gpa.v, 2 * PAGE);
	assert_int_equal(r[1].backend_off, 3 * PAGE);
	assert_int_equal(r[2].backend_off, 2 * PAGE);
	assert_int_equal(tgt_info(v.t)->nr_backends, 1);
	leave(&v);
	assert_ptr_not_equal(mmap(host.ram, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, host.memfd, 0),
			     MAP_FAILED);
}

/* RAM in a private mapping is not what its file has: it is reached through QEMU. */
static void partly_private_ram(void **state)
{
	const struct tgt_info *f;
	struct xerr err = {0};
	struct visit v = {0};
	uint8_t byte;
	int fd;

	(void)state;
	assert_ptr_not_equal(mmap(host.ram + PAGE, PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_FIXED, host.memfd, PAGE),
			     MAP_FAILED);
	host.ram[PAGE] = 0x5a;
	assert_int_equal(attach(&v, NULL), 0);
	assert_int_equal(v.why.nr, 0);
	f = tgt_info(v.t);
	assert_int_equal(f->region[0].backend, 0);
	assert_int_equal(f->region[1].backend, -1);
	assert_true(f->region[1].ram);
	assert_int_equal(f->ram_bytes, PAGES * PAGE);
	fd = tgt_memory_open(v.t, &err);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)f->region[1].hva.v), 1);
	assert_int_equal(byte, 0x5a);
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)f->region[1].hva.v), -1);
	close(fd);
	leave(&v);
	assert_ptr_not_equal(mmap(host.ram, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, host.memfd, 0),
			     MAP_FAILED);
}

/* It has no file that could be locked. */
static void private_ram_is_locked_too(void **state)
{
	struct visit first = {0}, second = {0};

	(void)state;
	assert_ptr_not_equal(mmap(host.ram, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_FIXED, host.memfd, 0),
			     MAP_FAILED);
	assert_int_equal(attach(&first, NULL), 0);
	assert_int_equal(first.why.nr, 0);
	assert_int_equal(tgt_info(first.t)->nr_backends, 0);
	assert_int_equal(attach(&second, NULL), 0);
	assert_int_equal(second.why.nr, 1);
	assert_true(refused_for(&second.why, XO_ELOCKED));
	leave(&second);
	leave(&first);
	assert_int_equal(attach(&second, NULL), 0);
	assert_int_equal(second.why.nr, 0);
	leave(&second);
	assert_ptr_not_equal(mmap(host.ram, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, host.memfd, 0),
			     MAP_FAILED);
}

/* A file that QEMU may only read must never be opened for writing in its name. */
static void read_only_ram_is_refused(void **state)
{
	struct visit v = {0};

	(void)state;
	assert_int_equal(mprotect(host.ram, (size_t)PAGES * PAGE, PROT_READ), 0);
	assert_int_equal(attach(&v, NULL), 0);
	assert_int_equal(mprotect(host.ram, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE), 0);
	assert_true(refused_for(&v.why, XO_ERAMREADONLY));
	assert_int_equal(tgt_info(v.t)->nr_backends, 0);
	leave(&v);
}

static void swapped_descriptor_is_not_opened(void **state)
{
	int ram = dup(host.memfd), other = memfd_create("other", MFD_CLOEXEC), fifo[2];
	struct visit v = {0};
	struct stat st;

	(void)state;
	assert_int_equal(attach(&v, NULL), 0);
	assert_int_equal(dup2(other, host.memfd), host.memfd);
	assert_int_equal(tgt_backend_open(v.t, 0, true, NULL), -XO_ETARGETGONE);
	assert_int_equal(pipe2(fifo, O_CLOEXEC), 0);
	assert_int_equal(dup2(fifo[0], host.memfd), host.memfd);
	assert_int_equal(tgt_backend_open(v.t, 0, false, NULL), -XO_ETARGETGONE);
	assert_int_equal(dup2(ram, host.memfd), host.memfd);
	leave(&v);
	assert_int_equal(stat("/dev/null", &st), 0);
	assert_int_equal(proc_open_file("/dev/null", st.st_dev, st.st_ino, O_RDWR), -ESTALE);
	close(fifo[0]);
	close(fifo[1]);
	close(other);
	close(ram);
}

static void addresses_are_checked(void **state)
{
	char text[128];

	(void)state;
	assert_int_equal(ERROR_OF("hmp:gpa2hva 0x0", "No memory is mapped at address 0x0\r\n"),
			 -XO_EQMP);
	say_hva(text, sizeof(text), 0, "ram1", host.ram);
	assert_int_equal(ERROR_OF("hmp:gpa2hva 0x0", text), -XO_EQMP);
	say_hva(text, sizeof(text), 0, "ram0", (void *)8);
	assert_int_equal(ERROR_OF("hmp:gpa2hva 0x0", text), -XO_ENOTQEMU);
	say_hva(text, sizeof(text), 0, "ram0", (void *)UINTPTR_MAX);
	assert_int_equal(ERROR_OF("hmp:gpa2hva 0x0", text), -XO_ENOTQEMU);
	assert_int_equal(ERROR_OF("hmp:info mtree -f", "unknown command: 'info'\r\n"),
			 -XO_EMALFORMED);
}

static void vcpu_threads_are_checked(void **state)
{
	char text[256];

	(void)state;
	assert_int_equal(ERROR_OF("query-cpus-fast", "[]"), -XO_ENOTQEMU);
	assert_int_equal(ERROR_OF("query-cpus-fast", "[{\"thread-id\": 5}]"), -XO_ENOTQEMU);
	assert_int_equal(
		ERROR_OF("query-cpus-fast", "[{\"thread-id\": 99999999999, \"cpu-index\": 0}]"),
		-XO_ENOTQEMU);
	assert_int_equal(
		ERROR_OF("query-cpus-fast", "[{\"thread-id\": 2147483000, \"cpu-index\": 0}]"),
		-XO_ETARGETGONE);
	snprintf(text, sizeof(text),
		 "[{\"thread-id\": %d, \"cpu-index\": 0}, {\"thread-id\": %d, \"cpu-index\": 1}]",
		 (int)gettid(), (int)getppid());
	assert_int_equal(ERROR_OF("query-cpus-fast", text), -XO_ENOTQEMU);
	assert_int_equal(ERROR_OF("hmp:info registers -a", "\r\nCPU#7\r\nCR0=1 CR2=1 CR3=1 CR4=1"
							   "\r\nEFER=1\r\n"),
			 -XO_EQMP);
}

/* Somebody else's threads, with somebody else's memory. */
static void foreign_process_is_refused(void **state)
{
	struct visit v = {0};
	pid_t child = fork();
	char text[128];

	(void)state;
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	snprintf(text, sizeof(text), "[{\"thread-id\": %d, \"cpu-index\": 0}]", (int)child);
	assert_int_equal(
		attach(&v, (const struct fake_answer[]){{"query-cpus-fast", text}, {NULL, NULL}}),
		-XO_ENOTQEMU);
	assert_non_null(strstr(v.err.text, "behind the monitor"));
	leave(&v);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

static void hang_up_at_each_command(void **state)
{
	static const char *const commands[] = {
		"qmp_capabilities",	 "query-version", "query-name", "query-uuid",
		"query-target",		 "query-kvm",	  "qom-get",	"query-status",
		"query-cpus-fast",	 "getfd",	  "closefd",	"query-memdev",
		"human-monitor-command", "query-chardev"};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(commands); i++) {
		struct visit v = {.opts.hang_up_at = commands[i]};

		assert_int_equal(attach(&v, NULL), -XO_ETARGETGONE);
		assert_null(v.t);
		leave(&v);
	}
}

static void waiting_stub_hinders_tcg_only(void **state)
{
	static const char stub[] = "[{\"label\": \"gdb\", \"filename\": \"disconnected:tcp:1:2\"}]";
	static const struct fake_answer tcg[] = {
		{"query-chardev", stub}, {"query-kvm", "{\"enabled\": false}"}, {NULL, NULL}};
	static const struct fake_answer kvm[] = {{"query-chardev", stub}, {NULL, NULL}};
	struct visit v = {0}, w = {0};

	(void)state;
	assert_int_equal(attach(&v, tcg), 0);
	assert_true(refused_for(&v.why, XO_EDEBUGGER));
	leave(&v);
	assert_int_equal(attach(&w, kvm), 0);
	assert_int_equal(w.why.nr, 0);
	leave(&w);
}

static void refused_stub_leaves_no_descriptor(void **state)
{
	struct visit v = {0}; /* the script has no answer to chardev-add */
	int fd = -1;

	(void)state;
	assert_int_equal(attach(&v, NULL), 0);
	assert_int_equal(tgt_gdb_open(v.t, &fd, &v.err), -XO_EQMP);
	assert_int_equal(fd, -1);
	tgt_free(v.t);
	v.t = NULL;
	fake_qmp_join(v.fake);
	assert_int_equal(fake_qmp_fds(v.fake), 2); /* attaching passed one, too */
	assert_non_null(strstr(fake_qmp_got(v.fake), "getfd chardev-add closefd"));
	assert_null(strstr(fake_qmp_got(v.fake), "closefd chardev"));
	leave(&v);
}

static void stale_stub_is_seen(void **state)
{
	static const struct fake_answer changed[] = {
		{"query-chardev", "[{\"label\": \"exopatch-gdb\", \"filename\": \"x\"}]"},
		{NULL, NULL},
	};
	struct visit v = {0};
	int fd;

	(void)state;
	assert_int_equal(attach(&v, changed), 0);
	assert_true(tgt_gdb_stale(v.t));
	assert_int_equal(tgt_gdb_open(v.t, &fd, &v.err), -XO_EGDBSTUB);
	leave(&v);
}

static void usage(void **state)
{
	struct tgt_spec both = {.qmp_path = "a", .domain = "b"}, neither = {0};
	_cleanup_refusal_ struct refusal why = {0};
	struct tgt *t = NULL;

	(void)state;
	assert_int_equal(tgt_attach(&t, &both, &why, NULL), -XO_EUSAGE);
	assert_int_equal(tgt_attach(&t, &neither, &why, NULL), -XO_EUSAGE);
	assert_null(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fit),
		cmocka_unit_test(replugged),
		cmocka_unit_test(all_reasons_at_once),
		cmocka_unit_test(run_states),
		cmocka_unit_test(range_over_several_mappings),
		cmocka_unit_test(partly_private_ram),
		cmocka_unit_test(private_ram_is_locked_too),
		cmocka_unit_test(read_only_ram_is_refused),
		cmocka_unit_test(swapped_descriptor_is_not_opened),
		cmocka_unit_test(addresses_are_checked),
		cmocka_unit_test(vcpu_threads_are_checked),
		cmocka_unit_test(foreign_process_is_refused),
		cmocka_unit_test(hang_up_at_each_command),
		cmocka_unit_test(waiting_stub_hinders_tcg_only),
		cmocka_unit_test(refused_stub_leaves_no_descriptor),
		cmocka_unit_test(stale_stub_is_seen),
		cmocka_unit_test(usage),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
