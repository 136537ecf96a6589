// SPDX-License-Identifier: Apache-2.0
/* What QEMU says of itself and the VM. */
#include <errno.h>
#include <inttypes.h>

#include "base/util.h"
#include "vmm-agent/target/internal.h"
#include "vmm-agent/target/proc.h"
#include "vmm-agent/target/registers.h"

#define ARCH	  "x86_64"
#define MIN_MAJOR 7
#define MIN_MINOR 2

/* Copy the string member @key, escaped; "" if there is none. */
static void take_string(const json_t *object, const char *key, char *ret, size_t size)
{
	const char *s = json_string_value(json_object_get(object, key));

	ret[0] = '\0';
	if (s)
		xo_escape(SPAN(s, strlen(s)), ret, size);
}

static int read_version(struct tgt *t, struct refusal *why, struct xerr *err)
{
	_cleanup_json_ json_t *j = NULL;
	unsigned int *v = t->info.qemu_version;
	int major, minor, micro;
	int rc = qchan_call(t->chan, "query-version", -1, &j, err, NULL);

	if (rc)
		return rc;
	if (json_unpack(j, "{s:{s:i, s:i, s:i}}", "qemu", "major", &major, "minor", &minor, "micro",
			&micro))
		return xerr_set(err, XO_ENOTQEMU, "query-version: the answer is not QEMU's");
	v[0] = (unsigned int)major;
	v[1] = (unsigned int)minor;
	v[2] = (unsigned int)micro;
	if (v[0] < MIN_MAJOR || (v[0] == MIN_MAJOR && v[1] < MIN_MINOR))
		refusal_add(why, XO_EQEMUVERSION, "QEMU is %u.%u.%u; it must be %d.%d or later",
			    v[0], v[1], v[2], MIN_MAJOR, MIN_MINOR);
	return 0;
}

static int read_identity(struct tgt *t, struct refusal *why, struct xerr *err)
{
	_cleanup_json_ json_t *name = NULL, *uuid = NULL, *target = NULL, *kvm = NULL;
	struct tgt_info *info = &t->info;
	int rc;

	rc = qchan_call(t->chan, "query-name", -1, &name, err, NULL);
	if (!rc)
		rc = qchan_call(t->chan, "query-uuid", -1, &uuid, err, NULL);
	if (!rc)
		rc = qchan_call(t->chan, "query-target", -1, &target, err, NULL);
	if (!rc)
		rc = qchan_call(t->chan, "query-kvm", -1, &kvm, err, NULL);
	if (rc)
		return rc;
	take_string(name, "name", info->name, sizeof(info->name));
	take_string(uuid, "UUID", info->uuid, sizeof(info->uuid));
	/* The journal goes by it: one VM must not pass for another. */
	if (t->chan->uuid[0])
		memcpy(info->uuid, t->chan->uuid, sizeof(info->uuid));
	take_string(target, "arch", info->arch, sizeof(info->arch));
	info->accel = json_is_true(json_object_get(kvm, "enabled")) ? TGT_KVM : TGT_TCG;
	if (strcmp(info->arch, ARCH) != 0)
		refusal_add(why, XO_EARCH, "the guest is %s; only " ARCH " is supported",
			    info->arch);
	return 0;
}

/* A property of /machine; "" if this machine has none of that name. */
static int machine_property(struct tgt *t, const char *property, char *ret, size_t size,
			    struct xerr *err)
{
	_cleanup_json_ json_t *j = NULL;
	struct xerr own = {0};
	int rc = qchan_call(t->chan, "qom-get", -1, &j, &own, "{s:s, s:s}", "path", "/machine",
			    "property", property);

	ret[0] = '\0';
	if (rc && rc != -XO_EQMP)
		return xerr_set(err, rc, "%s", own.text);
	if (!rc && json_is_string(j))
		xo_escape(SPAN(json_string_value(j), json_string_length(j)), ret, size);
	return 0;
}

static int read_machine(struct tgt *t, struct refusal *why, struct xerr *err)
{
	static const char suffix[] = "-machine";
	char *type = t->info.machine;
	char guard[64];
	size_t n;
	int rc;

	rc = machine_property(t, "type", type, sizeof(t->info.machine), err);
	if (!rc)
		rc = machine_property(t, "confidential-guest-support", guard, sizeof(guard), err);
	if (rc)
		return rc;
	n = strlen(type);
	if (n >= sizeof(suffix) && !strcmp(type + n - (sizeof(suffix) - 1), suffix))
		type[n - (sizeof(suffix) - 1)] = '\0';
	if (guard[0])
		refusal_add(why, XO_ECONFIDENTIAL,
			    "%s encrypts guest memory against the host; this cannot be patched "
			    "from outside",
			    guard);
	return 0;
}

