// SPDX-License-Identifier: Apache-2.0
/* The whole lens on a guest that is not there, sound and broken in each place. */
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/lib/patience.h"
#include "tests/unit/lens/fake_guest.h"

/* Whatever the guest holds, no request may take longer. */
#define BOUND_NS UINT64_C(5000000000)

struct fixture {
	struct fake guest;
	struct lserver server;
	struct xbuf reply;
	struct xerr err;
};

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

static int ask(struct fixture *x, uint32_t op, const void *body, size_t len)
{
	uint64_t start = worked_ns();
	int rc;

	xbuf_free(&x->reply);
	x->reply = XBUF(131056);
	x->err = (struct xerr){0};
	rc = lserver_handle(&x->server, op, SPAN(body, len), &x->reply, &x->err);
	assert_true(worked_ns() - start < BOUND_NS);
	if (rc && rc != -XO_ENOROOM)
		assert_int_equal(x->err.code, rc);
	return rc;
}

static int discover(struct fixture *x)
{
	return ask(x, WIRE_DISCOVER, NULL, 0);
}

static struct lens_range victim_range(void)
{
	return (struct lens_range){
		.start = {FAKE_BASE + FAKE_VICTIM}, .len_bytes = 64, .safe_off = {0, 5}};
}

static int prepare(struct fixture *x)
{
	const struct lens_range r = victim_range();

	return ask(x, WIRE_PREPARE, &r, sizeof(r));
}

/* Both vCPUs idle in the kernel, on the stacks of the idle tasks. */
static void idle_regs(struct lens_check_regs r[2])
{
	memset(r, 0, 2 * sizeof(r[0]));
	r[0].rip = r[1].rip = FAKE_BASE + 0x800;
	r[0].rsp = fake_gva(FAKE_STACKS + 4) - 512;
	r[1].rsp = fake_gva(FAKE_STACKS + 20) - 512;
}

static size_t check(struct fixture *x, const struct lens_check_regs *r, struct lens_busy *first)
{
	size_t nr;

	assert_int_equal(ask(x, WIRE_CHECK, r, 2 * sizeof(*r)), 0);
	assert_true(x->reply.len_bytes >= sizeof(struct lens_check_stats));
	nr = (x->reply.len_bytes - sizeof(struct lens_check_stats)) / sizeof(struct lens_busy);
	if (nr && first)
		memcpy(first, x->reply.data + sizeof(struct lens_check_stats), sizeof(*first));
	return nr;
}

static void test_discover(void **state)
{
	struct fixture *x = *state;
	struct wire_kernel w;

	assert_int_equal(discover(x), 0);
	assert_int_equal(x->reply.len_bytes, sizeof(w));
	memcpy(&w, x->reply.data, sizeof(w));
	assert_int_equal(w.base, FAKE_BASE);
	assert_int_equal(w.phys_base, FAKE_GPA);
	assert_string_equal(w.release, "6.9-fake");
	assert_int_equal(w.build_id_bytes, 20);
	assert_int_equal(w.nr_tasks, 3);
	assert_int_equal(w.nr_modules, 1);
	assert_int_equal(w.nr_cpus, 2);
	assert_int_equal(w.paging_levels, 4);
	/* And again, as after a reboot of the guest. */
	assert_int_equal(discover(x), 0);
}

static void test_old_layout(void **state)
{
	struct fixture *x = *state;

	fake_free(&x->guest);
	fake_make(&x->guest, false);
	lserver_free(&x->server);
	serve(x);
	assert_int_equal(discover(x), 0);
}

static void test_not_linux(void **state)
{
	struct fixture *x = *state;

	x->server.vcpu[0].efer = 0;
	assert_int_equal(discover(x), -XO_ENOKERNEL);
	assert_non_null(strstr(x->err.text, "long mode"));
	x->server.vcpu[0].cr0 = 0;
	assert_int_equal(discover(x), -XO_ENOKERNEL);
	x->server.nr_vcpus = 0;
	assert_int_equal(discover(x), -XO_ENOKERNEL);
	assert_int_equal(ask(x, WIRE_SHIM, NULL, 0), -XO_ENOKERNEL);
}

/* A user-mode CR3 under PTI is the odd page of a pair: here it maps nothing. */
static void test_pti_cr3(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(fake_phys(FAKE_PGD) & 4096, 0);
	x->server.vcpu[0].cr3 |= 4096 | 1;
	assert_int_equal(discover(x), 0);
}

static void test_lookup(void **state)
{
	struct fixture *x = *state;
	struct wire_name n[4] = {{.name = "victim"},
				 {.name = "twice"},
				 {.name = "twice", .sympos = 2},
				 {.name = "mod_fn", .module = "fakemod"}};
	struct wire_found f[4];

	assert_int_equal(discover(x), 0);
	assert_int_equal(ask(x, WIRE_LOOKUP, n, sizeof(n)), 0);
	memcpy(f, x->reply.data, sizeof(f));
	assert_true(f[0].valid);
	assert_int_equal(f[0].addr, FAKE_BASE + FAKE_VICTIM);
	assert_int_equal(f[0].size_bytes, 64);
	assert_false(f[1].valid);
	assert_int_equal(f[1].nr_found, 2);
	assert_true(f[2].valid);
	assert_int_equal(f[2].addr, FAKE_BASE + FAKE_COLD + 32);
	assert_true(f[3].valid);
	assert_int_equal(f[3].addr, FAKE_MOD_BASE + 16);
	memset(n[0].name, 'x', sizeof(n[0].name));
	assert_int_equal(ask(x, WIRE_LOOKUP, n, sizeof(n[0])), -XO_EPROTO);
	assert_int_equal(ask(x, WIRE_LOOKUP, n, 7), -XO_EPROTO);
}

