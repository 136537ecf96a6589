// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/target/libvirt.h"

#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>

#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>

#include "base/util.h"
#include "vmm-agent/target/metadata.h"
#include "vmm-agent/target/qmp.h"

struct lv {
	struct qchan chan;
	virConnectPtr conn;
	virDomainPtr dom;
	/* Events come to a connection of their own, whose loop a thread runs. */
	virConnectPtr event_conn;
	virDomainPtr event_dom;
	int callback; /* or -1 */
	int timer;    /* or -1 */
	int event_fd;
	atomic_bool ending;
	bool looping;
	pthread_t loop;
};

#define LOOP_TURN_MS 200

/* libvirt prints its errors to stderr unless told otherwise; ours travel in struct xerr. */
static void say_nothing(void *data, virErrorPtr error)
{
	(void)data;
	(void)error;
}

static int code_of(const virError *e)
{
	if (!e)
		return XO_ELIBVIRT;
	switch (e->code) {
	case VIR_ERR_NO_DOMAIN:
		return XO_ENOTARGET;
	case VIR_ERR_AUTH_FAILED:
	case VIR_ERR_AUTH_CANCELLED:
	case VIR_ERR_AUTH_UNAVAILABLE:
	case VIR_ERR_ACCESS_DENIED:
	case VIR_ERR_OPERATION_DENIED:
		return XO_EPRIVILEGE;
	case VIR_ERR_NO_SUPPORT:
		return XO_ENOTQEMU;
	case VIR_ERR_OPERATION_TIMEOUT:
		return XO_ETIMEOUT;
	default:
		return XO_ELIBVIRT;
	}
}

static int lv_error(struct xerr *err, const char *what)
{
	const virError *e = virGetLastError();
	const char *message = e && e->message ? e->message : "no reason given";
	char text[256];

	return xerr_set(err, code_of(e), "%s: %s", what,
			xo_escape(SPAN(message, strlen(message)), text, sizeof(text)));
}

/* A call failed: because the domain ended meanwhile? */
static int call_error(struct lv *lv, const char *name, struct xerr *err)
{
	const virError *e = virGetLastError();
	struct xerr own = {0};
	int rc = lv_error(&own, name);

	if (e && (e->code == VIR_ERR_NO_DOMAIN || virDomainIsActive(lv->dom) == 0))
		return xerr_set(err, XO_ETARGETGONE, "%s: the domain ended", name);
	return xerr_set(err, rc, "%s", own.text);
}

static int lv_call(struct qchan *c, const json_t *request, int fd, json_t **ret_reply,
		   struct xerr *err)
{
	struct lv *lv = (struct lv *)c;
	_cleanup_free_ char *line = json_dumps(request, JSON_COMPACT);
	const char *name = json_string_value(json_object_get(request, "execute"));
	char *reply = NULL;
	int rc;

	if (!line)
		return xerr_set(err, ENOMEM, "%s: out of memory", name);
	if (fd >= 0)
		rc = virDomainQemuMonitorCommandWithFiles(lv->dom, line, 1, &fd, NULL, NULL, &reply,
							  VIR_DOMAIN_QEMU_MONITOR_COMMAND_DEFAULT);
	else
		rc = virDomainQemuMonitorCommand(lv->dom, line, &reply,
						 VIR_DOMAIN_QEMU_MONITOR_COMMAND_DEFAULT);
	if (rc < 0)
		return call_error(lv, name, err);
	*ret_reply = qmp_parse(SPAN(reply, strlen(reply)));
	free(reply);
	return *ret_reply ? 0 : xerr_set(err, XO_ENOTQEMU, "%s: the reply is no JSON", name);
}

static void on_event(virConnectPtr conn, virDomainPtr dom, const char *event, long long s,
		     unsigned int us, const char *details, void *opaque)
{
	struct lv *lv = opaque;

	(void)conn;
	(void)dom;
	(void)s;
	(void)us;
	(void)details;
	qchan_event(&lv->chan, event);
	(void)!eventfd_write(lv->event_fd, 1);
}

/* Only so that the loop comes round to see that it is to end. */
static void on_timer(int timer, void *opaque)
{
	(void)timer;
	(void)opaque;
}

static void *run_loop(void *arg)
{
	struct lv *lv = arg;

	while (!atomic_load(&lv->ending) && !virEventRunDefaultImpl())
		;
	return NULL;
}

static int lv_watch(struct qchan *c, int *ret_fd, struct xerr *err)
{
	struct lv *lv = (struct lv *)c;
	char *uri = virConnectGetURI(lv->conn);
	char uuid[VIR_UUID_STRING_BUFLEN] = "";

	*ret_fd = lv->event_fd;
	if (lv->looping || virDomainGetUUIDString(lv->dom, uuid)) {
		free(uri);
		return lv->looping ? 0 : lv_error(err, "libvirt events");
	}
	/* A connection takes events only if the loop was there before it. */
	if (virEventRegisterDefaultImpl() >= 0)
		lv->event_conn = virConnectOpen(uri);
	free(uri);
	if (lv->event_conn)
		lv->event_dom = virDomainLookupByUUIDString(lv->event_conn, uuid);
	lv->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	*ret_fd = lv->event_fd;
	if (lv->event_dom && lv->event_fd >= 0)
		lv->callback = virConnectDomainQemuMonitorEventRegister(
			lv->event_conn, lv->event_dom, NULL, on_event, lv, NULL, 0);
	if (lv->callback < 0)
		return lv_error(err, "libvirt events");
	lv->timer = virEventAddTimeout(LOOP_TURN_MS, on_timer, NULL, NULL);
	if (lv->timer < 0 || pthread_create(&lv->loop, NULL, run_loop, lv))
		return xerr_set(err, XO_ELIBVIRT, "libvirt events: no loop for them");
	lv->looping = true;
	return 0;
}

