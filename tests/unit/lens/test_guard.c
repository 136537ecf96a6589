// SPDX-License-Identifier: Apache-2.0
/* The guard's part of the lens on a guest that is not there: every form, every step, every lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/lib/patience.h"
#include "tests/unit/lens/fake_guest.h"

struct fixture {
	struct fake guest;
	struct lserver server;
	struct xbuf reply;
	struct xerr err;
};

static int ask(struct fixture *x, uint32_t op, const void *body, size_t len)
{
	xbuf_free(&x->reply);
	x->reply = XBUF(131056);
	x->err = (struct xerr){0};
	return lserver_handle(&x->server, op, SPAN(body, len), &x->reply, &x->err);
}

/* Each test is run with RAM that is mapped, and with RAM that is read from QEMU. */
static bool private_ram;

static void serve(struct fixture *x)
{
	if (private_ram)
		fake_server_private(&x->server, &x->guest);
	else
		fake_server(&x->server, &x->guest);
}

static int set_up(void **state)
{
	static struct fixture x;

	x = (struct fixture){0};
	fake_make(&x.guest, true);
	serve(&x);
	assert_int_equal(ask(&x, WIRE_DISCOVER, NULL, 0), 0);
	*state = &x;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *x = *state;

	lserver_free(&x->server);
	xbuf_free(&x->reply);
	fake_free(&x->guest);
	return 0;
}

static uint64_t *var(struct fixture *x, unsigned int off)
{
	return fake_u64(&x->guest, fake_gva(FAKE_VARS) + off);
}

static void prepare(struct fixture *x)
{
	if (ask(x, WIRE_GUARD, NULL, 0))
		fail_msg("prepare: %s", x->err.text);
}

/* Ask about @len bytes at @gva; the guest holds @after meanwhile. */
static struct wire_judgement judge_raw(struct fixture *x, uint64_t gva, const void *before,
				       const void *after, size_t len)
{
	const struct wire_addr q = {.addr = gva - FAKE_BASE + FAKE_GPA, .len_bytes = len};
	uint8_t body[sizeof(q) + 128];
	struct wire_judgement w;

	assert_true(len <= 64);
	memcpy(body, &q, sizeof(q));
	memcpy(body + sizeof(q), before, len);
	memcpy(body + sizeof(q) + len, after, len);
	fake_copy(&x->guest, gva, after, len);
	if (ask(x, WIRE_JUDGE, body, sizeof(q) + 2 * len))
		fail_msg("judge: %s", x->err.text);
	assert_int_equal(x->reply.len_bytes, sizeof(w));
	memcpy(&w, x->reply.data, sizeof(w));
	return w;
}

#define branch fake_branch
#define NOP5   "\x0f\x1f\x44\x00\x00"

/* One place, and the ways to it and from it. The branch: @opcode to @to */
static void check_place(struct fixture *x, enum lens_write_kind kind, unsigned int off,
			uint8_t opcode, uint64_t to)
{
	uint64_t at = FAKE_BASE + off;
	uint8_t jump[5], wrong[5], now[5], next[5];
	struct wire_judgement w;

	branch(jump, opcode, at, to);
	branch(wrong, opcode, at, to + 1);
	/* From nop to branch, as text_poke goes, each byte seen alone. */
	memcpy(now, NOP5, 5);
	memcpy(next, NOP5, 5);
	next[0] = 0xcc;
	for (int byte = 0; byte <= 5; byte++) {
		w = judge_raw(x, at, now, next, 5);
		assert_int_equal(w.kind, memcmp(now, next, 5) ? kind : LENS_WRITE_OTHER);
		assert_true(w.legal);
		assert_int_equal(w.intermediate, byte < 5 && memcmp(now, next, 5) != 0);
		memcpy(now, next, 5);
		if (byte < 4)
			next[byte + 1] = jump[byte + 1];
		else
			next[0] = jump[0];
	}
	/* A whole step at once, and all of it at once. */
	assert_true(judge_raw(x, at, NOP5, jump, 5).legal);
	assert_true(judge_raw(x, at, jump, NOP5, 5).legal);
	/* Only the byte that differs is shown. */
	fake_copy(&x->guest, at, jump, 5);
	w = judge_raw(x, at, "\xcc", jump, 1);
	assert_true(w.legal);
	assert_false(w.intermediate);
	assert_int_equal(w.gva, at);
	/* Elsewhere, or not a form at all. */
	w = judge_raw(x, at, NOP5, wrong, 5);
	assert_false(w.legal);
	assert_int_equal(w.kind, kind);
	assert_true(w.reason[0]);
	assert_false(judge_raw(x, at, NOP5, "\x90\x90\x90\x90\x90", 5).legal);
	/* A tail that is on no way, under a breakpoint; a right tail without one. */
	memcpy(next, "\xcc\x12\x34\x56\x78", 5);
	assert_false(judge_raw(x, at, NOP5, next, 5).legal);
	memcpy(next, jump, 5);
	next[0] = 0x0f;
	assert_false(judge_raw(x, at, NOP5, next, 5).legal);
	/* More than the place. */
	memcpy(next, "\x0f\x1f\x44\x00\x00", 5);
	fake_copy(&x->guest, at, NOP5, 5);
	w = judge_raw(x, at + 5, "\xcc", "\x90", 1);
	assert_false(w.legal);
	assert_int_equal(w.kind, LENS_WRITE_OTHER);
	fake_copy(&x->guest, at + 5, "\xcc", 1);
}

static void test_jump_label(void **state)
{
	struct fixture *x = *state;
	struct wire_judgement w;

	prepare(x);
	check_place(x, LENS_WRITE_JUMP_LABEL, FAKE_JUMP5, 0xe9, FAKE_BASE + FAKE_CALLEE);
	/* The short form, and nothing else at its place. */
	w = judge_raw(x, FAKE_BASE + FAKE_JUMP2, "\x66\x90", "\xeb\x10", 2);
	assert_true(w.legal);
	assert_int_equal(w.kind, LENS_WRITE_JUMP_LABEL);
	assert_false(w.intermediate);
	w = judge_raw(x, FAKE_BASE + FAKE_JUMP2, "\x66\x90", "\xcc\x90", 2);
	assert_true(w.legal && w.intermediate);
	w = judge_raw(x, FAKE_BASE + FAKE_JUMP2, "\xcc\x90", "\xcc\x10", 2);
	assert_true(w.legal && w.intermediate);
	assert_true(judge_raw(x, FAKE_BASE + FAKE_JUMP2, "\xcc\x10", "\xeb\x10", 2).legal);
	assert_false(judge_raw(x, FAKE_BASE + FAKE_JUMP2, "\x66\x90", "\xeb\x11", 2).legal);
	assert_false(judge_raw(x, FAKE_BASE + FAKE_JUMP2, "\x66\x90", "\xeb\x90", 2).legal);
	assert_false(judge_raw(x, FAKE_BASE + FAKE_JUMP2, "\x66\x90\xcc\xcc\xcc", NOP5, 5).legal);
}