static void test_symbolize(void **state)
{
	struct fixture *x = *state;
	struct wire_addr q = {.addr = FAKE_BASE + FAKE_VICTIM + 7};
	struct wire_symbol w;

	assert_int_equal(discover(x), 0);
	assert_int_equal(ask(x, WIRE_SYMBOLIZE, &q, sizeof(q)), 0);
	memcpy(&w, x->reply.data, sizeof(w));
	assert_string_equal(w.name, "victim");
	assert_int_equal(w.off, 7);
	q.addr = FAKE_MOD_BASE + 20;
	assert_int_equal(ask(x, WIRE_SYMBOLIZE, &q, sizeof(q)), 0);
	memcpy(&w, x->reply.data, sizeof(w));
	assert_string_equal(w.name, "mod_fn");
	assert_string_equal(w.module, "fakemod");
	q.addr = UINT64_MAX;
	assert_int_equal(ask(x, WIRE_SYMBOLIZE, &q, sizeof(q)), -XO_ENOSYMBOL);
}

static void test_read(void **state)
{
	struct fixture *x = *state;
	struct wire_addr q = {.addr = FAKE_BASE + FAKE_VICTIM, .len_bytes = 5};

	assert_int_equal(discover(x), 0);
	assert_int_equal(ask(x, WIRE_READ, &q, sizeof(q)), 0);
	assert_int_equal(x->reply.len_bytes, 5);
	assert_int_equal(x->reply.data[0], 0x0f);
	q.addr = FAKE_BASE + FAKE_BYTES - 2;
	assert_int_equal(ask(x, WIRE_READ, &q, sizeof(q)), -XO_ENOTMAPPED);
	q = (struct wire_addr){.addr = UINT64_MAX, .len_bytes = WIRE_MAX_READ};
	assert_int_equal(ask(x, WIRE_READ_PHYS, &q, sizeof(q)), -XO_EPAGETABLE);
	q.len_bytes++;
	assert_int_equal(ask(x, WIRE_READ, &q, sizeof(q)), -XO_EPROTO);
	assert_int_equal(ask(x, 999, NULL, 0), -XO_EPROTO);
}

/* ---- somebody inside ---- */

static void test_nobody(void **state)
{
	struct fixture *x = *state;
	struct lens_check_regs r[2];
	struct lens_check_stats s;

	idle_regs(r);
	assert_int_equal(discover(x), 0);
	assert_int_equal(ask(x, WIRE_CHECK, r, sizeof(r)), -XO_EPROTO);
	assert_int_equal(prepare(x), 0);
	assert_int_equal(check(x, r, NULL), 0);
	memcpy(&s, x->reply.data, sizeof(s));
	assert_int_equal(s.nr_tasks, 3);
	/* Only the two that are on CPUs. */
	assert_int_equal(s.nr_rescanned, 2);
}

static void test_sleeper(void **state)
{
	struct fixture *x = *state;
	uint64_t slot = fake_gva(FAKE_STACKS + 12) + FAKE_STACK - 64;
	struct lens_check_regs r[2];
	struct lens_busy b = {0};

	idle_regs(r);
	*fake_u64(&x->guest, slot) = FAKE_BASE + FAKE_VICTIM + 9;
	assert_int_equal(discover(x), 0);
	assert_int_equal(prepare(x), 0);
	assert_int_equal(check(x, r, &b), 1);
	assert_int_equal(b.kind, LENS_BUSY_STACK);
	assert_int_equal(b.pid, 3);
	assert_int_equal(b.where.v, slot);
	assert_string_equal(b.comm, "task3");
	/* It left meanwhile. */
	*fake_u64(&x->guest, slot) = 0;
	assert_int_equal(check(x, r, &b), 0);
	/* At the entry, at the detour, and just behind the end it does no harm. */
	for (int i = 0; i < 3; i++) {
		static const unsigned int off[] = {0, 5, 64};

		*fake_u64(&x->guest, slot) = FAKE_BASE + FAKE_VICTIM + off[i];
		assert_int_equal(prepare(x), 0);
		assert_int_equal(check(x, r, &b), 0);
	}
}

/* A task that ran since it was looked at is looked at again. */
static void test_ran_since(void **state)
{
	struct fixture *x = *state;
	struct lens_check_regs r[2];
	struct lens_busy b = {0};

	idle_regs(r);
	assert_int_equal(discover(x), 0);
	assert_int_equal(prepare(x), 0);
	fake_task(&x->guest, 1)->nivcsw++;
	*fake_u64(&x->guest, fake_gva(FAKE_STACKS + 4) + FAKE_STACK - 8) =
		FAKE_BASE + FAKE_VICTIM + 6;
	assert_int_equal(check(x, r, &b), 1);
	assert_int_equal(b.pid, 1);
}

static void test_vcpu_and_restart(void **state)
{
	struct fixture *x = *state;
	struct lens_check_regs r[2];
	struct lens_busy b = {0};

	idle_regs(r);
	assert_int_equal(discover(x), 0);
	assert_int_equal(prepare(x), 0);
	r[1].rip = FAKE_BASE + FAKE_VICTIM + 1;
	assert_int_equal(check(x, r, &b), 1);
	assert_int_equal(b.kind, LENS_BUSY_VCPU);
	assert_int_equal(b.cpu, 1);
	idle_regs(r);
	fake_task(&x->guest, 2)->restart_fn = FAKE_BASE + FAKE_VICTIM + 8;
	assert_int_equal(prepare(x), 0);
	assert_int_equal(check(x, r, &b), 1);
	assert_int_equal(b.kind, LENS_BUSY_RESTART);
}

