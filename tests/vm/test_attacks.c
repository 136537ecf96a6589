// SPDX-License-Identifier: Apache-2.0
/*
 * The attacks of tests/attacks on stock guests: each works where nobody guards,
 * and with the guard is prevented, or detected in time, or stands in the table
 * below as not covered, with the reason. None may be missed silently. The table
 * that comes of it is printed, and written to $BUILD/attack-table.txt.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "tests/lib/guardrun.h"
#include "tests/lib/patching.h"

/* Limits that a busy host keeps too; the table says how long it took. Alone on the machine: the
 * shared tables and the registers are looked at 100 times a second, every address space once a
 * second. */
#define TABLES_MS   2000
#define WALK_MS	    6000
#define UNSEEN_MS   200 /* how long is waited for an event that there should not be */
#define SETTLE_MS   150
#define GUARDED_MS  60000
#define NS_PER_MS   1000000
#define MAX_ATTACKS 64

/* What the guest has before the attack. */
enum stage { PLAIN, PATCHED, WITH_SHIM };

enum outcome {
	PREVENTED,   /* it has no effect, and there is an event */
	DETECTED,    /* it has, and there is an event in time */
	ALLOWED,     /* what the kernel does by itself and the policy lets it: an event, "kept" */
	NOT_COVERED, /* it has, and there need not be an event: @note says why */
	NO_EFFECT,   /* it has none, guarded or not */
};

static const char *const outcome_name[] = {"prevented", "detected", "allowed", "not covered",
					   "no effect"};

struct attack {
	const char *module;
	const char *what;
	const char *check;  /* status 0: it worked. NULL: the module's own probe */
	const char *load;   /* NULL: /attacks/load @module */
	const char *says;   /* in the guest's log at the moment of the attack; NULL: "done" */
	const char *option; /* of the guard */
	const char *kinds;  /* of the event: any of these words */
	const char *where;  /* what the event's reason must contain, or NULL */
	const char *note;
	enum stage stage;
	enum outcome guarded;
	unsigned int within_ms; /* the event is waited for that long; 0: TABLES_MS */
	bool spoils;		/* a refusal has the guest's kernel BUG: it is not used any more */
	bool loses;		/* what it destroyed is not undone, but by the guard */
};

#define EXECDOMAINS	 "! cat /proc/execdomains"
#define UNREADABLE(file) "! cat /proc/" file
#define CMDLINE		 "! cat /proc/cmdline"
#define PPID(what)	 "sh -c '[ $PPID = " what " ]'"
#define VIOLATION	 "violation"
#define EXECUTABLE	 "executable-page writable-executable-page"
#define IMAGE		 "kernel image"
#define ENFORCE		 "enforce"
#define AUDIT		 "audit"

/* Reading the file is the shell's own doing, in its own address space, which a last command that is
 * a program would take over. */
#define READ_BY_SHELL                                                                              \
	"/attacks/load remap_process && { read x </proc/execdomains; echo $? >/tmp/effect; "       \
	"sleep $HOLD; true; }"

/* What is done some seconds after the module was loaded: the last that it says then. */
#define LOAD_CHANGED(module)                                                                       \
	"/attacks/load " module " && until dmesg | grep -F 'attack " module ": ' | tail -n 1 | "   \
	"grep -q changed; do usleep 50000; done"

static char gate_option[320]; /* --modules=LIST */

