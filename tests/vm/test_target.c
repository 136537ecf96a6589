// SPDX-License-Identifier: Apache-2.0
/* Attaching by QMP socket to guests of many shapes, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "base/util.h"
#include "tests/lib/gdb_client.h"
#include "tests/lib/guest.h"
#include "vmm-agent/target/target.h"

#define MIB	      UINT64_C(1048576)
#define GIB	      (UINT64_C(1024) * MIB)
#define WINDOW	      UINT64_C(0xc0000)
#define WINDOW_END    UINT64_C(0x100000)
#define ATTACH_MAX_MS 1000 /* on a host that does much else; 10 to 25 on one that does not */

/* ---- helpers ---- */

static struct guest *start(const struct guest_opts *o)
{
	struct guest *g = NULL;

	assert_int_equal(guest_start(&g, o), 0);
	return g;
}

static struct tgt *attach(const struct guest *g, struct refusal *why)
{
	struct tgt_spec spec = {.qmp_path = guest_qmp_path(g)};
	struct xerr err = {0};
	struct tgt *t = NULL;
	int rc = tgt_attach(&t, &spec, why, &err);

	if (rc)
		fail_msg("attach: %s", err.text);
	return t;
}

/* Attach to a guest that gives no reason against it. */
static struct tgt *attach_fit(const struct guest *g)
{
	_cleanup_refusal_ struct refusal why = {0};
	struct tgt *t = attach(g, &why);

	if (why.nr)
		fail_msg("refused: %s", why.reason[0].detail);
	return t;
}

static const char *reason(const struct refusal *why, int code)
{
	for (size_t i = 0; i < why->nr; i++) {
		if (why->reason[i].code == code)
			return why->reason[i].detail;
	}
	return NULL;
}

static const struct tgt_region *region_at(const struct tgt_info *f, uint64_t gpa)
{
	for (size_t i = 0; i < f->nr_regions; i++) {
		const struct tgt_region *r = &f->region[i];

		if (gpa >= r->gpa.v && gpa - r->gpa.v < r->len_bytes)
			return r;
	}
	return NULL;
}

/* A word of a region read by us, from its file or QEMU's memory, is what QEMU shows. */
static void assert_same_bytes(struct tgt *t, struct guest *g, uint64_t gpa)
{
	const struct tgt_region *r = region_at(tgt_info(t), gpa);
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -1;
	struct xerr err = {0};
	char line[64], *colon;
	uint64_t ours, at;

	assert_non_null(r);
	at = (r->backend < 0 ? r->hva.v : r->backend_off) + (gpa - r->gpa.v);
	fd = r->backend < 0 ? tgt_memory_open(t, &err)
			    : tgt_backend_open(t, (size_t)r->backend, false, &err);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &ours, sizeof(ours), (off_t)at), sizeof(ours));
	snprintf(line, sizeof(line), "xp /1xg 0x%llx", (unsigned long long)gpa);
	text = guest_hmp(g, line);
	assert_non_null(text);
	colon = strchr(text, ':');
	assert_non_null(colon);
	assert_int_equal(strtoull(colon + 1, NULL, 16), ours);
}

/* The firmware window, put together from our regions, is what QEMU's own text says. */
static void assert_window_as_qemu_says(struct guest *g, const struct tgt_info *f)
{
	_cleanup_free_ char *text = guest_hmp(g, "info mtree -f");
	char *line = strstr(text, " AS \"memory\", root:");
	int seen = 0;

	assert_non_null(line);
	for (line = strstr(line, "\n  0"); line && line[1] == ' '; line = strchr(line + 1, '\n')) {
		unsigned long long first, last;
		const struct tgt_region *r;
		char kind[8], block[64];

		if (sscanf(line, "\n  %llx-%llx (prio %*d, %7[^)]): %63s", &first, &last, kind,
			   block) != 4 ||
		    last < WINDOW || first >= WINDOW_END)
			continue;
		r = region_at(f, first);
		assert_non_null(r);
		assert_int_equal(r->gpa.v, first);
		assert_int_equal(r->len_bytes, last - first + 1);
		assert_int_equal(r->rom, !strncmp(kind, "rom", 3));
		assert_string_equal(r->block, block);
		seen++;
	}
	assert_true(seen > 0);
}

