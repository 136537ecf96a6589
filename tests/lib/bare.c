// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/bare.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/util.h"

#define IMAGE		"build/images/bare/bare.bin"
#define RAM_BYTES	(64u << 20)
#define BOOT_TIMEOUT_MS 300000
#define QMP_TIMEOUT_MS	60000
#define QMP_FD		3
#define GDB_ID		"exopatch-test-gdb"

struct bare {
	pid_t pid;
	int qmp;
	struct mon_vm vm;
	uint8_t *ram;
	size_t line_len;
	char line[65536];
};

bool bare_kvm_usable(void)
{
	_cleanup_close_ int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	_cleanup_close_ int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);

	return vm >= 0;
}

void bare_need_kvm(void)
{
	if (bare_kvm_usable())
		return;
	(void)printf("# skipped: no virtual machine can be made with /dev/kvm here, so stores of "
		     "KVM guests are not exercised\n");
	skip();
}

static int run_quietly(const char *program)
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0) {
		execl(program, program, (char *)NULL);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 ? 0 : -1;
}

static int spawn_qemu(struct bare *b, const struct bare_opts *o)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		return -1;
	b->pid = fork();
	if (b->pid == 0) {
		char smp[16];
		int null = open("/dev/null", O_RDWR);

		/* A test that fails leaves no guest behind. */
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)snprintf(smp, sizeof(smp), "%u", o->nr_cpus);
		if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0 ||
		    dup2(sv[1], QMP_FD) < 0)
			_exit(127);
		if (sv[1] == QMP_FD)
			(void)fcntl(QMP_FD, F_SETFD, 0);
		execlp("qemu-system-x86_64", "qemu-system-x86_64", "-nodefaults", "-no-user-config",
		       "-display", "none", "-no-reboot", "-m", "64", "-smp", smp, "-accel",
		       o->tcg ? "tcg" : "kvm", "-cpu", "qemu64,vendor=GenuineIntel", "-object",
		       "memory-backend-memfd,id=ram,size=64M,share=on", "-machine",
		       "pc,memory-backend=ram", "-serial", "null", "-kernel", IMAGE, "-append",
		       o->ring0 ? "ring0" : "ring3", "-chardev", "socket,id=qmp,fd=3", "-mon",
		       "chardev=qmp,mode=control", (char *)NULL);
		_exit(127);
	}
	(void)close(sv[1]);
	b->qmp = sv[0];
	return b->pid < 0 ? -1 : 0;
}

/* The next line QEMU sends, as JSON, or NULL. */
static json_t *qmp_line(struct bare *b)
{
	struct pollfd p = {.fd = b->qmp, .events = POLLIN};
	json_t *j;

	for (;;) {
		char *end = memchr(b->line, '\n', b->line_len);
		size_t n;
		ssize_t got;

		if (end) {
			n = (size_t)(end - b->line) + 1;
			j = json_loadb(b->line, n, 0, NULL);
			memmove(b->line, b->line + n, b->line_len - n);
			b->line_len -= n;
			return j;
		}
		if (b->line_len == sizeof(b->line) || poll(&p, 1, QMP_TIMEOUT_MS) <= 0)
			return NULL;
		got = recv(b->qmp, b->line + b->line_len, sizeof(b->line) - b->line_len, 0);
		if (got <= 0)
			return NULL;
		b->line_len += (size_t)got;
	}
}

static int qmp_send(struct bare *b, const char *text, int fd)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {.space = {0}};
	struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		mh.msg_control = &control;
		mh.msg_controllen = sizeof(control.space);
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	}
	return sendmsg(b->qmp, &mh, MSG_NOSIGNAL) == (ssize_t)iov.iov_len ? 0 : -1;
}

json_t *bare_qmp(struct bare *b, const char *command, int fd)
{
	if (qmp_send(b, command, fd))
		return NULL;
	for (;;) {
		json_t *j = qmp_line(b);
		json_t *ret = json_object_get(j, "return");

		if (ret)
			json_incref(ret);
		if (!j || ret || json_object_get(j, "error")) {
			json_decref(j);
			return ret;
		}
		json_decref(j); /* the greeting, or an event */
	}
}

static int do_qmp(struct bare *b, const char *command, int fd)
{
	json_t *j = bare_qmp(b, command, fd);

	json_decref(j);
	return j ? 0 : -1;
}

static int hmp(struct bare *b, const char *line, char *out, size_t size)
{
	char command[256];
	json_t *j;

	(void)snprintf(command, sizeof(command),
		       "{\"execute\":\"human-monitor-command\",\"arguments\":"
		       "{\"command-line\":\"%s\"}}",
		       line);
	j = bare_qmp(b, command, -1);
	if (!j)
		return -1;
	(void)snprintf(out, size, "%s", json_string_value(j) ? json_string_value(j) : "");
	json_decref(j);
	return 0;
}

