// SPDX-License-Identifier: Apache-2.0
/* The client's side: starts exopatch-lens, asks, and believes no length or text in its answers. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/msg.h"
#include "vmm-agent/lens/client.h"
#include "vmm-agent/lens/wire.h"

#define PROGRAM	   "exopatch-lens"
#define SOCKET_FD  3
#define TIMEOUT_MS 10000

struct lens {
	pid_t pid;
	int fd;
};

/* ---- the process ---- */

/* Beside the running program, then where `make install` puts it. */
static int find_program(char *path, size_t size, struct xerr *err)
{
	const char *set = getenv("EXOPATCH_LIBEXEC");
	char self[512];
	ssize_t n;

	if (set) {
		snprintf(path, size, "%s/" PROGRAM, set);
		if (!access(path, X_OK))
			return 0;
		return xerr_set(err, ENOENT, "%s: EXOPATCH_LIBEXEC has no " PROGRAM, set);
	}
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n <= 0)
		return xerr_set(err, errno, "/proc/self/exe: %s", strerrordesc_np(errno));
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	snprintf(path, size, "%s/" PROGRAM, self);
	if (!access(path, X_OK))
		return 0;
	snprintf(path, size, "%s/../libexec/exopatch/" PROGRAM, self);
	if (!access(path, X_OK))
		return 0;
	return xerr_set(err, ENOENT,
			PROGRAM " is neither beside %s nor in ../libexec/exopatch; set "
				"EXOPATCH_LIBEXEC",
			self);
}

/* Between fork and exec: async-signal-safe calls only. */
static _Noreturn void become(const char *path, int sock)
{
	char *const argv[] = {(char *)(uintptr_t)PROGRAM, NULL};
	char *const envp[] = {NULL};
	sigset_t none;
	int null;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	null = open("/dev/null", O_RDWR);
	if (sock <= SOCKET_FD)
		sock = fcntl(sock, F_DUPFD, SOCKET_FD + 1);
	if (null < 0 || sock < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0 ||
	    dup2(sock, SOCKET_FD) < 0 || close_range(SOCKET_FD + 1, ~0u, 0))
		_exit(127);
	execve(path, argv, envp);
	_exit(127);
}

static int spawn(struct lens *l, struct xerr *err)
{
	char path[1024];
	int sv[2];
	int rc = find_program(path, sizeof(path), err);

	if (rc)
		return rc;
	rc = msg_socketpair(sv);
	if (rc)
		return xerr_set(err, rc, "lens: socketpair: %s", xo_code_text(rc));
	l->pid = fork();
	if (l->pid == 0)
		become(path, sv[1]);
	close(sv[1]);
	l->fd = sv[0];
	if (l->pid < 0)
		return xerr_set(err, errno, "lens: fork: %s", strerrordesc_np(errno));
	return 0;
}

