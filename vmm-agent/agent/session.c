// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/session.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"

void session_progress(const struct session *s, const char *what)
{
	if (s->opts->progress)
		s->opts->progress(s->opts->progress_arg, what);
}

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

/* The process, by what no guest has a say in. */
static int name_process(struct session *s, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf host = XBUF(64);
	char text[192];
	int n, rc = xbuf_read_file(&host, BOOT_ID);

	if (rc)
		return xerr_set(err, rc, BOOT_ID ": %s", xo_code_text(rc));
	n = snprintf(text, sizeof(text), "exopatch-process/1\n%.*s%ld\n%llu\n", (int)host.len_bytes,
		     (const char *)host.data, (long)s->vm->pid,
		     (unsigned long long)s->vm->start_time);
	rc = n < 0 || (size_t)n >= sizeof(text) ? -XO_EINTERNAL
						: xo_sha256(SPAN(text, (size_t)n), s->process);
	return rc ? xerr_set(err, rc, "session: %s", xo_code_text(rc)) : 0;
}

/* A VM without a UUID is known by its process, which is as good for as long as it lives. */
static int make_key(struct session *s, struct xerr *err)
{
	static const char none[] = "00000000-0000-0000-0000-000000000000";

	if (s->vm->uuid[0] && strcmp(s->vm->uuid, none) != 0)
		snprintf(s->vm_key, sizeof(s->vm_key), "uuid:%s", s->vm->uuid);
	else
		snprintf(s->vm_key, sizeof(s->vm_key), "process:%ld:%llu", (long)s->vm->pid,
			 (unsigned long long)s->vm->start_time);
	return name_process(s, err);
}

static bool has_private_ram(const struct tgt_info *vm)
{
	for (size_t i = 0; i < vm->nr_regions; i++)
		if (vm->region[i].ram && vm->region[i].backend < 0)
			return true;
	return false;
}

/* The lens sees RAM that has a file. Only where RAM is private to QEMU does it get to read QEMU's
 * memory, and then ROMs there too; otherwise those are read through the monitor. */
static int describe_for_lens(struct session *s, struct lens_vm *lv, struct xerr *err)
{
	const struct tgt_info *vm = s->vm;

	memset(lv, 0, sizeof(*lv));
	lv->memory_fd = -1;
	s->lens_reads_qemu = has_private_ram(vm);
	if (s->lens_reads_qemu) {
		lv->memory_fd = tgt_memory_open(s->tgt, err);
		if (lv->memory_fd < 0)
			return lv->memory_fd;
	}
	for (size_t i = 0; i < vm->nr_backends; i++) {
		int fd = tgt_backend_open(s->tgt, i, false, err);

		if (fd < 0)
			return fd;
		lv->backend_fd[lv->nr_backends++] = fd;
	}
	for (size_t i = 0; i < vm->nr_regions; i++) {
		const struct tgt_region *r = &vm->region[i];

		if (r->backend < 0 && !s->lens_reads_qemu)
			continue;
		lv->region[lv->nr_regions++] = (struct lens_region){
			.gpa = r->gpa,
			.len_bytes = r->len_bytes,
			.backend = r->backend < 0 ? LENS_NO_BACKEND : (uint32_t)r->backend,
			.backend_off = r->backend_off,
			.hva = r->hva,
			.rom = r->rom,
		};
	}
	for (size_t i = 0; i < vm->nr_vcpus; i++) {
		const struct tgt_vcpu *c = &vm->vcpu[i];

		lv->vcpu[lv->nr_vcpus++] = (struct lens_vcpu_hint){
			.cr0 = c->cr0, .cr3 = c->cr3, .cr4 = c->cr4, .efer = c->efer};
	}
	return 0;
}

static int start_lens(struct session *s, struct xerr *err)
{
	struct lens_vm lv;
	int rc;

	rc = describe_for_lens(s, &lv, err);
	if (!rc)
		rc = lens_start(&s->lens, &lv, err);
	for (size_t i = 0; i < lv.nr_backends; i++)
		close(lv.backend_fd[i]);
	if (lv.memory_fd >= 0)
		close(lv.memory_fd);
	return rc;
}

