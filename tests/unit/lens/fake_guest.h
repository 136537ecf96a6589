/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that is not there: 1 MiB of memory with page tables, and as much of a
 * kernel as the lens looks at. Tests and fuzz targets break it in places.
 * Everything is in this header, since fuzz targets link nothing of tests/.
 *
 * The image is contiguous: page n of it is at FAKE_BASE + n * 4096 in kernel
 * space and at FAKE_GPA + n * 4096 in guest-physical memory.
 */
#ifndef EXOPATCH_TESTS_FAKE_GUEST_H
#define EXOPATCH_TESTS_FAKE_GUEST_H

#include <bpf/btf.h>
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest-shim/shim_abi.h"
#include "vmm-agent/lens/server.h"

#define FAKE_BASE   UINT64_C(0xffffffff81000000)
#define FAKE_GPA    UINT64_C(0x200000)
#define FAKE_PAGES  256u
#define FAKE_BYTES  (FAKE_PAGES * 4096ul)
#define FAKE_RODATA 4u /* first page of read-only data */
#define FAKE_DATA   72u
#define FAKE_STACKS 160u /* four pages each */
#define FAKE_STACK  16384u

/* Pages of the data part. */
enum {
	FAKE_PGD = FAKE_DATA,
	FAKE_PUD,
	FAKE_PMD,
	FAKE_PT,
	FAKE_PMD_FIX,
	FAKE_FIX0,
	FAKE_FIX1,
	FAKE_VARS,  /* small variables */
	FAKE_TASKS, /* struct fake_task, one a KiB */
	FAKE_MODULE = FAKE_TASKS + 8,
	FAKE_TRACE,
};

/* Where variables are in page FAKE_VARS. */
enum {
	FAKE_NR_CPU_IDS = 0x000,
	FAKE_POSSIBLE = 0x010,
	FAKE_ONLINE = 0x020,
	FAKE_PERCPU = 0x030,
	FAKE_CPU_DATA = 0x100,
	FAKE_MODULES = 0x200,
	FAKE_FTRACE = 0x210,
	FAKE_KPROBES = 0x300, /* 64 heads */
	FAKE_KPROBE_MUTEX = 0x580,
	FAKE_PERCPU_AREA = 0x800, /* CPU 0, then CPU 1 at +0x100 */
	FAKE_KEY = 0xa00,	  /* a static call key */
	FAKE_TRACE_FUNC = 0xa10,
	FAKE_OPS_LIST = 0xa20,
	FAKE_OPS = 0xa40,   /* struct ftrace_ops: list, trampoline, its size */
	FAKE_PROBE = 0xa80, /* struct optimized_kprobe */
	FAKE_BPF_LIST = 0xac0,
	FAKE_BPF = 0xb40, /* struct bpf_ksym: start, end, name, list at +48, program at +64 */
	FAKE_MM = 0xb00,  /* struct mm_struct: pgd */
	FAKE_NR_THREADS = 0xb20,
	FAKE_FORKS = 0xb28,
};

/* Where the kernel rewrites itself: offsets into text. */
enum {
	FAKE_JUMP5 = 0x400, /* a jump label of 5 bytes, to FAKE_CALLEE */
	FAKE_JUMP2 = 0x420, /* of 2 bytes, to FAKE_JUMP2 + 0x12 */
	FAKE_CALL = 0x440,
	FAKE_TAIL = 0x450,
	FAKE_TRAMP = 0x460,
	FAKE_TRACER = 0x470, /* ftrace_caller */
	FAKE_TRACER_CALL = 0x478,
	FAKE_TRACER_OP = 0x47d,
	FAKE_TRACER_END = 0x488,
	FAKE_TRACER_REGS = 0x490,
	FAKE_STUB = 0x4a0,
	FAKE_AGGR = 0x4b0,
	FAKE_RETURN0 = 0x4c0,
	FAKE_CALLBACK = 0x4d0, /* optimized_callback */
	FAKE_PROBED = 0x600,
	FAKE_CALLEE = 0x800,
	FAKE_OTHER = 0x820,
};

#define FAKE_JUMPS	64u /* page of read-only data: the jump table; static call sites at +0x800 */
#define FAKE_TEMPLATE	0xc00u /* in that page: what kprobes make their detours from */
#define FAKE_IDT	65u
#define FAKE_GDT_PAGE	251u /* of CPU 0; of CPU 1 the next */
#define FAKE_PGD2	250u /* top level of a process */
#define FAKE_TRAMPOLINE UINT64_C(0xffffffff810f8000)
#define FAKE_SLOT	UINT64_C(0xffffffff810f9000)

#define FAKE_IDLE_THREADS 0x20u
#define FAKE_IRQ_STACK	  0x40u
#define FAKE_VICTIM	  0x100u /* in text: the function to patch, 64 bytes */
#define FAKE_COLD	  0x200u
#define FAKE_MOD_BASE	  UINT64_C(0xffffffff810f0000)

