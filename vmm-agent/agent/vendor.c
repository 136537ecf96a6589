// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/agent/vendor.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "package/build/modules.h"
#include "package/build/output.h"
#include "package/build/source.h"

#define KERNELS	  "%s/kernels"
#define IMAGE	  "vmlinux"
#define MODULES	  "modules.json"
#define REFERENCE "ref.json"
#define PATH_SIZE 4096
#define ARCH	  "amd64"
#define VENDOR	  " Debian "
#define PACKAGE	  "linux-image-"

/* ---- reading packages ---- */

struct reading {
	struct kfile *kernel;
	bool several;
	struct xbuf module;   /* struct att_module */
	struct modlist *list; /* NULL: not wanted */
};

static void reading_free(struct reading *r)
{
	kfile_free(r->kernel);
	xbuf_free(&r->module);
	modlist_free(r->list);
}

static bool wants(void *arg, const char *path)
{
	(void)arg;
	return source_is_module(path) || source_is_kernel(path);
}

/* As /proc/modules calls it: scripts/Makefile.lib, name-fix. */
static void name_module(struct att_module *m, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t n = strcspn(name, ".");

	if (n >= sizeof(m->name))
		n = sizeof(m->name) - 1;
	for (size_t i = 0; i < n; i++)
		m->name[i] = (char)(name[i] == '-' ? '_' : name[i]);
}

static int take_module(struct reading *r, const char *path, struct span file, struct xerr *err)
{
	_cleanup_modref_ struct modref *ref = NULL;
	struct att_module m = {0};
	struct xerr ignored = {0};
	int rc = xo_sha256(file, m.sha256);

	name_module(&m, path);
	if (!rc)
		rc = xbuf_add(&r->module, &m, sizeof(m));
	if (rc || !r->list)
		return rc ? xerr_set(err, -rc, "%s: %s", path, xo_code_text(rc)) : 0;
	/* One that is not understood is in the reference, and unknown where it is loaded. */
	rc = modref_make(&ref, file, &ignored);
	if (rc == -XO_EOBJECT || rc == -XO_ELIMIT)
		return 0;
	rc = rc ? rc : modlist_add(r->list, ref, path);
	return rc ? xerr_set(err, -rc, "%s: %s", path, xo_code_text(rc)) : 0;
}

static int take(void *arg, const char *path, struct span file, struct xerr *err)
{
	struct reading *r = arg;

	if (source_is_module(path))
		return take_module(r, path, file, err);
	if (r->kernel) {
		r->several = true;
		return 0;
	}
	return kfile_open(&r->kernel, file, err) ? xerr_wrap(err, "%s", path) : 0;
}

static int read_all(struct reading *r, const struct vendor_from *from, bool with_list,
		    struct xerr *err)
{
	const struct source_visitor v = {.arg = r, .wants = wants, .take = take};
	int rc = 0;

	r->module = XBUF(MODLIST_MAX_MODULES * sizeof(struct att_module));
	if (with_list) {
		r->list = calloc(1, sizeof(*r->list));
		if (!r->list)
			return xerr_set(err, ENOMEM, "out of memory");
		rc = output_time(r->list->created, sizeof(r->list->created), err);
	}
	for (size_t i = 0; !rc && i < from->nr; i++)
		rc = source_read(from->source[i], &v, err);
	if (!rc && (!r->kernel || r->several))
		rc = xerr_set(err, XO_EMISSING, "%s: there is %s kernel image (boot/vmlinuz-...)",
			      from->nr ? from->source[0] : "no package",
			      r->several ? "more than one" : "no");
	return rc;
}

/* ---- the reference ---- */

/* The banner has the version: "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)" */
static void name_package(const struct kfile *k, struct att_reference *ref)
{
	const struct ksyms *s = &k->syms;
	struct span banner;
	const char *text, *at;
	size_t i;

	snprintf(ref->package, sizeof(ref->package), PACKAGE "%s", k->release);
	snprintf(ref->version, sizeof(ref->version), "%s", k->release);
	snprintf(ref->arch, sizeof(ref->arch), ARCH);
	if (ksyms_lookup(s, "linux_banner", &i, 1) != 1 ||
	    !kfile_at(k, s->sym[i].addr, sizeof(ref->release) * 4, &banner) ||
	    !span_cstr(banner, 0, banner.len_bytes, &text))
		return;
	at = strstr(text, VENDOR);
	if (at)
		snprintf(ref->version, sizeof(ref->version), "%.*s",
			 (int)strcspn(at + strlen(VENDOR), " "), at + strlen(VENDOR));
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct att_module *)a)->name, ((const struct att_module *)b)->name);
}