bool bare_running(struct bare *b)
{
	json_t *j = bare_qmp(b, "{\"execute\":\"query-status\"}", -1);
	bool running = json_is_true(json_object_get(j, "running"));

	json_decref(j);
	return running;
}

static int find_ram(struct bare *b)
{
	char path[PATH_MAX];
	struct dirent *e;
	DIR *d;
	int fd = -1;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)b->pid);
	d = opendir(path);
	while (d && fd < 0 && (e = readdir(d))) {
		char link[128];
		ssize_t n = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);

		if (n <= 0)
			continue;
		link[n] = '\0';
		if (strstr(link, "memfd:memory-backend-memfd"))
			fd = openat(dirfd(d), e->d_name, O_RDWR | O_CLOEXEC);
	}
	if (d)
		(void)closedir(d);
	b->vm.backend_fd[0] = fd;
	b->vm.nr_backends = 1;
	b->ram = fd < 0 ? MAP_FAILED
			: mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return b->ram == MAP_FAILED ? -1 : 0;
}

static void add_region(struct bare *b, uint64_t start, uint64_t end, uint64_t hva, bool rom)
{
	b->vm.region[b->vm.nr_regions++] = (struct mon_region){
		.gpa = {start},
		.len_bytes = end - start,
		.hva = {hva + start},
		.backend = 0,
		.backend_off = start,
		.rom = rom,
	};
}

/* Threads and regions; the latter are those of the pc machine with 64 MiB. */
static int describe(struct bare *b, const struct bare_opts *o)
{
	char text[256] = "";
	char *x;
	uint64_t hva;
	json_t *cpus = bare_qmp(b, "{\"execute\":\"query-cpus-fast\"}", -1);

	b->vm.nr_vcpus = json_array_size(cpus);
	for (size_t i = 0; i < b->vm.nr_vcpus && i < BARE_MAX_CPUS; i++)
		b->vm.tid[i] = (pid_t)json_integer_value(
			json_object_get(json_array_get(cpus, i), "thread-id"));
	json_decref(cpus);
	if (b->vm.nr_vcpus != o->nr_cpus || hmp(b, "gpa2hva 0x100000", text, sizeof(text)))
		return -1;
	x = strstr(text, "is 0x");
	if (!x)
		return -1;
	hva = strtoull(x + 3, NULL, 16) - 0x100000;
	add_region(b, 0, 0xa0000, hva, false);
	add_region(b, 0xcf000, 0xe8000, hva, true);
	add_region(b, 0x100000, RAM_BYTES, hva, false);
	b->vm.pid = b->pid;
	b->vm.accel = o->tcg ? MON_TCG : MON_KVM;
	return 0;
}

static int wait_booted(struct bare *b, unsigned int nr_cpus)
{
	for (int ms = 0; ms < BOOT_TIMEOUT_MS; ms += 10) {
		if (bare_shared(b)->magic == BARE_MAGIC && bare_shared(b)->nr_cpus == nr_cpus)
			return 0;
		if (waitpid(b->pid, NULL, WNOHANG) != 0) {
			b->pid = -1;
			return -1;
		}
		xo_sleep_ns(10000000);
	}
	return -1;
}

int bare_start(struct bare **ret, const struct bare_opts *o, struct xerr *err)
{
	struct bare *b = calloc(1, sizeof(*b));
	const char *step = NULL;

	if (!b)
		return xerr_set(err, ENOMEM, "bare guest: out of memory");
	b->pid = b->qmp = b->vm.backend_fd[0] = -1;
	b->ram = MAP_FAILED;
	if (run_quietly("images/bare/build"))
		step = "its image cannot be built";
	else if (spawn_qemu(b, o))
		step = "QEMU cannot be started";
	else if (do_qmp(b, "{\"execute\":\"qmp_capabilities\"}", -1))
		step = "QEMU does not answer";
	else if (find_ram(b) || describe(b, o))
		step = "its memory and vCPUs cannot be found";
	else if (wait_booted(b, o->nr_cpus))
		step = "it does not boot";
	if (step) {
		bare_stop(b);
		return xerr_set(err, XO_ETIMEOUT, "bare guest: %s", step);
	}
	*ret = b;
	return 0;
}

const struct mon_vm *bare_vm(const struct bare *b)
{
	return &b->vm;
}

volatile struct bare_shared *bare_shared(const struct bare *b)
{
	return (volatile struct bare_shared *)(void *)(b->ram + BARE_SHARED);
}

uint8_t *bare_mem(const struct bare *b, uint64_t gpa)
{
	return b->ram + gpa;
}