/* What the lens cannot make sense of is the guest's doing: a reason, not a failure of ours. */
static bool is_guest_fault(int code)
{
	switch (-code) {
	case XO_ENOKERNEL:
	case XO_EARCH:
	case XO_EPAGETABLE:
	case XO_ENOTMAPPED:
	case XO_EKALLSYMS:
	case XO_EBTF:
	case XO_ETASKLIST:
	case XO_EMODLIST:
	case XO_ESHIMABI:
	case XO_ECPUCOUNT:
	case XO_ELIMIT:
		return true;
	default:
		return false;
	}
}

static int discover(struct session *s, bool again, struct refusal *why, struct xerr *err)
{
	struct xerr found = {0};
	int rc;

	session_progress(s, "looking for the kernel in guest memory");
	rc = again ? lens_discover_again(s->lens, &s->kernel, &found)
		   : lens_discover(s->lens, &s->kernel, &found);
	if (!rc) {
		s->discovered = true;
		xo_hex(SPAN(s->kernel.build_id, s->kernel.build_id_bytes), s->build_id);
		return 0;
	}
	if (!is_guest_fault(rc))
		return xerr_set(err, rc, "%s", found.text);
	refusal_add(why, rc, "%s", found.text);
	return 0;
}

int session_open(struct session *s, const struct agent_opts *o, struct refusal *why,
		 struct xerr *err)
{
	int rc;

	s->opts = o;
	s->opened_ns = xo_now_ns();
	session_progress(s, "attaching");
	rc = tgt_attach(&s->tgt, &o->target, why, err);
	if (rc || !s->tgt)
		return rc;
	s->vm = tgt_info(s->tgt);
	rc = make_key(s, err);
	if (rc || why->nr)
		return rc;
	rc = start_lens(s, err);
	return rc ? rc : discover(s, false, why, err);
}

#define CR0_PG	 (UINT64_C(1) << 31)
#define CR4_LA57 (UINT64_C(1) << 12)
#define EFER_LMA (UINT64_C(1) << 10)

/* The kernel's own tables do not go away, as those of the process that was last on a vCPU do. */
int session_recall(struct session *s, const struct agent_opts *o, const struct tgt_info *vm,
		   int lock_fd, int qmp_fd, struct gpa root, uint8_t levels, struct refusal *why,
		   struct xerr *err)
{
	struct tgt_info info = *vm;
	int rc;

	s->opts = o;
	s->opened_ns = xo_now_ns();
	for (size_t i = 0; i < info.nr_vcpus; i++) {
		info.vcpu[i].cr0 = CR0_PG;
		info.vcpu[i].cr3 = root.v;
		info.vcpu[i].cr4 = levels == 5 ? CR4_LA57 : 0;
		info.vcpu[i].efer = EFER_LMA;
	}
	rc = tgt_recall(&s->tgt, &info, lock_fd, qmp_fd, err);
	if (rc)
		return rc;
	s->vm = tgt_info(s->tgt);
	rc = make_key(s, err);
	rc = rc ? rc : start_lens(s, err);
	return rc ? rc : discover(s, true, why, err);
}

void session_blind(struct session *s)
{
	mon_free(s->mon);
	lens_free(s->lens);
	s->mon = NULL;
	s->lens = NULL;
	s->discovered = false;
}

int session_look(struct session *s, struct refusal *why, struct xerr *err)
{
	int rc = tgt_refresh(s->tgt, err);

	session_blind(s);
	if (!rc)
		rc = start_lens(s, err);
	return rc ? rc : discover(s, false, why, err);
}

/* Under which the journal has the number of resets. */
static void resets_key(const struct session *s, char ret[80])
{
	char hex[XO_SHA256_HEX_SIZE];

	xo_hex(SPAN(s->process, sizeof(s->process)), hex);
	snprintf(ret, 80, "resets %s", hex);
}

static int load_resets(struct session *s, struct xerr *err)
{
	uint64_t known = 0;
	char key[80];
	int rc;

	resets_key(s, key);
	rc = journal_noted(s->journal, key, &known, err);
	if (!rc && known > s->resets)
		s->resets = known;
	return rc;
}

int session_was_reset(struct session *s, struct xerr *err)
{
	char key[80];

	s->resets++;
	resets_key(s, key);
	return s->journal ? journal_note(s->journal, key, s->resets, err) : 0;
}