struct fake_task {
	uint64_t cpu, stack, on_cpu, pid;
	uint64_t tasks[2], thread_node[2];
	uint64_t signal, start_time, nvcsw, nivcsw;
	uint64_t restart_fn, sp, ret_stack, curr_ret_stack, rethook, canary;
	char comm[16];
	uint64_t mm, active_mm;
	uint64_t thread_head[2]; /* of its signal_struct, which starts here */
};

struct fake_module {
	uint64_t list[2];
	uint32_t state, refcnt;
	char name[56];
	uint64_t kallsyms, exit;
	struct {
		uint64_t base;
		uint32_t size, zero;
	} mem[7];
	struct {
		uint64_t symtab;
		uint32_t num, zero;
		uint64_t strtab, typetab;
	} mks;
	uint64_t jumps, calls, entries; /* tables, and how long they are */
	uint32_t nr_jumps, nr_calls, nr_entries, zero;
	uint64_t node;	  /* in sysfs */
	uint64_t node_id; /* of the node, which is here */
};

struct fake {
	uint8_t *ram;
	struct gmem mem;
	struct ksyms_builder syms; /* what kallsyms will hold */
};

static inline uint64_t fake_gva(unsigned int page)
{
	return FAKE_BASE + page * 4096ull;
}

static inline uint8_t *fake_at(struct fake *f, uint64_t gva)
{
	return f->ram + (gva - FAKE_BASE);
}

static inline uint64_t *fake_u64(struct fake *f, uint64_t gva)
{
	return (uint64_t *)(void *)fake_at(f, gva);
}

static inline void fake_copy(struct fake *f, uint64_t gva, const void *p, size_t len)
{
	memcpy(fake_at(f, gva), p, len);
}

static inline struct fake_task *fake_task(struct fake *f, unsigned int i)
{
	return (struct fake_task *)(void *)fake_at(f, fake_gva(FAKE_TASKS) + i * 1024ull);
}

static inline uint64_t fake_task_gva(unsigned int i)
{
	return fake_gva(FAKE_TASKS) + i * 1024ull;
}

static inline void fake_sym(struct fake *f, const char *name, uint64_t addr)
{
	if (ksyms_add(&f->syms, addr, addr < FAKE_BASE ? 'A' : 'T', name))
		abort();
}

/* ---- kallsyms, as scripts/kallsyms.c lays it out; every token is one character ---- */

static inline size_t fake_pad8(uint8_t *out, size_t n)
{
	while (n % 8)
		out[n++] = 0;
	return n;
}

static inline size_t fake_tokens(uint8_t *out, size_t n)
{
	size_t start = n;
	uint16_t index[256];

	for (unsigned int i = 0; i < 256; i++) {
		index[i] = (uint16_t)(n - start);
		out[n++] = i > 0x20 && i < 0x7f ? (uint8_t)i : '?';
		out[n++] = 0;
	}
	n = fake_pad8(out, n);
	memcpy(out + n, index, sizeof(index));
	return n + sizeof(index);
}

static inline size_t fake_offsets(uint8_t *out, size_t n, const struct ksyms *k)
{
	const uint64_t base = FAKE_BASE;

	for (size_t i = 0; i < k->nr; i++) {
		int32_t v = k->sym[i].addr < FAKE_BASE ? (int32_t)k->sym[i].addr
						       : (int32_t)(base - 1 - k->sym[i].addr);

		memcpy(out + n, &v, sizeof(v));
		n += sizeof(v);
	}
	n = fake_pad8(out, n);
	memcpy(out + n, &base, sizeof(base));
	return n + sizeof(base);
}

/* @modern: the layout of 6.4 and later; else that of 6.1, with seqs_of_names */
static inline size_t fake_kallsyms(const struct ksyms *k, uint8_t *out, bool modern)
{
	uint32_t markers[64] = {0};
	size_t n = 0, names;
	uint64_t nr = k->nr;

	if (!modern)
		n = fake_offsets(out, n, k);
	memcpy(out + n, &nr, sizeof(nr));
	n += sizeof(nr);
	names = n;
	for (size_t i = 0; i < k->nr; i++) {
		const char *name = ksyms_name(k, &k->sym[i]);
		size_t len = strlen(name) + 1;

		if (i % 256 == 0)
			markers[i / 256] = (uint32_t)(n - names);
		if (len > 0x7f)
			out[n++] = (uint8_t)(len & 0x7f) | 0x80;
		out[n++] = (uint8_t)(len > 0x7f ? len >> 7 : len);
		out[n++] = (uint8_t)k->sym[i].type;
		memcpy(out + n, name, len - 1);
		n += len - 1;
	}
	n = fake_pad8(out, n);
	memcpy(out + n, markers, (k->nr + 255) / 256 * 4);
	n = fake_pad8(out, n + (k->nr + 255) / 256 * 4);
	if (!modern) {
		memset(out + n, 1, k->nr * 3);
		n = fake_pad8(out, n + k->nr * 3);
	}
	n = fake_tokens(out, n);
	if (modern)
		n = fake_offsets(out, n, k);
	return n;
}