/* Those that spoil their guest stand at the end of a stage. */
static const struct attack attacks[] = {
	{"text_vmap_alias", "text through a vmap alias", EXECDOMAINS, .kinds = VIOLATION},
	{"text_direct_map", "text through the direct map", UNREADABLE("version"),
	 .kinds = VIOLATION},
	{"text_cr0_wp", "text with CR0.WP cleared", UNREADABLE("loadavg"), .kinds = VIOLATION},
	{"text_pte_write", "text through its page, made writable", UNREADABLE("filesystems"),
	 .kinds = VIOLATION},
	{"text_pte_write", "write permission on a text page", .guarded = DETECTED,
	 .kinds = EXECUTABLE, .where = IMAGE, .within_ms = TABLES_MS},
	{"text_dma", "text by DMA of an emulated device", UNREADABLE("devices"),
	 .kinds = VIOLATION},
	{"call_site", "a call site of the dispatcher", PPID("4919"), .kinds = VIOLATION},
	{"rodata_proc_ops", "a table of operations in rodata", "! cat /proc/stat",
	 .kinds = VIOLATION},
	{"rodata_syscall_table", "sys_call_table", .kinds = VIOLATION},
	{"idt_gate", "a gate of the IDT", "use-gate", .kinds = VIOLATION},
	{"idt_lidt", "LIDT with a copied IDT", "use-gate", .guarded = DETECTED, .kinds = "register",
	 .within_ms = TABLES_MS},
	{"gdt_gate", "a call gate in the GDT", .guarded = DETECTED, .kinds = "descriptor",
	 .within_ms = TABLES_MS},
	{"cr0_wp_stays", "CR0.WP off for good", .guarded = DETECTED, .kinds = "register",
	 .within_ms = TABLES_MS},
	{"cr4_smep", "CR4.SMEP and SMAP off", .guarded = DETECTED, .kinds = "register",
	 .within_ms = TABLES_MS},
	{"cr4_smep_brief", "CR4.SMEP off for a microsecond", .guarded = NOT_COVERED,
	 .note = "registers are looked at, not watched"},
	{"msr_lstar", "LSTAR by wrmsr", PPID("$$"), .guarded = DETECTED, .kinds = "register",
	 .within_ms = TABLES_MS},
	{"remap_shared", "text mapped to a copy, for all", EXECDOMAINS, .guarded = DETECTED,
	 .kinds = "page-table text-mapping", .where = IMAGE, .within_ms = TABLES_MS},
	{"remap_process", "text mapped to a copy, in one process", "grep -qx 1 /tmp/effect",
	 .load = READ_BY_SHELL, .guarded = DETECTED, .kinds = "text-mapping", .within_ms = WALK_MS},
	{"exec_vmalloc", "an unapproved executable page", .guarded = DETECTED, .kinds = EXECUTABLE,
	 .within_ms = WALK_MS},
	{"exec_pte", "a page writable and executable", .guarded = DETECTED, .kinds = EXECUTABLE,
	 .within_ms = WALK_MS},
	{"exec_direct_map", "executable data in the direct map", .guarded = DETECTED,
	 .kinds = EXECUTABLE, .within_ms = WALK_MS},
	{"exec_user", "supervisor's code in the user half",
	 .load = "/attacks/load exec_user hold_ms=${HOLD}000", .says = "changed",
	 .guarded = DETECTED, .kinds = EXECUTABLE, .within_ms = WALK_MS},
	{"module_less_text", "a module that says it has no code",
	 .load = LOAD_CHANGED("module_less_text"), .kinds = "module-changed", .within_ms = WALK_MS},
	{"module_init_text", "a module that says it is starting",
	 .load = LOAD_CHANGED("module_init_text"), .says = "changed", .guarded = DETECTED,
	 .kinds = EXECUTABLE, .within_ms = WALK_MS},
	{"window_fixmap", "a free entry of the window's table", .guarded = DETECTED,
	 .kinds = EXECUTABLE, .within_ms = WALK_MS},
	{"data_modprobe_path", "modprobe_path", "grep -q /attack /proc/sys/kernel/modprobe",
	 .guarded = NOT_COVERED, .note = "data that the kernel writes itself is not protected"},
	{"data_ktype", "a pointer to functions on the heap", "! cat /sys/kernel/uevent_seqnum",
	 .guarded = NOT_COVERED, .note = "data that the kernel writes itself is not protected"},
	{"hook_ftrace", "an ftrace hook", EXECDOMAINS, .guarded = ALLOWED, .kinds = "ftrace",
	 .note = "prevented where policy forbids ftrace"},
	{"hook_kprobe", "a kprobe hook", EXECDOMAINS, .guarded = ALLOWED, .kinds = "kprobe",
	 .note = "prevented where policy forbids kprobes"},
	{"static_call", "a static call to a module's function",
	 .load = "/attacks/load static_call skip=0", .guarded = ALLOWED, .kinds = "static call",
	 .note = "KVM's modules do so; which modules there are is another matter"},
	{"forge_kprobe", "text, said to be what a kprobe replaced", "! cat /proc/stat",
	 .kinds = VIOLATION},
	{"forge_sites", "a jump label that a module never had", .kinds = VIOLATION},
	{"forge_list", "a call to a page listed as ftrace's", EXECDOMAINS,
	 .load = "/attacks/load forge_list as_ftrace=1", .kinds = VIOLATION},
	{"forge_list", "a call to a page listed as BPF's", EXECDOMAINS, .guarded = ALLOWED,
	 .kinds = "ftrace", .where = "which cannot be checked",
	 .note = "prevented where policy forbids BPF"},
	{"text_poke", "text through text_poke", UNREADABLE("uptime"), .kinds = VIOLATION,
	 .spoils = true},

	{"window_write", "the window's pages", CMDLINE, .stage = PATCHED, .guarded = NO_EFFECT,
	 .note = "the chipset drops writes to ROM"},
	{"window_pte", "the page-table entry of a patch's home", CMDLINE, .stage = PATCHED,
	 .guarded = DETECTED, .kinds = "page-table", .where = "fixmap", .within_ms = TABLES_MS},
	{"window_pam", "the registers that make the window ROM", CMDLINE, .stage = PATCHED,
	 .kinds = VIOLATION},
	{"static_call", "a static call into a function's middle", .stage = PATCHED,
	 .kinds = VIOLATION, .spoils = true},

	{"shim_code", "a patch's code in the shim", CMDLINE, .stage = WITH_SHIM,
	 .kinds = VIOLATION},
	{"shim_abi", "the shim's ABI page", "! grep -q ^cmdline /sys/kernel/exopatch/patches",
	 .stage = WITH_SHIM, .kinds = VIOLATION},
	{"window_pte", "a module's text mapped to a copy", CMDLINE, .stage = WITH_SHIM,
	 .guarded = DETECTED, .kinds = "text-mapping", .where = "exopatch_shim",
	 .within_ms = WALK_MS},
	{"text_balloon", "a page of text given to the balloon", .stage = WITH_SHIM,
	 .guarded = DETECTED, .kinds = "protection-lost violation", .within_ms = WALK_MS,
	 .loses = true},
	{"plain_module", "a module without approval", .stage = WITH_SHIM, .kinds = "module-load",
	 .option = gate_option},
	{"hook_ftrace", "an ftrace hook, ftrace forbidden", EXECDOMAINS, .stage = WITH_SHIM,
	 .kinds = "ftrace violation", .option = "--forbid=ftrace", .spoils = true},
	{"forge_list", "a call to a page listed as BPF's, BPF forbidden", EXECDOMAINS,
	 .stage = WITH_SHIM, .kinds = VIOLATION, .option = "--forbid=bpf"},
	{"hook_kprobe", "a kprobe hook, kprobes forbidden", EXECDOMAINS,
	 .kinds = "kprobe violation", .option = "--forbid=kprobe", .spoils = true},
};

