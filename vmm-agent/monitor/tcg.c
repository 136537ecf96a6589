// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/monitor/tcg.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fault.h"
#include "base/util.h"
#include "vmm-agent/monitor/write.h"

#define STUB_TIMEOUT_MS	  2000
#define MAX_NOISE_PACKETS 16 /* stop replies that nobody asked for */
#define MAX_BATCH_BYTES	  262144
#define MAX_BATCH_PACKETS 64 /* QEMU's answers to so many fit its socket unread */
#define READ_CHUNK_BYTES  1024u

/* A `g` answer of QEMU for x86-64 without a target description: sixteen registers of eight bytes
 * (rax rbx rcx rdx rsi rdi rbp rsp r8...), rip, eflags and six selectors of four bytes, then eight
 * bytes each of fs_base, gs_base, k_gs_base, cr0, cr2, cr3, cr4, cr8, efer (target/i386/gdbstub.c,
 * x86_cpu_gdb_read_register). */
enum {
	REG_RSP = 7 * 8,
	REG_RIP = 16 * 8,
	REG_EFLAGS = REG_RIP + 8,
	REG_CS = REG_EFLAGS + 4,
	REG_FS_BASE = REG_CS + 6 * 4,
	REG_GS_BASE = REG_FS_BASE + 8,
	REG_KERNEL_GS_BASE = REG_GS_BASE + 8,
	REG_CR0 = REG_KERNEL_GS_BASE + 8,
	REG_CR3 = REG_CR0 + 16,
	REG_CR4 = REG_CR3 + 8,
	REG_BYTES = REG_CR4 + 8,
};

static int stub_error(struct xerr *err, const char *what)
{
	return xerr_set(err, XO_EGDBSTUB, "gdb stub: %s", what);
}

void tcg_open(struct tcg *t, int fd, bool resume)
{
	tcg_close(t);
	*t = (struct tcg){.fd = fd, .resume = resume, .phy_mode = -1, .asked_ns = xo_now_ns()};
}

void tcg_close(struct tcg *t)
{
	xo_close_ptr(&t->fd);
	t->fd = -1;
	t->held = false;
}