/* ---- BTF ---- */

struct fake_field {
	const char *name;
	uint32_t off, type;
};

static inline uint32_t fake_struct(struct btf *b, const char *name, size_t size,
				   const struct fake_field *f, size_t nr)
{
	int id = btf__add_struct(b, name, (uint32_t)size);

	for (size_t i = 0; i < nr; i++)
		if (btf__add_field(b, f[i].name, (int)f[i].type, f[i].off * 8, 0))
			abort();
	return (uint32_t)id;
}

#define FAKE_STRUCT(b, name, size, ...)                                                            \
	fake_struct(b, name, size, (const struct fake_field[]){__VA_ARGS__},                       \
		    sizeof((const struct fake_field[]){__VA_ARGS__}) / sizeof(struct fake_field))

/* The raw section; free it. */
static inline uint8_t *fake_btf(uint32_t *ret_bytes)
{
	struct btf *b = btf__new_empty();
	uint32_t u64 = (uint32_t)btf__add_int(b, "u64", 8, 0);
	uint32_t u32 = (uint32_t)btf__add_int(b, "u32", 4, 0);
	uint32_t caps = (uint32_t)btf__add_array(b, (int)u32, (int)u32, 24);
	uint32_t words = (uint32_t)btf__add_ptr(b, (int)u64);
	uint32_t info = FAKE_STRUCT(b, "thread_info", 8, {"cpu", 0, u32});
	uint32_t sp = FAKE_STRUCT(b, "thread_struct", 8, {"sp", 0, u64});
	uint32_t restart = FAKE_STRUCT(b, "restart_block", 8, {"fn", 0, u64});
	uint32_t hooks = FAKE_STRUCT(b, "llist_head", 8, {"first", 0, u64});
	uint32_t mem = FAKE_STRUCT(b, "module_memory", 16, {"base", 0, u64}, {"size", 8, u32});
	uint32_t mems = (uint32_t)btf__add_array(b, (int)u32, (int)mem, 7);
	uint32_t kobj = FAKE_STRUCT(b, "kobject", 8, {"sd", 0, u64});
	uint32_t mkobj = FAKE_STRUCT(b, "module_kobject", 8, {"kobj", 0, kobj});
	uint32_t kprobe, optinsn;
	uint32_t hidden; /* an anonymous struct, so that members inside one are met */
	const uint8_t *raw;
	uint8_t *copy;

#define T(m) (uint32_t) offsetof(struct fake_task, m)
#define M(m) (uint32_t) offsetof(struct fake_module, m)
	hidden = FAKE_STRUCT(b, NULL, 16, {"nvcsw", 0, u64}, {"nivcsw", 8, u64});
	FAKE_STRUCT(b, "task_struct", sizeof(struct fake_task), {"thread_info", T(cpu), info},
		    {"stack", T(stack), u64}, {"on_cpu", T(on_cpu), u32}, {"pid", T(pid), u32},
		    {"tasks", T(tasks), u64}, {"thread_node", T(thread_node), u64},
		    {"signal", T(signal), u64}, {"start_time", T(start_time), u64},
		    {NULL, T(nvcsw), hidden}, {"restart_block", T(restart_fn), restart},
		    {"thread", T(sp), sp}, {"ret_stack", T(ret_stack), words},
		    {"curr_ret_stack", T(curr_ret_stack), u32}, {"rethooks", T(rethook), hooks},
		    {"stack_canary", T(canary), u64}, {"comm", T(comm), u64}, {"mm", T(mm), u64},
		    {"active_mm", T(active_mm), u64});
	FAKE_STRUCT(b, "signal_struct", 16, {"thread_head", 0, u64});
	FAKE_STRUCT(b, "rethook_node", 24, {"llist", 8, u64}, {"ret_addr", 16, u64});
	FAKE_STRUCT(b, "module", sizeof(struct fake_module), {"list", M(list), u64},
		    {"name", M(name), u64}, {"state", M(state), u32}, {"refcnt", M(refcnt), u32},
		    {"kallsyms", M(kallsyms), u64}, {"exit", M(exit), u64}, {"mem", M(mem), mems},
		    {"jump_entries", M(jumps), u64}, {"num_jump_entries", M(nr_jumps), u32},
		    {"static_call_sites", M(calls), u64},
		    {"num_static_call_sites", M(nr_calls), u32},
		    {"ftrace_callsites", M(entries), u64},
		    {"num_ftrace_callsites", M(nr_entries), u32}, {"mkobj", M(node), mkobj});
	FAKE_STRUCT(b, "kernfs_node", 8, {"id", 0, u64});
	FAKE_STRUCT(b, "mod_kallsyms", 32, {"symtab", 0, u64}, {"num_symtab", 8, u32},
		    {"strtab", 16, u64}, {"typetab", 24, u64});
	kprobe = FAKE_STRUCT(b, "kprobe", 40, {"hlist", 0, u64}, {"addr", 16, u64},
			     {"pre_handler", 24, u64}, {"opcode", 32, u32});
	optinsn = FAKE_STRUCT(b, "arch_optimized_insn", 16, {"copied_insn", 0, u32},
			      {"insn", 8, u64});
	FAKE_STRUCT(b, "optimized_kprobe", 56, {"kp", 0, kprobe}, {"optinsn", 40, optinsn});
	FAKE_STRUCT(b, "static_call_key", 8, {"func", 0, u64});
	FAKE_STRUCT(b, "ftrace_ops", 32, {"list", 0, u64}, {"trampoline", 16, u64},
		    {"trampoline_size", 24, u64});
	FAKE_STRUCT(b, "bpf_ksym", 72, {"start", 0, u64}, {"end", 8, u64}, {"name", 16, u64},
		    {"lnode", 48, u64}, {"prog", 64, u32});
	FAKE_STRUCT(b, "mm_struct", 8, {"pgd", 0, u64});
	FAKE_STRUCT(b, "ftrace_page", 24, {"next", 0, u64}, {"records", 8, u64},
		    {"index", 16, u32});
	FAKE_STRUCT(b, "dyn_ftrace", 16, {"ip", 0, u64}, {"flags", 8, u64});
	FAKE_STRUCT(b, "cpuinfo_x86", 128, {"x86_capability", 16, caps});
#undef T
#undef M
	raw = btf__raw_data(b, ret_bytes);
	copy = raw ? malloc(*ret_bytes) : NULL;
	if (!copy)
		abort();
	memcpy(copy, raw, *ret_bytes);
	btf__free(b);
	return copy;
}