#define NR_ATTACKS XO_ARRAY_SIZE(attacks)
_Static_assert(NR_ATTACKS <= MAX_ATTACKS, "a longer table");

/* What came of each, for the table. */
static struct {
	const char *unguarded;
	char guarded[96], event[64];
} results[MAX_ATTACKS];

static const char *kernel;
static char package[256];
static struct guest *guest;
static struct guardrun *guard;
static const char *guard_mode, *guard_option;
static enum stage guest_stage;

/* ---- guests, kept from one attack to the next where that is possible ---- */

static void drop_guest(void)
{
	(void)guardrun_stop(guard);
	guard = NULL;
	guest_free(guest);
	guest = NULL;
}

static void boot(void)
{
	static const char *const devices[] = {"-device", "edu,dma_mask=0xffffffff", "-device",
					      "virtio-balloon-pci-transitional", NULL};
	const struct guest_opts opts = {
		.package = kernel,
		.cpu = "qemu64,+smep,+smap,+umip",
		.one_thread = true,
		.extra = devices,
		.shim = true,
	};

	assert_int_equal(guest_boot(&guest, &opts), 0);
	guest_stage = PLAIN;
}

/* One patch, or none, in the home that the stage is about. */
static void go_to(enum stage stage)
{
	if (stage == guest_stage)
		return;
	if (guest_stage != PLAIN)
		assert_true(exo_done(guest, "revert", "cmdline"));
	guest_stage = PLAIN;
	if (stage != PLAIN) {
		_cleanup_exo_ struct exo e = {0};
		const char *home = stage == WITH_SHIM ? "--home=shim" : "--home=window";

		assert_int_equal(EXO(&e, guest, "apply", package, home), 0);
		assert_int_equal(e.rc, 0);
	}
	guest_stage = stage;
}