static int lv_poll(struct qchan *c, struct xerr *err)
{
	struct lv *lv = (struct lv *)c;
	eventfd_t nr;

	(void)err;
	if (lv->event_fd >= 0)
		(void)!eventfd_read(lv->event_fd, &nr);
	return 0;
}

static void end_events(struct lv *lv)
{
	atomic_store(&lv->ending, true);
	if (lv->looping)
		pthread_join(lv->loop, NULL);
	if (lv->timer >= 0)
		(void)virEventRemoveTimeout(lv->timer);
	if (lv->callback >= 0)
		(void)virConnectDomainQemuMonitorEventDeregister(lv->event_conn, lv->callback);
	if (lv->event_dom)
		virDomainFree(lv->event_dom);
	if (lv->event_conn)
		virConnectClose(lv->event_conn);
	if (lv->event_fd >= 0)
		close(lv->event_fd);
}

static void lv_free(struct qchan *c)
{
	struct lv *lv = (struct lv *)c;

	end_events(lv);
	if (lv->dom)
		virDomainFree(lv->dom);
	if (lv->conn)
		virConnectClose(lv->conn);
	free(lv);
}

struct metadata {
	struct lv *lv;
	char *xml;
};

static int get_metadata(void *arg, struct xerr *err)
{
	struct metadata *m = arg;
	const virError *e;

	m->xml = virDomainGetMetadata(m->lv->dom, VIR_DOMAIN_METADATA_ELEMENT, METADATA_URI,
				      VIR_DOMAIN_AFFECT_LIVE);
	if (m->xml)
		return 0;
	e = virGetLastError();
	return e && e->code == VIR_ERR_NO_DOMAIN_METADATA ? -XO_EMISSING
							  : lv_error(err, "metadata");
}

static int lv_metadata(struct qchan *c, char **ret, struct xerr *err)
{
	struct metadata m = {.lv = (struct lv *)c};
	int rc = qchan_aside(c, get_metadata, &m, err);

	if (rc)
		free(m.xml);
	else
		*ret = m.xml;
	return rc;
}

static const struct qchan_ops ops = {.call = lv_call,
				     .watch = lv_watch,
				     .poll = lv_poll,
				     .metadata = lv_metadata,
				     .free = lv_free};

/* "qemu+ssh://host/system" is another machine's; its process ids mean nothing here. */
static int check_local(virConnectPtr conn, struct xerr *err)
{
	char *uri = virConnectGetURI(conn);
	const char *authority = uri ? strstr(uri, "://") : NULL;
	int rc = 0;

	if (!authority || authority[3] != '/')
		rc = xerr_set(err, XO_EUSAGE,
			      "the libvirt connection is not to this host; run exopatch on the "
			      "host of the virtual machine");
	free(uri);
	return rc;
}

static int find_domain(struct lv *lv, const char *domain, struct xerr *err)
{
	int active;

	lv->dom = virDomainLookupByName(lv->conn, domain);
	if (!lv->dom)
		lv->dom = virDomainLookupByUUIDString(lv->conn, domain);
	if (!lv->dom) {
		const virError *e = virGetLastError();

		if (e && (e->code == VIR_ERR_NO_DOMAIN || e->code == VIR_ERR_INVALID_ARG))
			return xerr_set(err, XO_ENOTARGET,
					"%s: libvirt knows no domain of this name or UUID", domain);
		return lv_error(err, domain);
	}
	active = virDomainIsActive(lv->dom);
	if (active < 0)
		return lv_error(err, domain);
	if (!active)
		return xerr_set(err, XO_ESHUTOFF, "%s: the domain is shut off; start it", domain);
	return virDomainGetUUIDString(lv->dom, lv->chan.uuid) ? lv_error(err, domain) : 0;
}

int lv_open(const char *domain, const char *uri, struct qchan **ret, struct xerr *err)
{
	struct lv *lv = calloc(1, sizeof(*lv));
	int rc;

	if (!lv)
		return xerr_set(err, ENOMEM, "out of memory");
	lv->chan.ops = &ops;
	lv->callback = lv->timer = lv->event_fd = -1;
	virSetErrorFunc(NULL, say_nothing);
	lv->conn = virConnectOpen(uri);
	if (!lv->conn)
		rc = lv_error(err, uri ? uri : "libvirt");
	else
		rc = check_local(lv->conn, err);
	if (!rc)
		rc = find_domain(lv, domain, err);
	if (rc) {
		lv_free(&lv->chan);
		return rc;
	}
	*ret = &lv->chan;
	return 0;
}
