// SPDX-License-Identifier: Apache-2.0
/*
 * workload NAME ROUNDS: what guests do all day, so often; then says how many nanoseconds it took.
 *   calls    system calls that do nothing
 *   exec     fork, exec and wait
 *   pipe     a byte to another process and back
 *   files    a file made, written, read, removed
 *   compile  a source written, read by a new process, cut into words that are counted and sorted
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SELF	     "/bin/workload"
#define PATH	     "/tmp/workload"
#define BLOCK	     4096
#define BLOCKS	     16
#define SOURCE_BYTES 32768
#define BUCKETS	     1024

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void calls(unsigned long n)
{
	while (n--)
		(void)syscall(SYS_getppid);
}

static void run(char *const argv[])
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		execv(SELF, argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		die("run");
}

static void exec(unsigned long n)
{
	char *const argv[] = {SELF, "calls", "1", NULL};

	while (n--)
		run(argv);
}

static void pass(int from, int to, unsigned long n)
{
	char c;

	while (n--)
		if (read(from, &c, 1) != 1 || write(to, &c, 1) != 1)
			die("pass");
}

static void pipes(unsigned long n)
{
	int there[2], back[2];
	pid_t pid;

	if (pipe(there) || pipe(back))
		die("pipe");
	pid = fork();
	if (pid == 0) {
		pass(there[0], back[1], n);
		_exit(0);
	}
	if (pid < 0 || write(there[1], "x", 1) != 1)
		die("pipe");
	pass(back[0], there[1], n - 1);
	if (waitpid(pid, NULL, 0) != pid)
		die("wait");
}

static void files(unsigned long n)
{
	static char block[BLOCK];

	while (n--) {
		int fd = open(PATH, O_RDWR | O_CREAT | O_TRUNC, 0600);

		for (int i = 0; i < BLOCKS; i++)
			if (write(fd, block, BLOCK) != BLOCK)
				die("write");
		if (lseek(fd, 0, SEEK_SET))
			die("seek");
		for (int i = 0; i < BLOCKS; i++)
			if (read(fd, block, BLOCK) != BLOCK)
				die("read");
		if (close(fd) || unlink(PATH))
			die("close");
	}
}

struct word {
	struct word *next;
	unsigned int count;
	char text[16];
};

static struct word *table[BUCKETS];

static void count(const char *text, size_t len)
{
	struct word *w;
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)text[i]) * 16777619u;
	for (w = table[h % BUCKETS]; w; w = w->next)
		if (!strncmp(w->text, text, len) && !w->text[len])
			break;
	if (!w) {
		w = calloc(1, sizeof(*w));
		if (!w)
			die("calloc");
		memcpy(w->text, text, len);
		w->next = table[h % BUCKETS];
		table[h % BUCKETS] = w;
	}
	w->count++;
}

static int by_count(const void *a, const void *b)
{
	const struct word *const *x = a;
	const struct word *const *y = b;

	return (*x)->count < (*y)->count   ? 1
	       : (*x)->count > (*y)->count ? -1
					   : strcmp((*x)->text, (*y)->text);
}

/* In a process of its own. */
static void compile_one(void)
{
	static char source[SOURCE_BYTES];
	static struct word *all[SOURCE_BYTES];
	int fd = open(PATH, O_RDONLY);
	size_t nr = 0;

	if (read(fd, source, sizeof(source)) != (ssize_t)sizeof(source))
		die("source");
	for (size_t i = 0, start = 0; i < sizeof(source); i++)
		if (source[i] == ' ') {
			count(source + start, i - start);
			start = i + 1;
		}
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct word *w = table[i]; w; w = w->next)
			all[nr++] = w;
	qsort(all, nr, sizeof(struct word *), by_count);
	fd = open(PATH ".out", O_WRONLY | O_CREAT | O_TRUNC, 0600);
	for (size_t i = 0; i < nr; i++)
		if (write(fd, all[i]->text, strlen(all[i]->text)) < 0)
			die("out");
}

static void compile(unsigned long n)
{
	char *const argv[] = {SELF, "one", "1", NULL};
	static char source[SOURCE_BYTES + 16];
	uint32_t seed = 1;

	for (size_t i = 0; i < SOURCE_BYTES;) {
		seed = seed * 1664525 + 1013904223;
		i += (size_t)snprintf(source + i, 12, "%x ", (seed >> 16) % 997 * 40503);
	}
	while (n--) {
		int fd = open(PATH, O_WRONLY | O_CREAT | O_TRUNC, 0600);

		if (write(fd, source, SOURCE_BYTES) != SOURCE_BYTES || close(fd))
			die("source");
		run(argv);
	}
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

int main(int argc, char **argv)
{
	unsigned long n = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
	const char *what = argc == 3 ? argv[1] : "";
	uint64_t start = now_ns();

	if (!strcmp(what, "one"))
		compile_one();
	else if (!strcmp(what, "calls"))
		calls(n);
	else if (!strcmp(what, "exec"))
		exec(n);
	else if (!strcmp(what, "pipe"))
		pipes(n);
	else if (!strcmp(what, "files"))
		files(n);
	else if (!strcmp(what, "compile"))
		compile(n);
	else
		return 2;
	if (strcmp(what, "one") != 0 && n > 1)
		printf("%llu\n", (unsigned long long)(now_ns() - start));
	return 0;
}
