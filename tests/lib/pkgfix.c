// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/pkgfix.h"

#include <stdio.h>
#include <string.h>

#include "package/build/sign.h"
#include "package/cms.h"
#include "package/kernel/kimage.h"
#include "package/payload.h"

#define REQUIRE(what)                                                                              \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                 \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

const char *pkgfix_keys(const char *file)
{
	static char path[8][512];
	static unsigned int next;
	static bool made;
	const char *build = getenv("BUILD");
	char cmd[512], *p = path[next++ % XO_ARRAY_SIZE(path)];

	if (!build)
		build = "build";
	if (!made) {
		snprintf(cmd, sizeof(cmd), "package/dev-keys '%s/dev-keys'", build);
		REQUIRE(system(cmd) == 0);
		made = true;
	}
	snprintf(p, sizeof(path[0]), "%s/dev-keys/%s", build, file);
	return p;
}

struct pkg_trust *pkgfix_trust(const char *name)
{
	struct pkg_trust *t = NULL;
	struct xerr err = {0};
	int rc = pkg_trust_load(&t, pkgfix_keys(name), &err);

	if (rc)
		fprintf(stderr, "%s\n", err.text);
	REQUIRE(rc == 0);
	return t;
}

void pkgfix_payload(struct xbuf *out)
{
	/* new_f: lea constants(%rip),%rdi; call printk; jmp __x86_return_thunk; new_g: ret */
	static const uint8_t text[] = {0x48, 0x8d, 0x3d, 0, 0, 0, 0,	0xe8, 0,    0,	 0,
				       0,    0xe9, 0,	 0, 0, 0, 0xc3, 0xcc, 0xcc, 0xcc};
	static const uint8_t rodata[32] = "exopatch";
	struct objw w;
	uint16_t t, r;
	uint32_t str, printk, thunk;

	objw_init(&w);
	t = objw_section(&w, ".text", SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, 16,
			 SPAN(text, sizeof(text)));
	r = objw_section(&w, ".rodata.str1.1", SHT_PROGBITS, SHF_ALLOC | SHF_MERGE | SHF_STRINGS, 1,
			 SPAN(rodata, sizeof(rodata)));
	str = objw_symbol(&w, "", ELF64_ST_INFO(STB_LOCAL, STT_SECTION), r, 0, 0);
	objw_symbol(&w, "new_f", ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), t, 0, 17);
	objw_symbol(&w, "new_g", ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), t, 17, 1);
	printk = objw_symbol(&w, "_printk", ELF64_ST_INFO(STB_GLOBAL, STT_NOTYPE), SHN_UNDEF, 0, 0);
	thunk = objw_symbol(&w, PAYLOAD_RETURN_THUNK, ELF64_ST_INFO(STB_GLOBAL, STT_NOTYPE),
			    SHN_UNDEF, 0, 0);
	objw_rela(&w, t, 3, R_X86_64_PC32, str, -4);
	objw_rela(&w, t, 8, R_X86_64_PLT32, printk, -4);
	objw_rela(&w, t, 13, R_X86_64_PLT32, thunk, -4);
	REQUIRE(objw_write(&w, out) == 0);
	objw_free(&w);
}

void pkgfix_manifest(struct manifest *ret, struct span payload, struct span provenance)
{
	static const struct pkg_mask masks[] = {{1, 5, KSITE_FTRACE},
						{10, 4, KSITE_RELOC},
						{14, 4, KSITE_RELOC_INVERSE},
						{20, 2, KSITE_JUMP_LABEL}};
	struct pkg_manifest *m = &ret->m;

	memset(ret, 0, sizeof(*ret));
	*m = (struct pkg_manifest){.id = "demo-fix",
				   .version = "1.0",
				   .summary = "for tests",
				   .serial = 3,
				   .security_epoch = 1,
				   .arch = "x86_64",
				   .build_id = {1, 2, 3},
				   .build_id_bytes = 20,
				   .kernel_release = "6.1.0-test",
				   .link_base = 0xffffffff81000000,
				   .created = "2026-01-02T03:04:05Z",
				   .nr_advisories = 1,
				   .advisory = {"CVE-2026-0001"},
				   .nr_prereqs = 1,
				   .prereq = {"other-fix"},
				   .nr_targets = 2,
				   .nr_refs = 1};
	m->target = calloc(2, sizeof(*m->target));
	m->ref = calloc(1, sizeof(*m->ref));
	REQUIRE(m->target && m->ref);
	m->ref[0] = (struct pkg_ref){.symbol = "_printk", .sympos = 2};
	m->target[0] = (struct pkg_target){.symbol = "f",
					   .replacement = "new_f",
					   .size_bytes = 24,
					   .preimage = {9},
					   .nr_masks = XO_ARRAY_SIZE(masks),
					   .mask = malloc(sizeof(masks)),
					   .nr_extra = 1,
					   .extra = calloc(1, sizeof(struct pkg_extra))};
	REQUIRE(m->target[0].mask && m->target[0].extra);
	memcpy(m->target[0].mask, masks, sizeof(masks));
	m->target[0].extra[0] = (struct pkg_extra){.symbol = "f.cold", .size_bytes = 9};
	m->target[1] = (struct pkg_target){
		.symbol = "g", .sympos = 2, .replacement = "new_g", .size_bytes = 16};
	REQUIRE(manifest_pin(&ret->payload, payload) == 0);
	REQUIRE(manifest_pin(&ret->provenance, provenance) == 0);
}

void pkgfix_pack(struct xbuf *out, struct span manifest, struct span payload,
		 struct span provenance, const struct pkgfix_signer *signer)
{
	struct container a = {.manifest = manifest, .payload = payload, .provenance = provenance};
	struct xbuf sig[PKG_MAX_SIGNERS];
	char cert[64], key[64];

	for (; signer->role; signer++) {
		size_t i = a.nr_sigs++;
		struct xerr err = {0};
		int rc;

		sig[i] = XBUF(CONTAINER_SIG_MAX);
		snprintf(cert, sizeof(cert), "%s.pem", signer->name);
		snprintf(key, sizeof(key), "%s.key", signer->name);
		rc = sign_content(&sig[i], a.sig[i].keyid, CMS_PACKAGE, signer->role, manifest,
				  pkgfix_keys(cert), pkgfix_keys(key), &err);
		if (rc)
			fprintf(stderr, "%s\n", err.text);
		REQUIRE(rc == 0);
		snprintf(a.sig[i].role, sizeof(a.sig[i].role), "%s", signer->role);
		a.sig[i].bytes = xbuf_span(&sig[i]);
	}
	REQUIRE(container_write(out, &a) == 0);
	for (size_t i = 0; i < a.nr_sigs; i++)
		xbuf_free(&sig[i]);
}

void pkgfix_good(struct xbuf *out)
{
	static const struct pkgfix_signer both[] = {
		{"author", "author"}, {"release", "release-1"}, {NULL, NULL}};
	static const char provenance[] = "{}\n";
	_cleanup_xbuf_ struct xbuf payload = XBUF(65536), json = XBUF(65536);
	struct manifest m;

	pkgfix_payload(&payload);
	pkgfix_manifest(&m, xbuf_span(&payload), SPAN(provenance, sizeof(provenance) - 1));
	REQUIRE(manifest_format(&json, &m) == 0);
	pkgfix_pack(out, xbuf_span(&json), xbuf_span(&payload),
		    SPAN(provenance, sizeof(provenance) - 1), both);
	manifest_free(&m);
}

bool pkgfix_has(const struct refusal *r, int code)
{
	for (size_t i = 0; i < r->nr; i++)
		if (r->reason[i].code == code)
			return true;
	return false;
}
