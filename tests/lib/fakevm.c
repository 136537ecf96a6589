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
#include "tests/lib/patience.h"

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

/* It does not outlive its parent. */
static int nap_while_told(void *arg)
{
	const pid_t *parent = arg;

	shared->vforked = 1;
	while (shared->vfork && getppid() == *parent)
		xo_sleep_ns(1000000);
	return 0;
}

/* Who waits for a CLONE_VFORK child does so in the kernel, deaf to everything but SIGKILL. */
static void be_deaf(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	pid_t self = getpid();
	pid_t pid = clone(nap_while_told, stack + sizeof(stack), CLONE_VFORK | SIGCHLD, &self);

	(void)waitpid(pid, NULL, 0);
	shared->vforked = 0;
}

static void *deaf(void *arg)
{
	shared->tid[FAKE_VFORK] = gettid();
	for (;;) {
		if (shared->vfork)
			be_deaf();
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

static bool all_started(void)
{
	for (int i = 0; i < FAKE_THREADS; i++)
		if (!shared->tid[i])
			return false;
	return true;
}

int fakevm_start(struct fakevm *v)
{
	uint64_t until_ns = patience_ns();
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
	while (v->pid > 0 && !all_started())
		if (!patience_left(until_ns))
			return -1;
	return v->pid > 0 ? 0 : -1;
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

bool fakevm_wait(const volatile uint64_t *counter, uint64_t at_least)
{
	uint64_t until_ns = patience_ns();

	while (*counter < at_least && patience_left(until_ns))
		;
	return *counter >= at_least;
}

bool fakevm_spins(const struct fakevm *v)
{
	return fakevm_wait(&v->shared->spins, v->shared->spins + 1);
}

size_t fakevm_settled(struct hold *h, size_t left)
{
	uint64_t until_ns = patience_ns();
	size_t now = hold_settle(h);

	while (now > left && patience_left(until_ns))
		now = hold_settle(h);
	return now;
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

void fakevm_end(struct fakevm *v, struct hold *h)
{
	if (h->held)
		(void)hold_release(h, NULL);
	fakevm_kill(v);
	(void)fakevm_settled(h, 0);
	hold_close(h);
	fakevm_stop(v);
}