/* A vCPU at the entry or at the detour may be amid the instruction there. */
static void test_vcpu_at_safe_place(void **state)
{
	static const unsigned int off[] = {0, 5};
	struct fixture *x = *state;
	struct lens_check_regs r[2];
	struct lens_busy b = {0};

	assert_int_equal(discover(x), 0);
	assert_int_equal(prepare(x), 0);
	for (int i = 0; i < 2; i++) {
		idle_regs(r);
		r[1].rip = FAKE_BASE + FAKE_VICTIM + off[i];
		assert_int_equal(check(x, r, &b), 1);
		assert_int_equal(b.kind, LENS_BUSY_VCPU);
	}
}

/* Nothing is written under a kprobe, armed or not, nor while kprobes change. */
static void test_kprobe_on_written_bytes(void **state)
{
	const struct lens_range ranges[] = {victim_range(),
					    {.start = {FAKE_BASE + FAKE_VICTIM + 5},
					     .len_bytes = 5,
					     .kind = LENS_RANGE_WRITTEN}};
	static const struct {
		unsigned int off;
		int busy;
	} places[] = {{4, 0}, {5, 1}, {9, 1}, {10, 0}};
	struct fixture *x = *state;
	uint64_t probe = fake_gva(FAKE_TRACE) + 0x800;
	struct lens_check_regs r[2];
	struct lens_busy b = {0};

	idle_regs(r);
	*fake_u64(&x->guest, fake_gva(FAKE_VARS) + FAKE_KPROBES + 24) = probe;
	assert_int_equal(discover(x), 0);
	assert_int_equal(ask(x, WIRE_PREPARE, ranges, sizeof(ranges)), 0);
	for (size_t i = 0; i < XO_ARRAY_SIZE(places); i++) {
		fake_u64(&x->guest, probe)[2] = FAKE_BASE + FAKE_VICTIM + places[i].off;
		assert_int_equal(check(x, r, &b), places[i].busy);
		if (places[i].busy)
			assert_int_equal(b.kind, LENS_BUSY_KPROBE);
	}
	*fake_u64(&x->guest, fake_gva(FAKE_VARS) + FAKE_KPROBE_MUTEX) = fake_task_gva(1) | 1;
	assert_int_equal(check(x, r, &b), 1);
	assert_int_equal(b.kind, LENS_BUSY_KPROBE);
	assert_true(b.addr.v == 0);
	/* Where nothing is written, kprobes may do what they like. */
	assert_int_equal(prepare(x), 0);
	assert_int_equal(check(x, r, &b), 0);
}

/* A return address below the stack pointer of a vCPU does not count, one above does. */
static void test_running(void **state)
{
	struct fixture *x = *state;
	struct lens_check_regs r[2];
	struct lens_busy b = {0};

	idle_regs(r);
	assert_int_equal(discover(x), 0);
	assert_int_equal(prepare(x), 0);
	*fake_u64(&x->guest, r[1].rsp - 8) = FAKE_BASE + FAKE_VICTIM + 9;
	assert_int_equal(check(x, r, &b), 0);
	*fake_u64(&x->guest, r[1].rsp + 8) = FAKE_BASE + FAKE_VICTIM + 9;
	assert_int_equal(check(x, r, &b), 1);
	/* In user mode its kernel stack is empty. */
	r[1].cpl = 3;
	r[1].rsp = 0x7fff00000000;
	assert_int_equal(check(x, r, &b), 0);
}

/* Firmware may have interrupted the kernel anywhere (system management mode): all of it counts. */
static void test_firmware(void **state)
{
	struct fixture *x = *state;
	struct lens_check_regs r[2];
	struct lens_busy b = {0};

	idle_regs(r);
	*fake_u64(&x->guest, r[1].rsp - 8) = FAKE_BASE + FAKE_VICTIM + 9;
	assert_int_equal(discover(x), 0);
	assert_int_equal(prepare(x), 0);
	assert_int_equal(check(x, r, &b), 0);
	r[1].rip = 0x7f001000;
	r[1].rsp = 0x7f0ff000;
	assert_int_equal(check(x, r, &b), 0); /* never started */
	r[1].cr3 = 0x7f200000;
	assert_int_equal(check(x, r, &b), 1);
	assert_int_equal(b.kind, LENS_BUSY_STACK);
	/* The first instructions of a system call are not firmware. */
	r[1].rip = FAKE_BASE + 0x900;
	assert_int_equal(check(x, r, &b), 0);
}

/* On an interrupt stack: that is scanned, and the task's from where it points to. */
static void test_irq_stack(void **state)
{
	struct fixture *x = *state;
	uint64_t irq = fake_gva(FAKE_STACKS + 40);
	struct lens_check_regs r[2];
	uint64_t task_sp;
	struct lens_busy b = {0};

	idle_regs(r);
	task_sp = r[1].rsp;
	assert_int_equal(discover(x), 0);
	assert_int_equal(prepare(x), 0);
	r[1].rsp = irq + 4096;
	*fake_u64(&x->guest, irq + 8192) = task_sp;
	*fake_u64(&x->guest, task_sp - 64) = FAKE_BASE + FAKE_VICTIM + 9;
	assert_int_equal(check(x, r, &b), 0);
	*fake_u64(&x->guest, irq + 4096 + 16) = FAKE_BASE + FAKE_VICTIM + 9;
	assert_int_equal(check(x, r, &b), 1);
	assert_int_equal(b.kind, LENS_BUSY_IRQ_STACK);
	*fake_u64(&x->guest, irq + 4096 + 16) = 0;
	*fake_u64(&x->guest, task_sp + 64) = FAKE_BASE + FAKE_VICTIM + 9;
	assert_int_equal(check(x, r, &b), 1);
	assert_int_equal(b.kind, LENS_BUSY_STACK);
	/* Without a way back, all of the task's stack counts. */
	*fake_u64(&x->guest, irq + 8192) = 0;
	assert_int_equal(check(x, r, &b), 2);
}

