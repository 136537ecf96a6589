// SPDX-License-Identifier: GPL-2.0-only
/*
 * The bare guest's only job: call victim() for ever, tell the host what it
 * returns and how long the longest pause was. Kept to plain integer
 * instructions, since a KVM without hardware beneath emulates ring 0.
 */
#include "bare.h"

#define MB_FLAG_CMDLINE 4u
#define COM1		0x3f8

struct multiboot_info { /* Multiboot Specification 0.6.96, section 3.3 */
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline;
};

int victim(void);
int wants_ring0(const struct multiboot_info *mbi);
void bare_loop(uint32_t index, uint32_t ring);

int wants_ring0(const struct multiboot_info *mbi)
{
	static const char word[] = "ring0";
	const volatile char *p;
	unsigned int n = 0;

	if (!(mbi->flags & MB_FLAG_CMDLINE))
		return 0;
	p = (const volatile char *)(uintptr_t)mbi->cmdline;
	for (unsigned int i = 0; i < 256 && p[i]; i++) {
		n = p[i] == word[n] ? n + 1 : p[i] == word[0];
		if (n == sizeof(word) - 1)
			return 1;
	}
	return 0;
}

static uint64_t tsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

static void put(char c)
{
	__asm__ volatile("outb %0, %1" : : "a"((uint8_t)c), "Nd"((uint16_t)COM1));
}

static void say(uint64_t value)
{
	char digits[20];
	unsigned int n = 0;

	for (const volatile char *p = "victim "; *p; p++)
		put(*p);
	do {
		digits[n++] = (char)('0' + value % 10);
		value /= 10;
	} while (value && n < sizeof(digits));
	while (n)
		put(digits[--n]);
	put('\n');
}

/* Return: now */
static uint64_t note_gap(volatile struct bare_cpu *cpu, uint64_t last)
{
	uint64_t now = tsc();

	if (now - last > cpu->max_gap_tsc)
		cpu->max_gap_tsc = now - last;
	return now;
}

/* QEMU docs/specs/fw_cfg.rst: big-endian; the device stores at address, then clears control. */
static void dma(uint64_t to)
{
	static volatile struct {
		uint32_t control, length;
		uint64_t address;
	} __attribute__((aligned(16))) access;
	uint32_t low = (uint32_t)(uintptr_t)&access;

	access.length = __builtin_bswap32(4);
	access.address = __builtin_bswap64(to);
	access.control = __builtin_bswap32(0x0000000a); /* select item 0, the signature; read */
	__asm__ volatile("outl %0, %1"
			 :
			 : "a"(__builtin_bswap32(low)), "Nd"((uint16_t)0x518)
			 : "memory");
	while (access.control & ~__builtin_bswap32(1))
		;
}

/* protection_trap (boot.S) skips a wrmsr that is denied, and says so in r8. */
static uint64_t set_msr(uint32_t index, uint64_t value)
{
	register uint32_t denied __asm__("r8") = 0;
	uint32_t lo = (uint32_t)value, hi = (uint32_t)(value >> 32);

	__asm__ volatile("wrmsr"
			 : "+r"(denied), "+a"(lo), "+d"(hi), "+c"(index)
			 :
			 : "memory", "cc", "r9", "r10");
	if (denied)
		return BARE_DENIED;
	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(index));
	return (uint64_t)hi << 32 | lo;
}

static uint64_t set_idt(uint64_t base)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) idt;

	__asm__ volatile("sidt %0" : "=m"(idt));
	idt.base = base;
	__asm__ volatile("lidt %0" : : "m"(idt));
	__asm__ volatile("sidt %0" : "=m"(idt));
	return idt.base;
}

static uint64_t set_register(const volatile struct bare_store *s)
{
	uint64_t v = s->value;

	switch (s->kind) {
	case BARE_SET_MSR:
		return set_msr((uint32_t)s->addr, v);
	case BARE_SET_CR0:
		__asm__ volatile("mov %0, %%cr0; mov %%cr0, %0" : "+r"(v) : : "memory");
		return v;
	case BARE_SET_CR4:
		__asm__ volatile("mov %0, %%cr4; mov %%cr4, %0" : "+r"(v) : : "memory");
		return v;
	default:
		return set_idt(v);
	}
}

/* debug_trap (boot.S) may come between: rcx and rdx are not kept over a store. */
static void make_store(volatile struct bare_store *s)
{
	void *to = (void *)(uintptr_t)s->addr;
	uint64_t n = 16;

	if (s->kind >= BARE_SET_MSR) {
		s->seen = set_register(s);
		s->done = s->request;
		return;
	}
	if (s->kind == BARE_STORE_32)
		__asm__ volatile("movl %0, (%1)"
				 :
				 : "a"((uint32_t)s->value), "D"(to)
				 : "memory", "rcx", "rdx", "cc");
	else if (s->kind == BARE_STORE_64)
		__asm__ volatile("movq %0, (%1)"
				 :
				 : "a"(s->value), "D"(to)
				 : "memory", "rcx", "rdx", "cc");
	else if (s->kind == BARE_STORE_REP)
		__asm__ volatile("rep stosb"
				 : "+D"(to), "+c"(n)
				 : "a"((uint8_t)s->value)
				 : "memory");
	else
		dma(s->addr);
	__asm__ volatile("movq (%1), %0" : "=r"(n) : "r"((void *)(uintptr_t)s->addr) : "memory");
	s->seen = n;
	s->done = s->request;
}

void bare_loop(uint32_t index, uint32_t ring)
{
	volatile struct bare_shared *shared = (volatile struct bare_shared *)BARE_SHARED;
	volatile struct bare_cpu *cpu = &shared->cpu[index];
	uint64_t last;

	__atomic_fetch_add(&shared->nr_cpus, 1, __ATOMIC_SEQ_CST);
	if (index == 0) {
		shared->ring = ring;
		shared->magic = BARE_MAGIC;
	}
	last = tsc();
	for (;;) {
		uint64_t value;

		last = note_gap(cpu, last);
		if (cpu->reset) {
			cpu->max_gap_tsc = 0;
			cpu->reset = 0;
			last = tsc();
		}
		if (shared->store[index].request != shared->store[index].done)
			make_store(&shared->store[index]);
		value = (uint64_t)(uint32_t)victim();
		cpu->iterations++;
		if (value != cpu->value) {
			cpu->value = value;
			cpu->changes++;
			if (index == 0) {
				(void)note_gap(cpu, last);
				say(value);
				last = tsc(); /* talking is slow, but no gap */
			}
		}
	}
}