/* ---- page tables ---- */

static inline uint64_t fake_phys(unsigned int page)
{
	return FAKE_GPA + page * 4096ull;
}

static inline void fake_tables(struct fake *f)
{
	uint64_t *pt = fake_u64(f, fake_gva(FAKE_PT));

	fake_u64(f, fake_gva(FAKE_PGD))[511] = fake_phys(FAKE_PUD) | 3;
	fake_u64(f, fake_gva(FAKE_PUD))[510] = fake_phys(FAKE_PMD) | 3;
	fake_u64(f, fake_gva(FAKE_PUD))[511] = fake_phys(FAKE_PMD_FIX) | 3;
	fake_u64(f, fake_gva(FAKE_PMD))[8] = fake_phys(FAKE_PT) | 3;
	fake_u64(f, fake_gva(FAKE_PMD_FIX))[506] = fake_phys(FAKE_FIX0) | 3;
	fake_u64(f, fake_gva(FAKE_PMD_FIX))[507] = fake_phys(FAKE_FIX1) | 3;
	for (unsigned int i = 0; i < FAKE_PAGES; i++)
		pt[i] = fake_phys(i) | GPTE_PRESENT | (i >= FAKE_DATA ? GPTE_WRITE : 0) |
			(i >= FAKE_RODATA ? GPTE_NX : 0);
}

/* ---- tasks: 0 init_task, 1 and 2 processes, 3 a thread of 2, 4 idle on CPU 1 ---- */

#define FAKE_NR_TASKS 5u

static inline void fake_link(struct fake *f, uint64_t a, uint64_t b)
{
	fake_u64(f, a)[0] = b;
	fake_u64(f, b)[1] = a;
}

static inline void fake_tasks(struct fake *f)
{
	const uint64_t tasks = offsetof(struct fake_task, tasks);
	const uint64_t node = offsetof(struct fake_task, thread_node);
	const uint64_t head = offsetof(struct fake_task, thread_head);

	for (unsigned int i = 0; i < FAKE_NR_TASKS; i++) {
		struct fake_task *t = fake_task(f, i);
		uint64_t stack = fake_gva(FAKE_STACKS + 4 * i);

		*t = (struct fake_task){.stack = stack,
					.sp = stack + FAKE_STACK - 256,
					.pid = i == 4 ? 0 : i,
					.signal = fake_task_gva(i == 3 ? 2 : i) + head,
					.nvcsw = 10 + i};
		snprintf(t->comm, sizeof(t->comm), "task%u", i);
		fake_link(f, fake_task_gva(i) + head, fake_task_gva(i) + node);
		fake_link(f, fake_task_gva(i) + node, fake_task_gva(i) + head);
	}
	fake_link(f, fake_task_gva(0) + tasks, fake_task_gva(1) + tasks);
	fake_link(f, fake_task_gva(1) + tasks, fake_task_gva(2) + tasks);
	fake_link(f, fake_task_gva(2) + tasks, fake_task_gva(0) + tasks);
	fake_link(f, fake_task_gva(2) + node, fake_task_gva(3) + node);
	fake_link(f, fake_task_gva(3) + node, fake_task_gva(2) + head);
	*fake_u64(f, fake_gva(FAKE_VARS) + FAKE_NR_THREADS) = 3;
	*fake_u64(f, fake_gva(FAKE_VARS) + FAKE_FORKS) = 100;
	for (unsigned int cpu = 0; cpu < 2; cpu++) {
		uint64_t area = fake_gva(FAKE_VARS) + FAKE_PERCPU_AREA + cpu * 0x100ull;
		unsigned int idle = cpu ? 4 : 0;

		*fake_u64(f, fake_gva(FAKE_VARS) + FAKE_PERCPU + cpu * 8ull) = area;
		*fake_u64(f, area + FAKE_IDLE_THREADS) = fake_task_gva(idle);
		fake_task(f, idle)->on_cpu = 1;
		fake_task(f, idle)->cpu = cpu;
	}
}