static void test_static_call(void **state)
{
	struct fixture *x = *state;
	const uint64_t call = FAKE_BASE + FAKE_CALL, tail = FAKE_BASE + FAKE_TAIL;
	const uint64_t tramp = FAKE_BASE + FAKE_TRAMP, callee = FAKE_BASE + FAKE_CALLEE;
	uint8_t to_callee[5], to_other[5];
	struct wire_judgement w;

	prepare(x);
	branch(to_callee, 0xe8, call, callee);
	branch(to_other, 0xe8, call, FAKE_BASE + FAKE_OTHER);
	w = judge_raw(x, call, to_other, to_callee, 5);
	assert_true(w.legal);
	assert_int_equal(w.kind, LENS_WRITE_STATIC_CALL);
	/* What its key does not say, whatever else it is. */
	assert_false(judge_raw(x, call, to_callee, to_other, 5).legal);
	assert_false(judge_raw(x, call, to_callee, NOP5, 5).legal);
	assert_false(judge_raw(x, call, to_callee, "\x2e\x2e\x2e\x31\xc0", 5).legal);
	*var(x, FAKE_KEY) = 0;
	assert_true(judge_raw(x, call, to_callee, NOP5, 5).legal);
	assert_false(judge_raw(x, call, NOP5, to_callee, 5).legal);
	*var(x, FAKE_KEY) = FAKE_BASE + FAKE_RETURN0;
	assert_true(judge_raw(x, call, to_callee, "\x2e\x2e\x2e\x31\xc0", 5).legal);
	w = judge_raw(x, call, to_callee, "\xcc\x2e\x2e\x31\xc0", 5);
	assert_true(w.legal && w.intermediate);
	/* A key that leads into a function, or to data. */
	*var(x, FAKE_KEY) = callee + 1;
	branch(to_callee, 0xe8, call, callee + 1);
	w = judge_raw(x, call, NOP5, to_callee, 5);
	assert_false(w.legal);
	assert_non_null(strstr(w.reason, "no function"));
	*var(x, FAKE_KEY) = fake_gva(FAKE_VARS);
	branch(to_callee, 0xe8, call, fake_gva(FAKE_VARS));
	assert_false(judge_raw(x, call, NOP5, to_callee, 5).legal);
	/* A tail call and a trampoline: a jump, or a return. */
	*var(x, FAKE_KEY) = callee;
	for (int i = 0; i < 2; i++) {
		uint64_t at = i ? tramp : tail;

		branch(to_callee, 0xe9, at, callee);
		assert_true(judge_raw(x, at, "\xc3\xcc\xcc\xcc\xcc", to_callee, 5).legal);
		branch(to_callee, 0xe8, at, callee);
		assert_false(judge_raw(x, at, "\xc3\xcc\xcc\xcc\xcc", to_callee, 5).legal);
		*var(x, FAKE_KEY) = 0;
		assert_true(judge_raw(x, at, to_callee, "\xc3\xcc\xcc\xcc\xcc", 5).legal);
		assert_false(judge_raw(x, at, to_callee, NOP5, 5).legal);
		*var(x, FAKE_KEY) = callee;
	}
	/* A conditional tail call. */
	branch(to_callee + 0, 0xe9, tail + 1, callee);
	{
		uint8_t jcc[6] = {0x0f, 0x84}, other[6] = {0x0f, 0x84, 1, 2, 3, 4};

		memcpy(jcc + 2, to_callee + 1, 4);
		assert_true(judge_raw(x, tail, other, jcc, 6).legal);
		jcc[1] = 0x85;
		assert_false(judge_raw(x, tail, other, jcc, 6).legal);
	}
}

static void test_ftrace(void **state)
{
	struct fixture *x = *state;
	const uint64_t at = FAKE_BASE + FAKE_TRACER_CALL;
	uint8_t call[5];
	struct wire_judgement w;

	prepare(x);
	check_place(x, LENS_WRITE_FTRACE, FAKE_VICTIM, 0xe8, FAKE_BASE + FAKE_TRACER);
	fake_copy(&x->guest, FAKE_BASE + FAKE_VICTIM + 5, "\x55", 1);
	branch(call, 0xe8, FAKE_BASE + FAKE_VICTIM, FAKE_BASE + FAKE_TRACER_REGS);
	assert_true(judge_raw(x, FAKE_BASE + FAKE_VICTIM, NOP5, call, 5).legal);
	/* A trampoline counts while it is listed, and is one. */
	branch(call, 0xe8, FAKE_BASE + FAKE_VICTIM, FAKE_TRAMPOLINE);
	assert_false(judge_raw(x, FAKE_BASE + FAKE_VICTIM, NOP5, call, 5).legal);
	fake_trampoline(&x->guest, FAKE_BASE + FAKE_OTHER + 1);
	assert_false(judge_raw(x, FAKE_BASE + FAKE_VICTIM, NOP5, call, 5).legal);
	fake_trampoline(&x->guest, FAKE_BASE + FAKE_OTHER);
	w = judge_raw(x, FAKE_BASE + FAKE_VICTIM, NOP5, call, 5);
	assert_true(w.legal);
	assert_int_equal(w.leads_to, LENS_OWNER_FTRACE);
	for (unsigned int byte = 0; byte < FAKE_TRACER_END - FAKE_TRACER + 1; byte++) {
		fake_at(&x->guest, FAKE_TRAMPOLINE)[byte] ^= 0x10;
		assert_false(judge_raw(x, FAKE_BASE + FAKE_VICTIM, NOP5, call, 5).legal);
		fake_at(&x->guest, FAKE_TRAMPOLINE)[byte] ^= 0x10;
	}
	*var(x, FAKE_OPS_LIST) = fake_gva(FAKE_VARS) + FAKE_OPS_LIST;
	assert_false(judge_raw(x, FAKE_BASE + FAKE_VICTIM, NOP5, call, 5).legal);
	/* A jump instead of a call, or a call of any function. */
	branch(call, 0xe9, FAKE_BASE + FAKE_VICTIM, FAKE_BASE + FAKE_TRACER);
	assert_false(judge_raw(x, FAKE_BASE + FAKE_VICTIM, NOP5, call, 5).legal);
	branch(call, 0xe8, FAKE_BASE + FAKE_VICTIM, FAKE_BASE + FAKE_OTHER);
	w = judge_raw(x, FAKE_BASE + FAKE_VICTIM, NOP5, call, 5);
	assert_false(w.legal);
	assert_string_equal(w.where.name, "victim");
	/* Inside of ftrace_caller: what ftrace's own variable says. */
	branch(call, 0xe8, at, FAKE_BASE + FAKE_OTHER);
	assert_true(judge_raw(x, at, NOP5, call, 5).legal);
	branch(call, 0xe8, at, FAKE_BASE + FAKE_STUB);
	assert_true(judge_raw(x, at, NOP5, call, 5).legal);
	branch(call, 0xe8, at, FAKE_BASE + FAKE_CALLEE);
	assert_false(judge_raw(x, at, NOP5, call, 5).legal);
}

static void test_kprobe(void **state)
{
	static const uint8_t was[] = {0x55, 0x48, 0x89, 0xe5, 0x90};
	struct fixture *x = *state;
	const uint64_t at = FAKE_BASE + FAKE_PROBED;
	uint8_t probed[5], jump[5];
	struct wire_judgement w;

	memcpy(probed, was, 5);
	probed[0] = 0xcc;
	branch(jump, 0xe9, at, FAKE_SLOT);
	fake_detour(&x->guest, fake_gva(FAKE_VARS) + FAKE_PROBE, at, was);
	fake_copy(&x->guest, at, was, sizeof(was));
	prepare(x);
	/* Nobody has registered one. */
	w = judge_raw(x, at, was, probed, 5);
	assert_false(w.legal);
	assert_int_equal(w.kind, LENS_WRITE_OTHER);
	*var(x, FAKE_KPROBES + 8 * 5) = fake_gva(FAKE_VARS) + FAKE_PROBE;
	w = judge_raw(x, at, was, probed, 5);
	assert_true(w.legal);
	assert_false(w.intermediate);
	assert_int_equal(w.kind, LENS_WRITE_KPROBE);
	/* Optimised, by steps; to its slot and nowhere else. */
	{
		uint8_t half[5];

		memcpy(half, probed, 5);
		half[1] = jump[1];
		w = judge_raw(x, at, probed, half, 5);
		assert_true(w.legal && w.intermediate);
	}
	assert_true(judge_raw(x, at, probed, jump, 5).legal);
	/* Nor where the code is not the kernel's own detour. */
	for (unsigned int byte = 0; byte < 34; byte++) {
		fake_at(&x->guest, FAKE_SLOT)[byte] ^= 0x40;
		assert_false(judge_raw(x, at, probed, jump, 5).legal);
		fake_at(&x->guest, FAKE_SLOT)[byte] ^= 0x40;
	}
	assert_true(judge_raw(x, at, probed, jump, 5).legal);
	jump[4] ^= 1;
	assert_false(judge_raw(x, at, probed, jump, 5).legal);
	jump[4] ^= 1;
	/* Back to what stood there, whatever the table says of it now. */
	*(uint8_t *)(var(x, FAKE_PROBE) + 4) = 0xc3;
	assert_false(judge_raw(x, at, probed, "\xc3\x48\x89\xe5\x90", 5).legal);
	assert_true(judge_raw(x, at, jump, probed, 5).legal);
	/* Also when it is off the table by then; but not put again. */
	*var(x, FAKE_KPROBES + 8 * 5) = 0;
	assert_false(judge_raw(x, at, probed, jump, 5).legal);
	assert_true(judge_raw(x, at, probed, was, 5).legal);
	assert_false(judge_raw(x, at, was, probed, 5).legal);
	/* A table that loops. */
	*var(x, FAKE_KPROBES + 8 * 5) = fake_gva(FAKE_VARS) + FAKE_PROBE;
	*var(x, FAKE_PROBE) = fake_gva(FAKE_VARS) + FAKE_PROBE;
	assert_false(judge_raw(x, FAKE_BASE + 0x700, "\x90", "\xcc", 1).legal);
}