/* Every vCPU is a thread of one process: that is QEMU, whoever made its monitor socket. */
static int find_process(struct tgt *t, struct xerr *err)
{
	struct tgt_info *info = &t->info;
	uint64_t tgid = 0;

	for (size_t i = 0; i < info->nr_vcpus; i++) {
		uint64_t of_this;
		int rc = proc_status_number(info->vcpu[i].tid, "Tgid:", &of_this, err);

		if (rc)
			return rc;
		if (i && of_this != tgid)
			return xerr_set(err, XO_ENOTQEMU,
					"vCPU threads belong to several processes; is QEMU in "
					"another PID namespace?");
		tgid = of_this;
	}
	info->pid = (pid_t)tgid;
	return proc_start_time(info->pid, &info->start_time, err);
}

static int by_index(const void *a, const void *b)
{
	const struct tgt_vcpu *x = a, *y = b;

	return (x->cpu_index > y->cpu_index) - (x->cpu_index < y->cpu_index);
}

/* QEMU tells them in the order in which they were plugged. */
int facts_vcpus(struct tgt *t, struct refusal *why, struct xerr *err)
{
	_cleanup_json_ json_t *cpus = NULL;
	const json_t *cpu;
	size_t i, nr;
	int rc = qchan_call(t->chan, "query-cpus-fast", -1, &cpus, err, NULL);

	if (rc)
		return rc;
	nr = json_array_size(cpus);
	if (!nr)
		return xerr_set(err, XO_ENOTQEMU, "query-cpus-fast: no vCPU");
	if (nr > TGT_MAX_VCPUS) {
		refusal_add(why, XO_ECPUCOUNT, "the VM has %zu vCPUs; at most %d are supported", nr,
			    TGT_MAX_VCPUS);
		nr = TGT_MAX_VCPUS;
	}
	json_array_foreach(cpus, i, cpu)
	{
		json_int_t tid, index;

		if (i == nr)
			break;
		if (json_unpack((json_t *)(uintptr_t)cpu, "{s:I, s:I}", "thread-id", &tid,
				"cpu-index", &index) ||
		    tid <= 0 || tid > INT32_MAX || index < 0)
			return xerr_set(err, XO_ENOTQEMU, "query-cpus-fast: vCPU %zu is odd", i);
		t->info.vcpu[i].tid = (pid_t)tid;
		t->info.vcpu[i].cpu_index = (uint64_t)index;
	}
	qsort(t->info.vcpu, nr, sizeof(t->info.vcpu[0]), by_index);
	t->info.nr_vcpus = nr;
	return find_process(t, err);
}

/* Run states (qapi/run-state.json) in which guest memory is not, or not alone, this process's. */
static const struct {
	const char *state, *cause;
} unfit[] = {
	{"inmigrate", "its memory is still arriving from another host; wait for the migration"},
	{"postmigrate", "it has moved to another host; patch it there"},
	{"finish-migrate", "it is moving to another host; wait, and patch it there"},
	{"restore-vm", "a snapshot is being loaded; wait"},
	{"save-vm", "a snapshot is being saved; wait"},
	{"colo", "it is one half of a fault-tolerant pair"},
	{"shutdown", "the guest has shut down"},
	{"internal-error", "QEMU has stopped it for good after an internal error"},
};

static int read_state(struct tgt *t, struct refusal *why, struct xerr *err)
{
	_cleanup_json_ json_t *j = NULL;
	int rc = qchan_call(t->chan, "query-status", -1, &j, err, NULL);

	if (rc)
		return rc;
	t->info.running = json_is_true(json_object_get(j, "running"));
	take_string(j, "status", t->info.state, sizeof(t->info.state));
	for (size_t i = 0; why && i < XO_ARRAY_SIZE(unfit); i++) {
		if (!strcmp(t->info.state, unfit[i].state))
			refusal_add(why, XO_ESHUTOFF, "the VM is in state %s: %s", unfit[i].state,
				    unfit[i].cause);
	}
	return 0;
}