int session_journal(struct session *s, struct xerr *err)
{
	const char *dir = agent_state_dir(s->opts);
	int rc = s->journal ? 0 : journal_open(&s->journal, dir, err);

	rc = rc ? rc : load_resets(s, err);
	if (rc)
		return rc;
	journal_rows_free(s->row, s->nr_rows);
	s->row = NULL;
	s->nr_rows = 0;
	return journal_load(s->journal, s->vm_key, &s->row, &s->nr_rows, err);
}

bool session_same_kernel(const struct session *s, const struct jrow *row)
{
	uint64_t then = row->boot_token, now = s->kernel.boot_token;

	return row->kernel_base.v == s->kernel.base.v && !strcmp(row->build_id, s->build_id) &&
	       (!then || !now || then == now);
}

bool session_row_here(const struct session *s, const struct jrow *row)
{
	return jrow_live(row) && session_same_kernel(s, row);
}

static bool has_page(const struct lens_approved *a, size_t nr, const struct lens_approved *page)
{
	for (size_t i = 0; i < nr; i++)
		if (a[i].gva.v == page->gva.v && a[i].gpa.v == page->gpa.v)
			return true;
	return false;
}

struct lens_approved *session_homes(const struct session *s, session_row_fn *which, size_t *ret_nr)
{
	struct lens_approved *a;
	size_t nr = 1;

	for (size_t i = 0; i < s->nr_rows; i++)
		nr += s->row[i].nr_writes;
	a = calloc(nr, sizeof(*a));
	*ret_nr = 0;
	for (size_t i = 0; a && i < s->nr_rows; i++) {
		const struct jrow *r = &s->row[i];

		for (size_t k = 0; k < r->nr_writes && which(s, r); k++) {
			const struct jwrite *w = &r->write[k];
			const struct lens_approved page = {.gva = {w->gva.v & ~XO_PAGE_MASK},
							   .len_bytes = XO_PAGE_SIZE,
							   .gpa = {w->gpa.v & ~XO_PAGE_MASK}};

			/* A record of code lies in one page: home.c. */
			if (w->kind == J_CODE && !has_page(a, *ret_nr, &page))
				a[(*ret_nr)++] = page;
		}
	}
	return a;
}

int session_monitor(struct session *s, struct xerr *err)
{
	const struct tgt_info *vm = s->vm;
	struct mon_vm mv = {.pid = vm->pid,
			    .accel = vm->accel == TGT_KVM ? MON_KVM : MON_TCG,
			    .nr_vcpus = vm->nr_vcpus};
	int rc = 0;

	if (s->mon)
		return 0;
	for (size_t i = 0; i < vm->nr_vcpus; i++)
		mv.tid[i] = vm->vcpu[i].tid;
	for (size_t i = 0; i < vm->nr_regions; i++) {
		const struct tgt_region *r = &vm->region[i];

		mv.region[mv.nr_regions++] = (struct mon_region){
			.gpa = r->gpa,
			.len_bytes = r->len_bytes,
			.hva = r->hva,
			.backend = r->backend,
			.backend_off = r->backend_off,
			.rom = r->rom,
		};
	}
	for (size_t i = 0; i < vm->nr_backends && !rc; i++) {
		int fd = tgt_backend_open(s->tgt, i, true, err);

		if (fd < 0)
			rc = fd;
		else
			mv.backend_fd[mv.nr_backends++] = fd;
	}
	if (!rc)
		rc = mon_start(&s->mon, &mv, err);
	for (size_t i = 0; i < mv.nr_backends; i++)
		close(mv.backend_fd[i]);
	return rc;
}

/* The region that holds all of [gpa, gpa + len), or NULL. */
static const struct tgt_region *region_of(const struct tgt_info *vm, struct gpa gpa, size_t len)
{
	for (size_t i = 0; i < vm->nr_regions; i++) {
		const struct tgt_region *r = &vm->region[i];
		uint64_t off = gpa.v - r->gpa.v;

		if (gpa.v >= r->gpa.v && off < r->len_bytes && len <= r->len_bytes - off)
			return r;
	}
	return NULL;
}

