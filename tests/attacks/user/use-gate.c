// SPDX-License-Identifier: GPL-2.0-only
/* Enters the kernel through the gate of tests/attacks/gate.h and says what came of it. */
#include <signal.h>
#include <string.h>
#include <unistd.h>

static void say(int signal)
{
	const char *name = signal == SIGTRAP ? "SIGTRAP\n" : "SIGSEGV\n";

	_exit(write(STDOUT_FILENO, name, strlen(name)) < 0 ? 2 : signal != SIGTRAP);
}

int main(void)
{
	signal(SIGTRAP, say);
	signal(SIGSEGV, say);
	asm volatile("int $0xd7");
	return 2;
}