/* ---- a module with one symbol ---- */

static inline struct fake_module *fake_module(struct fake *f)
{
	return (struct fake_module *)(void *)fake_at(f, fake_gva(FAKE_MODULE));
}

static inline void fake_modules(struct fake *f)
{
	struct fake_module *m = fake_module(f);
	uint64_t self = fake_gva(FAKE_MODULE), tables = self + 0x400;
	const Elf64_Sym sym = {
		.st_name = 1, .st_shndx = 1, .st_value = FAKE_MOD_BASE + 16, .st_size = 8};

	fake_link(f, fake_gva(FAKE_VARS) + FAKE_MODULES, self);
	fake_link(f, self, fake_gva(FAKE_VARS) + FAKE_MODULES);
	snprintf(m->name, sizeof(m->name), "fakemod");
	m->refcnt = 1;
	m->mem[0].base = FAKE_MOD_BASE;
	m->mem[0].size = 4096;
	m->node = self + offsetof(struct fake_module, node_id);
	m->node_id = 1000;
	m->kallsyms = self + offsetof(struct fake_module, mks);
	m->mks.symtab = tables;
	m->mks.num = 1;
	m->mks.strtab = tables + 0x100;
	m->mks.typetab = tables + 0x80;
	fake_copy(f, tables, &sym, sizeof(sym));
	fake_copy(f, tables + 0x80, "t", 1);
	fake_copy(f, tables + 0x100, "\0mod_fn", 8);
}

/* ---- the shim instead: ABI object, text and rodata arenas, one behind the other ---- */

#define FAKE_SHIM 210u /* first page */

static inline struct exoshim_abi *fake_shim(struct fake *f)
{
	struct fake_module *m = fake_module(f);
	const uint64_t abi = fake_gva(FAKE_SHIM);
	const uint64_t text = fake_gva(FAKE_SHIM + 5), rodata = fake_gva(FAKE_SHIM + 21);
	const uint64_t tables = fake_gva(FAKE_MODULE) + 0x400;
	const char strings[] =
		"\0" EXOSHIM_SYMBOL "\0" EXOSHIM_TEXT_SYMBOL "\0" EXOSHIM_RODATA_SYMBOL;
	const uint64_t at[] = {abi, text, rodata};
	uint64_t *pt = fake_u64(f, fake_gva(FAKE_PT));
	struct exoshim_abi *a = (struct exoshim_abi *)(void *)fake_at(f, abi);
	Elf64_Word name = 1;

	snprintf(m->name, sizeof(m->name), EXOSHIM_MODULE);
	m->exit = text;
	m->mem[0].base = abi;
	m->mem[0].size = 25 * 4096;
	m->mks.num = 3;
	for (unsigned int i = 0; i < 3; i++) {
		const Elf64_Sym sym = {.st_name = name, .st_shndx = 1, .st_value = at[i]};

		fake_copy(f, tables + i * sizeof(sym), &sym, sizeof(sym));
		name += (Elf64_Word)strlen(strings + name) + 1;
	}
	fake_copy(f, tables + 0x80, "ddd", 3);
	fake_copy(f, tables + 0x100, strings, sizeof(strings));
	for (unsigned int i = 0; i < 25; i++) {
		pt[FAKE_SHIM + i] &= ~GPTE_WRITE;
		if (i >= 5 && i < 21)
			pt[FAKE_SHIM + i] &= ~GPTE_NX;
	}
	memset(a, 0, sizeof(*a));
	memcpy(a->magic, EXOSHIM_MAGIC, strlen(EXOSHIM_MAGIC));
	a->abi_version = EXOSHIM_ABI_VERSION;
	a->size_bytes = sizeof(*a);
	a->patch_off_bytes = offsetof(struct exoshim_abi, patch);
	a->patch_size_bytes = sizeof(a->patch[0]);
	a->patch_max = EXOSHIM_MAX_PATCHES;
	a->text = (struct exoshim_range){text, EXOSHIM_TEXT_BYTES};
	a->rodata = (struct exoshim_range){rodata, EXOSHIM_RODATA_BYTES};
	return a;
}

/* ---- text: nop5; push %rbp; mov %rsp,%rbp; xor %eax,%eax; pop; ret ---- */

