// SPDX-License-Identifier: Apache-2.0
/*
 * Where a kernel rewrites itself. Layouts: arch/x86/include/asm/alternative.h,
 * paravirt_types.h, jump_label.h, runtime-const.h, include/linux/static_call_types.h
 * and arch/x86/tools/relocs.c of Linux 6.1 and 6.12. Each list must point at
 * instructions of the kind that it lists: a list that is misread does not.
 */
#include <errno.h>

#include "package/kernel/kfile.h"

#define MAX_SITES    (4u << 20)
#define MAX_EXEC     64
#define MAX_ALT_LEN  254
#define TRAMPOLINE   "__SCT__"
#define CALL_KEY     "__SCK__"
#define RUNTIME_PTR  "runtime_ptr_"
#define RUNTIME_SHFT "runtime_shift_"

#define CALL_KEY_FLAGS UINT64_C(3) /* STATIC_CALL_SITE_*, include/linux/static_call_types.h */
#define CALL_KEY_TAIL  1

struct range {
	uint64_t start, len_bytes;
};

struct reader {
	const struct kfile *k;
	size_t nr, room;
	struct ksite *site;
	size_t nr_exec;
	struct range exec[MAX_EXEC]; /* sections with instructions */
	struct xerr *err;
};

static bool in_range(const struct range *r, uint64_t addr, uint64_t len)
{
	return addr >= r->start && addr - r->start <= r->len_bytes &&
	       len <= r->len_bytes - (addr - r->start);
}

static bool is_code(const struct reader *r, uint64_t addr, uint64_t len)
{
	for (size_t i = 0; i < r->nr_exec; i++)
		if (in_range(&r->exec[i], addr, len))
			return true;
	return false;
}

static int add(struct reader *r, struct ksite site)
{
	if (r->nr == r->room) {
		size_t room = r->room ? 2 * r->room : 4096;
		struct ksite *p;

		if (r->nr >= MAX_SITES)
			return xerr_set(r->err, XO_ELIMIT, "kernel: rewrites more than %u places",
					MAX_SITES);
		p = realloc(r->site, room * sizeof(*p));
		if (!p)
			return xerr_set(r->err, ENOMEM, "kernel: out of memory");
		r->site = p;
		r->room = room;
	}
	r->site[r->nr++] = site;
	return 0;
}

static int misread(const struct reader *r, const char *list, uint64_t addr)
{
	return xerr_set(r->err, XO_EMALFORMED,
			"kernel: %s points at 0x%llx, where there is no such thing; this kernel is "
			"not understood",
			list, (unsigned long long)addr);
}

static int add_code(struct reader *r, const char *list, uint64_t len, struct ksite site)
{
	if (!len || !is_code(r, site.addr, len))
		return misread(r, list, site.addr);
	site.len_bytes = (uint8_t)len;
	return add(r, site);
}

static struct ksite site_of(uint64_t addr, enum ksite_kind kind)
{
	return (struct ksite){.addr = addr, .kind = (uint8_t)kind};
}

/* The only symbol of that name, or 0. */
static uint64_t symbol(const struct reader *r, const char *name)
{
	size_t i;

	return ksyms_lookup(&r->k->syms, name, &i, 1) == 1 ? r->k->syms.sym[i].addr : 0;
}

/* Up to @n bytes of code at @addr; zero where the file has none. */
static void peek(const struct reader *r, uint64_t addr, uint8_t *out, size_t n)
{
	struct span s;

	memset(out, 0, n);
	if (kfile_at(r->k, addr, n, &s))
		memcpy(out, s.p, n);
}

/* ---- what must stand at a site; each returns the length that is rewritten, or 0 ---- */

/* A near call, jump or conditional jump, maybe behind CS prefixes. */
static uint64_t branch_bytes(const struct reader *r, uint64_t addr)
{
	uint8_t b[8];
	uint64_t i = 0;

	peek(r, addr, b, sizeof(b));
	while (i < 2 && b[i] == 0x2e)
		i++;
	if (b[i] == 0xe8 || b[i] == 0xe9)
		return i + 5;
	return b[i] == 0x0f && (b[i + 1] & 0xf0) == 0x80 ? i + 6 : 0;
}