static void need_guest(enum stage stage, const char *mode, const char *option)
{
	bool same_guard = mode == guard_mode && option == guard_option;

	if (guest && !mode && guard)
		drop_guest();
	if (!guest)
		boot();
	if (guard && !same_guard) {
		assert_int_equal(guardrun_stop(guard), 0);
		guard = NULL;
	}
	if (mode && !guard) {
		guard = guardrun_start(guest, mode, option);
		assert_non_null(guard);
		guard_mode = mode;
		guard_option = option;
	}
	go_to(stage);
}

/* ---- one attack ---- */

static bool says_yes(const char *command)
{
	char line[512];
	int rc = -1;

	snprintf(line, sizeof(line), "{ %s; } >/dev/null 2>&1", command);
	return !guest_run(guest, line, GUARDED_MS, NULL, &rc) && rc == 0;
}

static bool has_effect(const struct attack *a)
{
	char probe[128];

	if (a->check)
		return says_yes(a->check);
	snprintf(probe, sizeof(probe), "grep -qx 4919 /sys/module/%s/parameters/probe", a->module);
	return says_yes(probe);
}

/* How it is loaded, its symbols looked up already. */
static char *load_command(const struct attack *a, unsigned int hold_s)
{
	char line[512];
	char *command = NULL;

	if (a->load)
		return asprintf(&command, "HOLD=%u; %s", hold_s, a->load) < 0 ? NULL : command;
	snprintf(line, sizeof(line), "/attacks/load -n %s", a->module);
	return guest_sh(guest, line);
}

static bool undo(const struct attack *a)
{
	char line[128];

	snprintf(line, sizeof(line), "rmmod %s; rm -f /tmp/effect", a->module);
	return says_yes(line);
}

static void works_unguarded(void **state)
{
	const struct attack *a = *state;
	_cleanup_free_ char *load = NULL;
	bool works;

	need_guest(a->stage, NULL, NULL);
	load = load_command(a, 0);
	assert_non_null(load);
	assert_false(has_effect(a));
	assert_int_equal(guest_run(guest, load, 0, NULL, NULL), 0);
	works = has_effect(a);
	results[a - attacks].unguarded = works ? "works" : "no effect";
	assert_int_equal(works, a->guarded != NO_EFFECT);
	assert_true(undo(a));
	assert_true(a->loses || !has_effect(a));
	assert_true(guest_dmesg_clean(guest));
}

static uint64_t realtime_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 * NS_PER_MS + (uint64_t)ts.tv_nsec;
}

/* ---- what the guest's clock says ---- */

/* Of the last line of the kernel's log with @mark, in microseconds; 0 if there is none. */
static uint64_t logged_us(const char *mark)
{
	_cleanup_free_ char *out = NULL;
	char line[128];
	const char *at;

	snprintf(line, sizeof(line), "dmesg | grep -F '%s' | tail -n 1", mark);
	if (guest_run(guest, line, GUARDED_MS, &out, &(int){0}))
		return 0;
	at = strchr(out, '[');
	return at ? (uint64_t)(strtod(at + 1, NULL) * 1e6) : 0;
}

/* When the attack was done, as CLOCK_REALTIME here: the guest's log says when, and a line that is
 * logged now, what its clock shows now. */
static uint64_t attacked_ns(const struct attack *a, uint64_t start_ns)
{
	char mark[64];
	uint64_t before_ns = realtime_ns(), after_ns, done_us, now_us;

	if (guest_run(guest, "echo attacked >/dev/kmsg", GUARDED_MS, NULL, &(int){0}))
		return start_ns;
	after_ns = realtime_ns();
	snprintf(mark, sizeof(mark), "attack %s: %s", a->module, a->says ? a->says : "done");
	done_us = logged_us(mark);
	now_us = logged_us("attacked");
	if (!done_us || now_us < done_us)
		return start_ns;
	return before_ns + (after_ns - before_ns) / 2 - (now_us - done_us) * 1000;
}