/* In a non-maskable interrupt on top of an interrupt: both stacks count, and the task's. */
static void test_nmi_on_irq_stack(void **state)
{
	struct fixture *x = *state;
	uint64_t irq = fake_gva(FAKE_STACKS + 40), nmi = fake_gva(FAKE_STACKS + 60);
	uint64_t percpu = fake_gva(FAKE_VARS) + FAKE_PERCPU_AREA + 0x100;
	struct lens_check_regs r[2];
	uint64_t task_sp;
	struct lens_busy b = {0};

	idle_regs(r);
	task_sp = r[1].rsp;
	*fake_u64(&x->guest, percpu + FAKE_IRQ_STACK) = irq + 16384 - 8;
	assert_int_equal(discover(x), 0);
	assert_int_equal(prepare(x), 0);
	r[1].rsp = nmi;
	*fake_u64(&x->guest, nmi + 64) = irq + 8192;
	*fake_u64(&x->guest, irq + 16384 - 8) = task_sp;
	*fake_u64(&x->guest, irq + 8192 - 8) = FAKE_BASE + FAKE_VICTIM + 9;
	*fake_u64(&x->guest, task_sp - 64) = FAKE_BASE + FAKE_VICTIM + 9;
	assert_int_equal(check(x, r, &b), 0);
	*fake_u64(&x->guest, irq + 8192 + 64) = FAKE_BASE + FAKE_VICTIM + 9;
	assert_int_equal(check(x, r, &b), 1);
	assert_int_equal(b.kind, LENS_BUSY_IRQ_STACK);
}

static void test_traced(void **state)
{
	struct fixture *x = *state;
	uint64_t page = fake_gva(FAKE_STACKS + 40);
	struct lens_check_regs r[2];
	struct lens_busy b = {0};

	idle_regs(r);
	assert_int_equal(discover(x), 0);
	fake_task(&x->guest, 1)->ret_stack = page;
	fake_task(&x->guest, 1)->curr_ret_stack = 4;
	fake_u64(&x->guest, page)[3] = FAKE_BASE + FAKE_VICTIM + 9;
	assert_int_equal(prepare(x), 0);
	assert_int_equal(check(x, r, &b), 1);
	assert_int_equal(b.kind, LENS_BUSY_TRACE);
	fake_task(&x->guest, 1)->curr_ret_stack = 3;
	assert_int_equal(prepare(x), 0);
	assert_int_equal(check(x, r, &b), 0);
	fake_task(&x->guest, 1)->ret_stack = 0;
	fake_task(&x->guest, 2)->rethook = page + 8;
	fake_u64(&x->guest, page)[1] = 0;
	fake_u64(&x->guest, page)[2] = FAKE_BASE + FAKE_VICTIM + 9;
	assert_int_equal(prepare(x), 0);
	assert_int_equal(check(x, r, &b), 1);
	assert_int_equal(b.pid, 2);
	/* Hooks that loop. */
	fake_u64(&x->guest, page)[1] = page + 8;
	assert_int_equal(prepare(x), 0);
	assert_int_equal(ask(x, WIRE_CHECK, r, sizeof(r)), -XO_ETASKLIST);
}

/* ---- broken lists ---- */

static void test_task_list_loops(void **state)
{
	struct fixture *x = *state;
	struct lens_check_regs r[2];

	idle_regs(r);
	assert_int_equal(discover(x), 0);
	assert_int_equal(prepare(x), 0);
	fake_task(&x->guest, 2)->tasks[0] = fake_task_gva(1) + offsetof(struct fake_task, tasks);
	assert_int_equal(ask(x, WIRE_CHECK, r, sizeof(r)), -XO_ETASKLIST);
	assert_int_equal(prepare(x), -XO_ETASKLIST);
	assert_int_equal(discover(x), -XO_ETASKLIST);
}

/* Task 1 was freed and is a new one at the list's end: the walk comes to that too early. */
static void test_task_list_is_cut(void **state)
{
	const uint64_t tasks = offsetof(struct fake_task, tasks);
	struct fixture *x = *state;
	struct lens_check_regs r[2];

	idle_regs(r);
	assert_int_equal(discover(x), 0);
	assert_int_equal(prepare(x), 0);
	fake_task(&x->guest, 1)->tasks[0] = fake_task_gva(0) + tasks;
	assert_int_equal(ask(x, WIRE_CHECK, r, sizeof(r)), -XO_ETASKLIST);
	assert_int_equal(prepare(x), -XO_ETASKLIST);
	assert_int_equal(discover(x), -XO_ETASKLIST);
	assert_non_null(strstr(x->err.text, "1 of 3 tasks"));
	/* There are no more. */
	*fake_u64(&x->guest, fake_gva(FAKE_VARS) + FAKE_NR_THREADS) = 1;
	assert_int_equal(discover(x), 0);
	/* Its neighbour is another one. */
	fake_task(&x->guest, 1)->tasks[1] = fake_task_gva(2) + tasks;
	assert_int_equal(discover(x), -XO_ETASKLIST);
	assert_non_null(strstr(x->err.text, "changes while"));
}