static uint64_t return_bytes(const struct reader *r, uint64_t addr)
{
	uint8_t b[1];

	peek(r, addr, b, sizeof(b));
	return b[0] == 0xe9 ? 5 : 0;
}

static uint64_t endbr_bytes(const struct reader *r, uint64_t addr)
{
	static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
	uint8_t b[4];

	peek(r, addr, b, sizeof(b));
	return memcmp(b, endbr64, sizeof(b)) ? 0 : 4;
}

static bool is_lock(const uint8_t b[2])
{
	return b[0] == 0xf0 || b[0] == 0x3e;
}

/* Some sites start with an operand-size prefix before the lock: the kernel leaves those alone. */
static bool is_inert_lock(const uint8_t b[2])
{
	return b[0] == 0x66 && b[1] == 0xf0;
}

/* jmp or nop, of 2 or of 5 bytes. */
static uint64_t jump_label_bytes(const struct reader *r, uint64_t addr)
{
	static const uint8_t nop5[] = {0x0f, 0x1f, 0x44, 0x00, 0x00};
	uint8_t b[5];

	peek(r, addr, b, sizeof(b));
	if (b[0] == 0xeb || (b[0] == 0x66 && b[1] == 0x90))
		return 2;
	return b[0] == 0xe9 || !memcmp(b, nop5, sizeof(nop5)) ? 5 : 0;
}

static uint64_t fentry_bytes(const struct reader *r, uint64_t addr)
{
	static const uint8_t nop5[] = {0x0f, 0x1f, 0x44, 0x00, 0x00};
	uint8_t b[5];

	peek(r, addr, b, sizeof(b));
	return b[0] == 0xe8 || !memcmp(b, nop5, sizeof(nop5)) ? 5 : 0;
}

/* ---- lists that are sections of their own: int32_t each, relative to itself ---- */

static int read_self_relative(struct reader *r, const char *name, enum ksite_kind kind,
			      uint64_t (*bytes)(const struct reader *, uint64_t))
{
	struct span data;
	Elf64_Shdr sh;
	int32_t rel;
	int rc = 0;

	if (!elf64_find(&r->k->elf, name, &sh))
		return 0;
	if (!elf64_data(&r->k->elf, &sh, &data) || data.len_bytes % 4)
		return misread(r, name, sh.sh_addr);
	for (uint64_t off = 0; !rc && span_s32(data, off, &rel); off += 4) {
		uint64_t addr = sh.sh_addr + off + (uint64_t)(int64_t)rel;

		rc = add_code(r, name, bytes(r, addr), site_of(addr, kind));
	}
	return rc;
}

/* .smp_locks is padded with zeros to a page. */
static int read_smp_locks(struct reader *r)
{
	struct span data;
	Elf64_Shdr sh;
	uint64_t end;
	uint8_t b[2];
	int32_t rel;
	int rc = 0;

	if (!elf64_find(&r->k->elf, ".smp_locks", &sh))
		return 0;
	if (!elf64_data(&r->k->elf, &sh, &data))
		return misread(r, ".smp_locks", sh.sh_addr);
	end = data.len_bytes & ~UINT64_C(3);
	while (end && span_s32(data, end - 4, &rel) && !rel)
		end -= 4;
	for (uint64_t off = 0; !rc && off < end && span_s32(data, off, &rel); off += 4) {
		uint64_t addr = sh.sh_addr + off + (uint64_t)(int64_t)rel;

		peek(r, addr, b, sizeof(b));
		if (!is_inert_lock(b))
			rc = add_code(r, ".smp_locks", is_lock(b), site_of(addr, KSITE_SMP_LOCK));
	}
	return rc;
}

