// SPDX-License-Identifier: Apache-2.0
/*
 * The readable form of each document. What is printed comes from the document
 * alone, so that both forms say the same; strings from the guest were escaped
 * when they entered it.
 */
#include <string.h>

#include "vmm-agent/cli/cli.h"

static const char *str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "-";
}

static long long num(const json_t *o, const char *key)
{
	return (long long)json_integer_value(json_object_get(o, key));
}

static double real(const json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

static double mib(const json_t *o, const char *key)
{
	return (double)num(o, key) / (1 << 20);
}

static void print_vm(FILE *out, const json_t *vm)
{
	const json_t *item;
	size_t i;

	if (!vm)
		return;
	fprintf(out, "VM             %s (%s), pid %lld, %s\n", str(vm, "name"), str(vm, "uuid"),
		num(vm, "pid"), str(vm, "state"));
	fprintf(out, "QEMU           %s, %s, %s, %s%s\n", str(vm, "qemu_version"),
		str(vm, "machine"), str(vm, "arch"), str(vm, "accelerator"),
		json_is_true(json_object_get(vm, "libvirt")) ? ", through libvirt" : "");
	fprintf(out, "vCPUs          %lld\n", num(vm, "vcpus"));
	fprintf(out, "RAM            %.0f MiB", mib(vm, "ram_bytes"));
	json_array_foreach(json_object_get(vm, "ram_backends"), i, item)
	{
		fprintf(out, "%s%s", i ? ", " : " in ", str(item, "name"));
		if (json_is_true(json_object_get(item, "private")))
			fputs(" (private to QEMU)", out);
		else
			fprintf(out, " (%lld KiB pages)", num(item, "page_bytes") / 1024);
	}
	fputc('\n', out);
	json_array_foreach(json_object_get(vm, "sharers"), i, item)
		fprintf(out, "%-14s %s, pid %lld: its writes pass by any protection\n",
			i ? "" : "also mapped by", str(item, "what"), num(item, "pid"));
}

static void print_kernel(FILE *out, const json_t *k)
{
	if (!k)
		return;
	fprintf(out, "kernel         %s\n", str(k, "banner"));
	fprintf(out, "build-id       %s\n", str(k, "build_id"));
	fprintf(out, "base           %s (physical %s), %lld-level paging%s\n", str(k, "base"),
		str(k, "physical_base"), num(k, "paging_levels"),
		json_is_true(json_object_get(k, "page_table_isolation")) ? ", page-table isolation"
									 : "");
	fprintf(out, "counts         %lld symbols, %lld modules, %lld tasks, %lld CPUs\n",
		num(k, "symbols"), num(k, "modules"), num(k, "tasks"), num(k, "cpus"));
	fprintf(out, "shim           %s\n",
		json_is_true(json_object_get(k, "shim")) ? "loaded" : "not loaded");
}

void cli_print_inspect(FILE *out, const json_t *doc)
{
	const json_t *home;
	size_t i;

	print_vm(out, json_object_get(doc, "vm"));
	print_kernel(out, json_object_get(doc, "kernel"));
	json_array_foreach(json_object_get(doc, "homes"), i, home)
		fprintf(out, "%-14s %s at %s, %lld of %lld bytes free\n", i ? "" : "homes",
			str(home, "kind"), str(home, "address"), num(home, "free_bytes"),
			num(home, "size_bytes"));
	fprintf(out, "eligible       %s\n",
		json_is_true(json_object_get(doc, "eligible")) ? "yes" : "no, because:");
}

static void print_functions(FILE *out, const json_t *patch)
{
	const json_t *f;
	size_t i;

	json_array_foreach(json_object_get(patch, "functions"), i, f)
		fprintf(out, "  %-28s detour at %s+%lld to %s\n", str(f, "symbol"),
			str(f, "address"), num(f, "detour_offset"), str(f, "replacement"));
}

static void print_hold(FILE *out, const json_t *hold)
{
	if (!hold)
		return;
	fprintf(out,
		"  guest held %.2f ms (%lld attempt%s), %lld tasks and %lld stack bytes checked\n",
		real(hold, "blackout_us") / 1e3, num(hold, "attempts"),
		num(hold, "attempts") == 1 ? "" : "s", num(hold, "tasks_checked"),
		num(hold, "stack_bytes_checked"));
}

static void print_patch(FILE *out, const char *verb, const json_t *doc)
{
	const json_t *patch = json_object_get(doc, "patch");
	const json_t *vm = json_object_get(doc, "vm"), *k = json_object_get(doc, "kernel");

	fprintf(out, "%s %s %s, %s, on %s (%s)\n", str(patch, "id"), str(patch, "version"), verb,
		str(patch, "state"), str(vm, "name"), str(k, "release"));
	print_functions(out, patch);
	print_hold(out, json_object_get(doc, "hold"));
}

void cli_print_apply(FILE *out, const json_t *doc)
{
	const json_t *t = json_object_get(doc, "times_ms");

	print_patch(out, "applied", doc);
	fprintf(out, "  %.0f ms in all: %.0f verifying, %.0f attaching\n", real(t, "total"),
		real(t, "verify"), real(t, "attach"));
}

void cli_print_revert(FILE *out, const json_t *doc)
{
	print_patch(out, "taken out", doc);
}

void cli_print_status(FILE *out, const json_t *doc)
{
	const json_t *patch, *vm = json_object_get(doc, "vm");
	size_t i;

	fprintf(out, "%s (%s)\n", str(vm, "name"), str(json_object_get(doc, "kernel"), "release"));
	if (!json_array_size(json_object_get(doc, "patches")))
		fputs("  no patch was ever applied\n", out);
	json_array_foreach(json_object_get(doc, "patches"), i, patch)
	{
		fprintf(out, "  %-24s %-10s %-10s %s%s\n", str(patch, "id"), str(patch, "version"),
			str(patch, "state"), str(patch, "updated"),
			json_is_true(json_object_get(patch, "consistent")) ? ""
			: json_is_true(json_object_get(patch, "redirected"))
				? ", BUT THE GUEST LEADS AROUND IT (A LIVEPATCH?)"
				: ", BUT THE GUEST'S MEMORY DIFFERS");
	}
}

void cli_print_recover(FILE *out, const json_t *doc)
{
	const json_t *patch;
	size_t i;

	if (json_is_true(json_object_get(doc, "resumed")))
		fputs("the guest was left stopped; it runs again\n", out);
	if (!json_array_size(json_object_get(doc, "recovered")))
		fputs("nothing to recover\n", out);
	json_array_foreach(json_object_get(doc, "recovered"), i, patch)
		fprintf(out, "%s %s: %s; now %s\n", str(patch, "id"), str(patch, "version"),
			str(patch, "found"), str(patch, "state"));
}

static void print_guard_processes(FILE *out, const json_t *g)
{
	if (json_is_null(json_object_get(g, "supervisor_pid")))
		fputs("processes      NO SUPERVISOR: another is being started\n", out);
	else
		fprintf(out,
			"processes      supervisor %lld, guard %lld, monitor %lld, lens %lld\n",
			num(g, "supervisor_pid"), num(g, "guard_pid"), num(g, "monitor_pid"),
			num(g, "lens_pid"));
	if (num(g, "restarts") || num(g, "supervisor_restarts"))
		fprintf(out, "restarts       %lld of the guard, %lld of its supervisor\n",
			num(g, "restarts"), num(g, "supervisor_restarts"));
}

static void print_registers(FILE *out, const json_t *r)
{
	const json_t *name;
	size_t i;

	fprintf(out, "registers      %zu pinned, looked at %lld times, the last took %.0f us\n",
		json_array_size(json_object_get(r, "pinned")), num(r, "looks"), real(r, "look_us"));
	json_array_foreach(json_object_get(r, "not_watched"), i, name)
		fprintf(out, "NOT WATCHED    %s\n", json_string_value(name));
}

static void print_gate(FILE *out, const json_t *gate)
{
	if (!json_is_true(json_object_get(gate, "on"))) {
		fputs("modules        any may load: there is no gate (--modules)\n", out);
		return;
	}
	fprintf(out,
		"modules        %lld on the list: %lld let in, %lld refused, held %.1f ms at "
		"most\n",
		num(gate, "modules"), num(gate, "allowed"), num(gate, "refused"),
		real(gate, "held_max_us") / 1e3);
}

void cli_print_guard(FILE *out, const json_t *doc)
{
	const json_t *g = json_object_get(doc, "guard");
	bool armed = !strcmp(str(g, "state"), "armed");

	fprintf(out, "guard          %s, %s, for %.0f s\n", str(json_object_get(doc, "vm"), "name"),
		str(g, "mode"), real(g, "uptime_s"));
	if (armed)
		fprintf(out, "protected      %lld areas, since %s\n", num(g, "areas"),
			str(g, "armed_since"));
	else
		fputs("protected      NOTHING YET: waiting for the guest's kernel to be up\n", out);
	fprintf(out, "writes         %lld: %lld kept, %lld put back; %lld violations\n",
		num(g, "writes"), num(g, "kept"), num(g, "put_back"), num(g, "violations"));
	if (num(json_object_get(doc, "unrecorded"), "waiting"))
		fprintf(out, "unrecorded     %lld: %s\n",
			num(json_object_get(doc, "unrecorded"), "waiting"),
			str(json_object_get(doc, "unrecorded"), "error"));
	print_gate(out, json_object_get(doc, "module_gate"));
	fprintf(out, "audits         %lld, the last %.1f ms, with %lld findings in all\n",
		num(g, "audits"), real(g, "audit_us") / 1e3, num(g, "findings"));
	print_registers(out, json_object_get(g, "registers"));
	fprintf(out, "longest hold   %.2f ms\n", real(g, "held_max_us") / 1e3);
	fprintf(out, "events         %lld, and %lld more said together with others\n",
		num(g, "event_seq"), num(g, "folded_events"));
	print_guard_processes(out, g);
	if (!json_is_true(json_object_get(g, "connected")))
		fputs("QEMU           NOT CONNECTED: its monitor does not answer, or is in use\n",
		      out);
	if (num(g, "events_waiting_bytes"))
		fprintf(out, "EVENTS WAIT    %lld bytes: their file is full or blocked\n",
			num(g, "events_waiting_bytes"));
	if (num(g, "lost_events"))
		fprintf(out, "EVENTS LOST    %lld could not be written\n", num(g, "lost_events"));
}