int session_read(struct session *s, struct gpa gpa, void *buf, size_t len_bytes, struct xerr *err)
{
	const struct tgt_region *r = region_of(s->vm, gpa, len_bytes);
	int rc;

	if (!r)
		return xerr_set(err, XO_ENOTMAPPED, "guest-physical 0x%llx: not RAM",
				(unsigned long long)gpa.v);
	if (r->backend >= 0 || s->lens_reads_qemu)
		return lens_read_phys(s->lens, gpa, buf, len_bytes, err);
	rc = session_monitor(s, err);
	return rc ? rc : mon_read(s->mon, gpa, buf, len_bytes, err);
}

static json_t *sharers_json(const struct tgt_info *vm)
{
	json_t *list = json_array();

	for (size_t i = 0; i < vm->nr_sharers; i++)
		json_array_append_new(list, json_pack("{s:i,s:s}", "pid", (int)vm->sharer[i].pid,
						      "what", vm->sharer[i].what));
	return list;
}

/* Blocks of RAM that are private to QEMU, each once: one lies in several regions, one by one. */
static void add_private(json_t *list, const struct tgt_info *vm)
{
	for (size_t i = 0; i < vm->nr_regions; i++) {
		const struct tgt_region *r = &vm->region[i];
		bool seen = false;

		if (!r->ram || r->backend >= 0)
			continue;
		for (size_t k = 0; k < i && !seen; k++)
			seen = !strcmp(vm->region[k].block, r->block);
		if (!seen)
			json_array_append_new(
				list, json_pack("{s:s,s:b}", "name", r->block, "private", true));
	}
}

static json_t *backends_json(const struct tgt_info *vm)
{
	json_t *list = json_array();

	add_private(list, vm);
	for (size_t i = 0; i < vm->nr_backends; i++)
		json_array_append_new(list, json_pack("{s:s,s:I}", "name", vm->backend[i].name,
						      "page_bytes",
						      (json_int_t)vm->backend[i].page_bytes));
	return list;
}

static json_t *hex64(uint64_t v)
{
	return json_sprintf("0x%llx", (unsigned long long)v);
}

int session_vm_json(const struct session *s, json_t *doc)
{
	const struct tgt_info *vm = s->vm;
	const struct lens_kernel *k = &s->kernel;
	json_t *v;

	if (!vm)
		return 0;
	v = json_pack("{s:s,s:s,s:i,s:s,s:s,s:s,s:s,s:b,s:b,s:i,s:I,s:o,s:o}", "name", vm->name,
		      "uuid", vm->uuid, "pid", (int)vm->pid, "accelerator",
		      vm->accel == TGT_KVM ? "kvm" : "tcg", "arch", vm->arch, "machine",
		      vm->machine, "state", vm->state, "running", vm->running, "libvirt",
		      vm->via_libvirt, "vcpus", (int)vm->nr_vcpus, "ram_bytes",
		      (json_int_t)vm->ram_bytes, "ram_backends", backends_json(vm), "sharers",
		      sharers_json(vm));
	if (!v || json_object_set_new(v, "qemu_version",
				      json_sprintf("%u.%u.%u", vm->qemu_version[0],
						   vm->qemu_version[1], vm->qemu_version[2])))
		return -ENOMEM;
	if (json_object_set_new(doc, "vm", v))
		return -ENOMEM;
	if (!s->discovered)
		return 0;
	v = json_pack("{s:s,s:s,s:s,s:o,s:o,s:I,s:i,s:b,s:i,s:i,s:i,s:i,s:b}", "banner", k->banner,
		      "release", k->release, "build_id", s->build_id, "base", hex64(k->base.v),
		      "physical_base", hex64(k->phys_base.v), "text_bytes",
		      (json_int_t)k->text_bytes, "paging_levels", (int)k->paging_levels,
		      "page_table_isolation", k->pti, "symbols", (int)k->nr_symbols, "modules",
		      (int)k->nr_modules, "tasks", (int)k->nr_tasks, "cpus", (int)k->nr_cpus,
		      "shim", k->has_shim);
	return v && !json_object_set_new(doc, "kernel", v) ? 0 : -ENOMEM;
}

void session_close(struct session *s)
{
	mon_free(s->mon);
	lens_free(s->lens);
	tgt_free(s->tgt);
	journal_rows_free(s->row, s->nr_rows);
	journal_close(s->journal);
	memset(s, 0, sizeof(*s));
}