/* One section per constant: the immediate of a movabs (8 bytes) or of a shift (1 byte). */
static int read_runtime_consts(struct reader *r)
{
	Elf64_Shdr sh;
	int rc = 0;

	for (size_t i = 1; !rc && elf64_section(&r->k->elf, i, &sh); i++) {
		const char *name = elf64_section_name(&r->k->elf, &sh);
		bool ptr = !strncmp(name, RUNTIME_PTR, strlen(RUNTIME_PTR));
		struct span data;
		int32_t rel;

		if (!ptr && strncmp(name, RUNTIME_SHFT, strlen(RUNTIME_SHFT)) != 0)
			continue;
		if (!elf64_data(&r->k->elf, &sh, &data) || data.len_bytes % 4)
			return misread(r, name, sh.sh_addr);
		for (uint64_t off = 0; !rc && span_s32(data, off, &rel); off += 4) {
			struct ksite site = site_of(sh.sh_addr + off + (uint64_t)(int64_t)rel,
						    KSITE_RUNTIME_CONST);

			site.ref = symbol(r, name + strlen(ptr ? RUNTIME_PTR : RUNTIME_SHFT));
			rc = add_code(r, name, ptr ? 8 : 1, site);
		}
	}
	return rc;
}

/*
 * struct alt_instr: two offsets relative to themselves, flags, two lengths. The
 * flags are 16 bits up to Linux 6.2, 32 from 6.3 on; the size tells, and that
 * each entry points into code and into .altinstr_replacement.
 */
static bool alternatives_fit(const struct reader *r, struct span data, const Elf64_Shdr *sh,
			     const struct range *repl, size_t entry)
{
	int32_t instr, by;
	uint8_t len, by_len;

	if (data.len_bytes % entry)
		return false;
	for (uint64_t off = 0; off < data.len_bytes; off += entry) {
		uint64_t at = sh->sh_addr + off;

		if (!span_s32(data, off, &instr) || !span_s32(data, off + 4, &by) ||
		    !span_u8(data, off + entry - 2, &len) ||
		    !span_u8(data, off + entry - 1, &by_len) || !len || len > MAX_ALT_LEN ||
		    by_len > len || !is_code(r, at + (uint64_t)(int64_t)instr, len) ||
		    !in_range(repl, at + 4 + (uint64_t)(int64_t)by, by_len))
			return false;
	}
	return true;
}

static int read_alternatives(struct reader *r)
{
	static const size_t entries[] = {12, 14};
	struct range repl = {0};
	size_t entry = 0;
	struct span data;
	Elf64_Shdr sh, rs;
	int32_t instr, by;
	uint8_t len;
	int rc = 0;

	if (!elf64_find(&r->k->elf, ".altinstructions", &sh))
		return 0;
	if (elf64_find(&r->k->elf, ".altinstr_replacement", &rs))
		repl = (struct range){.start = rs.sh_addr, .len_bytes = rs.sh_size};
	if (!elf64_data(&r->k->elf, &sh, &data))
		return misread(r, ".altinstructions", sh.sh_addr);
	for (size_t i = 0; i < XO_ARRAY_SIZE(entries); i++) {
		if (!alternatives_fit(r, data, &sh, &repl, entries[i]))
			continue;
		if (entry)
			return misread(r, ".altinstructions", sh.sh_addr);
		entry = entries[i];
	}
	if (!entry)
		return misread(r, ".altinstructions", sh.sh_addr);
	for (uint64_t off = 0; !rc && span_s32(data, off, &instr) && span_s32(data, off + 4, &by) &&
			       span_u8(data, off + entry - 2, &len);
	     off += entry) {
		uint64_t at = sh.sh_addr + off;
		struct ksite site = site_of(at + (uint64_t)(int64_t)instr, KSITE_ALTERNATIVE);

		site.ref = at + 4 + (uint64_t)(int64_t)by;
		if (span_u8(data, off + entry - 1, &site.ref_bytes))
			rc = add_code(r, ".altinstructions", len, site);
	}
	return rc;
}

/* struct paravirt_patch_site (to 6.7): address, type, length, padded to 16 bytes. */
static int read_paravirt(struct reader *r)
{
	struct span data;
	Elf64_Shdr sh;
	uint64_t addr;
	uint8_t len;
	int rc = 0;

	if (!elf64_find(&r->k->elf, ".parainstructions", &sh))
		return 0;
	if (!elf64_data(&r->k->elf, &sh, &data) || data.len_bytes % 16)
		return misread(r, ".parainstructions", sh.sh_addr);
	for (uint64_t off = 0; !rc && span_u64(data, off, &addr) && span_u8(data, off + 9, &len);
	     off += 16)
		rc = add_code(r, ".parainstructions", len, site_of(addr, KSITE_PARAVIRT));
	return rc;
}

/* ---- lists inside .data and .init.data, between two symbols ---- */