static void test_thread_list_leaves(void **state)
{
	struct fixture *x = *state;

	fake_task(&x->guest, 3)->thread_node[0] = 0x1234;
	assert_int_equal(discover(x), -XO_ETASKLIST);
	fake_task(&x->guest, 3)->thread_node[0] = UINT64_C(0xffff888000000000);
	assert_int_equal(discover(x), -XO_ETASKLIST);
}

static void test_bad_stack(void **state)
{
	struct fixture *x = *state;
	struct lens_check_regs r[2];

	idle_regs(r);
	assert_int_equal(discover(x), 0);
	fake_task(&x->guest, 1)->sp = 8;
	assert_int_equal(prepare(x), 0);
	assert_int_equal(ask(x, WIRE_CHECK, r, sizeof(r)), -XO_ETASKLIST);
	fake_task(&x->guest, 1)->stack = UINT64_C(0xffffc90000000000);
	fake_task(&x->guest, 1)->sp = UINT64_C(0xffffc90000003000);
	assert_int_equal(ask(x, WIRE_CHECK, r, sizeof(r)), -XO_ETASKLIST);
}

static void test_module_list(void **state)
{
	struct fixture *x = *state;
	struct wire_name n = {.name = "mod_fn", .module = "fakemod"};

	assert_int_equal(discover(x), 0);
	fake_module(&x->guest)->mks.num = UINT32_MAX;
	assert_int_equal(ask(x, WIRE_LOOKUP, &n, sizeof(n)), -XO_EMODLIST);
	fake_module(&x->guest)->mks.num = 1;
	fake_module(&x->guest)->mks.strtab = 7;
	assert_int_equal(ask(x, WIRE_LOOKUP, &n, sizeof(n)), -XO_EMODLIST);
	fake_module(&x->guest)->list[0] = fake_gva(FAKE_MODULE);
	assert_int_equal(discover(x), -XO_EMODLIST);
	/* One that was found before is not hidden by that. */
	assert_int_equal(ask(x, WIRE_DISCOVER, "", 1), 0);
	assert_int_equal(ask(x, WIRE_DISCOVER, "", 2), -XO_EPROTO);
}

static void test_page_tables(void **state)
{
	struct fixture *x = *state;
	uint64_t *pgd = fake_u64(&x->guest, fake_gva(FAKE_PGD));
	uint64_t good = pgd[511];

	/* Every level points at the top again. */
	pgd[511] = pgd[510] = fake_phys(FAKE_PGD) | 3;
	assert_true(discover(x) < 0);
	pgd[511] = UINT64_C(0x000ffffffffff003);
	assert_int_equal(discover(x), -XO_EPAGETABLE);
	pgd[511] = good;
	/* A hole in the symbol table. */
	fake_u64(&x->guest, fake_gva(FAKE_PT))[FAKE_RODATA + 1] = 0;
	assert_int_equal(discover(x), -XO_EKALLSYMS);
	x->server.vcpu[0].cr3 = UINT64_MAX;
	assert_int_equal(discover(x), -XO_EPAGETABLE);
	x->server.vcpu[0].cr4 = UINT64_MAX;
	assert_int_equal(discover(x), -XO_EPAGETABLE);
}

/* ---- corrupt tables: every byte of kallsyms and BTF, some values each ---- */

static void flip_all(struct fixture *x, uint64_t from, uint64_t bytes, uint64_t step)
{
	static const uint8_t with[] = {0x00, 0x01, 0x80, 0xff};

	for (uint64_t off = 0; off < bytes; off += step) {
		uint8_t *p = fake_at(&x->guest, from + off), was = *p;

		*p ^= with[off / step % sizeof(with)];
		(void)!discover(x);
		*p = was;
	}
	assert_int_equal(discover(x), 0);
}

static void test_flips(void **state)
{
	struct fixture *x = *state;

	flip_all(x, fake_gva(FAKE_RODATA) + 0x1000, 0x800, 7);
	flip_all(x, fake_gva(FAKE_RODATA) + 0x4000, 0x900, 5);
	flip_all(x, fake_gva(FAKE_VARS), 0x240, 8);
}

/* ---- detour places ---- */

static int site(struct fixture *x, const struct lens_avoid *a, size_t nr, struct wire_site *ret)
{
	struct {
		struct wire_site_query q;
		struct lens_avoid avoid[4];
	} body = {.q = {.addr = FAKE_BASE + FAKE_VICTIM, .size_bytes = 64}};
	int rc;

	if (nr)
		memcpy(body.avoid, a, nr * sizeof(*a));
	rc = ask(x, WIRE_SITE, &body, sizeof(body.q) + nr * sizeof(*a));
	if (!rc)
		memcpy(ret, x->reply.data, sizeof(*ret));
	return rc;
}

static void set_code(struct fixture *x, const void *code, size_t len)
{
	memset(fake_at(&x->guest, FAKE_BASE + FAKE_VICTIM), 0x90, 64);
	fake_copy(&x->guest, FAKE_BASE + FAKE_VICTIM, code, len);
}

static bool says(const struct fixture *x, const char *what)
{
	return x->reply.data && memmem(x->reply.data, x->reply.len_bytes, what, strlen(what));
}