/* ---- what the guard says ---- */

static bool has_word(const char *words, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = words; at && (at = strstr(at, word)); at += len)
		if ((at == words || at[-1] == ' ') && (!at[len] || at[len] == ' '))
			return len > 0;
	return false;
}

static bool is_of(const struct attack *a, const json_t *event, uint64_t start_ns)
{
	bool kept = a->guarded == ALLOWED;

	return guardrun_time_ns(event) >= start_ns &&
	       !strcmp(guardrun_says(event, "verdict"), "kept") == kept &&
	       has_word(a->kinds, guardrun_says(event, "kind")) &&
	       (!a->where || strstr(guardrun_says(event, "reason"), a->where));
}

/* Wait for the event that the attack is to cause. Return: the event, or NULL */
static json_t *await_event(const struct attack *a, uint64_t start_ns, uint64_t end_ns)
{
	json_t *event;

	while ((event = guardrun_next(guard, end_ns))) {
		const char *verdict = guardrun_says(event, "verdict");

		if (*verdict && is_of(a, event, start_ns))
			return event;
		if (*verdict && strcmp(verdict, "kept") != 0)
			print_message("besides: %s: %s\n", guardrun_says(event, "kind"),
				      guardrun_says(event, "reason"));
		json_decref(event);
	}
	return NULL;
}

/* What came of it, whatever was expected. */
static enum outcome judge(const struct attack *a, bool effect, const json_t *event, uint64_t ms)
{
	size_t i = (size_t)(a - attacks);
	enum outcome got = effect ? NOT_COVERED : NO_EFFECT;

	if (event)
		got = a->guarded == ALLOWED ? ALLOWED : effect ? DETECTED : PREVENTED;
	snprintf(results[i].event, sizeof(results[i].event), "%s",
		 event ? guardrun_says(event, "kind") : "");
	if (got == DETECTED)
		snprintf(results[i].guarded, sizeof(results[i].guarded), "detected after %llu ms",
			 (unsigned long long)ms);
	else
		snprintf(results[i].guarded, sizeof(results[i].guarded), "%s%s",
			 got == NOT_COVERED && a->guarded != NOT_COVERED ? "MISSED, " : "",
			 outcome_name[got]);
	return got;
}

static bool is_good(const struct attack *a, enum outcome got, uint64_t ms)
{
	switch (a->guarded) {
	case DETECTED:
		return got == PREVENTED || (got == DETECTED && ms <= a->within_ms);
	case NOT_COVERED:
		return true;
	default:
		return got == a->guarded;
	}
}

static void caught_by_the_guard(void **state)
{
	const struct attack *a = *state;
	bool unseen = a->guarded == NOT_COVERED || a->guarded == NO_EFFECT;
	unsigned int wait_ms = unseen ? UNSEEN_MS : a->within_ms ? a->within_ms : TABLES_MS;
	_cleanup_free_ char *load = NULL;
	uint64_t start_ns, done_ns, at_ns, ms = 0;
	enum outcome got;
	json_t *event;
	bool effect;

	need_guest(a->stage, ENFORCE, a->option);
	load = load_command(a, WALK_MS / 1000);
	assert_non_null(load);
	assert_false(has_effect(a));
	start_ns = realtime_ns();
	if (guest_run(guest, load, GUARDED_MS, NULL, &(int){0}))
		print_message("%s: the guest does not answer\n", a->module);
	effect = has_effect(a);
	event = await_event(a, start_ns, xo_now_ns() + (uint64_t)wait_ms * NS_PER_MS);
	done_ns = event && effect && !a->spoils ? attacked_ns(a, start_ns) : start_ns;
	at_ns = event ? guardrun_time_ns(event) : 0;
	/* Some are found before they are done. */
	if (event)
		ms = (at_ns - (at_ns > done_ns ? done_ns : start_ns)) / NS_PER_MS;
	got = judge(a, effect, event, ms);
	json_decref(event);
	print_message("%s: %s %s\n", a->what, results[a - attacks].guarded,
		      results[a - attacks].event);
	if (a->spoils || !undo(a)) {
		drop_guest();
	} else {
		(void)guardrun_settle(guard, SETTLE_MS);
		assert_true(guest_dmesg_clean(guest));
	}
	assert_true(is_good(a, got, ms));
}

