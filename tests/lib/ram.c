// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/ram.h"

#include <bpf/btf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"

#define MAX_FDS	      256
#define SUM_BYTES     (1u << 20)
#define BTF_MAX_BYTES (32u << 20)

int ram_open(const struct guest *g)
{
	char path[64], link[128];

	for (int i = 0; i < MAX_FDS; i++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)guest_pid(g), i);
		n = readlink(path, link, sizeof(link) - 1);
		if (n <= 0)
			continue;
		link[n] = '\0';
		if (strstr(link, "memfd:memory-backend"))
			return open(path, O_RDWR | O_CLOEXEC);
	}
	fprintf(stderr, "guest: no RAM file among QEMU's descriptors\n");
	return -1;
}

uint64_t ram_sum(int fd)
{
	_cleanup_free_ uint64_t *buf = malloc(SUM_BYTES);
	uint64_t sum = 0;
	off_t off = 0;
	ssize_t n;

	while (buf && (n = pread(fd, buf, SUM_BYTES, off)) > 0) {
		for (size_t i = 0; i < (size_t)n / sizeof(*buf); i++)
			sum = (sum ^ buf[i]) * UINT64_C(0x100000001b3);
		off += n;
	}
	return sum;
}

bool ram_u64(int fd, uint64_t gpa, uint64_t *ret)
{
	return pread(fd, ret, sizeof(*ret), (off_t)gpa) == (ssize_t)sizeof(*ret);
}

bool ram_set_u64(int fd, uint64_t gpa, uint64_t value)
{
	return pwrite(fd, &value, sizeof(value), (off_t)gpa) == (ssize_t)sizeof(value);
}

uint64_t guest_gpa(struct guest *g, uint64_t gva)
{
	_cleanup_free_ char *out = NULL;
	char line[64];

	snprintf(line, sizeof(line), "gva2gpa 0x%llx", (unsigned long long)gva);
	out = guest_hmp(g, line);
	return out && !strncmp(out, "gpa: ", 5) ? strtoull(out + 5, NULL, 16) : 0;
}

int guest_read(struct guest *g, int fd, uint64_t gva, void *buf, size_t len_bytes)
{
	uint8_t *to = buf;

	while (len_bytes) {
		size_t n = XO_PAGE_SIZE - (gva & XO_PAGE_MASK);
		uint64_t gpa = guest_gpa(g, gva);

		if (n > len_bytes)
			n = len_bytes;
		if (!gpa || pread(fd, to, n, (off_t)gpa) != (ssize_t)n) {
			fprintf(stderr, "guest: cannot read at %#llx\n", (unsigned long long)gva);
			return -EIO;
		}
		to += n;
		gva += n;
		len_bytes -= n;
	}
	return 0;
}

int guest_symbols(struct guest *g, const char *const name[], uint64_t ret[])
{
	_cleanup_free_ char *out = NULL;
	char command[1024];
	char *line, *rest = NULL;
	size_t n;

	n = (size_t)snprintf(command, sizeof(command), "grep -E ' (");
	for (size_t i = 0; name[i] && n < sizeof(command); i++)
		n += (size_t)snprintf(command + n, sizeof(command) - n, "%s%s", i ? "|" : "",
				      name[i]);
	if (n < sizeof(command))
		n += (size_t)snprintf(command + n, sizeof(command) - n,
				      ")([[:space:]]|$)' /proc/kallsyms");
	if (n >= sizeof(command))
		return -E2BIG;
	out = guest_sh(g, command);
	if (!out)
		return -EIO;
	for (size_t i = 0; name[i]; i++)
		ret[i] = 0;
	for (line = strtok_r(out, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char found[128];
		unsigned long long addr;

		if (sscanf(line, "%llx %*c %127s", &addr, found) != 2)
			continue;
		for (size_t i = 0; name[i]; i++)
			if (!ret[i] && !strcmp(found, name[i]))
				ret[i] = addr;
	}
	return 0;
}

long guest_member(struct guest *g, int fd, uint64_t start, uint64_t stop, const char *type,
		  const char *member)
{
	_cleanup_free_ uint8_t *raw = NULL;
	const struct btf_type *t;
	struct btf *btf = NULL;
	long off = -1;
	int id;

	if (stop <= start || stop - start > BTF_MAX_BYTES)
		return -1;
	raw = malloc(stop - start);
	if (!raw || guest_read(g, fd, start, raw, stop - start))
		return -1;
	btf = btf__new(raw, (uint32_t)(stop - start));
	id = btf ? btf__find_by_name_kind(btf, type, BTF_KIND_STRUCT) : -1;
	t = id > 0 ? btf__type_by_id(btf, (uint32_t)id) : NULL;
	for (uint16_t i = 0; t && i < btf_vlen(t); i++)
		if (!strcmp(btf__name_by_offset(btf, btf_members(t)[i].name_off), member))
			off = (long)btf_member_bit_offset(t, i) / 8;
	btf__free(btf);
	if (off < 0)
		fprintf(stderr, "guest: BTF has no %s.%s\n", type, member);
	return off;
}
