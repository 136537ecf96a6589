// SPDX-License-Identifier: Apache-2.0
/* spawn-threads N: N sleeping threads, so that there are that many kernel stacks to scan. */
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void *sleeper(void *barrier)
{
	pthread_barrier_wait(barrier);
	for (;;)
		pause();
	return NULL;
}

int main(int argc, char **argv)
{
	static pthread_barrier_t barrier;
	pthread_attr_t attr;
	pthread_t thread;
	long n = argc == 2 ? strtol(argv[1], NULL, 10) : 0;

	if (n < 1 || n > 100000) {
		fputs("usage: spawn-threads N (1 to 100000)\n", stderr);
		return 2;
	}
	pthread_barrier_init(&barrier, NULL, (unsigned int)n + 1);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, PTHREAD_STACK_MIN > 16384 ? PTHREAD_STACK_MIN : 16384);
	for (long i = 0; i < n; i++) {
		if (pthread_create(&thread, &attr, sleeper, &barrier)) {
			fprintf(stderr, "spawn-threads: thread %ld cannot be made\n", i);
			return 1;
		}
	}
	pthread_barrier_wait(&barrier);
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}