/* Not optimisable: one byte, and only that. */
static void test_plain_kprobe(void **state)
{
	struct fixture *x = *state;
	const uint64_t at = FAKE_BASE + FAKE_PROBED;

	var(x, FAKE_PROBE)[3] = 0;
	*var(x, FAKE_KPROBES) = fake_gva(FAKE_VARS) + FAKE_PROBE;
	prepare(x);
	assert_true(judge_raw(x, at, "\x55", "\xcc", 1).legal);
	assert_false(judge_raw(x, at + 1, "\x48", "\xcc", 1).legal);
	assert_true(judge_raw(x, at, "\xcc", "\x55", 1).legal);
	assert_false(judge_raw(x, at, "\x55\x48", "\xcc\x49", 2).legal);
}

/* What the guest's table says of a probe that nobody saw put, or where none can be. */
static void test_forged_kprobe(void **state)
{
	static const uint8_t was[] = {0xe9, 0x11, 0x22, 0x00, 0x00},
			     code[] = {0x6a, 0xfb, 0x58, 0xc3};
	struct fixture *x = *state;
	const uint64_t at = FAKE_BASE + FAKE_PROBED, site = FAKE_BASE + FAKE_JUMP5;
	uint8_t *probe = (uint8_t *)var(x, FAKE_PROBE);
	struct wire_judgement w;
	uint8_t forged[5];

	fake_copy(&x->guest, at, was, sizeof(was));
	fake_detour(&x->guest, fake_gva(FAKE_VARS) + FAKE_PROBE, at, was);
	prepare(x);
	/* A jump that was always there is none of a probe's, whatever it says stood there. */
	*var(x, FAKE_KPROBES) = fake_gva(FAKE_VARS) + FAKE_PROBE;
	probe[32] = code[0];
	memcpy(probe + 40, code + 1, 3);
	memcpy(forged, code, 4);
	forged[4] = 0;
	assert_false(judge_raw(x, at, was, forged, 5).legal);
	assert_false(judge_raw(x, at, was, code, 1).legal);
	/* Nor is a breakpoint. */
	w = judge_raw(x, at, "\xcc", code, 1);
	assert_false(w.legal);
	assert_non_null(strstr(w.reason, "not known"));
	/* In the middle of an instruction its breakpoint would be an operand. */
	fake_copy(&x->guest, at, was, sizeof(was));
	*var(x, FAKE_PROBE + 16) = at + 1;
	w = judge_raw(x, at + 1, "\x11", "\xcc", 1);
	assert_false(w.legal);
	assert_non_null(strstr(w.reason, "no instruction"));
	fake_copy(&x->guest, at + 1, "\x11", 1);
	*var(x, FAKE_PROBE + 16) = at;
	assert_true(judge_raw(x, at, was, "\xcc", 1).legal);
	/* Within a place that the kernel rewrites. */
	fake_copy(&x->guest, site, NOP5, 5);
	*var(x, FAKE_PROBE + 16) = site + 3;
	w = judge_raw(x, site + 3, "\x00", "\xcc", 1);
	assert_false(w.legal);
}

/* What stands is told to the lens that follows. */
static void test_probes_kept(void **state)
{
	struct fixture *x = *state;
	const uint64_t at = FAKE_BASE + FAKE_PROBED;
	struct lens_probe p[2];

	*var(x, FAKE_KPROBES) = fake_gva(FAKE_VARS) + FAKE_PROBE;
	fake_copy(&x->guest, at, "\xcc", 1);
	prepare(x);
	assert_int_equal(ask(x, WIRE_PROBES, NULL, 0), 0);
	assert_int_equal(x->reply.len_bytes, sizeof(p[0]));
	memcpy(p, x->reply.data, sizeof(p[0]));
	assert_int_equal(p[0].addr.v, at);
	assert_int_equal(p[0].byte[0], 0x55);
	assert_int_equal(ask(x, WIRE_PROBES_SET, p, 3), -XO_EPROTO);
	p[0].byte[0] = 0x53;
	p[1] = p[0];
	p[1].addr.v = at + XO_PAGE_SIZE; /* whose page is elsewhere */
	assert_int_equal(ask(x, WIRE_PROBES_SET, p, sizeof(p)), 0);
	prepare(x);
	assert_int_equal(ask(x, WIRE_PROBES, NULL, 0), 0);
	assert_int_equal(x->reply.len_bytes, sizeof(p[0]));
	assert_false(judge_raw(x, at, "\xcc", "\x55", 1).legal);
	assert_true(judge_raw(x, at, "\xcc", "\x53", 1).legal);
	assert_int_equal(ask(x, WIRE_PROBES, NULL, 0), 0);
	assert_int_equal(x->reply.len_bytes, 0);
}

static void test_other(void **state)
{
	struct fixture *x = *state;
	struct wire_judgement w;
	static const uint8_t nop5[] = {0x0f, 0x1f, 0x44, 0x00, 0x00}, nop2[] = {0x66, 0x90};
	uint8_t two[64], after[64];

	prepare(x);
	w = judge_raw(x, FAKE_BASE + FAKE_COLD, "\xc3", "\x90", 1);
	assert_int_equal(w.kind, LENS_WRITE_OTHER);
	assert_false(w.legal);
	assert_string_equal(w.where.name, "victim.cold");
	assert_int_equal(w.where_off, 0);
	assert_non_null(strstr(w.reason, "victim.cold"));
	w = judge_raw(x, fake_gva(FAKE_RODATA) + 0x300, "\x00", "\x01", 1);
	assert_int_equal(w.kind, LENS_WRITE_OTHER);
	assert_false(w.legal);
	w = judge_raw(x, fake_gva(FAKE_IDT) + 8, "\x00", "\x01", 1);
	assert_false(w.legal);
	assert_string_equal(w.where.name, "__end_rodata"); /* the same address */
	/* Not a page to protect at all. */
	w = judge_raw(x, fake_gva(FAKE_STACKS), "\x00", "\x01", 1);
	assert_int_equal(w.kind, LENS_WRITE_OTHER);
	assert_false(w.legal);
	/* Two places in one write; then one of them is wrong. */
	memset(two, 0xcc, sizeof(two));
	memcpy(two, nop5, 5);
	memcpy(two + (FAKE_JUMP2 - FAKE_JUMP5), nop2, 2);
	memcpy(after, two, sizeof(two));
	branch(after, 0xe9, FAKE_BASE + FAKE_JUMP5, FAKE_BASE + FAKE_CALLEE);
	after[FAKE_JUMP2 - FAKE_JUMP5] = 0xeb;
	after[FAKE_JUMP2 - FAKE_JUMP5 + 1] = 0x10;
	assert_true(judge_raw(x, FAKE_BASE + FAKE_JUMP5, two, after, 64).legal);
	after[(FAKE_JUMP2 - FAKE_JUMP5) + 1] = 0x11;
	w = judge_raw(x, FAKE_BASE + FAKE_JUMP5, two, after, 64);
	assert_false(w.legal);
	assert_int_equal(w.gva, FAKE_BASE + FAKE_JUMP2);
}