static int read_registers(struct tgt *t, struct xerr *err)
{
	struct control_regs regs[TGT_MAX_VCPUS];
	_cleanup_free_ char *text = NULL;
	size_t nr;
	int rc;

	rc = qchan_hmp(t->chan, &text, err, "info registers -a");
	if (!rc)
		rc = registers_parse(SPAN(text, strlen(text)), regs, TGT_MAX_VCPUS, &nr, err);
	if (rc)
		return rc;
	for (size_t i = 0; i < t->info.nr_vcpus; i++) {
		struct tgt_vcpu *v = &t->info.vcpu[i];
		size_t r = 0;

		while (r < nr && regs[r].cpu_index != v->cpu_index)
			r++;
		if (r == nr)
			return xerr_set(err, XO_EQMP,
					"info registers: vCPU %" PRIu64 " is missing; was it "
					"unplugged meanwhile?",
					v->cpu_index);
		v->cr0 = regs[r].cr0;
		v->cr3 = regs[r].cr3;
		v->cr4 = regs[r].cr4;
		v->efer = regs[r].efer;
		v->tr_base = regs[r].tr_base;
		v->gdt_base = regs[r].gdt_base;
		v->gdt_limit = regs[r].gdt_limit;
		v->idt_base = regs[r].idt_base;
	}
	return 0;
}

int facts_read(struct tgt *t, struct refusal *why, struct xerr *err)
{
	int rc = read_version(t, why, err);

	if (!rc)
		rc = read_identity(t, why, err);
	if (!rc)
		rc = read_machine(t, why, err);
	if (!rc)
		rc = read_state(t, why, err);
	if (!rc)
		rc = facts_vcpus(t, why, err);
	if (!rc && !strcmp(t->info.arch, ARCH))
		rc = read_registers(t, err);
	return rc;
}

int facts_refresh(struct tgt *t, struct xerr *err)
{
	uint64_t start_time;
	int rc = read_state(t, NULL, err);

	if (!rc)
		rc = proc_start_time(t->info.pid, &start_time, err);
	if (!rc && start_time != t->info.start_time)
		rc = xerr_set(err, XO_ETARGETGONE, "QEMU process %d: ended", (int)t->info.pid);
	if (!rc && !strcmp(t->info.arch, ARCH))
		rc = read_registers(t, err);
	return rc;
}

int facts_migrating(struct tgt *t, bool *ret, struct xerr *err)
{
	/* MigrationStatus, qapi/migration.json: before and after it, and none at all */
	static const char *const idle[] = {"none", "cancelled", "completed", "failed"};
	_cleanup_json_ json_t *j = NULL;
	const char *status;
	int rc = qchan_call(t->chan, "query-migrate", -1, &j, err, NULL);

	if (rc)
		return rc;
	status = json_string_value(json_object_get(j, "status"));
	*ret = status != NULL;
	for (size_t i = 0; status && i < XO_ARRAY_SIZE(idle); i++)
		*ret = *ret && strcmp(status, idle[i]) != 0;
	return 0;
}

int facts_state(struct tgt *t, struct xerr *err)
{
	return read_state(t, NULL, err);
}

/* Capabilities (qapi/migration.json) with which QEMU makes a userfaultfd for itself. */
static bool is_uffd_capability(const json_t *c)
{
	const char *name = json_string_value(json_object_get(c, "capability"));

	return name && json_is_true(json_object_get(c, "state")) &&
	       (!strcmp(name, "background-snapshot") || !strcmp(name, "postcopy-ram"));
}

int facts_migration(struct tgt *t, struct tgt_migration *ret, struct xerr *err)
{
	_cleanup_json_ json_t *j = NULL, *list = NULL;
	struct tgt_migration m = {0};
	const json_t *item;
	const char *status;
	size_t i;
	int rc = qchan_call(t->chan, "query-migrate", -1, &j, err, NULL);

	if (!rc)
		rc = qchan_call(t->chan, "query-migrate-capabilities", -1, &list, err, NULL);
	if (rc)
		return rc;
	status = json_string_value(json_object_get(j, "status"));
	m.failed = status && !strcmp(status, "failed");
	json_array_foreach(list, i, item) m.wants_uffd |= is_uffd_capability(item);
	*ret = m;
	return 0;
}
