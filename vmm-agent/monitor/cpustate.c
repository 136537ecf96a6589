// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/monitor/cpustate.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/uio.h>

#define MAX_MAP_BYTES	(UINT64_C(256) << 20)
#define MAX_TOTAL_BYTES (UINT64_C(1) << 30)
#define NR_NEAR		6
#define NOWHERE		INT32_MAX

/* How far from the GDT base a register may be, to either side. */
static const struct {
	int32_t before, after;
	uint32_t width_bytes; /* 0: not looked for, since its value is too common */
} reach[MON_REG_END] = {
	[MON_REG_CR0] = {256, 256, 8},
	[MON_REG_CR4] = {256, 256, 8},
	[MON_REG_EFER] = {1024, 1024, 8},
	[MON_REG_TR_BASE] = {256, 256, 8},
	[MON_REG_IDT_BASE] = {256, 256, 8},
	[MON_REG_GDT_BASE] = {0, 0, 8},
	[MON_REG_GDT_LIMIT] = {-8, 16, 4},
	[MON_REG_STAR] = {CPUSTATE_REACH, CPUSTATE_REACH, 8},
	[MON_REG_LSTAR] = {CPUSTATE_REACH, CPUSTATE_REACH, 8},
	[MON_REG_CSTAR] = {CPUSTATE_REACH, CPUSTATE_REACH, 8},
	[MON_REG_SYSCALL_MASK] = {CPUSTATE_REACH, CPUSTATE_REACH, 8},
	[MON_REG_SYSENTER_ESP] = {CPUSTATE_REACH, CPUSTATE_REACH, 8},
	[MON_REG_SYSENTER_EIP] = {CPUSTATE_REACH, CPUSTATE_REACH, 8},
};

/* These tell that it is a vCPU's state. */
static const enum mon_reg near[NR_NEAR] = {MON_REG_GDT_LIMIT, MON_REG_TR_BASE, MON_REG_IDT_BASE,
					   MON_REG_CR0,	      MON_REG_CR4,     MON_REG_EFER};

static bool has(const struct mon_sysregs *known, enum mon_reg r)
{
	return known->have & MON_REG_BIT(r);
}

static bool holds(const struct cpustate_window *w, enum mon_reg r, int32_t off)
{
	uint64_t from = (uint64_t)((int64_t)w->at + off);
	uint64_t v = 0;

	if (off < 0 && w->at < (uint64_t) - (int64_t)off)
		return false;
	return span_copy(w->bytes, from, &v, reach[r].width_bytes) && v == w->known->v[r];
}

static bool all_hold(const struct cpustate_window *w, size_t nr, enum mon_reg r, int32_t off)
{
	for (size_t i = 0; i < nr; i++)
		if (!has(w[i].known, r) || !holds(&w[i], r, off))
			return false;
	return true;
}

/* Return: at how many distances but @not, counted up to 2; *@ret_off is one of them */
static unsigned int count_places(const struct cpustate_window *w, size_t nr, enum mon_reg r,
				 int32_t not, int32_t *ret_off)
{
	unsigned int n = 0;

	if (!reach[r].width_bytes)
		return 0;
	for (int32_t off = -reach[r].before; off <= reach[r].after && n < 2;
	     off += (int32_t)reach[r].width_bytes) {
		if (off == not || !all_hold(w, nr, r, off))
			continue;
		*ret_off = off;
		n++;
	}
	return n;
}

bool cpustate_is_near(const struct cpustate_window *w)
{
	int32_t off;

	for (size_t i = 0; i < NR_NEAR; i++)
		if (!has(w->known, near[i]) || !count_places(w, 1, near[i], NOWHERE, &off))
			return false;
	return true;
}

uint32_t cpustate_solve(const struct cpustate_window *w, size_t nr, int32_t ret_off[MON_REG_END])
{
	const uint32_t tr = MON_REG_BIT(MON_REG_TR_BASE);
	uint32_t have = 0;

	for (int r = 0; nr && r < MON_REG_END; r++) {
		/* Linux gives SYSENTER_ESP and the task state one address. */
		bool twin = r == MON_REG_SYSENTER_ESP && have & tr;
		int32_t not = twin ? ret_off[MON_REG_TR_BASE] : NOWHERE;
		int32_t off;

		if (count_places(w, nr, (enum mon_reg)r, not, &off) != 1)
			continue;
		ret_off[r] = off;
		have |= MON_REG_BIT(r);
	}
	return have;
}

/* Guest memory is no place to look for what QEMU says of the guest. */
static bool is_guest_ram(const struct vm *vm, uint64_t start, uint64_t end)
{
	for (size_t i = 0; i < vm->desc.nr_regions; i++) {
		const struct mon_region *r = &vm->desc.region[i];

		if (r->hva.v < end && start < r->hva.v + r->len_bytes)
			return true;
	}
	return false;
}

int cpustate_maps(struct cpustate *c, const struct vm *vm)
{
	_cleanup_fclose_ FILE *f = NULL;
	uint64_t total = 0;
	char line[512];

	(void)snprintf(line, sizeof(line), "/proc/%d/maps", (int)vm->desc.pid);
	f = fopen(line, "re");
	if (!f)
		return -errno;
	c->nr_maps = 0;
	while (c->nr_maps < CPUSTATE_MAX_MAPS && fgets(line, sizeof(line), f)) {
		uint64_t start, end, inode;
		char rights[8];

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %*x %*x:%*x %" SCNu64, &start, &end,
			   rights, &inode) != 4 ||
		    strcmp(rights, "rw-p") != 0 || inode || end <= start || strstr(line, "[stack]"))
			continue;
		if (end - start > MAX_MAP_BYTES || end - start > MAX_TOTAL_BYTES - total ||
		    is_guest_ram(vm, start, end))
			continue;
		total += end - start;
		c->map[c->nr_maps].start = start;
		c->map[c->nr_maps++].end = end;
	}
	return 0;
}

