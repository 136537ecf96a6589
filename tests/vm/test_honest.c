// SPDX-License-Identifier: Apache-2.0
/*
 * Guests that rewrite their own code for good reasons go on doing so under the
 * guard: each thing of tests/honest, ROUNDS times (from the environment; 2),
 * first unguarded, then guarded, with a clean kernel log and nothing refused.
 *
 * TCG runs all vCPUs in one thread here: docs/guard.md says what a thread per
 * vCPU would do to a guest that rewrites so much.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "tests/lib/guardrun.h"
#include "tests/lib/patching.h"

#define ROUNDS_DEFAULT 2
#define ROUND_MS       60000 /* far more than one takes: livepatch under a guard 12 s */
#define QUIET_MS       800   /* an audit, and its second look */
#define NS_PER_MS      UINT64_C(1000000)

struct honest {
	const char *what;
	const char *command; /* the number of rounds follows */
	const char *kind;    /* of events that there must be, or NULL: it need not write to text */
};

static const struct honest all[] = {
	{"jump labels", "honest jump_labels", "jump label"},
	{"static calls", "honest static_calls", "static call"},
	{"ftrace", "honest ftrace", "ftrace"},
	{"kprobes", "honest kprobes", "ftrace"},
	{"kretprobes", "honest kretprobes", "ftrace"},
	{"optimised kprobes", "honest optimised_kprobes", "kprobe"},
	{"modules come and go", "honest modules", NULL},
	{"BPF programs", "honest-calls bpf", NULL},
	{"perf events", "honest-calls perf", "jump label"},
	{"time stamps of packets", "honest-calls stamps", NULL},
	{"CPU hotplug", "honest hotplug", NULL},
	{"livepatch modules", "honest livepatch", "ftrace"},
};

#define NR_HONEST XO_ARRAY_SIZE(all)

static const char *kernel;
static unsigned int rounds;
static struct guest *guest;
static struct guardrun *guard;

static void drop_guest(void)
{
	(void)guardrun_stop(guard);
	guard = NULL;
	guest_free(guest);
	guest = NULL;
}

static void need_guest(bool guarded)
{
	const char *more = getenv("APPEND");
	char append[256];
	const struct guest_opts opts = {.package = kernel, .append = append, .one_thread = true};

	/* Its log holds all that many rounds say. */
	(void)snprintf(append, sizeof(append), "log_buf_len=16M %s", more ? more : "");
	if (guest && guest_is_running(guest) && guarded == (guard != NULL))
		return;
	drop_guest();
	assert_int_equal(guest_boot(&guest, &opts), 0);
	if (guarded)
		guard = guardrun_start(guest, "enforce", NULL);
	assert_true(!guarded || guard);
}

/* Return: whether each round did what it should */
static bool run(const struct honest *h)
{
	_cleanup_free_ char *out = NULL;
	char command[128];
	uint64_t start_ns = xo_now_ns();
	int rc = -1;

	snprintf(command, sizeof(command), "%s %u", h->command, rounds);
	if (guest_run(guest, command, ROUND_MS * (rounds + 1), &out, &rc))
		return false;
	print_message("%s, %u rounds: %.0f ms%s%s\n", h->what, rounds,
		      (double)(xo_now_ns() - start_ns) / 1e6, *out ? ": " : "", out);
	return rc == 0;
}

static void unguarded(void **state)
{
	need_guest(false);
	assert_true(run(*state));
	assert_true(guest_dmesg_clean(guest));
}

/* What the guard said until it was quiet for a while. Return: how much of that is not as it should
 * be */
static unsigned int hear(const struct honest *h, unsigned int *ret_of_kind)
{
	json_int_t kept = 0;
	unsigned int others = 0;
	json_t *event;

	while ((event = guardrun_next(guard, xo_now_ns() + QUIET_MS * NS_PER_MS))) {
		const char *verdict = guardrun_says(event, "verdict");
		const json_t *repeated = json_object_get(event, "repeated");

		if (!strcmp(verdict, "kept"))
			kept += repeated ? json_integer_value(repeated) : 1;
		*ret_of_kind += h->kind && !strcmp(guardrun_says(event, "kind"), h->kind);
		if (*verdict && strcmp(verdict, "kept") != 0) {
			_cleanup_free_ char *text = json_dumps(event, JSON_COMPACT);

			print_message("%s\n", text ? text : verdict);
			others++;
		}
		json_decref(event);
	}
	print_message("%s: %lld writes kept\n", h->what, (long long)kept);
	return others;
}

static void guarded(void **state)
{
	const struct honest *h = *state;
	unsigned int of_kind = 0, others;
	bool done;

	need_guest(true);
	done = run(h);
	others = hear(h, &of_kind);
	if (!done)
		drop_guest();
	assert_true(done);
	assert_true(guest_dmesg_clean(guest));
	assert_int_equal(others, 0);
	assert_true(!h->kind || of_kind > 0);
}

static int setup(void **state)
{
	const char *env = getenv("ROUNDS");

	(void)state;
	rounds = env ? (unsigned int)strtoul(env, NULL, 10) : ROUNDS_DEFAULT;
	return rounds ? patching_setup() : -1;
}

static int teardown(void **state)
{
	(void)state;
	drop_guest();
	patching_teardown();
	return 0;
}

static int run_on(const char *which)
{
	static char names[2 * NR_HONEST][64];
	struct CMUnitTest tests[2 * NR_HONEST];

	kernel = which;
	for (size_t i = 0; i < 2 * NR_HONEST; i++) {
		const struct honest *h = &all[i % NR_HONEST];
		bool first = i < NR_HONEST;

		snprintf(names[i], sizeof(names[i]), "%s: %s", first ? "unguarded" : "guarded",
			 h->what);
		tests[i] = (struct CMUnitTest){.name = names[i],
					       .test_func = first ? unguarded : guarded,
					       .initial_state = (void *)h};
	}
	return _cmocka_run_group_tests(which, tests, 2 * NR_HONEST, setup, teardown);
}

/* ROUNDS in the environment: how often; APPEND: more for the guests' kernel command line.
 * With arguments: only tests whose names match the first ("guarded: *kprobes"), on the kernel that
 * is the second. */
int main(int argc, char **argv)
{
	static const char *const kernels[] = {GUEST_6_1, GUEST_6_12};
	int failed = 0;

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	for (size_t i = 0; i < XO_ARRAY_SIZE(kernels); i++)
		if (argc < 3 || !strcmp(argv[2], kernels[i]))
			failed += run_on(kernels[i]);
	return failed;
}