static void end(struct lens *l)
{
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
	if (l->pid > 0) {
		kill(l->pid, SIGKILL);
		while (waitpid(l->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	l->pid = -1;
}

/* ---- one request ---- */

/* A process that broke the protocol, or is late, is not asked again. */
static int give_up(struct lens *l, int rc, struct xerr *err)
{
	end(l);
	return xerr_set(err, rc,
			"the lens ended: %s; the guest's memory may be hostile, or "
			"QEMU has ended",
			xo_code_text(rc));
}

static int ask_with_fds(struct lens *l, uint32_t op, const void *body, size_t len_bytes,
			const int *fds, size_t nr_fds, struct msg *ret, struct xerr *err)
{
	int rc = l->fd < 0 ? -XO_EPEERDIED : 0;

	if (!rc)
		rc = msg_send(l->fd, op, 0, body, len_bytes, fds, nr_fds);
	if (!rc)
		rc = msg_recv(l->fd, TIMEOUT_MS, ret);
	if (rc)
		return give_up(l, rc, err);
	if (ret->head.op != op || ret->head.nr_fds || ret->head.status > 0) {
		msg_free(ret);
		return give_up(l, -XO_EPROTO, err);
	}
	return ret->head.status;
}

/* The answer's text. It was escaped over there; that is not relied on. */
static int failed(int status, const struct msg *m, struct xerr *err)
{
	char text[sizeof(err->text)];
	size_t n = 0;

	for (; n < m->head.len_bytes && n < sizeof(text) - 1 && m->body[n] >= 0x20 &&
	       m->body[n] < 0x7f;
	     n++)
		text[n] = (char)m->body[n];
	text[n] = '\0';
	return xerr_set(err, status, "%s", n ? text : xo_code_text(status));
}

/* A request with an answer of fixed length. */
static int ask(struct lens *l, uint32_t op, const void *body, size_t len_bytes, void *answer,
	       size_t answer_bytes, struct xerr *err)
{
	_cleanup_msg_ struct msg m = {0};
	int rc = ask_with_fds(l, op, body, len_bytes, NULL, 0, &m, err);

	if (rc)
		return failed(rc, &m, err);
	if (m.head.len_bytes != answer_bytes)
		return give_up(l, -XO_EPROTO, err);
	if (answer_bytes)
		memcpy(answer, m.body, answer_bytes);
	return 0;
}

/* Make hostile text a string of printable ASCII. */
static void settle(char *text, size_t size)
{
	size_t n = 0;

	while (n < size - 1 && text[n] >= 0x20 && text[n] < 0x7f)
		n++;
	memset(text + n, 0, size - n);
}

/* ---- for guard_client.c ---- */

int lclient_ask(struct lens *l, uint32_t op, const void *body, size_t len_bytes, struct msg *ret,
		struct xerr *err)
{
	int rc = ask_with_fds(l, op, body, len_bytes, NULL, 0, ret, err);

	return rc ? failed(rc, ret, err) : 0;
}

int lclient_broken(struct lens *l, struct xerr *err)
{
	return give_up(l, -XO_EPROTO, err);
}

void lclient_settle(char *text, size_t size)
{
	settle(text, size);
}

/* ---- the calls ---- */

static struct wire_region wire_region_of(const struct lens_region *r, uint32_t *has_memory)
{
	bool file = r->backend != LENS_NO_BACKEND;

	if (!file)
		*has_memory = 1;
	return (struct wire_region){.gpa = r->gpa.v,
				    .len_bytes = r->len_bytes,
				    .off = file ? r->backend_off : r->hva.v,
				    .backend = r->backend,
				    .rom = r->rom};
}

int lens_start(struct lens **ret, const struct lens_vm *vm, struct xerr *err)
{
	_cleanup_free_ struct wire_start *w = calloc(1, sizeof(*w));
	_cleanup_free_ struct lens *l = calloc(1, sizeof(*l));
	_cleanup_msg_ struct msg m = {0};
	int fd[LENS_MAX_BACKENDS + 1];
	int rc;

	if (!w || !l)
		return xerr_set(err, ENOMEM, "lens: out of memory");
	if (vm->nr_regions > LENS_MAX_REGIONS || vm->nr_backends > LENS_MAX_BACKENDS ||
	    vm->nr_vcpus > LENS_MAX_VCPUS)
		return xerr_set(err, XO_ELIMIT,
				"lens: more regions, backends or vCPUs than it "
				"can take");
	w->nr_regions = (uint32_t)vm->nr_regions;
	w->nr_backends = (uint32_t)vm->nr_backends;
	w->nr_vcpus = (uint32_t)vm->nr_vcpus;
	for (size_t i = 0; i < vm->nr_regions; i++)
		w->region[i] = wire_region_of(&vm->region[i], &w->has_memory);
	memcpy(w->vcpu, vm->vcpu, vm->nr_vcpus * sizeof(w->vcpu[0]));
	memcpy(fd, vm->backend_fd, vm->nr_backends * sizeof(fd[0]));
	fd[vm->nr_backends] = vm->memory_fd;
	l->fd = -1;
	rc = spawn(l, err);
	if (!rc) {
		rc = ask_with_fds(l, WIRE_START, w, sizeof(*w), fd, vm->nr_backends + w->has_memory,
				  &m, err);
		if (rc)
			rc = failed(rc, &m, err);
	}
	if (rc) {
		end(l);
		return rc;
	}
	*ret = XO_TAKE_PTR(l);
	return 0;
}

static int discover(struct lens *l, bool again, struct lens_kernel *ret, struct xerr *err)
{
	struct wire_kernel w = {0};
	struct lens_kernel k;
	int rc = ask(l, WIRE_DISCOVER, &again, again, &w, sizeof(w), err);

	if (rc)
		return rc;
	if (w.build_id_bytes > sizeof(w.build_id))
		return give_up(l, -XO_EPROTO, err);
	settle(w.banner, sizeof(w.banner));
	settle(w.release, sizeof(w.release));
	k = (struct lens_kernel){.base = {w.base},
				 .phys_base = {w.phys_base},
				 .text_bytes = w.text_bytes,
				 .paging_levels = w.paging_levels,
				 .pti = w.pti,
				 .build_id_bytes = w.build_id_bytes,
				 .nr_symbols = w.nr_symbols,
				 .nr_modules = w.nr_modules,
				 .nr_tasks = w.nr_tasks,
				 .nr_cpus = w.nr_cpus,
				 .has_shim = w.has_shim,
				 .boot_token = w.boot_token};
	memcpy(k.banner, w.banner, sizeof(k.banner));
	memcpy(k.release, w.release, sizeof(k.release));
	memcpy(k.build_id, w.build_id, sizeof(k.build_id));
	*ret = k;
	return 0;
}

int lens_discover(struct lens *l, struct lens_kernel *ret, struct xerr *err)
{
	return discover(l, false, ret, err);
}

int lens_discover_again(struct lens *l, struct lens_kernel *ret, struct xerr *err)
{
	return discover(l, true, ret, err);
}

static int look_up_some(struct lens *l, struct lens_lookup *q, size_t nr, struct xerr *err)
{
	_cleanup_free_ struct wire_name *names = calloc(nr, sizeof(*names));
	_cleanup_free_ struct wire_found *found = calloc(nr, sizeof(*found));
	int rc;

	if (!names || !found)
		return xerr_set(err, ENOMEM, "lens: out of memory");
	for (size_t i = 0; i < nr; i++) {
		memcpy(names[i].name, q[i].name, sizeof(names[i].name) - 1);
		memcpy(names[i].module, q[i].module, sizeof(names[i].module) - 1);
		names[i].sympos = q[i].sympos;
	}
	rc = ask(l, WIRE_LOOKUP, names, nr * sizeof(*names), found, nr * sizeof(*found), err);
	for (size_t i = 0; !rc && i < nr; i++) {
		q[i].nr_found = found[i].nr_found;
		q[i].valid = found[i].valid;
		q[i].found = (struct lens_symbol){.addr = {found[i].addr},
						  .size_bytes = found[i].size_bytes,
						  .type = found[i].type};
		memcpy(q[i].found.name, names[i].name, sizeof(q[i].found.name));
		memcpy(q[i].found.module, names[i].module, sizeof(q[i].found.module));
	}
	return rc;
}

int lens_lookup(struct lens *l, struct lens_lookup *q, size_t nr, struct xerr *err)
{
	while (nr) {
		size_t n = nr < LENS_MAX_LOOKUP ? nr : LENS_MAX_LOOKUP;
		int rc = look_up_some(l, q, n, err);

		if (rc)
			return rc;
		q += n;
		nr -= n;
	}
	return 0;
}

int lens_symbolize(struct lens *l, struct gva addr, struct lens_symbol *ret, uint64_t *ret_off,
		   struct xerr *err)
{
	const struct wire_addr q = {.addr = addr.v};
	struct wire_symbol w = {0};
	int rc = ask(l, WIRE_SYMBOLIZE, &q, sizeof(q), &w, sizeof(w), err);

	if (rc)
		return rc;
	settle(w.name, sizeof(w.name));
	settle(w.module, sizeof(w.module));
	*ret = (struct lens_symbol){.addr = {w.addr}, .size_bytes = w.size_bytes, .type = w.type};
	memcpy(ret->name, w.name, sizeof(ret->name));
	memcpy(ret->module, w.module, sizeof(ret->module));
	*ret_off = w.off;
	return 0;
}

static int read_all(struct lens *l, uint32_t op, uint64_t addr, void *buf, size_t len_bytes,
		    struct xerr *err)
{
	uint8_t *to = buf;

	while (len_bytes) {
		size_t n = len_bytes < WIRE_MAX_READ ? len_bytes : WIRE_MAX_READ;
		const struct wire_addr q = {.addr = addr, .len_bytes = n};
		int rc = ask(l, op, &q, sizeof(q), to, n, err);

		if (rc)
			return rc;
		to += n;
		addr += n;
		len_bytes -= n;
	}
	return 0;
}

int lens_read(struct lens *l, struct gva addr, void *buf, size_t len_bytes, struct xerr *err)
{
	return read_all(l, WIRE_READ, addr.v, buf, len_bytes, err);
}

int lens_read_phys(struct lens *l, struct gpa addr, void *buf, size_t len_bytes, struct xerr *err)
{
	return read_all(l, WIRE_READ_PHYS, addr.v, buf, len_bytes, err);
}

int lens_translate(struct lens *l, struct gva addr, struct gpa *ret, uint64_t *ret_left,
		   struct xerr *err)
{
	const struct wire_addr q = {.addr = addr.v};
	struct wire_place w = {0};
	int rc = ask(l, WIRE_TRANSLATE, &q, sizeof(q), &w, sizeof(w), err);

	if (rc)
		return rc;
	ret->v = w.gpa;
	*ret_left = w.left;
	return 0;
}

/* struct wire_reason records, each with its text behind it. */
static int take_reasons(struct span body, struct refusal *why)
{
	size_t off = 0;

	while (off < body.len_bytes) {
		struct wire_reason r;
		char text[512] = {0};

		if (!span_copy(body, off, &r, sizeof(r)) ||
		    (r.code != XO_ENOROOM && r.code != XO_EREDIRECTED) ||
		    !span_has(body, off + sizeof(r), r.len_bytes))
			return -XO_EPROTO;
		off += sizeof(r);
		memcpy(text, body.p + off,
		       r.len_bytes < sizeof(text) ? r.len_bytes : sizeof(text) - 1);
		settle(text, sizeof(text));
		refusal_add(why, r.code, "%s", text);
		off += r.len_bytes;
	}
	return why->nr ? 0 : -XO_EPROTO;
}

int lens_site(struct lens *l, struct gva addr, uint64_t size_bytes, const struct lens_avoid *avoid,
	      size_t nr_avoid, struct lens_site *ret, struct refusal *why, struct xerr *err)
{
	const struct wire_site_query q = {.addr = addr.v, .size_bytes = size_bytes};
	_cleanup_free_ uint8_t *body = NULL;
	_cleanup_msg_ struct msg m = {0};
	struct wire_site w;
	int rc;

	if (nr_avoid > LENS_MAX_AVOID)
		return xerr_set(err, XO_ELIMIT, "lens: more than %d places to avoid",
				LENS_MAX_AVOID);
	body = malloc(sizeof(q) + nr_avoid * sizeof(*avoid));
	if (!body)
		return xerr_set(err, ENOMEM, "lens: out of memory");
	memcpy(body, &q, sizeof(q));
	if (nr_avoid)
		memcpy(body + sizeof(q), avoid, nr_avoid * sizeof(*avoid));
	rc = ask_with_fds(l, WIRE_SITE, body, sizeof(q) + nr_avoid * sizeof(*avoid), NULL, 0, &m,
			  err);
	if (rc == -XO_ENOROOM) {
		if (take_reasons(msg_span(&m), why))
			return give_up(l, -XO_EPROTO, err);
		return xerr_set(err, XO_ENOROOM, "%s", why->reason[0].detail);
	}
	if (rc)
		return failed(rc, &m, err);
	if (m.head.len_bytes != sizeof(w))
		return give_up(l, -XO_EPROTO, err);
	memcpy(&w, m.body, sizeof(w));
	if (w.len_bytes < 5 || w.len_bytes > 20 || w.off > size_bytes ||
	    w.len_bytes > size_bytes - w.off)
		return give_up(l, -XO_EPROTO, err);
	*ret = (struct lens_site){
		.off = w.off, .len_bytes = w.len_bytes, .behind_ftrace = w.behind_ftrace};
	return 0;
}

int lens_window(struct lens *l, struct lens_window_page *pages, size_t nr, struct xerr *err)
{
	struct wire_page w[LENS_MAX_WINDOW_PAGES] = {0};
	int rc;

	if (nr > LENS_MAX_WINDOW_PAGES)
		return xerr_set(err, XO_ELIMIT, "lens: too many pages");
	for (size_t i = 0; i < nr; i++)
		w[i].gpa = pages[i].gpa.v;
	rc = ask(l, WIRE_WINDOW, w, nr * sizeof(w[0]), w, nr * sizeof(w[0]), err);
	for (size_t i = 0; !rc && i < nr; i++) {
		if (w[i].gpa != pages[i].gpa.v || w[i].free_off > XO_PAGE_SIZE)
			return give_up(l, -XO_EPROTO, err);
		pages[i] = (struct lens_window_page){.gpa = {w[i].gpa},
						     .gva = {w[i].gva},
						     .pte = {w[i].pte},
						     .pte_old = w[i].pte_old,
						     .pte_new = w[i].pte_new,
						     .free_off = w[i].free_off,
						     .usable = w[i].usable};
	}
	return rc;
}

int lens_shim(struct lens *l, struct lens_shim *ret, struct xerr *err)
{
	return ask(l, WIRE_SHIM, NULL, 0, ret, sizeof(*ret), err);
}

int lens_check_prepare(struct lens *l, const struct lens_range *r, size_t nr, struct xerr *err)
{
	if (nr > LENS_MAX_RANGES)
		return xerr_set(err, XO_ELIMIT, "lens: more than %d ranges", LENS_MAX_RANGES);
	return ask(l, WIRE_PREPARE, r, nr * sizeof(*r), NULL, 0, err);
}

int lens_check(struct lens *l, const struct lens_check_regs *regs, size_t nr_regs,
	       struct lens_busy *busy, size_t *ret_nr, struct lens_check_stats *stats,
	       struct xerr *err)
{
	_cleanup_msg_ struct msg m = {0};
	size_t nr;
	int rc;

	if (nr_regs > LENS_MAX_VCPUS)
		return xerr_set(err, XO_ELIMIT, "lens: too many vCPUs");
	rc = ask_with_fds(l, WIRE_CHECK, regs, nr_regs * sizeof(*regs), NULL, 0, &m, err);
	if (rc)
		return failed(rc, &m, err);
	nr = m.head.len_bytes < sizeof(*stats)
		     ? 0
		     : (m.head.len_bytes - sizeof(*stats)) / sizeof(*busy);
	if (nr > LENS_MAX_BUSY || m.head.len_bytes != sizeof(*stats) + nr * sizeof(*busy))
		return give_up(l, -XO_EPROTO, err);
	memcpy(stats, m.body, sizeof(*stats));
	memcpy(busy, m.body + sizeof(*stats), nr * sizeof(*busy));
	for (size_t i = 0; i < nr; i++)
		settle(busy[i].comm, sizeof(busy[i].comm));
	*ret_nr = nr;
	return 0;
}

pid_t lens_pid(const struct lens *l)
{
	return l->pid > 0 ? l->pid : 0;
}

void lens_free(struct lens *l)
{
	if (!l)
		return;
	end(l);
	free(l);
}
