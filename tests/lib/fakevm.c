// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/fakevm.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/util.h"

static volatile struct fakevm_shared *shared; /* in the child */
static int pipe_end;

static void on_usr1(int sig)
{
	(void)sig;
	__atomic_fetch_add(&shared->usr1, 1, __ATOMIC_SEQ_CST);
}

static void *spin(void *arg)
{
	shared->tid[FAKE_SPIN] = gettid();
	for (;;)
		__atomic_fetch_add(&shared->spins, 1, __ATOMIC_SEQ_CST);
	return arg;
}

static void *nap(void *arg)
{
	const struct timespec ts = {.tv_nsec = 50000000};

	shared->tid[FAKE_SLEEP] = gettid();
	for (;;) {
		if (nanosleep(&ts, NULL))
			shared->interrupted++;
		else
			shared->sleeps++;
	}
	return arg;
}

static void *read_pipe(void *arg)
{
	char c;

	shared->tid[FAKE_READ] = gettid();
	for (;;) {
		if (read(pipe_end, &c, 1) == 1)
			shared->reads++;
		else
			shared->interrupted++;
	}
	return arg;
}

static int nap_and_end(void *arg)
{
	const struct timespec *ts = arg;

	shared->vforked = 1;
	(void)nanosleep(ts, NULL);
	return 0;
}

/* Who waits for a CLONE_VFORK child does so in the kernel, deaf to everything but SIGKILL. */
static void deaf_for(uint32_t ms)
{
	static char stack[65536] __attribute__((aligned(16)));
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
	pid_t pid = clone(nap_and_end, stack + sizeof(stack), CLONE_VFORK | SIGCHLD, &ts);

	(void)waitpid(pid, NULL, 0);
	shared->vforked = 0;
}

static void *deaf(void *arg)
{
	shared->tid[FAKE_VFORK] = gettid();
	for (;;) {
		uint32_t ms = shared->vfork_ms;

		if (ms) {
			shared->vfork_ms = 0;
			deaf_for(ms);
		}
		xo_sleep_ns(1000000);
	}
	return arg;
}

_Noreturn static void child(void)
{
	void *(*const run[FAKE_THREADS])(void *) = {spin, nap, read_pipe, deaf};
	struct sigaction sa = {.sa_handler = on_usr1, .sa_flags = SA_RESTART};
	pthread_t t;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)sigaction(SIGUSR1, &sa, NULL);
	for (int i = 0; i < FAKE_THREADS; i++)
		if (pthread_create(&t, NULL, run[i], NULL))
			_exit(1);
	for (;;)
		pause();
}

int fakevm_start(struct fakevm *v)
{
	int ends[2];

	memset(v, 0, sizeof(*v));
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	v->ram = memfd_create("fakevm", MFD_CLOEXEC);
	if (shared == MAP_FAILED || v->ram < 0 || ftruncate(v->ram, FAKE_RAM_BYTES) || pipe(ends))
		return -1;
	v->mem = mmap(NULL, FAKE_RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, v->ram, 0);
	if (v->mem == MAP_FAILED)
		return -1;
	pipe_end = ends[0];
	v->shared = shared;
	v->pid = fork();
	if (v->pid == 0)
		child();
	(void)close(ends[0]);
	v->pipe = ends[1];
	for (int i = 0; i < 1000 && v->pid > 0; i++) {
		bool all = true;

		for (int k = 0; k < FAKE_THREADS; k++)
			all = all && shared->tid[k];
		if (all)
			return 0;
		xo_sleep_ns(1000000);
	}
	return -1;
}

void fakevm_desc(const struct fakevm *v, size_t nr_threads, struct mon_vm *ret)
{
	*ret = (struct mon_vm){
		.pid = v->pid,
		.accel = MON_KVM,
		.nr_vcpus = nr_threads,
		.nr_regions = 1,
		.region = {{.len_bytes = FAKE_RAM_BYTES, .hva = {(uintptr_t)v->mem}}},
		.nr_backends = 1,
		.backend_fd = {v->ram},
	};
	for (size_t i = 0; i < nr_threads; i++)
		ret->tid[i] = v->shared->tid[i];
}

bool fakevm_spins(const struct fakevm *v)
{
	uint64_t before = v->shared->spins;

	for (int ms = 0; ms < 1000 && v->shared->spins == before; ms++)
		xo_sleep_ns(1000000);
	return v->shared->spins != before;
}

void fakevm_kill(const struct fakevm *v)
{
	if (v->pid > 1)
		(void)kill(v->pid, SIGKILL);
}

void fakevm_stop(struct fakevm *v)
{
	fakevm_kill(v);
	if (v->pid > 1)
		(void)waitpid(v->pid, NULL, 0);
	(void)close(v->pipe);
	(void)close(v->ram);
	(void)munmap(v->mem, FAKE_RAM_BYTES);
	(void)munmap((void *)(uintptr_t)v->shared, sizeof(*v->shared));
}