static int find_list(const struct reader *r, const char *start, const char *stop, size_t entry,
		     struct range *ret, struct span *data)
{
	const struct ksyms *k = &r->k->syms;
	size_t a, b;

	*ret = (struct range){0};
	*data = SPAN(r->k->image.data, 0);
	if (!ksyms_lookup(k, start, &a, 1) || !ksyms_lookup(k, stop, &b, 1))
		return 0;
	ret->start = k->sym[a].addr;
	ret->len_bytes = k->sym[b].addr - ret->start;
	if (k->sym[b].addr < ret->start || ret->len_bytes % entry ||
	    !kfile_at(r->k, ret->start, ret->len_bytes, data))
		return misread(r, start, ret->start);
	return 0;
}

/* struct jump_entry: code and target, relative to themselves, and the key. */
static int read_jump_labels(struct reader *r)
{
	static const char list[] = "__start___jump_table";
	struct range at;
	struct span data;
	int32_t code, to;
	int rc;

	rc = find_list(r, list, "__stop___jump_table", 16, &at, &data);
	for (uint64_t off = 0; !rc && span_s32(data, off, &code) && span_s32(data, off + 4, &to);
	     off += 16) {
		uint64_t addr = at.start + off + (uint64_t)(int64_t)code;
		struct ksite site = site_of(addr, KSITE_JUMP_LABEL);

		site.ref = at.start + off + 4 + (uint64_t)(int64_t)to;
		rc = add_code(r, list, jump_label_bytes(r, addr), site);
	}
	return rc;
}

/* A trampoline is called as its key, but for what both names begin with. */
static int add_trampoline(struct reader *r, const struct ksym *s)
{
	const char *name = ksyms_name(&r->k->syms, s);
	struct ksite site = site_of(s->addr, KSITE_STATIC_CALL);
	char key[KSYM_MAX_NAME];

	if ((size_t)snprintf(key, sizeof(key), CALL_KEY "%s", name + strlen(TRAMPOLINE)) <
	    sizeof(key))
		site.ref = symbol(r, key);
	site.ref_bytes = 1;
	return add_code(r, TRAMPOLINE, 5, site);
}

/* struct static_call_site: address and key, relative to themselves; flags in the key. */
static int read_static_calls(struct reader *r)
{
	static const char list[] = "__start_static_call_sites";
	const struct ksyms *k = &r->k->syms;
	struct range at;
	struct span data;
	int32_t rel, key;
	int rc;

	rc = find_list(r, list, "__stop_static_call_sites", 8, &at, &data);
	for (uint64_t off = 0; !rc && span_s32(data, off, &rel) && span_s32(data, off + 4, &key);
	     off += 8) {
		uint64_t addr = at.start + off + (uint64_t)(int64_t)rel;
		uint64_t to = at.start + off + 4 + (uint64_t)(int64_t)key;
		struct ksite site = site_of(addr, KSITE_STATIC_CALL);

		site.ref = to & ~CALL_KEY_FLAGS;
		site.ref_bytes = to & CALL_KEY_TAIL;
		rc = add_code(r, list, branch_bytes(r, addr), site);
	}
	for (size_t i = 0; !rc && i < k->nr; i++)
		if (!strncmp(ksyms_name(k, &k->sym[i]), TRAMPOLINE, strlen(TRAMPOLINE)))
			rc = add_trampoline(r, &k->sym[i]);
	return rc;
}

/* Addresses of the calls to __fentry__; 0 where the build took out those of unused weak functions.
 */
static int read_ftrace(struct reader *r)
{
	static const char list[] = "__start_mcount_loc";
	struct range at;
	struct span data;
	uint64_t addr;
	int rc;

	rc = find_list(r, list, "__stop_mcount_loc", 8, &at, &data);
	for (uint64_t off = 0; !rc && span_u64(data, off, &addr); off += 8)
		if (addr)
			rc = add_code(r, list, fentry_bytes(r, addr), site_of(addr, KSITE_FTRACE));
	return rc;
}

/*
 * KASLR's table, read from its end as the kernel does: three lists of int32_t
 * addresses, 32-bit fields, inverse 32-bit fields, 64-bit fields, each with a
 * zero in front; its first zero is where the ELF file ends.
 */