static void test_descriptors(void **state)
{
	struct fixture *x = *state;
	const uint64_t gdt = fake_gva(FAKE_GDT_PAGE);
	struct wire_judgement w;

	prepare(x);
	w = judge_raw(x, gdt + 16 + 5, "\x9a", "\x9b", 1);
	assert_int_equal(w.kind, LENS_WRITE_DESCRIPTOR);
	assert_true(w.legal);
	assert_true(judge_raw(x, gdt + 64 + 5, "\x89", "\x8b", 1).legal);
	assert_true(judge_raw(x, gdt + 96, "\x00\x00", "\x12\x34", 2).legal);
	assert_false(judge_raw(x, gdt + 16 + 5, "\x9a", "\xfa", 1).legal);
	assert_false(judge_raw(x, gdt + 64 + 2, "\x00", "\x01", 1).legal);
	assert_false(judge_raw(x, gdt + 160, "\x00", "\x01", 1).legal);
}

static void test_module(void **state)
{
	struct fixture *x = *state;
	struct fake_module *m = fake_module(&x->guest);
	uint64_t *pte = &fake_u64(&x->guest, fake_gva(FAKE_PT))[(FAKE_MOD_BASE - FAKE_BASE) / 4096];
	const uint64_t table = fake_gva(FAKE_MODULE) + 0x800, text = FAKE_MOD_BASE;
	/* The table's flags are of addresses, wherever it stands. */
	const uint64_t calls = table + 0x80 + private_ram;
	const Elf64_Sym sym = {.st_name = 1, .st_shndx = 1, .st_value = text + 16};
	const Elf64_Sym entry = {.st_name = 1, .st_shndx = 1, .st_value = text + 0x80};
	uint8_t jump[5];
	struct wire_judgement w;

	fake_s32(&x->guest, table, text + 0x40);
	fake_s32(&x->guest, table + 4, text + 0x200);
	m->jumps = table;
	m->nr_jumps = 1;
	*fake_u64(&x->guest, table + 0x40) = text + 0x80;
	m->entries = table + 0x40;
	m->nr_entries = 1;
	m->mem[1].base = fake_gva(FAKE_MODULE);
	m->mem[1].size = 4096;
	fake_copy(&x->guest, fake_gva(FAKE_MODULE) + 0x400, &sym, sizeof(sym));
	m->mks.num = 2;
	fake_copy(&x->guest, fake_gva(FAKE_MODULE) + 0x400 + sizeof(sym), &entry, sizeof(entry));
	fake_copy(&x->guest, fake_gva(FAKE_MODULE) + 0x480, "tt", 2);
	fake_s32(&x->guest, calls, text + 0x60);
	fake_s32(&x->guest, calls + 4, fake_gva(FAKE_VARS) + FAKE_KEY);
	m->calls = calls;
	m->nr_calls = 1;
	prepare(x);
	/* What is written there later is not looked at. */
	memset(fake_at(&x->guest, table), 0, 0x90);
	m->nr_jumps = m->nr_calls = m->nr_entries = 0;
	branch(jump, 0xe9, text + 0x40, text + 0x200);
	w = judge_raw(x, text + 0x40, NOP5, jump, 5);
	assert_true(w.legal);
	assert_int_equal(w.kind, LENS_WRITE_JUMP_LABEL);
	branch(jump, 0xe8, text + 0x80, FAKE_BASE + FAKE_TRACER);
	w = judge_raw(x, text + 0x80, NOP5, jump, 5);
	assert_true(w.legal);
	assert_int_equal(w.kind, LENS_WRITE_FTRACE);
	w = judge_raw(x, text + 0x18, "\x00", "\x90", 1);
	assert_false(w.legal);
	assert_string_equal(w.where.name, "mod_fn");
	assert_string_equal(w.where.module, "fakemod");
	/* A static call may lead to a function of a module. */
	*var(x, FAKE_KEY) = text + 16;
	branch(jump, 0xe8, FAKE_BASE + FAKE_CALL, text + 16);
	assert_true(judge_raw(x, FAKE_BASE + FAKE_CALL, NOP5, jump, 5).legal);
	/* But not into one, nor to what only became one since. */
	fake_u64(&x->guest, fake_gva(FAKE_MODULE) + 0x400)[1] = text + 24;
	*var(x, FAKE_KEY) = text + 24;
	branch(jump, 0xe8, FAKE_BASE + FAKE_CALL, text + 24);
	assert_false(judge_raw(x, FAKE_BASE + FAKE_CALL, NOP5, jump, 5).legal);
	/* Its own calls. */
	*var(x, FAKE_KEY) = FAKE_BASE + FAKE_CALLEE;
	branch(jump, 0xe8, text + 0x60, FAKE_BASE + FAKE_CALLEE);
	assert_true(judge_raw(x, text + 0x60, NOP5, jump, 5).legal);
	branch(jump, 0xe9, text + 0x60, FAKE_BASE + FAKE_CALLEE);
	assert_false(judge_raw(x, text + 0x60, NOP5, jump, 5).legal);
	/* A table that says later what is to be legal. */
	fake_s32(&x->guest, table + 0x100, text + 0xa0);
	fake_s32(&x->guest, table + 0x104, text + 0x200);
	m->jumps = table + 0x100;
	m->nr_jumps = 1;
	branch(jump, 0xe9, text + 0xa0, text + 0x200);
	prepare(x);
	assert_false(judge_raw(x, text + 0xa0, NOP5, jump, 5).legal);
	/* Off the list but still there: somebody hides it. */
	fake_link(&x->guest, fake_gva(FAKE_VARS) + FAKE_MODULES,
		  fake_gva(FAKE_VARS) + FAKE_MODULES);
	w = judge_raw(x, text + 0x18, "\x00", "\x90", 1);
	assert_false(w.legal);
	assert_int_equal(w.kind, LENS_WRITE_MODULE);
	assert_non_null(strstr(w.reason, "off the list"));
	/* Gone: the page is anybody's. */
	*pte = 0;
	w = judge_raw(x, text + 0x18, "\x00", "\x90", 1);
	assert_true(w.legal);
	assert_int_equal(w.kind, LENS_WRITE_MODULE);
}

/* ---- areas ---- */

static size_t areas(struct fixture *x, bool left_out, struct lens_area *ret, size_t max)
{
	const struct wire_areas q = {.left_out = left_out};
	struct wire_count count;

	if (ask(x, WIRE_AREAS, &q, sizeof(q)))
		fail_msg("areas: %s", x->err.text);
	memcpy(&count, x->reply.data, sizeof(count));
	assert_true(count.nr <= max);
	assert_int_equal(x->reply.len_bytes, sizeof(count) + count.nr * sizeof(*ret));
	memcpy(ret, x->reply.data + sizeof(count), count.nr * sizeof(*ret));
	return count.nr;
}

static void test_areas(void **state)
{
	struct fixture *x = *state;
	struct lens_area a[16];
	size_t nr = areas(x, false, a, 16);
	uint64_t *pt = fake_u64(&x->guest, fake_gva(FAKE_PT));
	uint64_t *module = &pt[(FAKE_MOD_BASE - FAKE_BASE) / 4096];

	assert_int_equal(nr, 4);
	assert_int_equal(a[0].kind, LENS_AREA_TEXT);
	assert_int_equal(a[0].gva.v, FAKE_BASE);
	assert_int_equal(a[0].gpa.v, FAKE_GPA);
	assert_int_equal(a[0].len_bytes, FAKE_RODATA * 4096);
	assert_int_equal(a[1].kind, LENS_AREA_RODATA);
	assert_int_equal(a[1].len_bytes, (FAKE_IDT - FAKE_RODATA) * 4096);
	assert_int_equal(a[2].kind, LENS_AREA_IDT);
	assert_int_equal(a[3].kind, LENS_AREA_MODULE_TEXT);
	assert_string_equal(a[3].module, "fakemod");
	nr = areas(x, true, a, 16);
	assert_int_equal(nr, 1); /* two pages that are neighbours */
	assert_int_equal(a[0].kind, LENS_AREA_GDT);
	/* The guest's own tables do not take protection away. */
	pt[1] |= GPTE_WRITE;
	*module |= GPTE_WRITE;
	assert_int_equal(areas(x, false, a, 16), 4);
	/* Nor does a module that leaves its list first, but when it goes. */
	fake_link(&x->guest, fake_gva(FAKE_VARS) + FAKE_MODULES,
		  fake_gva(FAKE_VARS) + FAKE_MODULES);
	*module &= ~GPTE_WRITE;
	assert_int_equal(areas(x, false, a, 16), 4);
	*module = 0;
	assert_int_equal(areas(x, false, a, 16), 3);
	fake_link(&x->guest, fake_gva(FAKE_VARS) + FAKE_MODULES, fake_gva(FAKE_MODULE));
	/* Nor can it have what is the kernel's. */
	*module = fake_phys(1) | GPTE_PRESENT;
	assert_int_equal(areas(x, false, a, 16), 3);
	assert_int_equal(areas(x, true, a, 16), 2);
	assert_int_equal(a[1].kind, LENS_AREA_MODULE_TEXT);
}