static void assert_boots_with_window(const struct guest_opts *o, const char *machine)
{
	struct guest *g = NULL;
	struct tgt *t;

	assert_int_equal(guest_boot(&g, o), 0);
	t = attach_fit(g);
	assert_int_equal(strncmp(tgt_info(t)->machine, machine, strlen(machine)), 0);
	assert_window_as_qemu_says(g, tgt_info(t));
	tgt_free(t);
	guest_free(g);
}

/* ---- one booted guest ---- */

static char second_socket[128];

static int boot(void **state)
{
	const char *tmp = getenv("TMPDIR");
	char option[160];

	snprintf(second_socket, sizeof(second_socket), "%s/exopatch-second-%d", tmp ? tmp : "/tmp",
		 (int)getpid());
	snprintf(option, sizeof(option), "unix:%s,server=on,wait=off", second_socket);
	return guest_boot((struct guest **)state,
			  &(struct guest_opts){
				  .name = "sea",
				  .extra = (const char *[]){"-qmp", option, NULL},
			  });
}

static int end(void **state)
{
	guest_free(*state);
	unlink(second_socket);
	return 0;
}

static void knows_the_guest(void **state)
{
	struct tgt *t = attach_fit(*state);
	const struct tgt_info *f = tgt_info(t);

	assert_string_equal(f->name, "sea");
	assert_int_equal(f->pid, guest_pid(*state));
	assert_true(f->start_time > 0);
	assert_true(f->qemu_version[0] >= 7);
	assert_int_equal(f->accel, TGT_TCG);
	assert_string_equal(f->arch, "x86_64");
	assert_true(f->running);
	assert_string_equal(f->state, "running");
	assert_false(f->via_libvirt);
	assert_int_equal(f->nr_vcpus, 2);
	assert_int_equal(f->nr_backends, 1);
	assert_string_equal(f->backend[0].name, "/memfd:memory-backend-memfd");
	assert_int_equal(f->backend[0].page_bytes, 4096);
	assert_int_equal(f->ram_bytes, 512 * MIB);
	assert_int_equal(f->nr_sharers, 0);
	for (size_t i = 0; i < 2; i++) {
		assert_true(f->vcpu[i].tid > 0);
		assert_int_equal(f->vcpu[i].cr0 >> 31, 1);
		assert_true(f->vcpu[i].cr3 != 0);
		assert_int_equal(f->vcpu[i].efer & 0x500, 0x500);
	}
	tgt_free(t);
}

static void window_with_seabios_on_q35(void **state)
{
	struct tgt *t = attach_fit(*state);

	assert_window_as_qemu_says(*state, tgt_info(t));
	assert_same_bytes(t, *state, 0xf0000); /* SeaBIOS itself, shadowed */
	tgt_free(t);
}

static void attach_is_quick(void **state)
{
	uint64_t best_ns = UINT64_MAX;

	for (int i = 0; i < 5; i++) {
		uint64_t from_ns = xo_now_ns();
		struct tgt *t = attach_fit(*state);
		uint64_t took_ns = xo_now_ns() - from_ns;

		tgt_free(t);
		if (took_ns < best_ns)
			best_ns = took_ns;
	}
	print_message("attach: %.1f ms\n", (double)best_ns / 1e6);
	assert_true(best_ns < ATTACH_MAX_MS * UINT64_C(1000000));
}

static void backend_opens_writable_or_not(void **state)
{
	struct tgt *t = attach_fit(*state);
	struct xerr err = {0};
	int fd = tgt_backend_open(t, 0, true, &err);
	void *p;

	assert_true(fd >= 0);
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	munmap(p, 4096);
	close(fd);
	fd = tgt_backend_open(t, 0, false, &err);
	assert_true(fd >= 0);
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_equal(p, MAP_FAILED);
	close(fd);
	assert_int_equal(tgt_backend_open(t, 1, false, &err), -XO_EINTERNAL);
	tgt_free(t);
}