static int send_all(struct tcg *t, const struct xbuf *out, struct xerr *err)
{
	size_t off = 0;

	while (off < out->len_bytes) {
		ssize_t n = send(t->fd, out->data + off, out->len_bytes - off, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return stub_error(err, "the connection broke");
		off += (size_t)n;
	}
	return 0;
}

/* Wait for the next packet; its payload is in t->in until the next call. */
static int receive(struct tcg *t, struct xerr *err)
{
	uint64_t deadline_ns = xo_now_ns() + STUB_TIMEOUT_MS * UINT64_C(1000000);
	struct pollfd p = {.fd = t->fd, .events = POLLIN};

	for (;;) {
		ssize_t n;

		while (t->rx_off < t->rx_len) {
			enum gdb_event e = gdb_feed(&t->in, t->rx[t->rx_off++]);

			if (e == GDB_PACKET)
				return 0;
			if (e == GDB_NAK || e == GDB_BAD)
				return stub_error(err, "a packet was damaged on the way");
		}
		if (xo_now_ns() >= deadline_ns)
			return stub_error(err, "no answer in time");
		if (poll(&p, 1, STUB_TIMEOUT_MS) <= 0)
			continue;
		n = recv(t->fd, t->rx, sizeof(t->rx), 0);
		if (n == 0 || (n < 0 && errno != EINTR))
			return stub_error(err, "the connection broke");
		t->rx_off = 0;
		t->rx_len = n > 0 ? (size_t)n : 0;
	}
}

/* The answer to a question, past any stop reply; no answer asked for here begins with T or S. */
static int receive_answer(struct tcg *t, struct xerr *err)
{
	for (int i = 0; i < MAX_NOISE_PACKETS; i++) {
		int rc = receive(t, err);

		if (rc)
			return rc;
		if (t->in.payload[0] != 'T' && t->in.payload[0] != 'S')
			return 0;
	}
	return stub_error(err, "it does not stop talking");
}

static int ask(struct tcg *t, const char *question, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf out = XBUF(GDB_MAX_PACKET);
	int rc = gdb_add(&out, question);

	if (rc)
		return xerr_set(err, rc, "gdb stub: question too long");
	rc = send_all(t, &out, err);
	return rc ? rc : receive_answer(t, err);
}

static int ask_ok(struct tcg *t, const char *question, struct xerr *err)
{
	int rc = ask(t, question, err);

	if (rc)
		return rc;
	return strcmp(t->in.payload, "OK") != 0 ? stub_error(err, "a command was refused") : 0;
}

static int set_mode(struct tcg *t, int phy_mode, struct xerr *err)
{
	int rc;

	if (t->phy_mode == phy_mode)
		return 0;
	rc = ask_ok(t, phy_mode ? "Qqemu.PhyMemMode:1" : "Qqemu.PhyMemMode:0", err);
	t->phy_mode = rc ? -1 : phy_mode;
	return rc;
}

static int set_cpu(struct tcg *t, size_t i, struct xerr *err)
{
	char question[32];
	int rc;

	(void)snprintf(question, sizeof(question), "Hg%zx", i + 1);
	rc = ask_ok(t, question, err);
	if (!rc)
		t->cpu = i;
	return rc;
}

int tcg_hold(struct tcg *t, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf out = XBUF(GDB_MAX_PACKET);
	int rc;

	if (t->fd < 0)
		return stub_error(err, "no connection to it was handed over");
	if (gdb_add(&out, "?"))
		return stub_error(err, "out of memory");
	rc = send_all(t, &out, err);
	if (!rc)
		rc = receive(t, err);
	if (!rc && t->in.payload[0] != 'T' && t->in.payload[0] != 'S')
		rc = stub_error(err, "it does not say that the guest is stopped");
	if (!rc)
		rc = set_cpu(t, 0, err);
	if (rc) {
		tcg_close(t);
		return rc;
	}
	t->held_ns = xo_now_ns();
	t->held = true;
	fault_pass(FAULT_monitor_hold_some);
	fault_pass(FAULT_monitor_held);
	return 0;
}

static uint64_t reg64(const uint8_t *regs, size_t at)
{
	uint64_t v;

	memcpy(&v, regs + at, sizeof(v));
	return v;
}

/* The first bytes of the answer in t->in, out of hex. */
static int unhex_answer(struct tcg *t, uint8_t *ret, size_t len_bytes, struct xerr *err)
{
	if (t->in.len_bytes < 2 * len_bytes)
		return stub_error(err, "an answer is too short");
	t->in.payload[2 * len_bytes] = '\0';
	return xo_unhex(t->in.payload, ret, len_bytes) ? 0
						       : stub_error(err, "an answer is not hex");
}

int tcg_regs(struct tcg *t, size_t i, struct mon_regs *ret, struct xerr *err)
{
	uint8_t regs[REG_BYTES] = {0};
	uint32_t eflags;
	int rc = set_cpu(t, i, err);

	if (!rc)
		rc = ask(t, "g", err);
	if (!rc)
		rc = unhex_answer(t, regs, sizeof(regs), err);
	if (rc)
		return rc;
	memcpy(&eflags, regs + REG_EFLAGS, sizeof(eflags));
	*ret = (struct mon_regs){
		.rip = reg64(regs, REG_RIP),
		.rsp = reg64(regs, REG_RSP),
		.rflags = eflags,
		.cr0 = reg64(regs, REG_CR0),
		.cr3 = reg64(regs, REG_CR3),
		.cr4 = reg64(regs, REG_CR4),
		.gs_base = reg64(regs, REG_GS_BASE),
		.kernel_gs_base = reg64(regs, REG_KERNEL_GS_BASE),
		.cpl = regs[REG_CS] & 3,
	};
	return 0;
}

/* Whether @gva, seen by the vCPU chosen, shows @bytes. Return: 1, 0, or a negative code */
static int shows(struct tcg *t, struct gva gva, const uint8_t *bytes, uint32_t len_bytes,
		 struct xerr *err)
{
	uint8_t seen[READ_CHUNK_BYTES];
	char question[64];

	for (uint32_t done = 0; done < len_bytes;) {
		uint32_t n = len_bytes - done < sizeof(seen) ? len_bytes - done : sizeof(seen);
		int rc;

		(void)snprintf(question, sizeof(question), "m%" PRIx64 ",%" PRIx32, gva.v + done,
			       n);
		rc = ask(t, question, err);
		if (rc)
			return rc;
		if (t->in.payload[0] == 'E')
			return 0;
		rc = unhex_answer(t, seen, n, err);
		if (rc)
			return rc;
		if (memcmp(seen, bytes + done, n) != 0)
			return 0;
		done += n;
	}
	return 1;
}

/*
 * QEMU drops physical writes to ROM, so those go to virtual addresses. Choose a vCPU whose address
 * space maps the record where the plan says, which is when it shows what the memory holds. The
 * mapping may be a record of the same plan, so this is for when the records before are written.
 */
static int choose_cpu(struct tcg_io *io, const struct plan_rec *r, const uint8_t *bytes,
		      struct xerr *err)
{
	struct tcg *t = io->tcg;
	size_t nr = io->vm->desc.nr_vcpus;
	size_t first = t->cpu;
	int rc = set_mode(t, 0, err);

	for (size_t i = 0; i < nr && !rc; i++) {
		if (i)
			rc = set_cpu(t, (first + i) % nr, err);
		if (!rc)
			rc = shows(t, r->gva, bytes, r->len_bytes, err);
		if (rc > 0)
			return 0;
	}
	if (rc)
		return rc;
	return xerr_set(err, XO_EHOLD,
			"gdb stub: no vCPU maps guest-virtual %#" PRIx64 " to %#" PRIx64
			" now (all in user mode, or it is not mapped); try again",
			r->gva.v, r->gpa.v);
}

int tcg_read(void *tcg_io, const struct plan_rec *r, uint8_t *buf, struct xerr *err)
{
	struct tcg_io *io = tcg_io;
	struct vm *vm = (struct vm *)(uintptr_t)io->vm;

	return write_read(vm, r, buf, err);
}

/* Send a batch, take an "OK" for each of its packets. */
static int flush(struct tcg *t, struct xbuf *out, int *packets, struct xerr *err)
{
	int rc = send_all(t, out, err);

	for (; *packets > 0 && !rc; (*packets)--) {
		rc = receive_answer(t, err);
		if (!rc && strcmp(t->in.payload, "OK") != 0)
			rc = stub_error(err, "a write was refused");
	}
	out->len_bytes = 0;
	return rc;
}

static int write_at(struct tcg *t, uint64_t addr, const uint8_t *bytes, uint32_t len_bytes,
		    struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf out = XBUF(MAX_BATCH_BYTES);
	int packets = gdb_add_write(&out, addr, bytes, len_bytes);

	if (packets < 0)
		return xerr_set(err, packets, "gdb stub: out of memory");
	return flush(t, &out, &packets, err);
}

/* Bytes alike do not prove a mapping right, so look where they went, and take them back if it was
 * somewhere else. */
static int write_rom(struct tcg_io *io, const struct plan_rec *r, const uint8_t *bytes,
		     struct xerr *err)
{
	uint8_t before[MON_MAX_WRITE_BYTES];
	uint8_t after[MON_MAX_WRITE_BYTES];
	int rc = tcg_read(io, r, before, err);

	if (!rc)
		rc = choose_cpu(io, r, before, err);
	if (!rc)
		rc = write_at(io->tcg, r->gva.v, bytes, r->len_bytes, err);
	if (!rc)
		rc = tcg_read(io, r, after, err);
	if (rc || !memcmp(after, bytes, r->len_bytes))
		return rc;
	rc = write_at(io->tcg, r->gva.v, before, r->len_bytes, err);
	if (rc)
		return rc;
	return xerr_set(err, XO_EPLAN,
			"guest-virtual %#" PRIx64 " does not lead to guest-physical %#" PRIx64,
			r->gva.v, r->gpa.v);
}

int tcg_write(void *tcg_io, const struct plan_rec *r, size_t nr, enum commit_bytes what,
	      struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf out = XBUF(MAX_BATCH_BYTES);
	struct tcg_io *io = tcg_io;
	int packets = 0;
	int rc = 0;

	for (size_t i = 0; i < nr && !rc; i++) {
		bool rom = io->vm->desc.region[r[i].region].rom;
		const uint8_t *bytes =
			what == COMMIT_REPLACEMENT ? r[i].replacement : r[i].expected;

		if (rom || packets > MAX_BATCH_PACKETS)
			rc = flush(io->tcg, &out, &packets, err);
		if (!rc && rom) {
			rc = write_rom(io, &r[i], bytes, err);
			continue;
		}
		if (!rc)
			rc = set_mode(io->tcg, 1, err);
		if (rc)
			break;
		rc = gdb_add_write(&out, r[i].gpa.v, bytes, r[i].len_bytes);
		if (rc < 0)
			return xerr_set(err, rc, "gdb stub: out of memory");
		packets += rc;
		rc = 0;
	}
	return rc ? rc : flush(io->tcg, &out, &packets, err);
}

int tcg_release(struct tcg *t, struct mon_times *times, struct xerr *err)
{
	uint64_t start_ns = xo_now_ns();
	uint64_t end_ns;
	int rc = set_mode(t, 0, err); /* as the stub is when it starts */

	fault_pass(FAULT_monitor_release_some);
	if (!rc && t->resume)
		rc = ask_ok(t, "D", err);
	tcg_close(t);
	end_ns = xo_now_ns();
	if (times && !rc)
		*times = (struct mon_times){
			.stop_ns = t->held_ns - t->asked_ns,
			.held_ns = start_ns - t->held_ns,
			.release_ns = end_ns - start_ns,
			.blackout_ns = end_ns - t->asked_ns,
		};
	fault_pass(FAULT_monitor_released);
	return rc;
}