/* A page that the guest maps writable from the start is not to be protected; it is said which. */
static void test_areas_left_out(void **state)
{
	struct fixture *x = *state;
	struct lens_area a[16];

	fake_u64(&x->guest, fake_gva(FAKE_PT))[1] |= GPTE_WRITE;
	assert_int_equal(areas(x, false, a, 16), 5);
	assert_int_equal(a[0].len_bytes, 4096);
	assert_int_equal(a[1].gva.v, FAKE_BASE + 8192);
	assert_int_equal(areas(x, true, a, 16), 2);
	assert_int_equal(a[0].kind, LENS_AREA_TEXT);
	assert_int_equal(a[0].gva.v, FAKE_BASE + 4096);
}

/* ---- page tables ---- */

static size_t found(struct fixture *x, uint32_t op, size_t skip, struct lens_finding *ret)
{
	size_t nr;

	if (ask(x, op, NULL, 0))
		fail_msg("operation %u: %s", op, x->err.text);
	assert_true(x->reply.len_bytes >= skip);
	nr = (x->reply.len_bytes - skip) / sizeof(*ret);
	assert_true(nr <= LENS_MAX_FINDINGS);
	if (nr)
		memcpy(ret, x->reply.data + skip, nr * sizeof(*ret));
	return nr;
}

static size_t check_tables(struct fixture *x, struct lens_finding *ret)
{
	return found(x, WIRE_TABLES_CHECK, 0, ret);
}

static size_t audit(struct fixture *x, struct lens_finding *ret)
{
	return found(x, WIRE_AUDIT, sizeof(struct lens_audit_stats), ret);
}

static void test_tables(void **state)
{
	struct fixture *x = *state;
	uint64_t *pt = fake_u64(&x->guest, fake_gva(FAKE_PT));
	uint64_t *fix = fake_u64(&x->guest, fake_gva(FAKE_FIX1));
	uint64_t *pmd = fake_u64(&x->guest, fake_gva(FAKE_PMD));
	struct lens_finding f[LENS_MAX_FINDINGS] = {0};
	struct {
		uint64_t *entry, value;
		size_t nr;
		int kind;
	} const step[] = {
		{&pt[0], pt[0] | GPTE_ACCESSED | GPTE_DIRTY, 0, 0},
		{&pt[0], pt[0] | GPTE_WRITE, 1, LENS_FOUND_WX},
		{&pt[0], pt[1], 1, LENS_FOUND_PTE},
		{&pt[0], 0, 1, LENS_FOUND_PTE},
		{&pt[FAKE_RODATA], pt[FAKE_RODATA] & ~GPTE_NX, 1, LENS_FOUND_PTE},
		{&pt[FAKE_DATA + 90], pt[FAKE_DATA + 90] & ~GPTE_WRITE, 0, 0},
		{&pt[FAKE_DATA + 90], 0, 0, 0},
		{&pt[FAKE_DATA + 90], pt[FAKE_DATA + 90] & ~GPTE_NX, 1, LENS_FOUND_WX},
		{&pt[FAKE_DATA + 90], pt[FAKE_DATA + 91], 1, LENS_FOUND_PTE},
		{&fix[3], fake_phys(0) | GPTE_PRESENT | GPTE_NX | GPTE_WRITE, 0, 0},
		{&fix[3], fake_phys(0) | GPTE_PRESENT, 1, LENS_FOUND_PTE},
		{&pmd[8], fake_phys(FAKE_FIX0) | 3, 1, LENS_FOUND_PTE},
		{&pmd[300], fake_phys(FAKE_FIX0) | 3, 0,
		 0}, /* an empty table, in the module area */
		{&pmd[300], fake_phys(FAKE_PT) | 3, 2, LENS_FOUND_PTE},
	};

	assert_int_equal(ask(x, WIRE_TABLES_CHECK, NULL, 0), -XO_ENOKERNEL);
	assert_int_equal(ask(x, WIRE_TABLES_PIN, NULL, 0), 0);
	assert_int_equal(check_tables(x, f), 0);
	for (size_t i = 0; i < sizeof(step) / sizeof(step[0]); i++) {
		uint64_t old = *step[i].entry;
		size_t nr;

		*step[i].entry = step[i].value;
		nr = check_tables(x, f);
		if (nr != step[i].nr || (nr && (int)f[0].kind != step[i].kind))
			fail_msg("step %zu: %zu findings, the first of kind %d", i, nr,
				 (int)f[0].kind);
		*step[i].entry = old;
		assert_int_equal(check_tables(x, f), 0);
	}
	/* Approved by pinning again. */
	fix[3] = fake_phys(0) | GPTE_PRESENT;
	assert_int_equal(ask(x, WIRE_TABLES_PIN, NULL, 0), 0);
	assert_int_equal(check_tables(x, f), 0);
	fix[3] = fake_phys(1) | GPTE_PRESENT;
	assert_int_equal(check_tables(x, f), 1);
	/* Accepted is what was told; what comes after that is found. */
	fix[4] = fake_phys(1) | GPTE_PRESENT;
	pmd[300] = fake_phys(FAKE_PT) | 3;
	assert_int_equal(check_tables(x, f), 3);
	fix[4] = fake_phys(2) | GPTE_PRESENT;
	assert_int_equal(ask(x, WIRE_TABLES_TAKE, NULL, 0), 0);
	assert_int_equal(check_tables(x, f), 1);
	assert_int_equal(f[0].was, fake_phys(1) | GPTE_PRESENT);
	assert_int_equal(f[0].is, fake_phys(2) | GPTE_PRESENT);
	assert_int_equal(ask(x, WIRE_TABLES_TAKE, NULL, 0), 0);
	assert_int_equal(check_tables(x, f), 0);
	assert_int_equal(ask(x, WIRE_TABLES_TAKE, NULL, 0), -XO_EPAGETABLE);
	pmd[300] = 0;
	/* The GDT: what a context switch writes is no finding, a new code segment is. */
	fake_at(&x->guest, fake_gva(FAKE_GDT_PAGE))[96] ^= 1;
	assert_int_equal(check_tables(x, f), 0);
	fake_at(&x->guest, fake_gva(FAKE_GDT_PAGE))[16] ^= 1;
	assert_int_equal(check_tables(x, f), 1);
	assert_int_equal(f[0].kind, LENS_FOUND_DESCRIPTOR);
	assert_int_equal(f[0].gva.v, fake_gva(FAKE_GDT_PAGE) + 16);
	assert_non_null(strstr(f[0].what, "CPU 0, entry 2"));
}