static inline void fake_text(struct fake *f)
{
	static const uint8_t victim[] = {0x0f, 0x1f, 0x44, 0x00, 0x00, 0x55, 0x48,
					 0x89, 0xe5, 0x31, 0xc0, 0x5d, 0xc3};
	uint64_t trace = fake_gva(FAKE_TRACE);

	memset(f->ram, 0xcc, FAKE_RODATA * 4096ul);
	fake_copy(f, FAKE_BASE + FAKE_VICTIM, victim, sizeof(victim));
	fake_copy(f, FAKE_BASE + FAKE_COLD, "\xc3", 1);
	fake_copy(f, FAKE_BASE + FAKE_TRACER_OP, "\x48\x8b\x15", 3);
	/* ftrace: one page of records, one record */
	*fake_u64(f, fake_gva(FAKE_VARS) + FAKE_FTRACE) = trace;
	fake_u64(f, trace)[1] = trace + 0x100;
	fake_u64(f, trace)[2] = 1;
	fake_u64(f, trace)[32] = FAKE_BASE + FAKE_VICTIM;
}

/* ---- what a guard looks at ---- */

static inline void fake_guard_symbols(struct fake *f)
{
	const uint64_t vars = fake_gva(FAKE_VARS), jumps = fake_gva(FAKE_JUMPS);

	fake_sym(f, "gdt_page", fake_gva(FAKE_GDT_PAGE) - (vars + FAKE_PERCPU_AREA));
	fake_sym(f, "__SCT__demo", FAKE_BASE + FAKE_TRAMP);
	fake_sym(f, "ftrace_caller", FAKE_BASE + FAKE_TRACER);
	fake_sym(f, "ftrace_call", FAKE_BASE + FAKE_TRACER_CALL);
	fake_sym(f, "ftrace_caller_op_ptr", FAKE_BASE + FAKE_TRACER_OP);
	fake_sym(f, "ftrace_caller_end", FAKE_BASE + FAKE_TRACER_END);
	fake_sym(f, "optimized_callback", FAKE_BASE + FAKE_CALLBACK);
	fake_sym(f, "ftrace_regs_caller", FAKE_BASE + FAKE_TRACER_REGS);
	fake_sym(f, "ftrace_stub", FAKE_BASE + FAKE_STUB);
	fake_sym(f, "aggr_pre_handler", FAKE_BASE + FAKE_AGGR);
	fake_sym(f, "__static_call_return0", FAKE_BASE + FAKE_RETURN0);
	fake_sym(f, "callee", FAKE_BASE + FAKE_CALLEE);
	fake_sym(f, "other", FAKE_BASE + FAKE_OTHER);
	fake_sym(f, "__start_rodata", fake_gva(FAKE_RODATA));
	fake_sym(f, "__start___jump_table", jumps);
	fake_sym(f, "__stop___jump_table", jumps + 32);
	fake_sym(f, "__start_static_call_sites", jumps + 0x800);
	fake_sym(f, "__stop_static_call_sites", jumps + 0x810);
	fake_sym(f, "optprobe_template_entry", jumps + FAKE_TEMPLATE);
	fake_sym(f, "optprobe_template_clac", jumps + FAKE_TEMPLATE + 4);
	fake_sym(f, "optprobe_template_val", jumps + FAKE_TEMPLATE + 8);
	fake_sym(f, "optprobe_template_call", jumps + FAKE_TEMPLATE + 18);
	fake_sym(f, "optprobe_template_end", jumps + FAKE_TEMPLATE + 24);
	fake_sym(f, "idt_table", fake_gva(FAKE_IDT));
	fake_sym(f, "__end_rodata", fake_gva(FAKE_IDT));
	fake_sym(f, "__SCK__demo", vars + FAKE_KEY);
	fake_sym(f, "ftrace_trace_function", vars + FAKE_TRACE_FUNC);
	fake_sym(f, "ftrace_ops_trampoline_list", vars + FAKE_OPS_LIST);
	fake_sym(f, "bpf_kallsyms", vars + FAKE_BPF_LIST);
}

static inline void fake_branch(uint8_t *out, uint8_t opcode, uint64_t at, uint64_t to)
{
	int32_t rel = (int32_t)(to - (at + 5));

	out[0] = opcode;
	memcpy(out + 1, &rel, sizeof(rel));
}

/* Mapped as generated code is: executable, and not writable there. */
static inline void fake_executable(struct fake *f, uint64_t gva)
{
	fake_u64(f, fake_gva(FAKE_PT))[(gva - FAKE_BASE) / 4096] =
		(gva - FAKE_BASE + FAKE_GPA) | GPTE_PRESENT;
}

/* What ftrace makes of ftrace_caller, calling @to. */
static inline void fake_trampoline(struct fake *f, uint64_t to)
{
	const uint64_t at = FAKE_TRAMPOLINE, size = FAKE_TRACER_END - FAKE_TRACER;
	const uint64_t op = FAKE_TRACER_OP - FAKE_TRACER, call = FAKE_TRACER_CALL - FAKE_TRACER;
	const int32_t away = (int32_t)(size + 5 - (op + 7));

	memcpy(fake_at(f, at), fake_at(f, FAKE_BASE + FAKE_TRACER), size);
	fake_branch(fake_at(f, at + call), 0xe8, at + call, to);
	fake_copy(f, at + op + 3, &away, sizeof(away));
	fake_copy(f, at + size, "\xc3\xcc\xcc\xcc\xcc", 5);
	fake_executable(f, at);
}

