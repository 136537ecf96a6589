// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "vmm-agent/target/proc.h"
#include "vmm-agent/target/procmaps.h"

static int parse(const char *text, struct procmaps *ret)
{
	return procmaps_parse(SPAN(text, strlen(text)), ret, NULL);
}

static void fields(void **state)
{
	_cleanup_procmaps_ struct procmaps m = {0};

	(void)state;
	assert_int_equal(parse("7f0000000000-7f0000002000 rw-s 00003000 fe:1f 4242       "
			       "            /memfd:a b\\012 (deleted)\n"
			       "7f0000002000-7f0000003000 ---p 00000000 00:00 0 \n",
			       &m),
			 0);
	assert_int_equal(m.nr, 2);
	assert_int_equal(m.map[0].start, 0x7f0000000000);
	assert_int_equal(m.map[0].end, 0x7f0000002000);
	assert_int_equal(m.map[0].file_off, 0x3000);
	assert_int_equal(m.map[0].dev, makedev(0xfe, 0x1f));
	assert_int_equal(m.map[0].ino, 4242);
	assert_true(m.map[0].shared);
	assert_true(m.map[0].writable);
	assert_string_equal(m.map[0].name, "/memfd:a b\\x5c012 (deleted)");
	assert_false(m.map[1].shared);
	assert_false(m.map[1].writable);
	assert_int_equal(m.map[1].ino, 0);
	assert_string_equal(m.map[1].name, "");
}

static void look_up(void **state)
{
	_cleanup_procmaps_ struct procmaps m = {0};

	(void)state;
	assert_int_equal(parse("1000-2000 rw-p 0 00:00 0\n3000-5000 rw-p 0 00:00 0\n", &m), 0);
	assert_null(procmaps_at(&m, 0));
	assert_ptr_equal(procmaps_at(&m, 0x1000), &m.map[0]);
	assert_ptr_equal(procmaps_at(&m, 0x1fff), &m.map[0]);
	assert_null(procmaps_at(&m, 0x2000));
	assert_ptr_equal(procmaps_at(&m, 0x4fff), &m.map[1]);
	assert_null(procmaps_at(&m, 0x5000));
	assert_null(procmaps_at(&m, UINT64_MAX));
}

static void bad_lines_are_refused(void **state)
{
	static const char *const bad[] = {
		"\n",
		"1000-1000 rw-p 0 00:00 0\n",
		"2000-1000 rw-p 0 00:00 0\n",
		"1000-2000 rw-\n",
		"1000-2000 rw-p 0 00:00\n",
		"1000-2000 rw-p 0 100000000:00 0\n",
		"11111111111111111-2 rw-p 0 00:00 0\n",
		"3000-4000 rw-p 0 00:00 0\n1000-2000 rw-p 0 00:00 0\n",
		"1000-3000 rw-p 0 00:00 0\n2000-4000 rw-p 0 00:00 0\n",
	};

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(bad); i++) {
		struct procmaps m = {0};

		assert_int_equal(parse(bad[i], &m), -XO_EMALFORMED);
		assert_null(m.map);
	}
}

static void own_process(void **state)
{
	_cleanup_close_ int fd = memfd_create("own", MFD_CLOEXEC);
	void *p = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
	_cleanup_procmaps_ struct procmaps m = {0};
	const struct mapping *map;
	struct stat ours, its;
	char path[64];

	(void)state;
	assert_ptr_not_equal(p, MAP_FAILED);
	assert_int_equal(proc_maps(getpid(), &m, NULL), 0);
	map = procmaps_at(&m, (uintptr_t)p + 5000);
	assert_non_null(map);
	assert_string_equal(map->name, "/memfd:own (deleted)");
	assert_int_equal(proc_backing_path(getpid(), map, path, sizeof(path), NULL), 0);
	assert_int_equal(stat(path, &its), 0);
	assert_int_equal(fstat(fd, &ours), 0);
	assert_int_equal(its.st_ino, ours.st_ino);
	munmap(p, 8192);
}

static void process_facts(void **state)
{
	uint64_t tgid, start;
	struct xerr err = {0};

	(void)state;
	assert_int_equal(proc_status_number(getpid(), "Tgid:", &tgid, NULL), 0);
	assert_int_equal(tgid, getpid());
	assert_int_equal(proc_status_number(getpid(), "Nothing:", &tgid, NULL), -XO_EMALFORMED);
	assert_int_equal(proc_start_time(getpid(), &start, NULL), 0);
	assert_true(start > 0);
	assert_int_equal(proc_start_time(0x7ffffff0, &start, &err), -XO_ETARGETGONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields),
		cmocka_unit_test(look_up),
		cmocka_unit_test(bad_lines_are_refused),
		cmocka_unit_test(own_process),
		cmocka_unit_test(process_facts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