static void test_audit(void **state)
{
	struct fixture *x = *state;
	uint64_t *pt = fake_u64(&x->guest, fake_gva(FAKE_PT));
	uint64_t *pgd2 = fake_u64(&x->guest, fake_gva(FAKE_PGD2));
	uint64_t *spare = fake_u64(&x->guest, fake_gva(245));
	struct lens_finding f[LENS_MAX_FINDINGS] = {0};
	struct lens_approved ok;
	struct lens_audit_stats stats;
	uint64_t old;

	assert_int_equal(audit(x, f), 0);
	memcpy(&stats, x->reply.data, sizeof(stats));
	assert_int_equal(stats.nr_spaces, 2);
	assert_int_equal(stats.nr_left, 0);
	assert_int_equal(stats.nr_exec_pages, FAKE_RODATA + 1);
	/* Text, writable; text from elsewhere; data, executable: with the owner, if one is listed.
	 */
	pt[1] |= GPTE_WRITE;
	assert_int_equal(audit(x, f), 1);
	assert_int_equal(f[0].kind, LENS_FOUND_WX);
	pt[1] &= ~GPTE_WRITE;
	old = pt[1];
	pt[1] = pt[2];
	assert_int_equal(audit(x, f), 1);
	assert_int_equal(f[0].kind, LENS_FOUND_TEXT_MAPPING);
	assert_int_equal(f[0].gva.v, fake_gva(1));
	assert_int_equal(f[0].was, fake_phys(1));
	pt[1] = old;
	old = pt[248]; /* FAKE_TRAMPOLINE */
	pt[248] = fake_phys(248) | GPTE_PRESENT;
	assert_int_equal(audit(x, f), 1);
	assert_int_equal(f[0].kind, LENS_FOUND_EXEC);
	assert_int_equal(f[0].owner, LENS_OWNER_UNKNOWN);
	/* Bits that mean nothing make it no other finding. */
	pt[248] |= GPTE_ACCESSED | GPTE_DIRTY | UINT64_C(0x7f) << 52 | 7u << 9;
	assert_int_equal(audit(x, f), 1);
	assert_int_equal(f[0].is, fake_phys(248) | GPTE_PRESENT);
	fake_trampoline(&x->guest, FAKE_BASE + FAKE_OTHER);
	assert_int_equal(audit(x, f), 1);
	assert_int_equal(f[0].owner, LENS_OWNER_FTRACE);
	ok = (struct lens_approved){.gva = {FAKE_TRAMPOLINE}, .len_bytes = 4096};
	assert_int_equal(ask(x, WIRE_AUDIT, &ok, sizeof(ok)), 0);
	assert_int_equal(x->reply.len_bytes, sizeof(stats));
	ok.gpa.v = fake_phys(247);
	assert_int_equal(ask(x, WIRE_AUDIT, &ok, sizeof(ok)), 0);
	assert_int_equal(x->reply.len_bytes, sizeof(stats) + sizeof(f[0]));
	pt[248] = old;
	assert_int_equal(audit(x, f), 0);
	/* One process has another kernel half: a copy of all tables, one page of text elsewhere. */
	for (unsigned int i = 0; i < 3; i++)
		memcpy(spare + (size_t)i * 512, fake_at(&x->guest, fake_gva(FAKE_PUD + i)), 4096);
	pgd2[511] = fake_phys(245) | 3;
	spare[510] = fake_phys(246) | 3;
	spare[512 + 8] = fake_phys(247) | 3;
	assert_int_equal(audit(x, f), 0);
	spare[1024 + 1] = fake_phys(200) | GPTE_PRESENT;
	assert_int_equal(audit(x, f), 1);
	assert_int_equal(f[0].kind, LENS_FOUND_TEXT_MAPPING);
	assert_int_equal(f[0].gva.v, fake_gva(1));
	assert_non_null(strstr(f[0].what, "task 1 (task1)"));
	spare[1024 + 1] = pt[1];
	/* Read-only data elsewhere: nobody executes it, and yet. */
	old = spare[1024 + FAKE_RODATA];
	spare[1024 + FAKE_RODATA] = fake_phys(200) | GPTE_PRESENT | GPTE_NX;
	assert_int_equal(audit(x, f), 1);
	assert_int_equal(f[0].kind, LENS_FOUND_TEXT_MAPPING);
	assert_int_equal(f[0].gva.v, fake_gva(FAKE_RODATA));
	assert_int_equal(f[0].was, fake_phys(FAKE_RODATA));
	/* Below an entry that forbids execution of all. */
	spare[512 + 8] |= GPTE_NX;
	assert_int_equal(audit(x, f), 1);
	spare[1024 + FAKE_RODATA] = old;
	assert_int_equal(audit(x, f), 0);
	pgd2[511] = fake_u64(&x->guest, fake_gva(FAKE_PGD))[511];
	/* Its user half: its own pages are its own, the kernel's are not. */
	memset(spare, 0, 3 * XO_PAGE_SIZE);
	pgd2[0] = fake_phys(245) | 7;
	spare[0] = fake_phys(246) | 7;
	spare[512] = fake_phys(247) | 7;
	spare[1024 + 5] = fake_phys(200) | 5;
	assert_int_equal(audit(x, f), 0);
	spare[1024 + 6] = fake_phys(200) | 1;
	assert_int_equal(audit(x, f), 1);
	assert_int_equal(f[0].kind, LENS_FOUND_EXEC);
	assert_int_equal(f[0].gva.v, 6 * XO_PAGE_SIZE);
	assert_non_null(strstr(f[0].what, "user half of task 1"));
	spare[1024 + 6] |= GPTE_NX;
	assert_int_equal(audit(x, f), 0);
	/* Tables that lead to themselves end. */
	spare[0] = fake_phys(245) | 3;
	for (unsigned int i = 0; i < 512; i++)
		spare[i] = fake_phys(245) | 3;
	(void)audit(x, f);
}

/* What BPF makes is called where it is listed, and said; a program is not called at all. */
static void test_bpf(void **state)
{
	struct fixture *x = *state;
	const uint64_t call = FAKE_BASE + FAKE_CALL, list = fake_gva(FAKE_VARS) + FAKE_BPF_LIST;
	const uint64_t half = FAKE_TRAMPOLINE + 2048;
	struct lens_finding f[LENS_MAX_FINDINGS] = {0};
	struct wire_judgement w;
	uint8_t code[5];

	*var(x, FAKE_OPS_LIST) = fake_gva(FAKE_VARS) + FAKE_OPS_LIST;
	prepare(x);
	*var(x, FAKE_KEY) = FAKE_TRAMPOLINE;
	branch(code, 0xe8, call, FAKE_TRAMPOLINE);
	assert_false(judge_raw(x, call, NOP5, code, 5).legal);
	fake_link(&x->guest, list, list + (FAKE_BPF - FAKE_BPF_LIST) + 48);
	fake_link(&x->guest, list + (FAKE_BPF - FAKE_BPF_LIST) + 48, list);
	/* Data is no code. */
	assert_false(judge_raw(x, call, NOP5, code, 5).legal);
	fake_executable(&x->guest, FAKE_TRAMPOLINE);
	w = judge_raw(x, call, NOP5, code, 5);
	assert_true(w.legal);
	assert_int_equal(w.leads_to, LENS_OWNER_BPF);
	assert_non_null(strstr(w.reason, "cannot be checked"));
	*var(x, FAKE_KEY) = half;
	branch(code, 0xe8, call, half);
	assert_true(judge_raw(x, call, NOP5, code, 5).legal);
	*var(x, FAKE_KEY) = half + 8;
	branch(code, 0xe8, call, half + 8);
	assert_false(judge_raw(x, call, NOP5, code, 5).legal);
	*var(x, FAKE_KEY) = half;
	*(uint8_t *)var(x, FAKE_BPF + 64) = 1;
	branch(code, 0xe8, call, half);
	assert_false(judge_raw(x, call, NOP5, code, 5).legal);
	/* Said once, and again when it is another. */
	assert_int_equal(audit(x, f), 2);
	assert_int_equal(f[1].owner, LENS_OWNER_BPF);
	assert_string_equal(f[1].what, "bpf_image");
	assert_int_equal(audit(x, f), 1);
	*(char *)var(x, FAKE_BPF + 16) = 'x';
	assert_int_equal(audit(x, f), 2);
	assert_int_equal(audit(x, f), 1);
	/* What is protected is nobody's but its owner's. */
	*(uint8_t *)var(x, FAKE_BPF + 64) = 0;
	*var(x, FAKE_BPF) = *var(x, FAKE_KEY) = FAKE_MOD_BASE;
	branch(code, 0xe8, call, FAKE_MOD_BASE);
	assert_false(judge_raw(x, call, NOP5, code, 5).legal);
}