static void second_client_of_a_socket_times_out(void **state)
{
	struct tgt_spec spec = {.qmp_path = guest_qmp_path(*state)};
	_cleanup_refusal_ struct refusal why = {0};
	struct tgt *first = attach_fit(*state), *second = NULL;
	struct xerr err = {0};

	assert_int_equal(tgt_attach(&second, &spec, &why, &err), -XO_ETIMEOUT);
	assert_null(second);
	assert_non_null(strstr(err.text, "another client"));
	tgt_free(first);
}

static void second_exopatch_is_refused(void **state)
{
	struct tgt_spec spec = {.qmp_path = second_socket};
	_cleanup_refusal_ struct refusal why = {0}, none = {0};
	struct tgt *first = attach_fit(*state), *second = NULL;
	struct xerr err = {0};

	assert_int_equal(tgt_attach(&second, &spec, &why, &err), 0);
	assert_non_null(reason(&why, XO_ELOCKED));
	assert_int_equal(tgt_info(second)->pid, guest_pid(*state));
	tgt_free(second);
	tgt_free(first);
	assert_int_equal(tgt_attach(&second, &spec, &none, &err), 0);
	assert_int_equal(none.nr, 0);
	tgt_free(second);
}

static void sharers_are_listed(void **state)
{
	struct tgt *t = attach_fit(*state);
	struct xerr err = {0};
	int fd = tgt_backend_open(t, 0, false, &err);
	pid_t child;

	tgt_free(t);
	assert_true(fd >= 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		if (mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED)
			_exit(1);
		for (;;)
			pause();
	}
	close(fd);
	for (int i = 0, seen = 0; !seen && i < 100; i++) {
		t = attach_fit(*state);
		seen = tgt_info(t)->nr_sharers == 1 && tgt_info(t)->sharer[0].pid == child &&
		       strstr(tgt_info(t)->sharer[0].what, "maps /memfd:memory-backend");
		tgt_free(t);
		assert_true(seen || i < 99);
		if (!seen)
			xo_sleep_ns(10000000);
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/* ---- debuggers ---- */

static void somebody_elses_stub_is_refused_and_left_alone(void **state)
{
	_cleanup_free_ char *started = guest_hmp(*state, "gdbserver tcp:127.0.0.1:0");
	_cleanup_refusal_ struct refusal why = {0};
	_cleanup_free_ char *devices = NULL, *ended = NULL;
	struct tgt *t = attach(*state, &why);
	struct xerr err = {0};

	assert_non_null(reason(&why, XO_EDEBUGGER));
	assert_false(tgt_gdb_stale(t));
	assert_int_equal(tgt_gdb_close(t, &err), 0);
	tgt_free(t);
	devices = guest_hmp(*state, "info chardev");
	assert_non_null(strstr(devices, "\ngdb: "));
	ended = guest_hmp(*state, "gdbserver none");
	assert_non_null(ended);
	assert_true(guest_is_running(*state));
}

static void a_tracer_is_refused(void **state)
{
	_cleanup_refusal_ struct refusal why = {0};
	struct tgt *t = attach_fit(*state);
	pid_t tid = tgt_info(t)->vcpu[1].tid;
	int ready[2];
	pid_t child;
	char byte;

	tgt_free(t);
	assert_int_equal(pipe(ready), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	t = attach(*state, &why);
	assert_non_null(reason(&why, XO_EDEBUGGER));
	tgt_free(t);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	assert_true(guest_is_running(*state));
}

/* ---- our gdb stub ---- */

static void visit_stops_and_resumes(void **state)
{
	struct tgt *t = attach_fit(*state);
	struct xerr err = {0};
	char answer[256];
	int fd = -1;

	assert_int_equal(tgt_gdb_open(t, &fd, &err), 0);
	assert_true(guest_is_running(*state));
	assert_int_equal(tgt_gdb_open(t, &fd, &err), -XO_EGDBSTUB);
	assert_int_equal(tgt_gdb_attach(t, &err), 0);
	assert_false(guest_is_running(*state));
	assert_int_equal(gdb_ask(fd, "?", answer, sizeof(answer)), 0);
	assert_int_equal(answer[0], 'T');
	assert_int_equal(gdb_ask(fd, "Qqemu.PhyMemMode:1", answer, sizeof(answer)), 0);
	assert_string_equal(answer, "OK");
	assert_int_equal(gdb_ask(fd, "mffff0,5", answer, sizeof(answer)), 0);
	assert_string_equal(answer, "ea5be000f0"); /* the reset vector's far jump */
	assert_int_equal(gdb_ask(fd, "D", answer, sizeof(answer)), 0);
	assert_string_equal(answer, "OK");
	assert_true(guest_is_running(*state));
	close(fd);
	assert_int_equal(tgt_gdb_close(t, &err), 0);
	assert_int_equal(tgt_refresh(t, &err), 0);
	assert_true(tgt_info(t)->running);
	tgt_free(t);
}

static void assert_no_stub(struct guest *g)
{
	_cleanup_free_ char *devices = guest_hmp(g, "info chardev");

	assert_non_null(devices);
	assert_null(strstr(devices, "exopatch-gdb"));
}

static void free_removes_an_open_stub(void **state)
{
	struct tgt *t = attach_fit(*state);
	struct xerr err = {0};
	int fd = -1;

	assert_int_equal(tgt_gdb_open(t, &fd, &err), 0);
	tgt_free(t);
	close(fd);
	assert_no_stub(*state);
	assert_true(guest_is_running(*state));
}

/* A process that dies in the middle of a visit, with the guest stopped or not yet. */
static void die_in_a_visit(struct guest *g, bool attached)
{
	pid_t child = fork();
	int status = 0;

	assert_true(child >= 0);
	if (!child) {
		struct tgt_spec spec = {.qmp_path = guest_qmp_path(g)};
		struct refusal why = {0};
		struct tgt *t = NULL;
		int fd = -1;

		if (tgt_attach(&t, &spec, &why, NULL) || tgt_gdb_open(t, &fd, NULL) ||
		    (attached && tgt_gdb_attach(t, NULL)))
			_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void stale_stub_is_found_and_removed(void **state)
{
	for (int attached = 0; attached <= 1; attached++) {
		struct xerr err = {0};
		struct tgt *t;

		die_in_a_visit(*state, attached);
		t = attach_fit(*state);
		assert_true(tgt_gdb_stale(t));
		assert_int_equal(tgt_info(t)->running, !attached);
		assert_int_equal(tgt_gdb_close(t, &err), 0);
		assert_false(tgt_gdb_stale(t));
		assert_no_stub(*state);
		if (attached)
			assert_int_equal(tgt_resume(t, &err), 0);
		assert_true(guest_is_running(*state));
		tgt_free(t);
	}
}

static void paused_guest_stays_paused(void **state)
{
	struct xerr err = {0};
	char answer[256];
	struct tgt *t;
	int fd = -1;

	assert_int_equal(guest_pause(*state), 0);
	t = attach_fit(*state);
	assert_false(tgt_info(t)->running);
	assert_string_equal(tgt_info(t)->state, "paused");
	assert_int_equal(tgt_gdb_open(t, &fd, &err), 0);
	assert_int_equal(tgt_gdb_attach(t, &err), 0);
	assert_int_equal(gdb_ask(fd, "?", answer, sizeof(answer)), 0);
	close(fd);
	assert_int_equal(tgt_gdb_close(t, &err), 0);
	tgt_free(t);
	assert_false(guest_is_running(*state));
	assert_int_equal(guest_resume(*state), 0);
}

static void stop_and_resume(void **state)
{
	struct tgt *t = attach_fit(*state);
	struct xerr err = {0};

	assert_int_equal(tgt_stop(t, &err), 0);
	assert_int_equal(tgt_refresh(t, &err), 0);
	assert_false(tgt_info(t)->running);
	assert_int_equal(tgt_resume(t, &err), 0);
	assert_int_equal(tgt_refresh(t, &err), 0);
	assert_true(tgt_info(t)->running);
	tgt_free(t);
}

static void guest_is_unharmed(void **state)
{
	assert_true(guest_dmesg_clean(*state));
}

/* ---- other shapes ---- */

static void window_with_seabios_on_pc(void **state)
{
	(void)state;
	assert_boots_with_window(&(struct guest_opts){.machine = "pc"}, "pc-i440fx-");
}

static void window_with_ovmf_on_q35(void **state)
{
	(void)state;
	assert_boots_with_window(&(struct guest_opts){.ovmf = true}, "pc-q35-");
}

static void window_with_ovmf_on_pc(void **state)
{
	(void)state;
	assert_boots_with_window(&(struct guest_opts){.ovmf = true, .machine = "pc"}, "pc-i440fx-");
}

static void five_gib_in_two_nodes(void **state)
{
	struct guest *g = start(
		&(struct guest_opts){.mem_mib = 2560, .numa_nodes = 2, .vcpus = 8, .paused = true});
	struct tgt *t = attach_fit(g);
	const struct tgt_info *f = tgt_info(t);
	const struct tgt_region *low = region_at(f, MIB), *high = region_at(f, 4 * GIB);
	const struct tgt_region *last;

	(void)state;
	assert_int_equal(f->nr_vcpus, 8);
	assert_int_equal(f->nr_backends, 2);
	assert_non_null(low);
	assert_non_null(high);
	assert_int_equal(low->backend, 0);
	assert_int_equal(low->backend_off, MIB);
	assert_int_equal(low->gpa.v + low->len_bytes, 2 * GIB); /* q35's hole begins here */
	assert_int_equal(high->backend, 0);
	assert_int_equal(high->backend_off, 2 * GIB);
	assert_int_equal(high->len_bytes, 512 * MIB);
	last = region_at(f, 4 * GIB + 512 * MIB);
	assert_non_null(last);
	assert_int_equal(last->backend, 1);
	assert_int_equal(last->backend_off, 0);
	assert_int_equal(last->len_bytes, 2560 * MIB);
	assert_null(region_at(f, 3 * GIB));
	assert_same_bytes(t, g, 5 * GIB);
	tgt_free(t);
	guest_free(g);
}

static void each_count_of_vcpus(void **state)
{
	(void)state;
	for (unsigned int n = 1; n <= 7; n += 2) {
		struct guest *g = start(&(struct guest_opts){.vcpus = n, .paused = true});
		struct tgt *t = attach_fit(g);

		assert_int_equal(tgt_info(t)->nr_vcpus, n);
		tgt_free(t);
		guest_free(g);
	}
}

static void too_many_vcpus_are_refused(void **state)
{
	struct guest *g = start(&(struct guest_opts){.vcpus = 65, .paused = true});
	_cleanup_refusal_ struct refusal why = {0};
	struct tgt *t = attach(g, &why);

	(void)state;
	assert_non_null(reason(&why, XO_ECPUCOUNT));
	tgt_free(t);
	guest_free(g);
}

static void private_ram_is_reached(void **state)
{
	struct guest *g = NULL;
	struct tgt *t;
	const struct tgt_region *r;

	(void)state;
	assert_int_equal(guest_boot(&g, &(struct guest_opts){.private_ram = true}), 0);
	t = attach_fit(g);
	r = region_at(tgt_info(t), MIB);
	assert_non_null(r);
	assert_int_equal(r->backend, -1);
	assert_true(r->ram);
	assert_string_equal(r->block, "pc.ram");
	assert_int_equal(tgt_info(t)->nr_backends, 0);
	assert_int_equal(tgt_info(t)->ram_bytes, 512 * MIB);
	assert_same_bytes(t, g, 16 * MIB);
	assert_same_bytes(t, g, 0xffff0);
	assert_window_as_qemu_says(g, tgt_info(t));
	tgt_free(t);
	guest_free(g);
}

static void kvm_is_told_apart(void **state)
{
	struct guest *g;
	struct tgt *t;

	(void)state;
	if (access("/dev/kvm", R_OK | W_OK))
		skip();
	g = start(&(struct guest_opts){.kvm = true, .cpu = "qemu64", .paused = true, .vcpus = 4});
	t = attach_fit(g);
	assert_int_equal(tgt_info(t)->accel, TGT_KVM);
	assert_int_equal(tgt_info(t)->nr_vcpus, 4);
	assert_string_equal(tgt_info(t)->state, "prelaunch");
	assert_window_as_qemu_says(g, tgt_info(t));
	tgt_free(t);
	guest_free(g);
}

/* A stub that waits on a KVM guest hinders nobody; KVM needs no stub of ours. */
static void listening_stub_does_not_hinder_kvm(void **state)
{
	struct guest *g;
	struct tgt *t;

	(void)state;
	if (access("/dev/kvm", R_OK | W_OK))
		skip();
	g = start(&(struct guest_opts){
		.kvm = true,
		.cpu = "qemu64",
		.paused = true,
		.extra = (const char *[]){"-gdb", "tcp:127.0.0.1:0", NULL},
	});
	t = attach_fit(g);
	tgt_free(t);
	guest_free(g);
}

static void a_displays_memory_is_no_guest_ram(void **state)
{
	struct guest *g = NULL;
	struct tgt *t;
	const struct tgt_info *f;
	size_t seen = 0;

	(void)state;
	assert_int_equal(guest_boot(&g,
				    &(struct guest_opts){
					    .extra = (const char *[]){"-device", "VGA", NULL},
				    }),
			 0);
	t = attach_fit(g);
	f = tgt_info(t);
	for (size_t i = 0; i < f->nr_regions; i++) {
		if (!strcmp(f->region[i].block, "vga.vram")) {
			assert_int_equal(f->region[i].backend, -1);
			seen++;
		}
	}
	assert_true(seen > 0);
	assert_true(f->ram_bytes < 512 * MIB); /* the VGA hole hides some */
	assert_window_as_qemu_says(g, f);
	tgt_free(t);
	guest_free(g);
}

static long huge_pages(long set)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/sys/vm/nr_hugepages", set < 0 ? "re" : "we");
	long n = -1;

	if (!f)
		return -1;
	if (set >= 0)
		return fprintf(f, "%ld\n", set) > 0 && !fflush(f) ? set : -1;
	return fscanf(f, "%ld", &n) == 1 ? n : -1;
}

static void huge_pages_are_reported(void **state)
{
	long before = huge_pages(-1);
	struct guest *g;
	struct tgt *t;

	(void)state;
	if (before < 0 || huge_pages(before + 32) < 0 || huge_pages(-1) < before + 32)
		skip();
	g = start(&(struct guest_opts){
		.private_ram = true, /* the harness's own backend left out */
		.mem_mib = 64,
		.paused = true,
		.extra =
			(const char *[]){
				"-object",
				"memory-backend-memfd,id=huge,size=64M,share=on,hugetlb=on",
				"-machine", "memory-backend=huge", NULL},
	});
	huge_pages(before);
	t = attach_fit(g);
	assert_int_equal(tgt_info(t)->backend[0].page_bytes, 2 * MIB);
	tgt_free(t);
	guest_free(g);
}

/* Shared memory without a descriptor in QEMU is reached through its mapping. */
static void shared_anonymous_ram_is_reached(void **state)
{
	struct guest *g = start(&(struct guest_opts){
		.private_ram = true,
		.mem_mib = 64,
		.paused = true,
		.extra = (const char *[]){"-object", "memory-backend-ram,id=anon,size=64M,share=on",
					  "-machine", "memory-backend=anon", NULL},
	});
	struct tgt *t = attach_fit(g);

	(void)state;
	assert_non_null(strstr(tgt_info(t)->backend[0].proc_path, "/map_files/"));
	assert_same_bytes(t, g, MIB);
	tgt_free(t);
	guest_free(g);
}

static void file_backend_on_disk(void **state)
{
	char option[256];
	struct guest *g;
	struct tgt *t;

	(void)state;
	snprintf(option, sizeof(option),
		 "memory-backend-file,id=f,size=64M,share=on,mem-path=%s.ram", second_socket);
	g = start(&(struct guest_opts){
		.private_ram = true,
		.mem_mib = 64,
		.paused = true,
		.extra = (const char *[]){"-object", option, "-machine", "memory-backend=f", NULL},
	});
	t = attach_fit(g);
	assert_non_null(strstr(tgt_info(t)->backend[0].name, "exopatch-second-"));
	assert_same_bytes(t, g, MIB);
	tgt_free(t);
	guest_free(g);
	snprintf(option, sizeof(option), "%s.ram", second_socket);
	unlink(option);
}

static void death_midway_is_noticed(void **state)
{
	struct guest *g = start(&(struct guest_opts){.paused = true});
	struct tgt *t = attach_fit(g);
	struct xerr err = {0};
	int fd = -1;

	(void)state;
	kill(guest_pid(g), SIGKILL);
	assert_int_equal(tgt_refresh(t, &err), -XO_ETARGETGONE);
	assert_int_equal(tgt_gdb_open(t, &fd, &err), -XO_ETARGETGONE);
	guest_free(g); /* reaps it */
	assert_int_equal(tgt_backend_open(t, 0, false, &err), -XO_ETARGETGONE);
	tgt_free(t);
}

int main(void)
{
	const struct CMUnitTest booted[] = {
		cmocka_unit_test(knows_the_guest),
		cmocka_unit_test(window_with_seabios_on_q35),
		cmocka_unit_test(attach_is_quick),
		cmocka_unit_test(backend_opens_writable_or_not),
		cmocka_unit_test(second_client_of_a_socket_times_out),
		cmocka_unit_test(second_exopatch_is_refused),
		cmocka_unit_test(sharers_are_listed),
		cmocka_unit_test(somebody_elses_stub_is_refused_and_left_alone),
		cmocka_unit_test(a_tracer_is_refused),
		cmocka_unit_test(visit_stops_and_resumes),
		cmocka_unit_test(free_removes_an_open_stub),
		cmocka_unit_test(stale_stub_is_found_and_removed),
		cmocka_unit_test(paused_guest_stays_paused),
		cmocka_unit_test(stop_and_resume),
		cmocka_unit_test(guest_is_unharmed),
	};
	const struct CMUnitTest shapes[] = {
		cmocka_unit_test(window_with_seabios_on_pc),
		cmocka_unit_test(window_with_ovmf_on_q35),
		cmocka_unit_test(window_with_ovmf_on_pc),
		cmocka_unit_test(five_gib_in_two_nodes),
		cmocka_unit_test(each_count_of_vcpus),
		cmocka_unit_test(too_many_vcpus_are_refused),
		cmocka_unit_test(private_ram_is_reached),
		cmocka_unit_test(kvm_is_told_apart),
		cmocka_unit_test(listening_stub_does_not_hinder_kvm),
		cmocka_unit_test(a_displays_memory_is_no_guest_ram),
		cmocka_unit_test(huge_pages_are_reported),
		cmocka_unit_test(shared_anonymous_ram_is_reached),
		cmocka_unit_test(file_backend_on_disk),
		cmocka_unit_test(death_midway_is_noticed),
	};
	int failed = cmocka_run_group_tests_name("booted", booted, boot, end);

	return failed + cmocka_run_group_tests_name("shapes", shapes, NULL, NULL);
}
