// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/libvirt_env.h"

#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/util.h"
#include "tests/lib/libvirt_keeper.h"

#define OVMF_CODE     "/usr/share/OVMF/OVMF_CODE_4M.fd"
#define OVMF_VARS     "/usr/share/OVMF/OVMF_VARS_4M.fd"
#define START_MS      30000
#define CONNECT_MS    60000
#define RETRY_NS      UINT64_C(20000000)
#define COPY_MS	      20000
#define XML_MAX_BYTES 8192

struct lvenv {
	char dir[128];
	char uri[256];
	pid_t keeper;
	int keeper_fd; /* closing it ends everything */
	virConnectPtr conn;
};

static int complain(int code, const char *what)
{
	fprintf(stderr, "libvirt environment: %s: %s\n", what, strerror(-code));
	return code;
}

static int virt_complain(const char *what)
{
	const char *message = virGetLastErrorMessage();

	fprintf(stderr, "libvirt environment: %s: %s\n", what, message);
	return -EIO;
}

static void say_nothing(void *data, virErrorPtr error)
{
	(void)data;
	(void)error;
}

/* ---- libvirtd ---- */

static int wait_for_libvirtd(struct lvenv *e)
{
	uint64_t end_ns = xo_now_ns() + START_MS * UINT64_C(1000000);

	virSetErrorFunc(NULL, say_nothing);
	for (;;) {
		e->conn = virConnectOpen(e->uri);
		if (e->conn)
			return 0;
		if (waitpid(e->keeper, NULL, WNOHANG) == e->keeper) {
			e->keeper = 0;
			return complain(-ECHILD, "libvirtd ended at once");
		}
		if (xo_now_ns() >= end_ns)
			return virt_complain("libvirtd does not answer");
		xo_sleep_ns(RETRY_NS);
	}
}

static int start(struct lvenv *e)
{
	int sv[2];

	if (pipe2(sv, O_CLOEXEC))
		return complain(-errno, "pipe");
	e->keeper = fork();
	if (e->keeper < 0) {
		close(sv[0]);
		close(sv[1]);
		return complain(-errno, "fork");
	}
	if (!e->keeper) {
		close(sv[1]);
		lvkeeper_main(e->dir, sv[0]);
	}
	close(sv[0]);
	e->keeper_fd = sv[1];
	return wait_for_libvirtd(e);
}

int lvenv_start(struct lvenv **ret)
{
	const char *tmp = getenv("TMPDIR");
	struct lvenv *e;
	int r = 0;

	if (geteuid() != 0)
		return complain(-EPERM, "not root");
	if (access(LVKEEPER_LIBVIRTD, X_OK))
		return complain(-ENOENT, LVKEEPER_LIBVIRTD);
	e = calloc(1, sizeof(*e));
	if (!e)
		return complain(-ENOMEM, "start");
	e->keeper_fd = -1;
	snprintf(e->dir, sizeof(e->dir), "%s/exopatch-libvirt-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(e->dir) || chmod(e->dir, 0711))
		r = complain(-errno, e->dir);
	snprintf(e->uri, sizeof(e->uri), "qemu+unix:///system?socket=%s/libvirt-sock", e->dir);
	if (!r)
		r = start(e);
	if (r) {
		lvenv_free(e);
		return r;
	}
	*ret = e;
	return 0;
}

const char *lvenv_uri(const struct lvenv *e)
{
	return e->uri;
}

void lvenv_free(struct lvenv *e)
{
	_cleanup_run_ struct run_result removed = {0};

	if (!e)
		return;
	if (e->conn)
		virConnectClose(e->conn);
	if (e->keeper_fd >= 0)
		close(e->keeper_fd);
	if (e->keeper > 0)
		waitpid(e->keeper, NULL, 0);
	if (run_program((const char *[]){"rm", "-rf", e->dir, NULL}, NULL, COPY_MS, &removed))
		complain(-EIO, e->dir);
	free(e);
}

/* ---- domains ---- */

/* libvirt gives a domain's files to QEMU's user, so it gets copies. */
static int copy_image(const struct lvenv *e, const struct lvenv_opts *o, const char *file)
{
	_cleanup_run_ struct run_result copied = {0};
	char from[512], to[256];
	int r;

	if (!guest_image_file(o->package, file, from, sizeof(from)))
		return -ENOENT;
	snprintf(to, sizeof(to), "%s/%s.%s", e->dir, o->name, file);
	r = run_program((const char *[]){"cp", from, to, NULL}, NULL, COPY_MS, &copied);
	return r || copied.rc ? complain(r ? r : -EIO, to) : 0;
}

static int xml_of(const struct lvenv *e, const struct lvenv_opts *o, struct xbuf *xml)
{
	int r = xbuf_addf(xml,
			  "<domain type='qemu'><name>%s</name><memory unit='MiB'>%u</memory>%s"
			  "<vcpu>%u</vcpu><os><type arch='x86_64' machine='%s'>hvm</type>",
			  o->name, o->mem_mib ? o->mem_mib : 512,
			  o->private_ram ? ""
					 : "<memoryBacking><source type='memfd'/>"
					   "<access mode='shared'/></memoryBacking>",
			  o->vcpus ? o->vcpus : 2, o->machine ? o->machine : "q35");

	if (!r && o->ovmf)
		r = xbuf_addf(xml, "<loader readonly='yes' type='pflash'>" OVMF_CODE "</loader>"
				   "<nvram template='" OVMF_VARS "'/>");
	if (!r)
		r = xbuf_addf(xml,
			      "<kernel>%s/%s.vmlinuz</kernel>"
			      "<initrd>%s/%s.initramfs.cpio.gz</initrd>"
			      "<cmdline>console=ttyS0 panic=-1 no_timer_check%s%s</cmdline></os>",
			      e->dir, o->name, e->dir, o->name, o->append ? " " : "",
			      o->append ? o->append : "");
	if (!r)
		r = xbuf_addf(xml,
			      "<features><acpi/><apic/></features>"
			      "<cpu mode='custom' match='exact' check='none'>"
			      "<model>qemu64</model></cpu><devices>"
			      "<emulator>/usr/bin/qemu-system-x86_64</emulator>"
			      "<controller type='usb' model='none'/><memballoon model='none'/>"
			      "<serial type='file'><source path='%s/%s.console'/>"
			      "<target port='0'/></serial>"
			      "<serial type='unix'><source mode='connect' path='%s/%s.channel'/>"
			      "<target port='1'/></serial></devices></domain>",
			      e->dir, o->name, e->dir, o->name);
	return r ? r : xbuf_add(xml, "", 1);
}

/* Listen where the domain's second serial port will connect to, so that no word is lost. */
static int listen_channel(const struct lvenv *e, const char *name)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int n = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s.channel", e->dir, name);

	if (fd < 0 || n < 0 || (size_t)n >= sizeof(addr.sun_path))
		return complain(fd < 0 ? -errno : -ENAMETOOLONG, name);
	unlink(addr.sun_path);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || chmod(addr.sun_path, 0666) ||
	    listen(fd, 1))
		return complain(-errno, addr.sun_path);
	return XO_TAKE_FD(fd);
}