/* A module's code, somewhere else: so it is when it was loaded again, not while it is there. */
static void test_moved(void **state)
{
	struct fixture *x = *state;
	struct fake_module *m = fake_module(&x->guest);
	uint64_t *pt = fake_u64(&x->guest, fake_gva(FAKE_PT));
	uint64_t *pte = &pt[(FAKE_MOD_BASE - FAKE_BASE) / 4096], old = *pte;
	const unsigned int other = FAKE_DATA + 92;
	struct lens_finding f[LENS_MAX_FINDINGS] = {0};
	struct wire_judgement w;
	struct lens_area a[16];

	assert_int_equal(areas(x, false, a, 16), 4);
	*pte = fake_phys(other) | GPTE_PRESENT;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(areas(x, false, a, 16), 4);
		assert_int_equal(audit(x, f), 1);
		assert_int_equal(f[0].kind, LENS_FOUND_TEXT_MAPPING);
		assert_int_equal(f[0].gva.v, FAKE_MOD_BASE);
		assert_int_equal(f[0].gpa.v, fake_phys(other));
		assert_non_null(strstr(f[0].what, "fakemod"));
	}
	m->node_id++;
	*pte = old;
	assert_int_equal(areas(x, false, a, 16), 4);
	assert_int_equal(audit(x, f), 0);
	/* The page it had is not free to be written to, either. */
	*pte = fake_phys(other) | GPTE_PRESENT;
	w = judge_raw(x, FAKE_MOD_BASE + 0x20, "\x00", "\x90", 1);
	assert_false(w.legal);
	assert_non_null(strstr(w.reason, "another page"));
	m->node_id++;
	assert_true(judge_raw(x, FAKE_MOD_BASE + 0x20, "\x00", "\x90", 1).legal);
	/* Nor is one that was only made writable. */
	*pte = old | GPTE_WRITE | GPTE_NX;
	assert_false(judge_raw(x, FAKE_MOD_BASE + 0x20, "\x00", "\x90", 1).legal);
}

static const struct lens_finding *find_kind(const struct lens_finding *f, size_t nr, int kind)
{
	for (size_t i = 0; i < nr; i++)
		if ((int)f[i].kind == kind)
			return &f[i];
	return NULL;
}

/* What its structure says once it is loaded: it has less code, other code, code for its start. */
static void test_module_lies(void **state)
{
	struct fixture *x = *state;
	struct fake_module *m = fake_module(&x->guest);
	const struct fake_module was = *m;
	uint64_t *pt = fake_u64(&x->guest, fake_gva(FAKE_PT));
	const uint64_t init = fake_gva(248);
	struct lens_finding f[LENS_MAX_FINDINGS] = {0};
	struct lens_area a[16];

	assert_int_equal(areas(x, false, a, 16), 4);
	assert_int_equal(audit(x, f), 0);
	m->mem[0].size = 0;
	m->mem[1].base = FAKE_MOD_BASE;
	m->mem[1].size = 4096;
	assert_int_equal(areas(x, false, a, 16), 4);
	assert_int_equal(a[3].gva.v, FAKE_MOD_BASE);
	assert_int_equal(audit(x, f), 1);
	assert_int_equal(f[0].kind, LENS_FOUND_MODULE);
	assert_non_null(strstr(f[0].what, "fakemod"));
	*m = was;
	assert_int_equal(areas(x, false, a, 16), 4);
	assert_int_equal(audit(x, f), 0);
	/* It started long ago. */
	pt[248] = fake_phys(248) | GPTE_PRESENT;
	m->mem[4].base = init;
	m->mem[4].size = 4096;
	for (m->state = 0; m->state < 2; m->state++) {
		assert_int_equal(areas(x, false, a, 16), 4);
		assert_int_equal(audit(x, f), 1 + m->state);
		assert_non_null(find_kind(f, 1 + m->state, LENS_FOUND_EXEC));
	}
	/* Off the list, it is what it was; on it again, it is another for all we know. */
	*m = was;
	m->mem[0].size = 0;
	fake_link(&x->guest, fake_gva(FAKE_VARS) + FAKE_MODULES,
		  fake_gva(FAKE_VARS) + FAKE_MODULES);
	assert_int_equal(areas(x, false, a, 16), 4);
	fake_link(&x->guest, fake_gva(FAKE_VARS) + FAKE_MODULES, fake_gva(FAKE_MODULE));
	fake_link(&x->guest, fake_gva(FAKE_MODULE), fake_gva(FAKE_VARS) + FAKE_MODULES);
	assert_int_equal(areas(x, false, a, 16), 4);
	pt[248] = 0;
}

/* What stands there when it has left is no state: it is on its way out. */
static void test_module_leaves(void **state)
{
	struct fixture *x = *state;
	struct wire_modules q = {0};
	struct wire_count count;
	struct wire_module w;

	prepare(x);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(ask(x, WIRE_MODULES, &q, sizeof(q)), 0);
		assert_int_equal(x->reply.len_bytes, sizeof(count) + sizeof(w));
		memcpy(&w, x->reply.data + sizeof(count), sizeof(w));
		assert_string_equal(w.name, "fakemod");
		assert_int_equal(w.state, i ? LENS_MODULE_GOING : LENS_MODULE_LIVE);
		q.addr = w.addr; /* tables, too; this kernel has none */
		fake_module(&x->guest)->state = 0x90909090;
	}
}

/* It is being loaded: its start's code is code, as long as it says the same. */
static void test_module_starts(void **state)
{
	struct fixture *x = *state;
	struct fake_module *m = fake_module(&x->guest);
	uint64_t *pt = fake_u64(&x->guest, fake_gva(FAKE_PT));
	struct lens_finding f[LENS_MAX_FINDINGS] = {0};
	struct lens_area a[16];
	size_t nr;

	pt[247] = fake_phys(247) | GPTE_PRESENT;
	pt[248] = fake_phys(248) | GPTE_PRESENT;
	m->state = 1;
	m->node = 0;
	m->mem[4].base = fake_gva(248);
	m->mem[4].size = 4096;
	nr = areas(x, false, a, 16);
	assert_int_equal(nr, 5);
	assert_int_equal(a[4].gva.v, fake_gva(248));
	nr = audit(x, f);
	assert_int_equal(nr, 1); /* the other page */
	m->mem[4].base = fake_gva(247);
	assert_int_equal(areas(x, false, a, 16), 5);
	nr = audit(x, f);
	assert_int_equal(nr, 2);
	assert_non_null(find_kind(f, nr, LENS_FOUND_MODULE));
	assert_int_equal(find_kind(f, nr, LENS_FOUND_EXEC)->gva.v, fake_gva(247));
	/* Refused before it had a node, and loaded again with its text elsewhere: another. */
	m->mem[0].base = fake_gva(248);
	m->mem[4].base = fake_gva(247);
	assert_int_equal(areas(x, false, a, 16), 6);
	assert_int_equal(audit(x, f), 0);
	pt[247] = pt[248] = 0;
}

/* Tables that are no RAM, in both looks. */
static void test_tables_elsewhere(void **state)
{
	struct fixture *x = *state;
	uint64_t *pgd = fake_u64(&x->guest, fake_gva(FAKE_PGD));
	uint64_t *pmd = fake_u64(&x->guest, fake_gva(FAKE_PMD));
	struct lens_finding f[LENS_MAX_FINDINGS] = {0};
	unsigned int empty = 100;

	prepare(x);
	assert_int_equal(ask(x, WIRE_TABLES_PIN, NULL, 0), 0);
	pgd[300] = UINT64_C(0xfe000000) | 3;
	assert_int_equal(audit(x, f), 1);
	assert_int_equal(f[0].kind, LENS_FOUND_TABLE);
	assert_int_equal(f[0].gpa.v, 0xfe000000);
	pgd[300] = 0;
	assert_int_equal(pmd[empty], 0);
	pmd[empty] = UINT64_C(0xfe000000) | 3;
	assert_int_equal(check_tables(x, f), 1);
	assert_int_equal(f[0].kind, LENS_FOUND_TABLE);
	pmd[empty] = 0;
	assert_int_equal(check_tables(x, f), 0);
}

