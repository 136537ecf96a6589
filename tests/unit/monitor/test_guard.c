// SPDX-License-Identifier: Apache-2.0
/* Golden copies and their index, ranges on the wire, userfaultfd on memory of our own. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/util.h"
#include "vmm-agent/monitor/golden.h"
#include "vmm-agent/monitor/guard_core.h"
#include "vmm-agent/monitor/uffd.h"
#include "vmm-agent/monitor/wire.h"

static struct golden golden;
static int golden_fd = -1;

static int open_golden(void **state)
{
	struct xerr err = {0};

	(void)state;
	golden = (struct golden){0};
	golden_fd = memfd_create("golden", MFD_CLOEXEC);
	return ftruncate(golden_fd, (off_t)golden_file_bytes()) ||
	       golden_map(&golden, golden_fd, true, &err);
}

static int close_golden(void **state)
{
	(void)state;
	golden_unmap(&golden);
	return close(golden_fd);
}

static uint32_t add(uint64_t gpa, uint64_t hva, uint8_t fill)
{
	uint8_t page[XO_PAGE_SIZE];
	int32_t slot;

	memset(page, fill, sizeof(page));
	slot = golden_add(&golden, (struct gpa){gpa}, (struct hva){hva}, page);
	assert_true(slot >= 0);
	return (uint32_t)slot;
}

static void test_pages_are_found(void **state)
{
	uint32_t b = add(0x3000, 0x7f0000003000, 3);
	uint32_t a = add(0x1000, 0x7f0000001000, 1);

	(void)state;
	assert_int_equal(golden.nr, 2);
	assert_int_equal(golden_find(&golden, (struct hva){0x7f0000001000}), a);
	assert_int_equal(golden_find(&golden, (struct hva){0x7f0000003000}), b);
	assert_int_equal(golden_find(&golden, (struct hva){0x7f0000002000}), -1);
	assert_int_equal(golden_find(&golden, (struct hva){0}), -1);
	assert_int_equal(golden_gpa(&golden, b).v, 0x3000);
	assert_int_equal(golden_page(&golden, a)[4095], 1);
	assert_int_equal(golden_page(&golden, b)[0], 3);
	golden_remove(&golden, b);
	assert_int_equal(golden_find(&golden, (struct hva){0x7f0000003000}), -1);
	assert_int_equal(golden_find(&golden, (struct hva){0x7f0000001000}), a);
	assert_int_equal(add(0x5000, 0x7f0000005000, 5), b); /* its slot is free again */
}

static void test_runs(void **state)
{
	(void)state;
	(void)add(0x1000, 0x10000, 0);
	(void)add(0x2000, 0x11000, 0);
	(void)add(0x4000, 0x12000, 0); /* not after the one before for the guest */
	(void)add(0x5000, 0x14000, 0); /* nor this one in QEMU */
	assert_int_equal(golden_run(&golden, 0), 2);
	assert_int_equal(golden_run(&golden, 1), 1);
	assert_int_equal(golden_run(&golden, 2), 1);
	assert_int_equal(golden_run(&golden, 3), 1);
}

/* In an order that the index does not like. */
static void test_many(void **state)
{
	(void)state;
	for (uint64_t i = 1024; i > 0; i--)
		(void)add(i << XO_PAGE_SHIFT, (i * 7919 % 1024 + 1) << XO_PAGE_SHIFT, (uint8_t)i);
	assert_int_equal(golden.nr, 1024);
	for (uint64_t i = 1; i <= 1024; i++) {
		int32_t slot =
			golden_find(&golden, (struct hva){(i * 7919 % 1024 + 1) << XO_PAGE_SHIFT});

		assert_true(slot >= 0);
		assert_int_equal(golden_page(&golden, (uint32_t)slot)[1], i & 0xff);
	}
}

/* What the next guard finds in the file. */
static void test_taken_over(void **state)
{
	uint32_t slot = add(0x1000, 0x7f0000001000, 7);
	struct golden next = {0};
	struct xerr err = {0};

	(void)state;
	golden_remove(&golden, add(0x2000, 0x7f0000002000, 8));
	assert_int_equal(golden_map(&next, golden_fd, false, &err), 0);
	assert_int_equal(next.nr, 1);
	assert_int_equal(golden_find(&next, (struct hva){0x7f0000001000}), slot);
	assert_int_equal(golden_page(&next, slot)[0], 7);
	assert_int_equal(golden_torn(&next), -1);
	golden_unmap(&next);
}