/* In order; the same file twice is one. */
static int take_modules(struct reading *r, struct att_reference *ref, struct xerr *err)
{
	struct att_module *m = (struct att_module *)(void *)r->module.data;
	size_t nr = r->module.len_bytes / sizeof(*m), kept = 0;

	if (nr)
		qsort(m, nr, sizeof(*m), by_name);
	for (size_t i = 0; i < nr; i++) {
		if (kept && !strcmp(m[kept - 1].name, m[i].name)) {
			if (memcmp(m[kept - 1].sha256, m[i].sha256, XO_SHA256_BYTES) != 0)
				return xerr_set(err, XO_EMALFORMED, "there are two modules %s",
						m[i].name);
			continue;
		}
		m[kept++] = m[i];
	}
	ref->module = m;
	ref->nr_modules = kept;
	return 0;
}

/* Takes the kernel's symbols away. */
static int format_reference(struct reading *r, struct xbuf *out, struct xerr *err)
{
	_cleanup_kernref_ struct kernref *k = NULL;
	struct att_reference ref = {.nr_areas = KERNREF_AREAS};
	int rc;

	name_package(r->kernel, &ref);
	memcpy(ref.release, r->kernel->release, sizeof(ref.release));
	xo_hex(SPAN(r->kernel->build_id, r->kernel->build_id_bytes), ref.build_id);
	rc = take_modules(r, &ref, err);
	if (!rc)
		rc = kernref_make(&k, r->kernel, err);
	if (rc)
		return rc;
	for (size_t i = 0; i < KERNREF_AREAS; i++) {
		const struct kernref_area *a = kernref_area(k, (enum kernref_area_kind)i);

		snprintf(ref.area[i].name, sizeof(ref.area[i].name), "%s",
			 kernref_area_name((enum kernref_area_kind)i));
		memcpy(ref.area[i].sha256, a->sha256, XO_SHA256_BYTES);
		ref.area[i].size_bytes = a->bytes;
	}
	rc = att_reference_format(out, &ref);
	return rc ? xerr_set(err, -rc, "reference: %s", xo_code_text(rc)) : 0;
}

int vendor_reference(const struct vendor_from *from, struct xbuf *out, struct xerr *err)
{
	XO_CLEANUP(reading_free) struct reading r = {0};
	int rc = read_all(&r, from, false, err);

	return rc ? rc : format_reference(&r, out, err);
}

/* ---- what is kept ---- */

static int put(const char *dir, const char *name, struct span bytes, struct xerr *err)
{
	char path[PATH_SIZE];

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, name) >= sizeof(path))
		return xerr_set(err, ENAMETOOLONG, "%.64s...: %s", dir, strerror(ENAMETOOLONG));
	return output_file(path, bytes, err);
}

/* The reference last: where that is, all is. */
static int keep(struct reading *r, const char *dir, struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf list = XBUF(MODLIST_MAX_BYTES),
				   ref = XBUF(ATT_REFERENCE_MAX_BYTES);
	int rc;

	modlist_sort(r->list);
	rc = modlist_format(&list, r->list);
	if (rc)
		return xerr_set(err, -rc, "list of modules: %s", xo_code_text(rc));
	rc = put(dir, IMAGE, xbuf_span(&r->kernel->image), err);
	if (!rc)
		rc = put(dir, MODULES, xbuf_span(&list), err);
	if (!rc)
		rc = format_reference(r, &ref, err);
	return rc ? rc : put(dir, REFERENCE, xbuf_span(&ref), err);
}

static int kernel_dir(const char *state_dir, const char *build_id, char *ret, struct xerr *err)
{
	size_t n = (size_t)snprintf(ret, PATH_SIZE, KERNELS "/%s", state_dir, build_id);

	return n < PATH_SIZE ? 0
			     : xerr_set(err, ENAMETOOLONG, "%.64s...: %s", state_dir,
					strerror(ENAMETOOLONG));
}

static int make_dir(const char *state_dir, const char *dir, struct xerr *err)
{
	char kernels[PATH_SIZE];

	snprintf(kernels, sizeof(kernels), KERNELS, state_dir);
	if ((mkdir(state_dir, 0700) && errno != EEXIST) ||
	    (mkdir(kernels, 0700) && errno != EEXIST) || (mkdir(dir, 0700) && errno != EEXIST))
		return xerr_set(err, errno, "%s: %s", dir, strerror(errno));
	return 0;
}

/* A release is part of a package's name, and nothing else. */
static bool is_release(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.+~_-");

	return n && !s[n] && s[0] >= '0' && s[0] <= '9';
}