static int accept_channel(int listener, struct guest **ret)
{
	struct pollfd p = {.fd = listener, .events = POLLIN};
	int fd = -1;
	int r;

	if (poll(&p, 1, CONNECT_MS) == 1)
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return complain(-ETIMEDOUT, "the domain's serial port");
	r = guest_adopt(ret, fd);
	if (r)
		close(fd);
	return r;
}

int lvenv_boot(struct lvenv *e, const struct lvenv_opts *opts, struct guest **ret)
{
	_cleanup_xbuf_ struct xbuf xml = XBUF(XML_MAX_BYTES);
	_cleanup_close_ int listener = -1;
	virDomainPtr dom;
	int r = copy_image(e, opts, "vmlinuz");

	if (!r)
		r = copy_image(e, opts, "initramfs.cpio.gz");
	if (!r)
		r = xml_of(e, opts, &xml);
	if (r)
		return r;
	listener = listen_channel(e, opts->name);
	if (listener < 0)
		return listener;
	dom = virDomainCreateXML(e->conn, (const char *)xml.data,
				 opts->paused ? VIR_DOMAIN_START_PAUSED : VIR_DOMAIN_NONE);
	if (!dom)
		return virt_complain(opts->name);
	virDomainFree(dom);
	return accept_channel(listener, ret);
}

int lvenv_define(struct lvenv *e, const struct lvenv_opts *opts)
{
	_cleanup_xbuf_ struct xbuf xml = XBUF(XML_MAX_BYTES);
	virDomainPtr dom;
	int r = xml_of(e, opts, &xml);

	if (r)
		return complain(r, opts->name);
	dom = virDomainDefineXML(e->conn, (const char *)xml.data);
	if (!dom)
		return virt_complain(opts->name);
	virDomainFree(dom);
	return 0;
}

int lvenv_destroy(struct lvenv *e, const char *name)
{
	virDomainPtr dom = virDomainLookupByName(e->conn, name);
	int r = dom ? virDomainDestroy(dom) : -1;

	if (dom)
		virDomainFree(dom);
	return r ? virt_complain(name) : 0;
}

int lvenv_uuid(struct lvenv *e, const char *name, char ret[37])
{
	virDomainPtr dom = virDomainLookupByName(e->conn, name);
	int r = dom ? virDomainGetUUIDString(dom, ret) : -1;

	if (dom)
		virDomainFree(dom);
	return r ? virt_complain(name) : 0;
}