struct search {
	const struct mon_sysregs *known;
	size_t nr_vcpus;
	unsigned int hits[MON_MAX_VCPUS];
	struct hva at[MON_MAX_VCPUS];
};

static void search_map(struct search *s, struct span bytes, uint64_t start)
{
	for (uint64_t off = 0; off + sizeof(uint64_t) <= bytes.len_bytes; off += sizeof(uint64_t)) {
		uint64_t v;

		memcpy(&v, bytes.p + off, sizeof(v));
		for (size_t i = 0; v && i < s->nr_vcpus; i++) {
			const struct cpustate_window w = {bytes, off, &s->known[i]};

			if (v != s->known[i].v[MON_REG_GDT_BASE] ||
			    !has(&s->known[i], MON_REG_GDT_BASE) || !cpustate_is_near(&w))
				continue;
			s->at[i].v = start + off;
			s->hits[i]++;
		}
	}
}

/* What there is of a mapping: it may have become shorter since. Return: 0 or -XO_ETARGETGONE */
static int peek_some(const struct vm *vm, uint64_t start, uint64_t len, uint8_t *buf,
		     struct span *ret)
{
	struct iovec local = {buf, len};
	struct iovec remote = {(void *)(uintptr_t)start, len};
	ssize_t n = process_vm_readv(vm->desc.pid, &local, 1, &remote, 1, 0);

	if (n < 0 && errno == ESRCH)
		return -XO_ETARGETGONE;
	*ret = SPAN(buf, n > 0 ? (size_t)n : 0);
	return 0;
}

static int search_all(struct search *s, const struct cpustate *c, const struct vm *vm)
{
	for (size_t i = 0; i < c->nr_maps; i++) {
		uint64_t len = c->map[i].end - c->map[i].start;
		_cleanup_free_ uint8_t *buf = malloc(len);
		struct span bytes;
		int rc = buf ? peek_some(vm, c->map[i].start, len, buf, &bytes) : -ENOMEM;

		if (rc)
			return rc;
		search_map(s, bytes, c->map[i].start);
	}
	return 0;
}

/* Copy what is about @at, as far as the mapping goes. */
static int fetch(const struct cpustate *c, const struct vm *vm, struct hva at,
		 struct cpustate_window *w, uint8_t *buf)
{
	for (size_t i = 0; i < c->nr_maps; i++) {
		uint64_t start = c->map[i].start, end = c->map[i].end;

		if (at.v < start || at.v >= end)
			continue;
		if (at.v - start > CPUSTATE_REACH)
			start = at.v - CPUSTATE_REACH;
		if (end - at.v > CPUSTATE_REACH + sizeof(uint64_t))
			end = at.v + CPUSTATE_REACH + sizeof(uint64_t);
		w->at = at.v - start;
		return peek_some(vm, start, end - start, buf, &w->bytes);
	}
	return -EFAULT;
}

int cpustate_find(struct cpustate *c, const struct vm *vm, const struct mon_sysregs *known)
{
	const size_t room = 2 * (size_t)CPUSTATE_REACH + sizeof(uint64_t);
	struct search s = {.known = known, .nr_vcpus = vm->desc.nr_vcpus};
	_cleanup_free_ struct cpustate_window *w = calloc(s.nr_vcpus, sizeof(*w));
	_cleanup_free_ uint8_t *buf = malloc(s.nr_vcpus * room);
	size_t nr = 0;
	int rc = w && buf ? search_all(&s, c, vm) : -ENOMEM;

	for (size_t i = 0; !rc && i < s.nr_vcpus; i++) {
		c->at[i].v = s.hits[i] == 1 ? s.at[i].v : 0;
		if (!c->at[i].v)
			continue;
		w[nr].known = &known[i];
		rc = fetch(c, vm, c->at[i], &w[nr], buf + nr * room);
		nr++;
	}
	if (!rc)
		c->have |= cpustate_solve(w, nr, c->off);
	return rc;
}

int cpustate_read(const struct cpustate *c, const struct vm *vm, size_t i, struct mon_sysregs *ret)
{
	struct iovec local[MON_REG_END], remote[MON_REG_END];
	struct mon_sysregs got = {.have = c->at[i].v ? c->have : 0};
	size_t nr = 0, want = 0;
	ssize_t n;

	for (int r = 0; r < MON_REG_END; r++) {
		uint64_t from = c->at[i].v + (uint64_t)(int64_t)c->off[r];

		if (!(got.have & MON_REG_BIT(r)))
			continue;
		local[nr] = (struct iovec){&got.v[r], reach[r].width_bytes};
		remote[nr++] = (struct iovec){(void *)(uintptr_t)from, reach[r].width_bytes};
		want += reach[r].width_bytes;
	}
	n = nr ? process_vm_readv(vm->desc.pid, local, nr, remote, nr, 0) : 0;
	if (n < 0 && errno == ESRCH)
		return -XO_ETARGETGONE;
	if (n < 0 || (size_t)n != want)
		got.have = 0;
	*ret = got;
	return 0;
}