static void test_site(void **state)
{
	struct fixture *x = *state;
	struct wire_site s = {0};
	struct lens_avoid a = {.off = 10, .len_bytes = 2, .kind = KSITE_ALTERNATIVE};

	assert_int_equal(discover(x), 0);
	assert_int_equal(site(x, NULL, 0, &s), 0);
	assert_int_equal(s.off, 5);
	/* push (1), mov (3), xor (2) */
	assert_int_equal(s.len_bytes, 6);
	assert_true(s.behind_ftrace);
	assert_int_equal(site(x, &a, 1, &s), -XO_ENOROOM);
	assert_true(says(x, "alternative"));
	a.kind = KSITE_RELOC;
	assert_int_equal(site(x, &a, 1, &s), 0);
	a.kind = KSITE_RELOC_INVERSE;
	assert_int_equal(site(x, &a, 1, &s), 0);
	/* A tracer is at work: a call in place of the nop. */
	fake_copy(&x->guest, FAKE_BASE + FAKE_VICTIM, "\xe8\x00\x01\x00\x00", 5);
	assert_int_equal(site(x, NULL, 0, &s), 0);
	assert_int_equal(s.off, 5);
	/* No ftrace entry: a call there is the function's own. */
	fake_u64(&x->guest, fake_gva(FAKE_TRACE))[2] = 0;
	assert_int_equal(site(x, NULL, 0, &s), 0);
	assert_int_equal(s.off, 0);
	assert_false(s.behind_ftrace);
}

static void test_site_refused(void **state)
{
	struct fixture *x = *state;
	struct wire_site s = {0};

	assert_int_equal(discover(x), 0);
	/* nop5; push; mov; jmp to the mov */
	set_code(x, "\x0f\x1f\x44\x00\x00\x55\x48\x89\xe5\xeb\xfb", 11);
	assert_int_equal(site(x, NULL, 0, &s), -XO_ENOROOM);
	assert_true(says(x, "a branch leads to +0x6"));
	/* The same branch from the .cold part. */
	set_code(x, "\x0f\x1f\x44\x00\x00\x55\x48\x89\xe5\x31\xc0\xc3", 12);
	assert_int_equal(site(x, NULL, 0, &s), 0);
	fake_copy(&x->guest, FAKE_BASE + FAKE_COLD, "\xe9\x01\xff\xff\xff", 5);
	assert_int_equal(site(x, NULL, 0, &s), -XO_ENOROOM);
	fake_copy(&x->guest, FAKE_BASE + FAKE_COLD, "\xc3\xcc\xcc\xcc\xcc", 5);
	/* A jump table. */
	set_code(x, "\x0f\x1f\x44\x00\x00\x55\x48\x89\xe5\x31\xc0\xff\x24\xc5\x00\x00\x00\x81", 18);
	assert_int_equal(site(x, NULL, 0, &s), -XO_ENOROOM);
	assert_true(says(x, "jump table"));
	/* An armed kprobe, and bytes that are no code. */
	set_code(x, "\x0f\x1f\x44\x00\x00\xcc\x48\x89\xe5\x31\xc0\xc3", 12);
	assert_int_equal(site(x, NULL, 0, &s), -XO_ENOROOM);
	assert_true(says(x, "breakpoint"));
	set_code(x, "\x0f\x1f\x44\x00\x00\x06\x06", 7);
	assert_int_equal(site(x, NULL, 0, &s), -XO_ENOROOM);
	assert_true(says(x, "decoded"));
}

/* A jump that lies across two pages could not be written at once. */
/* Two boots at one address differ in a value that is not the canary itself. */
static void test_boot_token(void **state)
{
	static const uint64_t canary[] = {0, UINT64_C(0x1234567812345600), UINT64_C(0xabcdef00)};
	struct fixture *x = *state;
	struct wire_kernel w[3];

	for (size_t i = 0; i < 3; i++) {
		fake_task(&x->guest, 0)->canary = canary[i];
		assert_int_equal(discover(x), 0);
		memcpy(&w[i], x->reply.data, sizeof(w[i]));
	}
	assert_true(w[0].boot_token == 0);
	assert_true(w[1].boot_token != 0 && w[2].boot_token != 0);
	assert_true(w[1].boot_token != w[2].boot_token);
	assert_true(w[1].boot_token >> 32 == 1);
}

static void test_site_at_page_end(void **state)
{
	static const uint8_t body[] = {0x55, 0x48, 0x89, 0xe5, 0x31, 0xc0, 0x5d, 0xc3};
	struct wire_site_query q = {.size_bytes = sizeof(body)};
	struct fixture *x = *state;

	assert_int_equal(discover(x), 0);
	for (unsigned int before = 4; before <= 5; before++) {
		q.addr = FAKE_BASE + XO_PAGE_SIZE - before;
		fake_copy(&x->guest, q.addr, body, sizeof(body));
		assert_int_equal(ask(x, WIRE_SITE, &q, sizeof(q)), before < 5 ? -XO_ENOROOM : 0);
	}
}

static void test_site_kprobe(void **state)
{
	struct fixture *x = *state;
	uint64_t probe = fake_gva(FAKE_TRACE) + 0x800;
	struct wire_site s = {0};

	assert_int_equal(discover(x), 0);
	*fake_u64(&x->guest, fake_gva(FAKE_VARS) + FAKE_KPROBES + 24) = probe;
	fake_u64(&x->guest, probe)[2] = FAKE_BASE + FAKE_VICTIM + 9;
	assert_int_equal(site(x, NULL, 0, &s), -XO_ENOROOM);
	assert_true(says(x, "a kprobe"));
	/* On the ftrace entry it is ftrace's business. */
	fake_u64(&x->guest, probe)[2] = FAKE_BASE + FAKE_VICTIM;
	assert_int_equal(site(x, NULL, 0, &s), 0);
	fake_u64(&x->guest, probe)[0] = probe;
	assert_int_equal(site(x, NULL, 0, &s), -XO_ELIMIT);
}