static void test_damaged_files(void **state)
{
	struct golden next = {0};
	struct xerr err = {0};
	uint64_t *word = (uint64_t *)(void *)golden.head;

	(void)state;
	(void)add(0x1000, 0x7f0000001000, 7);
	word[0] ^= 1; /* its first eight bytes are the magic number */
	assert_int_equal(golden_map(&next, golden_fd, false, &err), -XO_EMALFORMED);
	golden_unmap(&next);
	word[0] ^= 1;
	word[1] |= UINT64_C(0xffffffff) << 32; /* the number of slots */
	assert_int_equal(golden_map(&next, golden_fd, false, &err), -XO_EMALFORMED);
	golden_unmap(&next);
	assert_int_equal(ftruncate(golden_fd, 4096), 0);
	assert_int_equal(golden_map(&next, golden_fd, false, &err), -XO_EMALFORMED);
	golden_unmap(&next);
	assert_int_equal(ftruncate(golden_fd, (off_t)golden_file_bytes()), 0);
}

static void test_keep(void **state)
{
	uint32_t slot = add(0x1000, 0x7f0000001000, 7);
	uint8_t page[XO_PAGE_SIZE];

	(void)state;
	memset(page, 9, sizeof(page));
	golden_keep(&golden, slot, page);
	assert_memory_equal(golden_page(&golden, slot), page, sizeof(page));
	assert_int_equal(golden_torn(&golden), -1);
}

static void test_diff(void **state)
{
	uint8_t a[XO_PAGE_SIZE] = {0};
	uint8_t b[XO_PAGE_SIZE] = {0};
	uint32_t off = 77;
	uint32_t len = 77;

	(void)state;
	assert_false(golden_diff(a, b, &off, &len));
	assert_int_equal(off, 77);
	b[4095] = 1;
	assert_true(golden_diff(a, b, &off, &len));
	assert_int_equal(off, 4095);
	assert_int_equal(len, 1);
	b[0] = 1;
	assert_true(golden_diff(a, b, &off, &len));
	assert_int_equal(off, 0);
	assert_int_equal(len, 4096);
	b[4095] = 0;
	assert_true(golden_diff(a, b, &off, &len));
	assert_int_equal(len, 1);
}

static void test_ranges_on_the_wire(void **state)
{
	static struct mon_range out[MON_GUARD_MAX_RANGES];
	static struct mon_range in[MON_GUARD_MAX_RANGES + 1];

	(void)state;
	in[1] = (struct mon_range){.gpa = {0x1000}, .len_bytes = 0x2000};
	assert_int_equal(wire_get_ranges(SPAN(in, 0), out), 0);
	assert_int_equal(wire_get_ranges(SPAN(in, 2 * sizeof(in[0])), out), 2);
	assert_int_equal(out[1].len_bytes, 0x2000);
	assert_int_equal(wire_get_ranges(SPAN(in, sizeof(in[0]) + 1), out), -XO_EPROTO);
	assert_int_equal(wire_get_ranges(SPAN(in, sizeof(in)), out), -XO_EPROTO);
	assert_int_equal(wire_get_ranges(SPAN(in, sizeof(in) - sizeof(in[0])), out),
			 MON_GUARD_MAX_RANGES);
}

static void *store(void *p)
{
	*(volatile uint64_t *)p = 1;
	return NULL;
}

static int new_uffd(void)
{
	_cleanup_close_ int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);

	return dev < 0 ? -1 : ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
}

