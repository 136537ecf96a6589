// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/guest.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/util.h"

#define NS_PER_MS  1000000U
#define QMP_MS	   60000
#define QUIT_MS	   5000
#define LOOK_MS	   1000
#define OUTPUT_MAX (16U << 20)
#define MAX_ARGS   96
#define OVMF_CODE  "/usr/share/OVMF/OVMF_CODE_4M.fd"
#define OVMF_VARS  "/usr/share/OVMF/OVMF_VARS_4M.fd"
#define DIRTY_DMESG                                                                                \
	"WARNING:|BUG:|kernel BUG|Oops|Call Trace|general protection|invalid opcode|"              \
	"soft lockup|hard LOCKUP|blocked for more than|rcu.*(stall|self-detected)|ftrace.*failed"

struct guest {
	char dir[128];
	char qmp_path[160];
	pid_t pid;
	int qmp_fd;
	int channel_fd;
	struct xbuf qmp_in;
	struct xbuf channel_in;
	unsigned long next_id;
	double stop_us; /* of the last STOP event, QEMU's clock; 0: none yet */
	double stopped_us;
};

static int complain(int code, const char *what)
{
	fprintf(stderr, "guest: %s: %s\n", what, strerror(-code));
	return code;
}

/* ---- input by lines ---- */

static void consume(struct xbuf *b, size_t n)
{
	b->len_bytes -= n;
	memmove(b->data, b->data + n, b->len_bytes);
}

/* Wait for more input. Return: 0, -ETIMEDOUT, -EPIPE at the end, or what went wrong. */
static int more_input(int fd, struct xbuf *b, uint64_t end_ns)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t now_ns = xo_now_ns();
	uint8_t *room;
	ssize_t n;
	int r;

	if (now_ns >= end_ns)
		return -ETIMEDOUT;
	r = poll(&p, 1, (int)((end_ns - now_ns) / NS_PER_MS) + 1);
	if (r < 0)
		return errno == EINTR ? 0 : -errno;
	if (r == 0)
		return -ETIMEDOUT;
	r = xbuf_reserve(b, 65536, &room);
	if (r)
		return r;
	n = read(fd, room, 65536);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	b->len_bytes += (size_t)n;
	return n ? 0 : -EPIPE;
}