/* A detour behind an ftrace entry that leads elsewhere would never be reached. */
static void test_site_redirected(void **state)
{
	struct fixture *x = *state;
	struct wire_reason reason;
	struct wire_site s;

	assert_int_equal(discover(x), 0);
	fake_u64(&x->guest, fake_gva(FAKE_TRACE))[33] = UINT64_C(1) << 31; /* traced: harmless */
	assert_int_equal(site(x, NULL, 0, &s), 0);
	fake_u64(&x->guest, fake_gva(FAKE_TRACE))[33] |= UINT64_C(1) << 26;
	assert_int_equal(site(x, NULL, 0, &s), -XO_ENOROOM);
	memcpy(&reason, x->reply.data, sizeof(reason));
	assert_int_equal(reason.code, XO_EREDIRECTED);
}

static void test_window(void **state)
{
	struct fixture *x = *state;
	struct wire_page p = {.gpa = 0xd0000}, r;
	uint64_t *entry = fake_u64(&x->guest, fake_gva(FAKE_FIX1)) + 1 + 16;

	assert_int_equal(discover(x), 0);
	assert_int_equal(ask(x, WIRE_WINDOW, &p, sizeof(p)), 0);
	memcpy(&r, x->reply.data, sizeof(r));
	assert_int_equal(r.gva, UINT64_C(0xffffffffff611000));
	assert_int_equal(r.pte, fake_phys(FAKE_FIX1) + 17ul * 8);
	assert_int_equal(r.pte_new, 0xd0000 | 0x121);
	assert_true(r.usable);
	/* Ours already, with what the CPU adds. */
	*entry = 0xd0000 | 0x161;
	assert_int_equal(ask(x, WIRE_WINDOW, &p, sizeof(p)), 0);
	memcpy(&r, x->reply.data, sizeof(r));
	assert_true(r.usable);
	assert_int_equal(r.pte_new, r.pte_old);
	/* Somebody else's. */
	*entry = 0xd1000 | 0x121;
	assert_int_equal(ask(x, WIRE_WINDOW, &p, sizeof(p)), 0);
	memcpy(&r, x->reply.data, sizeof(r));
	assert_false(r.usable);
	/* The entry is not the one that decides. */
	fake_u64(&x->guest, fake_gva(FAKE_PMD_FIX))[507] = fake_phys(FAKE_FIX0) | 3;
	assert_int_equal(ask(x, WIRE_WINDOW, &p, sizeof(p)), -XO_ENOHOME);
	p.gpa = 0x100000;
	assert_int_equal(ask(x, WIRE_WINDOW, &p, sizeof(p)), -XO_ENOHOME);
}

/* The padding at the end of the text, and an entry for it behind the window's. */
static void test_bell(void **state)
{
	struct fixture *x = *state;
	uint64_t *entry = fake_u64(&x->guest, fake_gva(FAKE_FIX1)) + 65;
	uint64_t end;
	struct lens_bell b;
	uint8_t *pad;

	assert_int_equal(discover(x), 0);
	end = (x->server.kernel.text_end + 4095) & ~UINT64_C(4095);
	pad = fake_at(&x->guest, end - 16);
	memset(pad, 0xcc, 16);
	assert_int_equal(ask(x, WIRE_BELL, NULL, 0), 0);
	assert_int_equal(x->reply.len_bytes, sizeof(b));
	memcpy(&b, x->reply.data, sizeof(b));
	assert_int_equal(b.gpa.v % 4096, 4088);
	assert_int_equal(b.alias.v, UINT64_C(0xffffffffff641ff8));
	assert_int_equal(b.pte.v, fake_phys(FAKE_FIX1) + 65ul * 8);
	assert_int_equal(b.pte_new, (b.gpa.v & ~4095ull) | (UINT64_C(1) << 63) | 0x163);
	assert_int_equal(b.filler, 0xcc);
	/* It may have been rung. */
	memset(pad + 8, 0x5a, 8);
	assert_int_equal(ask(x, WIRE_BELL, NULL, 0), 0);
	*entry = b.pte_new;
	assert_int_equal(ask(x, WIRE_BELL, NULL, 0), 0);
	/* Somebody else's entry; code up to the end. */
	*entry = 0x1000 | 0x163;
	assert_int_equal(ask(x, WIRE_BELL, NULL, 0), -XO_ENOHOME);
	*entry = 0;
	pad[3] = 0xc3;
	assert_int_equal(ask(x, WIRE_BELL, NULL, 0), -XO_ENOHOME);
	memset(pad, 0x90, 16);
	assert_int_equal(ask(x, WIRE_BELL, NULL, 0), -XO_ENOHOME);
	assert_int_equal(ask(x, WIRE_BELL, "x", 1), -XO_EPROTO);
}

static void test_modules_listed(void **state)
{
	struct fixture *x = *state;
	struct wire_modules q = {0};
	struct wire_count count;
	struct wire_module m;

	assert_int_equal(discover(x), 0);
	assert_int_equal(ask(x, WIRE_MODULES, &q, sizeof(q)), 0);
	assert_int_equal(x->reply.len_bytes, sizeof(count) + sizeof(m));
	memcpy(&count, x->reply.data, sizeof(count));
	memcpy(&m, x->reply.data + sizeof(count), sizeof(m));
	assert_int_equal(count.nr, 1);
	assert_string_equal(m.name, "fakemod");
	assert_int_equal(m.base[0], FAKE_MOD_BASE);
	assert_int_equal(m.bytes[0], 4096);
	/* By address: that one, or none. */
	q.addr = m.addr;
	assert_int_equal(ask(x, WIRE_MODULES, &q, sizeof(q)), 0);
	assert_int_equal(x->reply.len_bytes, sizeof(count) + sizeof(m));
	q.addr += 8;
	assert_int_equal(ask(x, WIRE_MODULES, &q, sizeof(q)), 0);
	assert_int_equal(x->reply.len_bytes, sizeof(count));
	q.first = 2;
	assert_int_equal(ask(x, WIRE_MODULES, &q, sizeof(q)), -XO_EPROTO);
	assert_int_equal(ask(x, WIRE_MODULES, &q, sizeof(q) - 1), -XO_EPROTO);
	fake_u64(&x->guest, fake_gva(FAKE_MODULE))[0] = UINT64_C(0xdead0000);
	q = (struct wire_modules){0};
	assert_int_equal(ask(x, WIRE_MODULES, &q, sizeof(q)), -XO_EMODLIST);
}