static void test_userfaultfd(void **state)
{
	_cleanup_close_ int fd = new_uffd();
	_cleanup_close_ int other = new_uffd();
	_cleanup_close_ int mem = memfd_create("mem", MFD_CLOEXEC);
	const uint64_t len = 2 * XO_PAGE_SIZE;
	struct uffd_event e[4];
	struct xerr err = {0};
	pthread_t thread;
	struct hva hva;
	size_t nr = 0;
	uint8_t *p;

	(void)state;
	if (fd < 0)
		skip(); /* not root, or Linux before 6.1 */
	assert_int_equal(ftruncate(mem, (off_t)len), 0);
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, mem, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	hva.v = (uintptr_t)p;
	assert_int_equal(uffd_start(fd, &err), 0);
	assert_int_equal(uffd_start(other, &err), 0);
	assert_int_equal(uffd_register(fd, hva, len, &err), 0);
	assert_int_equal(uffd_register(fd, hva, len, &err), 0);
	assert_int_equal(uffd_register(other, hva, len, &err), -EBUSY);
	assert_non_null(strstr(err.text, "snapshot"));
	assert_int_equal(uffd_protect(fd, hva, XO_PAGE_SIZE), 0);
	assert_int_equal(uffd_read(fd, e, 4), 0);
	p[XO_PAGE_SIZE] = 1; /* the second page is free */
	assert_int_equal(pthread_create(&thread, NULL, store, p), 0);
	for (int ms = 0; ms < 5000 && !nr; ms++) {
		xo_sleep_ns(1000000);
		nr = uffd_read(fd, e, 4);
	}
	assert_int_equal(nr, 1);
	assert_int_equal(e[0].page.v, hva.v);
	assert_true(e[0].tid > 0);
	assert_int_equal(p[0], 0);
	/* Woken without leave, it comes again. */
	assert_int_equal(uffd_wake(fd, hva, XO_PAGE_SIZE), 0);
	for (nr = 0; !nr; nr = uffd_read(fd, e, 4))
		xo_sleep_ns(1000000);
	assert_int_equal(uffd_open(fd, hva, XO_PAGE_SIZE), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(p[0], 1);
	/* Who waits when protection ends is let go. */
	assert_int_equal(uffd_protect(fd, hva, XO_PAGE_SIZE), 0);
	assert_int_equal(pthread_create(&thread, NULL, store, p + 8), 0);
	for (nr = 0; !nr; nr = uffd_read(fd, e, 4))
		xo_sleep_ns(1000000);
	assert_int_equal(p[8], 0);
	assert_int_equal(uffd_unregister(fd, hva, len), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(p[8], 1);
	(void)munmap(p, len);
}

#define NEARLY_ALL (MON_GUARD_MAX_PAGES - 100)

/* A guard that follows another protects once more what is protected: that takes no more room. */
static void test_as_many_pages_again(void **state)
{
	const struct mon_range all = {.len_bytes = NEARLY_ALL * XO_PAGE_SIZE};
	const struct mon_range more = {.gpa = {NEARLY_ALL * XO_PAGE_SIZE},
				       .len_bytes = 101 * XO_PAGE_SIZE};
	const uint64_t len = all.len_bytes + more.len_bytes;
	_cleanup_close_ int mem = memfd_create("mem", MFD_CLOEXEC);
	struct guard g = {.uffd = new_uffd(), .golden = golden};
	struct vm vm = {.desc = {.nr_regions = 1, .nr_backends = 1}};
	struct xerr err = {0};
	uint8_t *p;

	(void)state;
	if (g.uffd < 0)
		skip(); /* not root, or Linux before 6.1 */
	assert_int_equal(ftruncate(mem, (off_t)len), 0);
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, mem, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	vm.desc.region[0] = (struct mon_region){.len_bytes = len, .hva = {(uintptr_t)p}};
	vm.map[0].base = p;
	vm.map[0].len_bytes = len;
	g.vm = &vm;
	assert_int_equal(uffd_start(g.uffd, &err), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(guard_protect(&g, &all, 1, &err), 0);
		assert_int_equal(g.golden.nr, NEARLY_ALL);
	}
	assert_int_equal(guard_protect(&g, &more, 1, &err), -XO_ELIMIT);
	assert_int_equal(uffd_unregister(g.uffd, (struct hva){(uintptr_t)p}, len), 0);
	(void)close(g.uffd);
	(void)munmap(p, len);
	golden = g.golden;
}

#define PAGES 2

/* Two pages of this process's own, protected. */
struct pages {
	struct guard g;
	struct vm vm;
	struct finding finding[2 * PAGES];
	uint8_t *p;
};

static void protect_pages(struct pages *s, int mem)
{
	const struct mon_range all = {.len_bytes = PAGES * XO_PAGE_SIZE};
	struct xerr err = {0};

	assert_int_equal(ftruncate(mem, (off_t)all.len_bytes), 0);
	s->p = mmap(NULL, all.len_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, mem, 0);
	assert_ptr_not_equal(s->p, MAP_FAILED);
	s->vm.desc.nr_regions = s->vm.desc.nr_backends = 1;
	s->vm.desc.pid = getpid();
	s->vm.desc.region[0] =
		(struct mon_region){.len_bytes = all.len_bytes, .hva = {(uintptr_t)s->p}};
	s->vm.map[0].base = mmap(NULL, all.len_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, mem, 0);
	s->vm.map[0].len_bytes = all.len_bytes;
	s->g.vm = &s->vm;
	s->g.finding = s->finding;
	s->g.golden = golden;
	s->g.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	assert_int_equal(uffd_start(s->g.uffd, &err), 0);
	assert_int_equal(guard_protect(&s->g, &all, 1, &err), 0);
}

static void unprotect_pages(struct pages *s)
{
	golden = s->g.golden;
	assert_int_equal(
		uffd_unregister(s->g.uffd, (struct hva){(uintptr_t)s->p}, PAGES * XO_PAGE_SIZE), 0);
	(void)close(s->g.uffd);
	(void)close(s->g.pagemap);
	(void)munmap(s->p, PAGES * XO_PAGE_SIZE);
	(void)munmap(s->vm.map[0].base, PAGES * XO_PAGE_SIZE);
}

static bool stands(const struct pages *s)
{
	return golden_is(&s->g.golden, GOLDEN_FROZEN) && golden_is(&s->g.golden, GOLDEN_AT_WORK);
}

static void stop(struct pages *s)
{
	s->g.stuck = true;
	golden_set(&s->g.golden, GOLDEN_FROZEN, true);
	golden_set(&s->g.golden, GOLDEN_AT_WORK, true);
}

/* QEMU that was stopped goes on when the page is as it has to be, not with the next event. */
static void test_stuck_page(void **state)
{
	_cleanup_close_ int mem = memfd_create("mem", MFD_CLOEXEC);
	struct pages s = {.g = {.uffd = new_uffd()}};
	struct xerr err = {0};
	uint64_t lost = 0;
	uint8_t *now;

	(void)state;
	if (s.g.uffd < 0)
		skip(); /* not root, or Linux before 6.1 */
	protect_pages(&s, mem);
	now = s.vm.map[0].base;
	stop(&s);
	now[XO_PAGE_SIZE] = 1;
	guard_done(&s.g);
	assert_true(stands(&s));
	now[XO_PAGE_SIZE] = 0;
	guard_done(&s.g);
	assert_false(golden_is(&s.g.golden, GOLDEN_FROZEN));
	assert_false(golden_is(&s.g.golden, GOLDEN_AT_WORK));
	/* A comparison that finds it so does. */
	stop(&s);
	now[XO_PAGE_SIZE] = 1;
	assert_int_equal(guard_audit_pages(&s.g, &lost, &err), 0);
	assert_int_equal(s.g.nr_findings, 1);
	assert_true(stands(&s));
	s.g.nr_findings = 0;
	now[XO_PAGE_SIZE] = 0;
	assert_int_equal(guard_audit_pages(&s.g, &lost, &err), 0);
	assert_false(golden_is(&s.g.golden, GOLDEN_FROZEN));
	unprotect_pages(&s);
}

#define GOLDEN(test) cmocka_unit_test_setup_teardown(test, open_golden, close_golden)

int main(void)
{
	const struct CMUnitTest tests[] = {
		GOLDEN(test_pages_are_found),
		GOLDEN(test_runs),
		GOLDEN(test_many),
		GOLDEN(test_taken_over),
		GOLDEN(test_damaged_files),
		GOLDEN(test_keep),
		cmocka_unit_test(test_diff),
		cmocka_unit_test(test_ranges_on_the_wire),
		cmocka_unit_test(test_userfaultfd),
		GOLDEN(test_as_many_pages_again),
		GOLDEN(test_stuck_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