int vendor_prepare(const char *state_dir, const char *build_id, const char *release,
		   const struct vendor_from *from, struct xerr *err)
{
	XO_CLEANUP(reading_free) struct reading r = {0};
	struct vendor_from installed = {.nr = 1};
	char dir[PATH_SIZE], name[128], path[PATH_SIZE + 16], hex[41];
	struct xerr failed = {0};
	int rc = kernel_dir(state_dir, build_id, dir, err);

	if (rc)
		return rc;
	snprintf(path, sizeof(path), "%s/" REFERENCE, dir);
	if (!from->nr && !access(path, R_OK))
		return 0;
	snprintf(name, sizeof(name), PACKAGE "%.96s", release);
	/* Not a directory of that name that happens to be where we are. */
	if (!from->nr && is_release(release) && access(name, F_OK)) {
		installed.source[0] = name;
		from = &installed;
	}
	rc = read_all(&r, from, true, &failed);
	if (rc && (from == &installed || !from->nr))
		return xerr_set(err, XO_EMISSING,
				"kernel %s is not known on this host; name its package with --from "
				"once",
				release);
	if (rc || !r.kernel)
		return xerr_set(err, rc, "%s", failed.text);
	xo_hex(SPAN(r.kernel->build_id, r.kernel->build_id_bytes), hex);
	if (strcmp(hex, build_id) != 0)
		return xerr_set(err, XO_EREFERENCE,
				"%s has kernel %s, build-id %s; the guest runs build-id %s",
				from->source[0], r.kernel->release, hex, build_id);
	rc = make_dir(state_dir, dir, err);
	return rc ? rc : keep(&r, dir, err);
}

/* ---- opening ---- */

struct opening {
	const char *dir;
	struct vendor *v;
	int (*step)(void *arg, struct xerr *err);
	void *arg;
	struct xerr *err;
};

static int pause_between(const struct opening *o)
{
	return o->step ? o->step(o->arg, o->err) : 0;
}

static int get(const struct opening *o, const char *name, struct xbuf *ret)
{
	char path[PATH_SIZE + 16];
	int rc;

	snprintf(path, sizeof(path), "%s/%s", o->dir, name);
	rc = xbuf_read_file(ret, path);
	return rc ? xerr_set(o->err, rc == -ENOENT ? XO_EMISSING : -rc, "%s: %s", path,
			     xo_code_text(rc))
		  : pause_between(o);
}

static int open_kernel(const struct opening *o)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(KFILE_MAX_BYTES);
	struct kfile *k = NULL;
	int rc = get(o, IMAGE, &file);

	if (!rc)
		rc = kfile_open(&k, xbuf_span(&file), o->err);
	xbuf_free(&file);
	file = (struct xbuf){0};
	if (!rc)
		rc = pause_between(o);
	if (!rc)
		rc = kernref_make(&o->v->kernel, k, o->err);
	kfile_free(k);
	return rc ? rc : pause_between(o);
}

static int open_modules(const struct opening *o)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(MODLIST_MAX_BYTES);
	_cleanup_refusal_ struct refusal why = {0};
	int rc = get(o, MODULES, &file);

	if (!rc)
		rc = modlist_parse(&o->v->modules, xbuf_span(&file), &why);
	if (!rc && why.nr)
		rc = xerr_set(o->err, why.reason[0].code, "%s/" MODULES ": %s", o->dir,
			      why.reason[0].detail);
	return rc ? rc : pause_between(o);
}

static int open_reference(const struct opening *o)
{
	_cleanup_xbuf_ struct xbuf file = XBUF(ATT_REFERENCE_MAX_BYTES);
	int rc = get(o, REFERENCE, &file);

	return rc ? rc : xo_sha256(xbuf_span(&file), o->v->reference);
}

int vendor_open(struct vendor **ret, const char *state_dir, const char *build_id,
		int (*step)(void *arg, struct xerr *err), void *arg, struct xerr *err)
{
	struct vendor *v = calloc(1, sizeof(*v));
	char dir[PATH_SIZE];
	const struct opening o = {.dir = dir, .v = v, .step = step, .arg = arg, .err = err};
	int rc;

	if (!v)
		return xerr_set(err, ENOMEM, "out of memory");
	snprintf(v->build_id, sizeof(v->build_id), "%s", build_id);
	rc = kernel_dir(state_dir, build_id, dir, err);
	if (!rc)
		rc = open_reference(&o);
	if (!rc)
		rc = open_kernel(&o);
	if (!rc)
		rc = open_modules(&o);
	if (rc)
		vendor_free(v);
	else
		*ret = v;
	return rc;
}

void vendor_free(struct vendor *v)
{
	if (!v)
		return;
	kernref_free(v->kernel);
	modlist_free(v->modules);
	free(v);
}