/* What a kprobe of @self at @addr jumps to: 24 bytes of template, then @was and a jump back. */
static inline void fake_detour(struct fake *f, uint64_t self, uint64_t addr, const uint8_t *was)
{
	uint8_t *p = fake_at(f, FAKE_SLOT);

	memcpy(p, fake_at(f, fake_gva(FAKE_JUMPS) + FAKE_TEMPLATE), 24);
	memcpy(p + 8, "\x48\xbf", 2);
	memcpy(p + 10, &self, sizeof(self));
	fake_branch(p + 18, 0xe8, FAKE_SLOT + 18, FAKE_BASE + FAKE_CALLBACK);
	memcpy(p + 24, was, 5);
	fake_branch(p + 29, 0xe9, FAKE_SLOT + 29, addr + 5);
	fake_executable(f, FAKE_SLOT);
}

static inline void fake_s32(struct fake *f, uint64_t at, uint64_t to)
{
	int32_t rel = (int32_t)(to - at);

	fake_copy(f, at, &rel, sizeof(rel));
}

static inline void fake_guard(struct fake *f)
{
	const uint64_t vars = fake_gva(FAKE_VARS), jumps = fake_gva(FAKE_JUMPS);

	fake_s32(f, jumps, FAKE_BASE + FAKE_JUMP5);
	fake_s32(f, jumps + 4, FAKE_BASE + FAKE_CALLEE);
	fake_s32(f, jumps + 16, FAKE_BASE + FAKE_JUMP2);
	fake_s32(f, jumps + 20, FAKE_BASE + FAKE_JUMP2 + 0x12);
	fake_s32(f, jumps + 0x800, FAKE_BASE + FAKE_CALL);
	fake_s32(f, jumps + 0x804, vars + FAKE_KEY);
	fake_s32(f, jumps + 0x808, FAKE_BASE + FAKE_TAIL);
	fake_s32(f, jumps + 0x80c, vars + FAKE_KEY + 1);
	*fake_u64(f, vars + FAKE_KEY) = FAKE_BASE + FAKE_CALLEE;
	*fake_u64(f, vars + FAKE_TRACE_FUNC) = FAKE_BASE + FAKE_OTHER;
	fake_link(f, vars + FAKE_OPS_LIST, vars + FAKE_OPS);
	fake_link(f, vars + FAKE_OPS, vars + FAKE_OPS_LIST);
	fake_u64(f, vars + FAKE_OPS)[2] = FAKE_TRAMPOLINE;
	fake_u64(f, vars + FAKE_OPS)[3] = 64;
	fake_link(f, vars + FAKE_BPF_LIST, vars + FAKE_BPF_LIST);
	fake_u64(f, vars + FAKE_BPF)[0] = FAKE_TRAMPOLINE;
	fake_u64(f, vars + FAKE_BPF)[1] = FAKE_TRAMPOLINE + 4096;
	fake_copy(f, vars + FAKE_BPF + 16, "bpf_image", 10);
	/* One kprobe, not in the table yet. */
	fake_u64(f, vars + FAKE_PROBE)[2] = FAKE_BASE + FAKE_PROBED;
	fake_u64(f, vars + FAKE_PROBE)[3] = FAKE_BASE + FAKE_AGGR;
	fake_u64(f, vars + FAKE_PROBE)[4] = 0x55;
	fake_u64(f, vars + FAKE_PROBE)[6] = FAKE_SLOT;
	/* Task 1 has an address space of its own, the others that of the kernel. */
	*fake_u64(f, vars + FAKE_MM) = fake_gva(FAKE_PGD);
	*fake_u64(f, vars + FAKE_MM + 8) = fake_gva(FAKE_PGD2);
	memcpy(fake_at(f, fake_gva(FAKE_PGD2)), fake_at(f, fake_gva(FAKE_PGD)), 4096);
	for (unsigned int i = 0; i < FAKE_NR_TASKS; i++)
		fake_task(f, i)->active_mm = vars + FAKE_MM;
	fake_task(f, 1)->mm = vars + FAKE_MM + 8;
	/* Executable pages that belong to somebody. */
	fake_u64(f, fake_gva(FAKE_PT))[(FAKE_MOD_BASE - FAKE_BASE) / 4096] =
		(FAKE_MOD_BASE - FAKE_BASE + FAKE_GPA) | GPTE_PRESENT;
}