/* Others in front of it, of which the kernel's lists know, or more than there is room for. */
static void test_many_findings(void **state)
{
	struct fixture *x = *state;
	uint64_t *pgd2 = fake_u64(&x->guest, fake_gva(FAKE_PGD2));
	uint64_t *spare = fake_u64(&x->guest, fake_gva(245));
	struct lens_finding f[LENS_MAX_FINDINGS] = {0};
	size_t nr;

	memset(spare, 0, 3 * XO_PAGE_SIZE);
	pgd2[0] = fake_phys(245) | 7;
	spare[0] = fake_phys(246) | 7;
	spare[512] = fake_phys(247) | 7;
	for (unsigned int i = 0; i < 63; i++)
		spare[1024 + 2 * i] = fake_phys(200) | 1;
	nr = audit(x, f);
	assert_int_equal(nr, 63);
	assert_null(find_kind(f, nr, LENS_FOUND_INCOMPLETE));
	spare[1024 + 400] = fake_phys(200) | 1;
	nr = audit(x, f);
	assert_int_equal(nr, 64);
	assert_int_equal(f[63].kind, LENS_FOUND_INCOMPLETE);
	/* Too many to look at: the table is everywhere. */
	for (unsigned int i = 0; i < 512; i++) {
		spare[512 + i] = fake_phys(247) | 7;
		spare[1024 + i] = fake_phys(200 + i % 2) | 1;
	}
	nr = audit(x, f);
	assert_int_equal(nr, 2);
	assert_int_equal(f[0].kind, LENS_FOUND_EXEC);
	assert_int_equal(f[1].kind, LENS_FOUND_INCOMPLETE);
	pgd2[0] = 0;
}

/* The next lens goes on from what this one remembered, not from what there is by then. */
static void test_next_lens(void **state)
{
	struct fixture *x = *state;
	uint64_t *pt = fake_u64(&x->guest, fake_gva(FAKE_PT));
	uint64_t *module = &pt[(FAKE_MOD_BASE - FAKE_BASE) / 4096];
	struct lens_finding f[LENS_MAX_FINDINGS] = {0};
	const struct wire_areas first = {0};
	struct lens_area a[16], again[16];
	struct lens_table bad = {.level = 1, .first = 5, .last = 4};
	_cleanup_free_ uint8_t *kept = NULL;
	uint8_t body[sizeof(struct wire_count) + sizeof(bad)] = {0};
	struct wire_count count;
	size_t nr = areas(x, false, a, 16), bytes;

	assert_int_equal(nr, 4);
	assert_int_equal(ask(x, WIRE_TABLES_PIN, NULL, 0), 0);
	assert_int_equal(ask(x, WIRE_TABLES_GET, &first, sizeof(first)), 0);
	bytes = x->reply.len_bytes;
	kept = malloc(bytes);
	assert_non_null(kept);
	memcpy(kept, x->reply.data, bytes);
	memcpy(&count, kept, sizeof(count));
	assert_int_equal(bytes, sizeof(count) + count.nr * sizeof(bad));
	memset(kept, 0, sizeof(count)); /* none is to come */
	/* The guest changes while there is none. */
	pt[1] |= GPTE_WRITE;
	*module |= GPTE_WRITE | GPTE_NX;
	assert_int_equal(ask(x, WIRE_DISCOVER, NULL, 0), 0);
	assert_int_equal(areas(x, false, again, 16), 4); /* text in two pieces, no module */
	assert_int_equal(ask(x, WIRE_AREAS_SEED, a, 4 * sizeof(a[0])), -XO_EPROTO);
	assert_int_equal(ask(x, WIRE_DISCOVER, NULL, 0), 0);
	assert_int_equal(ask(x, WIRE_AREAS_SEED, a, 4 * sizeof(a[0])), 0);
	assert_int_equal(areas(x, false, again, 16), 4);
	assert_memory_equal(a, again, sizeof(a[0]) * 4);
	assert_int_equal(areas(x, true, again, 16), 1); /* GDTs, as ever */
	assert_int_equal(ask(x, WIRE_TABLES_SET, kept, bytes), 0);
	assert_int_equal(check_tables(x, f), 2);
	assert_int_equal(f[0].kind, LENS_FOUND_WX);
	assert_int_equal(f[0].gva.v, fake_gva(1));
	/* Other text than the lens before knew, all of which is there still: it says so. */
	*module &= ~(GPTE_WRITE | GPTE_NX);
	pt[1] &= ~GPTE_WRITE;
	pt[248] = fake_phys(248) | GPTE_PRESENT;
	fake_module(&x->guest)->mem[0].base = fake_gva(248);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(ask(x, WIRE_DISCOVER, NULL, 0), 0);
		if (!i)
			assert_int_equal(ask(x, WIRE_AREAS_SEED, a, 4 * sizeof(a[0])), 0);
		assert_int_equal(ask(x, WIRE_GUARD, NULL, 0), 0);
		assert_int_equal(audit(x, f), 1);
		assert_int_equal(f[0].kind, i ? LENS_FOUND_EXEC : LENS_FOUND_MODULE);
	}
	fake_module(&x->guest)->mem[0].base = FAKE_MOD_BASE;
	pt[248] = 0;
	pt[1] |= GPTE_WRITE;
	*module |= GPTE_WRITE | GPTE_NX;
	/* Lists that lead nowhere by then do not matter. */
	assert_int_equal(ask(x, WIRE_DISCOVER, NULL, 0), 0);
	fake_module(&x->guest)->list[0] = UINT64_C(1) << 60;
	assert_int_equal(ask(x, WIRE_GUARD, NULL, 0), -XO_EMODLIST);
	assert_int_equal(ask(x, WIRE_TABLES_SET, kept, bytes), 0);
	assert_int_equal(check_tables(x, f), 2);
	fake_link(&x->guest, fake_gva(FAKE_MODULE), fake_gva(FAKE_VARS) + FAKE_MODULES);
	/* Nothing of it is believed. */
	memcpy(body + sizeof(count), &bad, sizeof(bad));
	assert_int_equal(ask(x, WIRE_TABLES_SET, body, sizeof(body)), -XO_EMALFORMED);
	assert_int_equal(ask(x, WIRE_TABLES_SET, body, sizeof(body) - 1), -XO_EPROTO);
	assert_int_equal(check_tables(x, f), 2);
	assert_int_equal(ask(x, WIRE_DISCOVER, NULL, 0), 0);
	a[0].gpa.v = UINT64_C(1) << 40;
	assert_int_equal(ask(x, WIRE_AREAS_SEED, a, sizeof(a[0])), -XO_EMALFORMED);
}

static void test_bounds(void **state)
{
	struct fixture *x = *state;
	uint64_t start = worked_ns();
	uint64_t *pgd = fake_u64(&x->guest, fake_gva(FAKE_PGD));
	const struct wire_addr q = {.addr = FAKE_GPA, .len_bytes = 4097};
	struct lens_finding f[LENS_MAX_FINDINGS] = {0};
	uint8_t body[sizeof(q) + 4];

	memcpy(body, &q, sizeof(q));
	assert_int_equal(ask(x, WIRE_JUDGE, body, sizeof(body)), -XO_EPROTO);
	assert_int_equal(ask(x, WIRE_JUDGE, body, sizeof(q)), -XO_EPROTO);
	assert_int_equal(ask(x, WIRE_AREAS, body, 3), -XO_EPROTO);
	assert_int_equal(ask(x, WIRE_AUDIT, body, 3), -XO_EPROTO);
	assert_int_equal(ask(x, WIRE_TABLES_PIN, body, 3), -XO_EPROTO);
	prepare(x);
	/* The kernel half leads to itself, over and over. */
	for (unsigned int i = 256; i < 511; i++)
		pgd[i] = fake_phys(FAKE_PGD) | 3;
	assert_non_null(find_kind(f, audit(x, f), LENS_FOUND_INCOMPLETE));
	assert_true(worked_ns() - start < UINT64_C(10000000000));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_jump_label),
		TEST(test_static_call),
		TEST(test_ftrace),
		TEST(test_kprobe),
		TEST(test_plain_kprobe),
		TEST(test_other),
		TEST(test_descriptors),
		TEST(test_module),
		TEST(test_areas),
		TEST(test_tables),
		TEST(test_audit),
		TEST(test_bounds),
		TEST(test_areas_left_out),
		TEST(test_moved),
		TEST(test_module_lies),
		TEST(test_next_lens),
		TEST(test_module_leaves),
		TEST(test_module_starts),
		TEST(test_tables_elsewhere),
		TEST(test_many_findings),
		TEST(test_forged_kprobe),
		TEST(test_bpf),
		TEST(test_probes_kept),
	};

	int failed = cmocka_run_group_tests_name("mapped", tests, NULL, NULL);

	private_ram = true;
	return failed + cmocka_run_group_tests_name("private", tests, NULL, NULL);
}
