// SPDX-License-Identifier: Apache-2.0
/* exopatch-lens as a process: what it may do, and what the client says when it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/lib/proc.h"
#include "tests/unit/lens/fake_guest.h"

struct fixture {
	struct fake fake;
	int fd; /* memfd with the fake's memory */
	struct lens_vm vm;
	struct lens *l;
	struct xerr err;
};

static int set_up(void **state)
{
	static struct fixture x;
	char dir[512];

	x = (struct fixture){0};
	setenv("EXOPATCH_LIBEXEC", run_build_path(".", dir, sizeof(dir)), 1);
	fake_make(&x.fake, true);
	x.fd = memfd_create("fake", MFD_CLOEXEC);
	if (x.fd < 0 || pwrite(x.fd, x.fake.ram, FAKE_BYTES, 0) != FAKE_BYTES)
		return -1;
	x.vm = (struct lens_vm){.nr_regions = 1, .nr_backends = 1, .nr_vcpus = 1};
	x.vm.region[0] = (struct lens_region){.gpa = {FAKE_GPA}, .len_bytes = FAKE_BYTES};
	x.vm.backend_fd[0] = x.fd;
	x.vm.vcpu[0] = (struct lens_vcpu_hint){
		.cr0 = 0x80050033, .cr3 = fake_phys(FAKE_PGD), .cr4 = 0x20, .efer = 0xd01};
	*state = &x;
	return lens_start(&x.l, &x.vm, &x.err);
}

static int tear_down(void **state)
{
	struct fixture *x = *state;

	lens_free(x->l);
	close(x->fd);
	fake_free(&x->fake);
	return 0;
}

static void test_calls(void **state)
{
	struct fixture *x = *state;
	struct lens_lookup q[LENS_MAX_LOOKUP + 3] = {0};
	struct lens_window_page page = {.gpa = {0xd0000}};
	struct lens_symbol sym;
	struct lens_kernel k;
	_cleanup_free_ uint8_t *big = malloc(FAKE_BYTES);
	uint64_t off, left;
	struct gpa gpa;

	assert_int_equal(lens_discover(x->l, &k, &x->err), 0);
	assert_int_equal(k.base.v, FAKE_BASE);
	assert_string_equal(k.release, "6.9-fake");
	for (size_t i = 0; i < XO_ARRAY_SIZE(q); i++)
		snprintf(q[i].name, sizeof(q[i].name), "%s", i % 2 ? "victim" : "none");
	assert_int_equal(lens_lookup(x->l, q, XO_ARRAY_SIZE(q), &x->err), 0);
	assert_false(q[LENS_MAX_LOOKUP + 2].valid);
	assert_true(q[LENS_MAX_LOOKUP + 1].valid);
	assert_string_equal(q[LENS_MAX_LOOKUP + 1].found.name, "victim");
	assert_int_equal(lens_symbolize(x->l, (struct gva){FAKE_BASE + FAKE_VICTIM + 3}, &sym, &off,
					&x->err),
			 0);
	assert_string_equal(sym.name, "victim");
	assert_int_equal(off, 3);
	/* More than one record. */
	assert_int_equal(lens_read(x->l, (struct gva){FAKE_BASE}, big, FAKE_BYTES, &x->err), 0);
	assert_memory_equal(big, x->fake.ram, FAKE_BYTES);
	assert_int_equal(lens_read_phys(x->l, (struct gpa){FAKE_GPA}, big, 4096, &x->err), 0);
	assert_int_equal(lens_translate(x->l, (struct gva){FAKE_BASE + 4100}, &gpa, &left, &x->err),
			 0);
	assert_int_equal(gpa.v, FAKE_GPA + 4100);
	assert_int_equal(left, 4092);
	assert_int_equal(lens_window(x->l, &page, 1, &x->err), 0);
	assert_true(page.usable);
}

static void test_refusal(void **state)
{
	struct fixture *x = *state;
	_cleanup_refusal_ struct refusal why = {0};
	struct lens_site site;
	struct lens_kernel k;

	assert_int_equal(lens_discover(x->l, &k, &x->err), 0);
	assert_int_equal(lens_site(x->l, (struct gva){FAKE_BASE + FAKE_VICTIM}, 9, NULL, 0, &site,
				   &why, &x->err),
			 -XO_ENOROOM);
	assert_int_equal(why.nr, 1);
	assert_non_null(strstr(why.reason[0].detail, "too short"));
}