static inline void fake_symbols(struct fake *f, uint64_t btf, uint64_t btf_end)
{
	const uint64_t vars = fake_gva(FAKE_VARS), rodata = fake_gva(FAKE_RODATA);

	fake_sym(f, "idle_threads", FAKE_IDLE_THREADS);
	fake_sym(f, "hardirq_stack_ptr", FAKE_IRQ_STACK);
	fake_sym(f, "_text", FAKE_BASE);
	fake_sym(f, "victim", FAKE_BASE + FAKE_VICTIM);
	fake_sym(f, "next", FAKE_BASE + FAKE_VICTIM + 64);
	fake_sym(f, "victim.cold", FAKE_BASE + FAKE_COLD);
	fake_sym(f, "twice", FAKE_BASE + FAKE_COLD + 16);
	fake_sym(f, "twice", FAKE_BASE + FAKE_COLD + 32);
	fake_sym(f, "__x86_indirect_thunk_rax", FAKE_BASE + 0x300);
	fake_sym(f, "_etext", rodata);
	fake_sym(f, "linux_banner", rodata);
	fake_sym(f, "__start_notes", rodata + 0x200);
	fake_sym(f, "__stop_notes", rodata + 0x224);
	fake_sym(f, "__start_BTF", btf);
	fake_sym(f, "__stop_BTF", btf_end);
	fake_sym(f, "init_top_pgt", fake_gva(FAKE_PGD));
	fake_sym(f, "level1_fixmap_pgt", fake_gva(FAKE_FIX0));
	fake_sym(f, "nr_cpu_ids", vars + FAKE_NR_CPU_IDS);
	fake_sym(f, "__cpu_possible_mask", vars + FAKE_POSSIBLE);
	fake_sym(f, "__cpu_online_mask", vars + FAKE_ONLINE);
	fake_sym(f, "__per_cpu_offset", vars + FAKE_PERCPU);
	fake_sym(f, "boot_cpu_data", vars + FAKE_CPU_DATA);
	fake_sym(f, "modules", vars + FAKE_MODULES);
	fake_sym(f, "ftrace_pages_start", vars + FAKE_FTRACE);
	fake_sym(f, "kprobe_table", vars + FAKE_KPROBES);
	fake_sym(f, "kprobe_mutex", vars + FAKE_KPROBE_MUTEX);
	fake_sym(f, "init_task", fake_task_gva(0));
	fake_sym(f, "nr_threads", vars + FAKE_NR_THREADS);
	fake_sym(f, "total_forks", vars + FAKE_FORKS);
	fake_guard_symbols(f);
	fake_sym(f, "_end", FAKE_BASE + FAKE_BYTES);
}

/* Build it all; fake_free it. */
static inline void fake_make(struct fake *f, bool modern)
{
	static const uint8_t note[] = {4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, 'G', 'N', 'U', 0};
	const uint64_t rodata = fake_gva(FAKE_RODATA), btf = rodata + 0x4000;
	const uint64_t vars = fake_gva(FAKE_VARS);
	struct ksyms k;
	uint32_t bytes;
	uint8_t *raw = fake_btf(&bytes);

	*f = (struct fake){.syms = KSYMS_BUILDER};
	if (posix_memalign((void **)&f->ram, 4096, FAKE_BYTES))
		abort();
	memset(f->ram, 0, FAKE_BYTES);
	fake_text(f);
	fake_tables(f);
	fake_copy(f, rodata, "Linux version 6.9-fake (x) #1\n", 31);
	fake_copy(f, rodata + 0x200, note, sizeof(note));
	fake_copy(f, btf, raw, bytes);
	fake_symbols(f, btf, btf + bytes);
	free(raw);
	if (ksyms_build(&k, &f->syms))
		abort();
	fake_kallsyms(&k, fake_at(f, rodata + 0x1000), modern);
	ksyms_free(&k);
	*fake_u64(f, vars + FAKE_NR_CPU_IDS) = 2;
	*fake_u64(f, vars + FAKE_POSSIBLE) = 3;
	*fake_u64(f, vars + FAKE_ONLINE) = 3;
	fake_tasks(f);
	fake_modules(f);
	fake_guard(f);
	if (gmem_add(&f->mem, (struct gpa){FAKE_GPA}, FAKE_BYTES, f->ram))
		abort();
}

static inline void fake_free(struct fake *f)
{
	free(f->ram);
}

/* A server that looks at @f, with one vCPU as a hint. */
static inline void fake_server(struct lserver *s, const struct fake *f)
{
	*s = (struct lserver){.mem = f->mem, .nr_vcpus = 1};
	s->vcpu[0] = (struct lens_vcpu_hint){
		.cr0 = 0x80050033, .cr3 = fake_phys(FAKE_PGD), .cr4 = 0x20, .efer = 0xd01};
}

/* As if its RAM were private to QEMU: no mapping, only what can be read of this process. */
static inline void fake_server_private(struct lserver *s, const struct fake *f)
{
	int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);

	fake_server(s, f);
	if (fd < 0 || gmem_attach(&s->mem, fd))
		abort();
	for (size_t i = 0; i < s->mem.nr; i++) {
		struct gmem_region *r = &s->mem.region[i];

		r->hva = (uint64_t)(uintptr_t)r->p;
		r->p = NULL;
	}
}

#endif
