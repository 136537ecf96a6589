// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/target/libvirt.h"

#include <errno.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>

#include "base/util.h"
#include "vmm-agent/target/qmp.h"

struct lv {
	struct qchan chan;
	virConnectPtr conn;
	virDomainPtr dom;
};

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

static void lv_free(struct qchan *c)
{
	struct lv *lv = (struct lv *)c;

	if (lv->dom)
		virDomainFree(lv->dom);
	if (lv->conn)
		virConnectClose(lv->conn);
	free(lv);
}

static const struct qchan_ops ops = {.call = lv_call, .free = lv_free};

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