/* Reported only: everything works as if there were no guard. */
static void audit_mode_lets_it_through(void **state)
{
	const struct attack *a = &attacks[0];
	_cleanup_free_ char *load = NULL;
	uint64_t start_ns;
	json_t *event;

	(void)state;
	need_guest(PLAIN, AUDIT, NULL);
	load = load_command(a, 0);
	assert_non_null(load);
	start_ns = realtime_ns();
	assert_int_equal(guest_run(guest, load, 0, NULL, NULL), 0);
	assert_true(has_effect(a));
	event = await_event(a, start_ns, xo_now_ns() + (uint64_t)TABLES_MS * NS_PER_MS);
	assert_non_null(event);
	assert_string_equal(guardrun_says(event, "verdict"), "reported");
	json_decref(event);
	assert_true(undo(a));
	assert_false(has_effect(a));
	assert_true(guest_dmesg_clean(guest));
	(void)guardrun_settle(guard, SETTLE_MS);
}

/* ---- the table ---- */

static void write_table(FILE *f)
{
	fprintf(f, "\n%s\n%-42s %-10s %-24s %s\n", kernel, "attack", "unguarded", "guarded",
		"event, or reason");
	for (size_t i = 0; i < NR_ATTACKS; i++) {
		const char *note = attacks[i].note ? attacks[i].note : "";

		if (!results[i].unguarded && !*results[i].guarded)
			continue; /* a filter left it out */
		fprintf(f, "%-42s %-10s %-24s %s%s%s\n", attacks[i].what,
			results[i].unguarded ? results[i].unguarded : "not tried",
			*results[i].guarded ? results[i].guarded : "not tried", results[i].event,
			*note && *results[i].event ? "; " : "", note);
	}
}

static int setup(void **state)
{
	char list[256];

	(void)state;
	memset(results, 0, sizeof(results));
	if (patching_setup() || modules_allow(kernel, list, sizeof(list)))
		return -1;
	snprintf(gate_option, sizeof(gate_option), "--modules=%s", list);
	return patch_build(kernel, "cmdline", "cmdline", NULL, package, sizeof(package));
}

static int teardown(void **state)
{
	char path[256];
	_cleanup_fclose_ FILE *f = NULL;

	(void)state;
	drop_guest();
	patching_teardown();
	f = fopen(run_build_path("attack-table.txt", path, sizeof(path)), "ae");
	if (!f)
		return -1;
	write_table(f);
	write_table(stderr);
	return 0;
}

static int run_on(const char *which)
{
	static char names[2 * NR_ATTACKS + 1][96];
	struct CMUnitTest tests[2 * NR_ATTACKS + 1];
	size_t n = 0;

	kernel = which;
	for (size_t i = 0; i < NR_ATTACKS; i++, n++) {
		snprintf(names[n], sizeof(names[n]), "unguarded: %s", attacks[i].what);
		tests[n] = (struct CMUnitTest){.name = names[n],
					       .test_func = works_unguarded,
					       .initial_state = (void *)&attacks[i]};
	}
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(audit_mode_lets_it_through);
	for (size_t i = 0; i < NR_ATTACKS; i++, n++) {
		snprintf(names[n], sizeof(names[n]), "guarded: %s", attacks[i].what);
		tests[n] = (struct CMUnitTest){.name = names[n],
					       .test_func = caught_by_the_guard,
					       .initial_state = (void *)&attacks[i]};
	}
	return _cmocka_run_group_tests(which, tests, n, setup, teardown);
}

/* With arguments: only tests whose names match the first ("guarded: text*"), on the kernel that is
 * the second. */
int main(int argc, char **argv)
{
	static const char *const kernels[] = {GUEST_6_1, GUEST_6_12};
	char path[256];
	int failed = 0;

	unlink(run_build_path("attack-table.txt", path, sizeof(path)));
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	for (size_t i = 0; i < XO_ARRAY_SIZE(kernels); i++)
		if (argc < 3 || !strcmp(argv[2], kernels[i]))
			failed += run_on(kernels[i]);
	return failed;
}