bool bare_sees(const struct bare *b, uint64_t value, unsigned int timeout_ms)
{
	for (unsigned int ms = 0;; ms++) {
		bool all = true;

		for (size_t i = 0; i < b->vm.nr_vcpus; i++)
			all = all && bare_shared(b)->cpu[i].value == value;
		if (all || ms >= timeout_ms)
			return all;
		xo_sleep_ns(1000000);
	}
}

bool bare_runs(const struct bare *b, unsigned int timeout_ms)
{
	uint64_t before[BARE_MAX_CPUS];

	for (size_t i = 0; i < b->vm.nr_vcpus; i++)
		before[i] = bare_shared(b)->cpu[i].iterations;
	for (unsigned int ms = 0;; ms++) {
		bool all = true;

		for (size_t i = 0; i < b->vm.nr_vcpus; i++)
			all = all && bare_shared(b)->cpu[i].iterations > before[i] + 1;
		if (all || ms >= timeout_ms)
			return all;
		xo_sleep_ns(1000000);
	}
}

void bare_reset_gaps(const struct bare *b)
{
	for (size_t i = 0; i < b->vm.nr_vcpus; i++)
		bare_shared(b)->cpu[i].reset = 1;
	for (int n = 0; n < 1000; n++) {
		uint64_t left = 0;

		for (size_t i = 0; i < b->vm.nr_vcpus; i++)
			left |= bare_shared(b)->cpu[i].reset;
		if (!left)
			return;
		xo_sleep_ns(50000);
	}
}

uint64_t bare_max_gap_tsc(const struct bare *b)
{
	uint64_t max = 0;

	for (size_t i = 0; i < b->vm.nr_vcpus; i++) {
		uint64_t gap = bare_shared(b)->cpu[i].max_gap_tsc;

		max = gap > max ? gap : max;
	}
	return max;
}

int bare_gdb_open(struct bare *b, int *ret_fd)
{
	int sv[2];
	int rc;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		return -1;
	rc = do_qmp(b, "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"" GDB_ID "\"}}", sv[1]);
	(void)close(sv[1]);
	if (!rc)
		rc = do_qmp(b,
			    "{\"execute\":\"chardev-add\",\"arguments\":{\"id\":\"" GDB_ID
			    "\",\"backend\":{\"type\":\"socket\",\"data\":{\"addr\":{\"type\":"
			    "\"fd\",\"data\":{\"str\":\"" GDB_ID "\"}},\"server\":false}}}}",
			    -1);
	if (rc) {
		(void)close(sv[0]);
		return -1;
	}
	*ret_fd = sv[0];
	return 0;
}

int bare_gdb_attach(struct bare *b)
{
	char out[256] = "";

	return hmp(b, "gdbserver chardev:" GDB_ID, out, sizeof(out));
}

int bare_gdb_close(struct bare *b)
{
	char out[256] = "";

	/* This removes the character device too. */
	return hmp(b, "gdbserver none", out, sizeof(out));
}

int bare_uffd_open(struct bare *b)
{
	_cleanup_close_ int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	json_t *j =
		dev < 0 ? NULL
			: bare_qmp(b, "{\"execute\":\"add-fd\",\"arguments\":{\"fdset-id\":77}}",
				   dev);
	int fd = j ? (int)json_integer_value(json_object_get(j, "fd")) : -1;

	json_decref(j);
	return fd;
}

int bare_uffd_close(struct bare *b)
{
	return do_qmp(b, "{\"execute\":\"remove-fd\",\"arguments\":{\"fdset-id\":77}}", -1);
}

void bare_store(const struct bare *b, unsigned int cpu, uint32_t kind, uint64_t addr,
		uint64_t value)
{
	volatile struct bare_store *s = &bare_shared(b)->store[cpu];

	s->kind = kind;
	s->addr = addr;
	s->value = value;
	s->request++;
}

bool bare_stored(const struct bare *b, unsigned int cpu, unsigned int timeout_ms,
		 uint64_t *ret_seen)
{
	volatile struct bare_store *s = &bare_shared(b)->store[cpu];

	for (unsigned int ms = 0; s->done != s->request; ms++) {
		if (ms >= timeout_ms)
			return false;
		xo_sleep_ns(1000000);
	}
	if (ret_seen)
		*ret_seen = s->seen;
	return true;
}

void bare_kill(struct bare *b)
{
	if (b->pid > 1)
		(void)kill(b->pid, SIGKILL);
}

void bare_stop(struct bare *b)
{
	if (!b)
		return;
	if (b->pid > 0) {
		bare_kill(b);
		(void)waitpid(b->pid, NULL, 0);
	}
	if (b->ram != MAP_FAILED)
		(void)munmap(b->ram, RAM_BYTES);
	xo_close_ptr(&b->vm.backend_fd[0]);
	xo_close_ptr(&b->qmp);
	free(b);
}