static int read_relocs(struct reader *r)
{
	static const struct {
		enum ksite_kind kind;
		uint8_t len;
	} list[] = {{KSITE_RELOC, 4}, {KSITE_RELOC_INVERSE, 4}, {KSITE_RELOC, 8}};
	struct span t = r->k->relocs;
	const struct range image = {.start = r->k->text, .len_bytes = r->k->end - r->k->text};
	size_t off = t.len_bytes, which = 0;
	int32_t rel;

	if (!t.len_bytes || t.len_bytes % 4)
		return xerr_set(r->err, XO_EMALFORMED,
				"kernel: has no KASLR table; give the bzImage from /boot, not a "
				"vmlinux");
	while (which < XO_ARRAY_SIZE(list) && off >= 4 && span_s32(t, off - 4, &rel)) {
		uint64_t addr = (uint64_t)(int64_t)rel;
		struct ksite site = site_of(addr, list[which].kind);
		int rc;

		off -= 4;
		if (!rel) {
			which++;
			continue;
		}
		if (!in_range(&image, addr, list[which].len))
			return misread(r, "KASLR's table", addr);
		site.len_bytes = list[which].len;
		rc = add(r, site);
		if (rc)
			return rc;
	}
	if (which != XO_ARRAY_SIZE(list) || off)
		return xerr_set(r->err, XO_EMALFORMED,
				"kernel: its KASLR table has an unknown form; this kernel is not "
				"understood");
	return 0;
}

static void find_code(struct reader *r)
{
	Elf64_Shdr sh;

	for (size_t i = 1; elf64_section(&r->k->elf, i, &sh) && r->nr_exec < MAX_EXEC; i++)
		if ((sh.sh_flags & SHF_EXECINSTR) && sh.sh_type == SHT_PROGBITS)
			r->exec[r->nr_exec++] =
				(struct range){.start = sh.sh_addr, .len_bytes = sh.sh_size};
}

static int by_addr(const void *x, const void *y)
{
	const struct ksite *a = x, *b = y;

	if (a->addr != b->addr)
		return a->addr < b->addr ? -1 : 1;
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->len_bytes != b->len_bytes)
		return a->len_bytes < b->len_bytes ? -1 : 1;
	return (a->ref > b->ref) - (a->ref < b->ref);
}

static int read_all(struct reader *r)
{
	int rc = read_alternatives(r);

	if (!rc)
		rc = read_paravirt(r);
	if (!rc)
		rc = read_self_relative(r, ".retpoline_sites", KSITE_RETPOLINE, branch_bytes);
	if (!rc)
		rc = read_self_relative(r, ".return_sites", KSITE_RETURN, return_bytes);
	if (!rc)
		rc = read_self_relative(r, ".ibt_endbr_seal", KSITE_ENDBR, endbr_bytes);
	if (!rc)
		rc = read_smp_locks(r);
	if (!rc)
		rc = read_runtime_consts(r);
	if (!rc)
		rc = read_jump_labels(r);
	if (!rc)
		rc = read_static_calls(r);
	if (!rc)
		rc = read_ftrace(r);
	return rc ? rc : read_relocs(r);
}

int ksites_read(struct ksites *ret, const struct kfile *k, struct xerr *err)
{
	struct reader r = {.k = k, .err = err};
	int rc;

	find_code(&r);
	rc = read_all(&r);
	if (rc) {
		free(r.site);
		return rc;
	}
	if (r.nr)
		qsort(r.site, r.nr, sizeof(*r.site), by_addr);
	*ret = (struct ksites){.nr = r.nr, .site = r.site};
	return 0;
}

size_t ksites_first(const struct ksites *s, uint64_t addr)
{
	/* Lengths fit a byte, so sites that start 256 bytes earlier end before. */
	uint64_t from = addr < UINT8_MAX ? 0 : addr - UINT8_MAX;
	size_t lo = 0, hi = s->nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->site[mid].addr < from)
			lo = mid + 1;
		else
			hi = mid;
	}
	while (lo < s->nr && s->site[lo].addr + s->site[lo].len_bytes <= addr)
		lo++;
	return lo;
}

void ksites_free(struct ksites *s)
{
	free(s->site);
	*s = (struct ksites){0};
}