static void test_shim_absent(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(discover(x), 0);
	assert_int_equal(ask(x, WIRE_SHIM, NULL, 0), -XO_ENOHOME);
	/* A module of that name without the symbols. */
	snprintf(fake_module(&x->guest)->name, 56, "exopatch_shim");
	assert_int_equal(ask(x, WIRE_SHIM, NULL, 0), -XO_ENOHOME);
}

static void test_shim(void **state)
{
	struct fixture *x = *state;
	struct exoshim_abi *a = fake_shim(&x->guest);
	struct lens_shim s;

	assert_int_equal(discover(x), 0);
	assert_int_equal(ask(x, WIRE_SHIM, NULL, 0), 0);
	memcpy(&s, x->reply.data, sizeof(s));
	assert_int_equal(s.abi.v, fake_gva(FAKE_SHIM));
	assert_int_equal(s.text.v, fake_gva(FAKE_SHIM + 5));
	assert_int_equal(s.rodata_bytes, EXOSHIM_RODATA_BYTES);
	assert_int_equal(s.exit_now, s.text.v);
	/* What the host may write is not looked at. */
	a->seq = 77;
	memset(a->patch, 0xff, sizeof(a->patch));
	assert_int_equal(ask(x, WIRE_SHIM, NULL, 0), 0);
}

/* Every byte of the ABI page but seq is a constant: any other value is a lie. */
static void test_shim_header(void **state)
{
	struct fixture *x = *state;
	uint8_t *a = (uint8_t *)fake_shim(&x->guest);

	assert_int_equal(discover(x), 0);
	for (size_t i = 0; i < 4096; i += i < 200 ? 1 : 61) {
		bool seq = i >= offsetof(struct exoshim_abi, seq) &&
			   i < offsetof(struct exoshim_abi, reserved0);

		a[i] ^= 0x10;
		assert_int_equal(ask(x, WIRE_SHIM, NULL, 0), seq ? 0 : -XO_ESHIMABI);
		a[i] ^= 0x10;
	}
}

static void test_shim_pages(void **state)
{
	struct fixture *x = *state;
	struct fake_module *m = fake_module(&x->guest);
	uint64_t *pte = fake_u64(&x->guest, fake_gva(FAKE_PT)) + FAKE_SHIM + 7;
	const uint64_t good = fake_phys(FAKE_SHIM + 7) | GPTE_PRESENT;
	const uint64_t bad[] = {
		good | GPTE_WRITE,
		good | GPTE_USER | GPTE_NX,
		good & ~GPTE_PRESENT,
		good + XO_PAGE_SIZE,		     /* the next page a second time */
		UINT64_C(0xfee00000) | GPTE_PRESENT, /* not RAM */
	};

	fake_shim(&x->guest);
	assert_int_equal(*pte, good);
	assert_int_equal(discover(x), 0);
	for (size_t i = 0; i < XO_ARRAY_SIZE(bad); i++) {
		*pte = bad[i];
		assert_int_equal(ask(x, WIRE_SHIM, NULL, 0), -XO_ESHIMABI);
	}
	*pte = good;
	/* Arenas that stick out of the module; a module that is just going. */
	m->mem[0].size = 24 * 4096;
	assert_int_equal(ask(x, WIRE_SHIM, NULL, 0), -XO_ESHIMABI);
	m->mem[0].size = 25 * 4096;
	m->state = 2;
	assert_int_equal(ask(x, WIRE_SHIM, NULL, 0), -XO_ESHIMABI);
	m->state = 0;
	assert_int_equal(ask(x, WIRE_SHIM, NULL, 0), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_discover),
		T(test_old_layout),
		T(test_not_linux),
		T(test_pti_cr3),
		T(test_lookup),
		T(test_symbolize),
		T(test_read),
		T(test_nobody),
		T(test_sleeper),
		T(test_ran_since),
		T(test_vcpu_and_restart),
		T(test_vcpu_at_safe_place),
		T(test_kprobe_on_written_bytes),
		T(test_running),
		T(test_firmware),
		T(test_irq_stack),
		T(test_nmi_on_irq_stack),
		T(test_traced),
		T(test_task_list_loops),
		T(test_task_list_is_cut),
		T(test_thread_list_leaves),
		T(test_bad_stack),
		T(test_module_list),
		T(test_page_tables),
		T(test_flips),
		T(test_site),
		T(test_site_refused),
		T(test_boot_token),
		T(test_site_at_page_end),
		T(test_site_kprobe),
		T(test_site_redirected),
		T(test_window),
		T(test_bell),
		T(test_modules_listed),
		T(test_shim_absent),
		T(test_shim),
		T(test_shim_header),
		T(test_shim_pages),
	};

	int failed = cmocka_run_group_tests_name("mapped", tests, NULL, NULL);

	private_ram = true;
	return failed + cmocka_run_group_tests_name("private", tests, NULL, NULL);
}