static int write_all(int fd, const char *s, size_t len)
{
	while (len) {
		ssize_t n = send(fd, s, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			s += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* ---- QMP ---- */

/* Remember when the guest was stopped, and for how long. */
static void note_event(struct guest *g, json_t *msg)
{
	const char *event;
	json_int_t s, us;
	double now;

	if (json_unpack(msg, "{s:s, s:{s:I, s:I}}", "event", &event, "timestamp", "seconds", &s,
			"microseconds", &us))
		return;
	now = (double)s * 1e6 + (double)us;
	if (!strcmp(event, "STOP")) {
		g->stop_us = now;
		g->stopped_us = -1;
	} else if (!strcmp(event, "RESUME") && g->stop_us > 0) {
		g->stopped_us = now - g->stop_us;
	}
}

/* The next message that is not an event; a reference for the caller. */
static int qmp_receive(struct guest *g, json_t **ret)
{
	uint64_t end_ns = xo_now_ns() + (uint64_t)QMP_MS * NS_PER_MS;

	for (;;) {
		char *data = (char *)g->qmp_in.data;
		char *nl = g->qmp_in.len_bytes ? memchr(data, '\n', g->qmp_in.len_bytes) : NULL;
		json_t *msg;
		int r;

		if (!nl) {
			r = more_input(g->qmp_fd, &g->qmp_in, end_ns);
			if (r)
				return r;
			continue;
		}
		msg = json_loadb(data, (size_t)(nl - data), 0, NULL);
		consume(&g->qmp_in, (size_t)(nl - data) + 1);
		if (!msg)
			return -EPROTO;
		if (!json_object_get(msg, "event")) {
			*ret = msg;
			return 0;
		}
		note_event(g, msg);
		json_decref(msg);
	}
}

static int qmp_exchange(struct guest *g, const json_t *request, json_t **ret)
{
	_cleanup_free_ char *text = json_dumps(request, JSON_COMPACT);
	json_t *answer = NULL;
	json_t *value;
	int r;

	if (!text)
		return -ENOMEM;
	r = write_all(g->qmp_fd, text, strlen(text));
	if (!r)
		r = qmp_receive(g, &answer);
	if (r)
		return r;
	value = json_object_get(answer, "return");
	if (!value) {
		const char *why = json_string_value(
			json_object_get(json_object_get(answer, "error"), "desc"));

		fprintf(stderr, "guest: %s: %s\n", text, why ? why : "no answer");
		r = -EIO;
	} else if (ret) {
		*ret = json_incref(value);
	}
	json_decref(answer);
	return r;
}

int guest_qmp(struct guest *g, const char *command, json_t *args, json_t **ret)
{
	json_t *request = json_pack("{s:s}", "execute", command);
	int r = request ? 0 : -ENOMEM;

	if (args && (r || json_object_set(request, "arguments", args)))
		r = -ENOMEM;
	if (!r)
		r = qmp_exchange(g, request, ret);
	json_decref(args);
	json_decref(request);
	return r ? complain(r, command) : 0;
}

char *guest_hmp(struct guest *g, const char *line)
{
	json_t *answer = NULL;
	char *text = NULL;

	if (guest_qmp(g, "human-monitor-command", json_pack("{s:s}", "command-line", line),
		      &answer))
		return NULL;
	if (json_is_string(answer))
		text = strdup(json_string_value(answer));
	json_decref(answer);
	return text;
}

int guest_pause(struct guest *g)
{
	return guest_qmp(g, "stop", NULL, NULL);
}

int guest_resume(struct guest *g)
{
	return guest_qmp(g, "cont", NULL, NULL);
}

bool guest_is_running(struct guest *g)
{
	json_t *answer = NULL;
	bool running;

	if (guest_qmp(g, "query-status", NULL, &answer))
		return false;
	running = json_is_true(json_object_get(answer, "running"));
	json_decref(answer);
	return running;
}

double guest_stopped_us(struct guest *g)
{
	/* Events that went before the answer have been read then. */
	return guest_is_running(g) && g->stop_us > 0 ? g->stopped_us : -1;
}

/* ---- the command channel ---- */

/* Find "<<ID STATUS>>\n"; everything before is output. Return: 1 if found, 0 if not yet there. */
static int take_reply(struct xbuf *b, const char *id, char **out, int *rc)
{
	char mark[32];
	int mark_len = snprintf(mark, sizeof(mark), "<<%s ", id);
	char *at = b->len_bytes ? memmem(b->data, b->len_bytes, mark, (size_t)mark_len) : NULL;
	char *nl;
	size_t before;

	if (!at)
		return 0;
	before = (size_t)(at - (char *)b->data);
	nl = memchr(at, '\n', b->len_bytes - before);
	if (!nl)
		return 0;
	*rc = (int)strtol(at + mark_len, NULL, 10);
	*out = strndup((char *)b->data, before);
	consume(b, (size_t)(nl - (char *)b->data) + 1);
	return *out ? 1 : -ENOMEM;
}

static int await_reply(struct guest *g, const char *id, unsigned int timeout_ms, char **out,
		       int *rc)
{
	uint64_t end_ns = xo_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	int r;

	while (!(r = take_reply(&g->channel_in, id, out, rc))) {
		r = more_input(g->channel_fd, &g->channel_in, end_ns);
		if (r)
			return r;
	}
	return r < 0 ? r : 0;
}

static void show_console(const struct guest *g)
{
	_cleanup_run_ struct run_result tail = {0};
	char path[160];

	if (!g->dir[0])
		return;
	snprintf(path, sizeof(path), "%s/console", g->dir);
	if (!run_program((const char *[]){"tail", "-n", "30", path, NULL}, NULL, 10000, &tail))
		fprintf(stderr, "guest: end of the console:\n%s\n", tail.out);
}

int guest_run(struct guest *g, const char *command, unsigned int timeout_ms, char **out, int *rc)
{
	_cleanup_xbuf_ struct xbuf line = XBUF(65536);
	_cleanup_free_ char *text = NULL;
	char id[24];
	int status = 0;
	int r;

	snprintf(id, sizeof(id), "%lu", g->next_id++);
	r = strchr(command, '\n') ? -EINVAL : xbuf_addf(&line, "%s %s\n", id, command);
	if (!r)
		r = write_all(g->channel_fd, (const char *)line.data, line.len_bytes);
	if (!r)
		r = await_reply(g, id, timeout_ms ? timeout_ms : GUEST_RUN_MS, &text, &status);
	if (r == -EPIPE || r == -ETIMEDOUT)
		show_console(g);
	if (r)
		return complain(r, command);
	if (!rc && status) {
		fprintf(stderr, "guest: %s: exit status %d\n%s", command, status, text);
		return -EIO;
	}
	if (rc)
		*rc = status;
	if (out)
		*out = XO_TAKE_PTR(text);
	return 0;
}

char *guest_sh(struct guest *g, const char *command)
{
	char *out = NULL;
	size_t len;

	if (guest_run(g, command, 0, &out, NULL))
		return NULL;
	len = strlen(out);
	if (len && out[len - 1] == '\n')
		out[len - 1] = '\0';
	return out;
}

bool guest_dmesg_clean(struct guest *g)
{
	_cleanup_free_ char *out = NULL;
	int rc;

	if (guest_run(g, "dmesg | grep -E '" DIRTY_DMESG "'", 0, &out, &rc))
		return false;
	if (rc == 1)
		return true;
	fprintf(stderr, "guest: the kernel log is not clean:\n%s", out);
	return false;
}

double guest_uptime(struct guest *g)
{
	_cleanup_free_ char *out = guest_sh(g, "cut -d ' ' -f 1 /proc/uptime");

	return out ? strtod(out, NULL) : -1;
}

char *guest_boot_id(struct guest *g)
{
	return guest_sh(g, "cat /proc/sys/kernel/random/boot_id");
}

/* ---- life and death ---- */

pid_t guest_pid(const struct guest *g)
{
	return g->pid;
}

const char *guest_qmp_path(const struct guest *g)
{
	return g->qmp_path;
}

const char *guest_dir(const struct guest *g)
{
	return g->dir;
}

char *guest_image_file(const char *package, const char *file, char *path, size_t size)
{
	const char *name = package ? package : GUEST_6_1;

	snprintf(path, size, "build/images/by-package/%s/%s", name, file);
	if (access(path, R_OK))
		snprintf(path, size, "build/images/%s/%s", name, file);
	if (!access(path, R_OK))
		return path;
	fprintf(stderr, "guest: %s: no such image; run images/build-image %s\n", path, name);
	return NULL;
}

/* An argument list in one allocation-free array of strings that are freed together. */
struct args {
	char *v[MAX_ARGS + 1];
	size_t nr;
	bool failed;
};

static void args_free(struct args *a)
{
	for (size_t i = 0; i < a->nr; i++)
		free(a->v[i]);
}

static void arg(struct args *a, const char *fmt, ...) XO_PRINTF(2, 3);
static void arg(struct args *a, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (a->nr == MAX_ARGS || vasprintf(&a->v[a->nr], fmt, ap) < 0)
		a->failed = true;
	else
		a->nr++;
	va_end(ap);
}

static void arg_pair(struct args *a, const char *option, const char *value)
{
	arg(a, "%s", option);
	arg(a, "%s", value);
}

static void args_memory(struct args *a, const struct guest_opts *o)
{
	unsigned int mib = o->mem_mib ? o->mem_mib : 512;
	unsigned int nodes = o->numa_nodes > 1 ? o->numa_nodes : 1;
	const char *machine = o->machine ? o->machine : "q35";
	bool plain = o->private_ram || nodes > 1;

	arg(a, "-machine");
	arg(a, "%s%s", machine, plain ? "" : ",memory-backend=ram0");
	arg(a, "-accel");
	arg(a, "%s", o->kvm ? "kvm" : o->one_thread ? "tcg,thread=single" : "tcg");
	arg(a, "-m");
	arg(a, "%u", mib * nodes);
	for (unsigned int i = 0; i < nodes && (!o->private_ram || nodes > 1); i++) {
		arg(a, "-object");
		arg(a, "memory-backend-%s,id=ram%u,size=%uM,share=%s",
		    o->private_ram ? "ram" : "memfd", i, mib, o->private_ram ? "off" : "on");
		if (nodes > 1) {
			arg(a, "-numa");
			arg(a, "node,nodeid=%u,memdev=ram%u", i, i);
		}
	}
}

static int args_firmware(struct args *a, const struct guest *g)
{
	_cleanup_run_ struct run_result copied = {0};
	char vars[160];
	int r;

	snprintf(vars, sizeof(vars), "%s/vars", g->dir);
	r = run_program((const char *[]){"cp", OVMF_VARS, vars, NULL}, NULL, 10000, &copied);
	if (r || copied.rc)
		return complain(r ? r : -ENOENT, OVMF_VARS);
	arg_pair(a, "-drive", "if=pflash,format=raw,unit=0,readonly=on,file=" OVMF_CODE);
	arg(a, "-drive");
	arg(a, "if=pflash,format=raw,unit=1,file=%s", vars);
	return 0;
}

static int args_kernel(struct args *a, const struct guest_opts *o)
{
	char path[512];

	arg(a, "-kernel");
	if (o->kernel_path) {
		arg(a, "%s", o->kernel_path);
		return 0;
	}
	if (!guest_image_file(o->package, "vmlinuz", path, sizeof(path)))
		return -ENOENT;
	arg(a, "%s", path);
	if (!guest_image_file(o->package, "initramfs.cpio.gz", path, sizeof(path)))
		return -ENOENT;
	arg_pair(a, "-initrd", path);
	/* A starved QEMU fails the kernel's test of its timer, and with it the boot; as a guest of
	 * KVM the kernel leaves that test out by itself. */
	arg(a, "-append");
	arg(a, "console=ttyS0 panic=-1 no_timer_check%s%s%s", o->shim ? " exopatch.shim=1" : "",
	    o->append ? " " : "", o->append ? o->append : "");
	return 0;
}

/* Descriptors of ours are handed down; only exopatch's socket has a name. */
static void args_devices(struct args *a, const struct guest *g, int qmp_fd, int channel_fd)
{
	arg_pair(a, "-display", "none");
	arg(a, "-serial");
	arg(a, "file:%s/console", g->dir);
	arg(a, "-chardev");
	arg(a, "socket,id=channel,fd=%d", channel_fd);
	arg_pair(a, "-serial", "chardev:channel");
	arg(a, "-qmp");
	arg(a, "unix:%s,server=on,wait=off", g->qmp_path);
	arg(a, "-chardev");
	arg(a, "socket,id=harness,fd=%d", qmp_fd);
	arg_pair(a, "-mon", "chardev=harness,mode=control");
}

static int qemu_args(struct args *a, const struct guest *g, const struct guest_opts *o, int qmp_fd,
		     int channel_fd)
{
	int r;

	arg(a, "qemu-system-x86_64");
	arg_pair(a, "-name", o->name ? o->name : "test");
	arg(a, "-nodefaults");
	arg(a, "-no-reboot");
	args_memory(a, o);
	arg_pair(a, "-cpu", o->cpu ? o->cpu : o->kvm ? "host" : o->la57 ? "max" : "qemu64");
	arg(a, "-smp");
	arg(a, "%u", o->vcpus ? o->vcpus : 2);
	if (o->paused)
		arg(a, "-S");
	args_devices(a, g, qmp_fd, channel_fd);
	r = o->ovmf ? args_firmware(a, g) : 0;
	if (!r)
		r = args_kernel(a, o);
	for (const char *const *e = o->extra; e && *e; e++)
		arg(a, "%s", *e);
	return r ? r : a->failed ? -E2BIG : 0;
}

static int launch(struct guest *g, const struct guest_opts *opts)
{
	_cleanup_close_ int qmp_end = -1, channel_end = -1;
	struct args a = {0};
	int pair[2];
	int r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	g->qmp_fd = pair[0];
	qmp_end = pair[1];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	g->channel_fd = pair[0];
	channel_end = pair[1];
	r = qemu_args(&a, g, opts, qmp_end, channel_end);
	if (!r) {
		g->pid = proc_spawn((const char *const *)a.v, NULL, STDERR_FILENO, -1,
				    (const int[]){qmp_end, channel_end, -1});
		r = g->pid < 0 ? (int)g->pid : 0;
	}
	args_free(&a);
	return r;
}

int guest_start(struct guest **ret, const struct guest_opts *opts)
{
	struct guest *g = calloc(1, sizeof(*g));
	const char *tmp = getenv("TMPDIR");
	json_t *greeting = NULL;
	int r = 0;

	if (!g)
		return complain(-ENOMEM, "start");
	g->qmp_fd = g->channel_fd = -1;
	g->qmp_in = g->channel_in = XBUF(OUTPUT_MAX);
	snprintf(g->dir, sizeof(g->dir), "%s/exopatch-guest-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(g->dir)) {
		r = -errno;
		g->dir[0] = '\0';
	}
	snprintf(g->qmp_path, sizeof(g->qmp_path), "%s/qmp", g->dir);
	if (!r)
		r = launch(g, opts);
	if (!r)
		r = qmp_receive(g, &greeting);
	json_decref(greeting);
	if (!r)
		r = guest_qmp(g, "qmp_capabilities", NULL, NULL);
	if (r) {
		guest_free(g);
		return complain(r, "QEMU cannot be started");
	}
	*ret = g;
	return 0;
}

int guest_adopt(struct guest **ret, int channel_fd)
{
	struct guest *g = calloc(1, sizeof(*g));

	if (!g)
		return complain(-ENOMEM, "adopt");
	g->qmp_fd = -1;
	g->channel_fd = channel_fd;
	g->channel_in = XBUF(OUTPUT_MAX);
	*ret = g;
	return 0;
}

/* How much the console has said; -1 if it is somebody else's. */
static off_t console_bytes(const struct guest *g)
{
	char path[160];
	struct stat st;

	snprintf(path, sizeof(path), "%s/console", g->dir);
	return g->dir[0] && !stat(path, &st) ? st.st_size : -1;
}

int guest_wait_boot(struct guest *g)
{
	const uint64_t end_ns = xo_now_ns() + (uint64_t)GUEST_BOOT_MS * NS_PER_MS;
	_cleanup_free_ char *out = NULL;
	uint64_t now_ns = xo_now_ns(), silent_ns = now_ns;
	off_t said = console_bytes(g);
	int r, rc;

	do {
		off_t now = console_bytes(g);

		if (now != said || now < 0)
			silent_ns = now_ns;
		said = now;
		r = await_reply(g, "ready", LOOK_MS, &out, &rc);
		now_ns = xo_now_ns();
	} while (r == -ETIMEDOUT && now_ns < end_ns &&
		 now_ns - silent_ns < (uint64_t)GUEST_SILENT_MS * NS_PER_MS);
	if (!r)
		return 0;
	show_console(g);
	return complain(r, "the guest did not come up");
}

static int boot_once(struct guest **ret, const struct guest_opts *opts)
{
	struct guest *g = NULL;
	int r = guest_start(&g, opts);

	if (r)
		return r;
	r = guest_wait_boot(g);
	if (r)
		guest_free(g);
	else
		*ret = g;
	return r;
}

/*
 * Under TCG with a thread per vCPU, one boot in hundreds hangs before any of ours touches it (seen:
 * a soft lockup in the kernel's own crypto self-test); another try tells that from a guest that
 * cannot boot.
 */
int guest_boot(struct guest **ret, const struct guest_opts *opts)
{
	int r = boot_once(ret, opts);

	if (r != -ETIMEDOUT)
		return r;
	(void)fprintf(stderr, "guest: the boot hung; once more\n");
	return boot_once(ret, opts);
}

/* QMP quit lets QEMU end as an operator would; nobody waits for its answer. */
static void end_qemu(struct guest *g)
{
	static const char quit[] = "{\"execute\":\"quit\"}\n";
	bool asked = g->qmp_fd >= 0 && !write_all(g->qmp_fd, quit, sizeof(quit) - 1);

	proc_reap(g->pid, asked ? QUIT_MS : 0);
}

void guest_free(struct guest *g)
{
	static const char *const files[] = {"console", "qmp", "vars"};
	char path[160];

	if (!g)
		return;
	if (g->pid > 0)
		end_qemu(g);
	if (g->qmp_fd >= 0)
		close(g->qmp_fd);
	if (g->channel_fd >= 0)
		close(g->channel_fd);
	for (size_t i = 0; g->dir[0] && i < XO_ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", g->dir, files[i]);
		unlink(path);
	}
	if (g->dir[0])
		rmdir(g->dir);
	xbuf_free(&g->qmp_in);
	xbuf_free(&g->channel_in);
	free(g);
}
