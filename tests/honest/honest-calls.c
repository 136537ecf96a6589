// SPDX-License-Identifier: Apache-2.0
/*
 * honest-calls WHAT ROUNDS: system calls that have the kernel rewrite or make code.
 *   bpf    programs that are compiled, attached to a socket, run, and freed
 *   perf   events that sample, and events of each task
 *   stamps time stamps of packets, on and off
 */
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FILTER_NOPS 40

/* A filter that passes the first @bytes bytes of everything; of a length of its own. */
static int load_filter(int bytes, unsigned int nops)
{
	struct bpf_insn insn[FILTER_NOPS + 2];
	union bpf_attr attr;
	unsigned int n = 0;

	insn[n++] = (struct bpf_insn){.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = bytes};
	while (n <= nops)
		insn[n++] = (struct bpf_insn){.code = BPF_ALU64 | BPF_ADD | BPF_K, .imm = 0};
	insn[n++] = (struct bpf_insn){.code = BPF_JMP | BPF_EXIT};
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	attr.insns = (uintptr_t)insn;
	attr.insn_cnt = n;
	attr.license = (uintptr_t) "GPL";
	return (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

static bool bpf(unsigned int round)
{
	int wanted = 1 + (int)(round % 7);
	int program = load_filter(wanted, round % FILTER_NOPS);
	char out[8] = "message", in[8];
	int pair[2];
	bool ok;

	if (program < 0 || socketpair(AF_UNIX, SOCK_DGRAM, 0, pair))
		return false;
	ok = !setsockopt(pair[1], SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof(program)) &&
	     send(pair[0], out, sizeof(out), 0) == sizeof(out) &&
	     recv(pair[1], in, sizeof(in), 0) == wanted;
	close(pair[0]);
	close(pair[1]);
	close(program);
	return ok;
}

static int open_event(uint64_t config, uint64_t period_ns)
{
	struct perf_event_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.type = PERF_TYPE_SOFTWARE;
	attr.size = sizeof(attr);
	attr.config = config;
	attr.sample_period = period_ns;
	attr.sample_type = PERF_SAMPLE_IP;
	return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

/* Time that is counted, switches that are counted, and samples. */
static bool perf(unsigned int round)
{
	const struct timespec nap = {.tv_nsec = 10000000};
	int clock = open_event(PERF_COUNT_SW_CPU_CLOCK, 1000000);
	int switches = open_event(PERF_COUNT_SW_CONTEXT_SWITCHES, 0);
	uint64_t ns = 0, n = 0;
	void *ring;
	bool ok;

	(void)round;
	if (clock < 0 || switches < 0)
		return false;
	ring = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, clock, 0);
	nanosleep(&nap, NULL);
	for (volatile int i = 0; i < 100000; i++)
		;
	ok = ring != MAP_FAILED && read(clock, &ns, sizeof(ns)) == sizeof(ns) && ns > 0 &&
	     read(switches, &n, sizeof(n)) == sizeof(n) && n > 0;
	if (ring != MAP_FAILED)
		munmap(ring, 2 * 4096);
	close(switches);
	close(clock);
	return ok;
}

static bool stamps(unsigned int round)
{
	int on = 1, s = socket(AF_INET, SOCK_DGRAM, 0);
	bool ok = s >= 0 && !setsockopt(s, SOL_SOCKET, SO_TIMESTAMP, &on, sizeof(on));

	(void)round;
	if (s >= 0)
		close(s);
	return ok;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		bool (*one)(unsigned int round);
	} what[] = {{"bpf", bpf}, {"perf", perf}, {"stamps", stamps}};
	unsigned long rounds = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;

	for (size_t i = 0; i < sizeof(what) / sizeof(what[0]); i++) {
		if (!rounds || strcmp(argv[1], what[i].name) != 0)
			continue;
		for (unsigned int round = 0; round < rounds; round++) {
			if (what[i].one(round))
				continue;
			printf("%s: round %u failed\n", argv[1], round);
			return 1;
		}
		return 0;
	}
	fputs("usage: honest-calls bpf|perf|stamps ROUNDS\n", stderr);
	return 2;
}