/* A line of /proc/PID/status, without its name. */
static void status_line(pid_t pid, const char *name, char *out, size_t size)
{
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	assert_non_null(f);
	out[0] = '\0';
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)))
			snprintf(out, size, "%s", line + strlen(name));
	fclose(f);
}

static void test_sandbox(void **state)
{
	struct fixture *x = *state;
	pid_t pid = lens_pid(x->l);
	char text[256], path[64];
	const struct dirent *e;
	unsigned int nr = 0;
	DIR *d;

	status_line(pid, "Seccomp:", text, sizeof(text));
	assert_int_equal(atoi(text), 2);
	status_line(pid, "NoNewPrivs:", text, sizeof(text));
	assert_int_equal(atoi(text), 1);
	if (geteuid() != 0)
		return;
	status_line(pid, "Uid:", text, sizeof(text));
	assert_string_equal(text, "\t65534\t65534\t65534\t65534\n");
	status_line(pid, "CapEff:", text, sizeof(text));
	assert_int_equal(strtoull(text, NULL, 16), 0);
	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	assert_non_null(d);
	while ((e = readdir(d)))
		nr += e->d_name[0] != '.';
	closedir(d);
	assert_int_equal(nr, 4);
	/* The mapping cannot be written to. */
	snprintf(path, sizeof(path), "grep -c 'rw-s.*memfd:fake' /proc/%d/maps >/dev/null", pid);
	assert_int_not_equal(system(path), 0);
}

/* QEMU's memory gets shorter under its feet. */
static void test_shrunk(void **state)
{
	struct fixture *x = *state;
	struct lens_kernel k;
	uint8_t byte;

	assert_int_equal(lens_discover(x->l, &k, &x->err), 0);
	assert_int_equal(ftruncate(x->fd, 4096), 0);
	assert_int_equal(lens_read(x->l, (struct gva){FAKE_BASE + 8192}, &byte, 1, &x->err),
			 -XO_EPEERDIED);
	/* From then on at once, and ending it is fine. */
	x->err = (struct xerr){0};
	assert_int_equal(lens_discover(x->l, &k, &x->err), -XO_EPEERDIED);
}

static void test_killed(void **state)
{
	struct fixture *x = *state;
	struct lens_kernel k;

	assert_true(lens_pid(x->l) > 1);
	kill(lens_pid(x->l), SIGKILL);
	assert_int_equal(lens_discover(x->l, &k, &x->err), -XO_EPEERDIED);
}

/* It does not outlive whoever started it. */
static void test_orphan(void **state)
{
	struct fixture *x = *state;
	struct pollfd p = {.events = POLLIN};
	struct lens *l;
	int sv[2];
	pid_t pid;

	assert_int_equal(pipe(sv), 0);
	pid = fork();
	if (pid == 0) {
		pid_t lens;

		if (lens_start(&l, &x->vm, NULL))
			_exit(1);
		lens = lens_pid(l);
		_exit(write(sv[1], &lens, sizeof(lens)) != sizeof(lens));
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(read(sv[0], &pid, sizeof(pid)), sizeof(pid));
	p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (p.fd >= 0) {
		assert_int_equal(poll(&p, 1, 5000), 1);
		close(p.fd);
	}
	close(sv[0]);
	close(sv[1]);
}

static void test_bad_start(void **state)
{
	struct fixture *x = *state;
	struct lens *l = NULL;

	x->vm.region[0].backend = 3;
	assert_int_equal(lens_start(&l, &x->vm, &x->err), -XO_EPROTO);
	x->vm.region[0].backend = 0;
	x->vm.region[0].backend_off = 1;
	x->err = (struct xerr){0};
	assert_int_equal(lens_start(&l, &x->vm, &x->err), -EINVAL);
	assert_non_null(strstr(x->err.text, "0x200000"));
	x->vm.nr_regions = LENS_MAX_REGIONS + 1;
	assert_int_equal(lens_start(&l, &x->vm, NULL), -XO_ELIMIT);
	setenv("EXOPATCH_LIBEXEC", "/nonexistent", 1);
	x->vm.nr_regions = 0;
	assert_int_equal(lens_start(&l, &x->vm, NULL), -ENOENT);
	assert_null(l);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_calls),	T(test_refusal), T(test_sandbox),   T(test_shrunk),
		T(test_killed), T(test_orphan),	 T(test_bad_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
