// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/target/target.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

#include "vmm-agent/target/internal.h"
#include "vmm-agent/target/libvirt.h"
#include "vmm-agent/target/metadata.h"
#include "vmm-agent/target/proc.h"
#include "vmm-agent/target/qmp.h"

static int open_channel(const struct tgt_spec *spec, struct qchan **ret, struct xerr *err)
{
	if (!spec->qmp_path == !spec->domain)
		return xerr_set(err, XO_EUSAGE, "give either a QMP socket or a libvirt domain");
	if (spec->qmp_path)
		return qmp_open(spec->qmp_path, ret, err);
	return lv_open(spec->domain, spec->connect_uri, ret, err);
}

/* flock belongs to the open file, and this one is nobody's but ours. */
static int take_lock(struct tgt *t, struct refusal *why, struct xerr *err)
{
	int fd;

	if (!t->info.nr_regions)
		return 0;
	/* The first region is RAM from address 0 on, which comes and goes with the VM. */
	fd = t->info.region[0].backend < 0
		     ? tgt_memory_open(t, err)
		     : tgt_backend_open(t, (size_t)t->info.region[0].backend, false, err);
	if (fd < 0)
		return fd;
	t->lock_fd = fd;
	if (!flock(fd, LOCK_EX | LOCK_NB))
		return 0;
	if (errno != EWOULDBLOCK)
		return xerr_set(err, errno, "flock: %s", strerrordesc_np(errno));
	refusal_add(why, XO_ELOCKED,
		    "another exopatch works on this virtual machine; wait for it to end");
	return 0;
}

/* What is hidden from the caller is a reason, not a failure: the rest may still be shown. */
static int privilege_is_reason(int rc, struct xerr *err, struct refusal *why)
{
	if (rc != -XO_EPRIVILEGE)
		return rc;
	refusal_add(why, XO_EPRIVILEGE, "%s", err->text);
	*err = (struct xerr){0};
	return 0;
}

static int examine(struct tgt *t, struct refusal *why, struct xerr *err)
{
	struct xerr own = {0};
	int rc = facts_read(t, why, &own);

	if (!rc)
		rc = privilege_is_reason(process_prove(t, &own), &own, why);
	if (!rc)
		rc = privilege_is_reason(layout_read(t, why, &own), &own, why);
	if (!rc)
		rc = debugger_check(t, why, &own);
	if (!rc)
		rc = sharers_read(t, &own);
	if (!rc)
		rc = privilege_is_reason(take_lock(t, why, &own), &own, why);
	return rc ? xerr_set(err, rc, "%s", own.text) : 0;
}

int tgt_attach(struct tgt **ret, const struct tgt_spec *spec, struct refusal *why, struct xerr *err)
{
	struct tgt *t = calloc(1, sizeof(*t));
	int rc;

	if (!t)
		return xerr_set(err, ENOMEM, "out of memory");
	t->lock_fd = -1;
	rc = open_channel(spec, &t->chan, err);
	t->info.via_libvirt = spec->domain != NULL;
	if (!rc)
		rc = examine(t, why, err);
	if (rc) {
		tgt_free(t);
		return rc;
	}
	t->recognised = true;
	*ret = t;
	return 0;
}

static int copy_fd(int fd)
{
	return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

int tgt_recall(struct tgt **ret, const struct tgt_info *info, int lock_fd, int qmp_fd,
	       struct xerr *err)
{
	uint64_t start_time = 0;
	struct tgt *t;
	int rc = proc_start_time(info->pid, &start_time, err);

	if (!rc && start_time != info->start_time)
		rc = xerr_set(err, XO_ETARGETGONE, "QEMU process %d: ended", (int)info->pid);
	if (rc)
		return rc;
	t = calloc(1, sizeof(*t));
	if (!t)
		return xerr_set(err, ENOMEM, "out of memory");
	t->info = *info;
	t->lock_fd = copy_fd(lock_fd);
	qmp_fd = copy_fd(qmp_fd);
	if (qmp_fd >= 0)
		rc = qmp_adopt(qmp_fd, &t->chan, err);
	if (rc) {
		close(qmp_fd);
		tgt_free(t);
		return rc;
	}
	*ret = t;
	return 0;
}

struct connecting {
	const struct tgt_spec *spec;
	struct qchan *chan;
};

static int connect_aside(void *arg, struct xerr *err)
{
	struct connecting *c = arg;

	return open_channel(c->spec, &c->chan, err);
}

/* The same process? What was its own stub is stale now. */
static int recognise(struct tgt *t, struct xerr *err)
{
	_cleanup_refusal_ struct refusal why = {0};
	struct tgt_info before = t->info;
	int rc = facts_vcpus(t, &why, err);

	if (!rc && (t->info.pid != before.pid || t->info.start_time != before.start_time))
		rc = xerr_set(err, XO_ENOTQEMU,
			      "QEMU process %d: the monitor now speaks for another one",
			      (int)before.pid);
	tgt_take_vcpus(t, &before); /* the caller has to learn of others by tgt_vcpus */
	if (!rc)
		rc = process_prove(t, err);
	return rc ? rc : debugger_check(t, &why, err);
}

int tgt_connect(struct tgt *t, const struct tgt_spec *spec, struct xerr *err)
{
	struct qchan aside = {.idle = t->idle, .idle_arg = t->idle_arg};
	struct connecting c = {.spec = spec};
	struct tgt_info before = t->info;
	int rc;

	if (t->chan && t->recognised)
		return 0;
	rc = t->chan ? 0 : qchan_aside(&aside, connect_aside, &c, err);
	if (!t->chan)
		t->chan = c.chan;
	tgt_idle(t, t->idle, t->idle_arg);
	if (!rc)
		rc = recognise(t, err);
	t->recognised = !rc;
	if (!rc)
		return 0;
	tgt_disconnect(t);
	t->info = before;
	return rc;
}

bool tgt_connected(const struct tgt *t)
{
	return t->chan && t->recognised;
}

void tgt_disconnect(struct tgt *t)
{
	qchan_free(t->chan);
	t->chan = NULL;
	t->recognised = false;
}

int tgt_refresh_state(struct tgt *t, struct xerr *err)
{
	return facts_state(t, err);
}

int tgt_vcpus(struct tgt *t, struct tgt_info *ret, struct xerr *err)
{
	_cleanup_refusal_ struct refusal why = {0};
	struct tgt_info before = t->info;
	int rc = facts_vcpus(t, &why, err);

	if (!rc && why.nr)
		rc = xerr_set(err, why.reason[0].code, "%s", why.reason[0].detail);
	if (!rc && (t->info.pid != before.pid || t->info.start_time != before.start_time))
		rc = xerr_set(err, XO_ENOTQEMU, "QEMU process %d: its vCPUs are another one's",
			      (int)before.pid);
	if (!rc)
		*ret = t->info;
	t->info = before;
	return rc;
}

void tgt_take_vcpus(struct tgt *t, const struct tgt_info *now)
{
	memcpy(t->info.vcpu, now->vcpu, sizeof(t->info.vcpu));
	t->info.nr_vcpus = now->nr_vcpus;
}

int tgt_migration(struct tgt *t, struct tgt_migration *ret, struct xerr *err)
{
	return facts_migration(t, ret, err);
}

void tgt_idle(struct tgt *t, int (*fn)(void *arg, struct xerr *err), void *arg)
{
	t->idle = fn;
	t->idle_arg = arg;
	if (t->chan) {
		t->chan->idle = fn;
		t->chan->idle_arg = arg;
	}
}

int tgt_watch(struct tgt *t, int *ret_fd, struct xerr *err)
{
	if (!t->chan)
		return xerr_set(err, XO_ETIMEOUT, "there is no connection to QEMU at present");
	return t->chan->ops->watch(t->chan, ret_fd, err);
}

int tgt_events(struct tgt *t, unsigned int *ret, struct xerr *err)
{
	int rc;

	*ret = 0;
	if (!t->chan)
		return 0;
	rc = t->chan->ops->poll(t->chan, err);
	*ret = atomic_exchange(&t->chan->events, 0);
	return rc;
}

int tgt_reread(struct tgt *t, struct refusal *why, struct xerr *err)
{
	t->info.nr_regions = t->info.nr_backends = 0;
	t->info.ram_bytes = 0;
	return layout_read(t, why, err);
}

int tgt_lock_fd(const struct tgt *t)
{
	return t->lock_fd;
}

int tgt_qmp_fd(const struct tgt *t)
{
	int fd = -1;

	if (!t->chan || t->info.via_libvirt || t->chan->ops->watch(t->chan, &fd, NULL))
		return -1;
	return fd;
}

const struct tgt_info *tgt_info(const struct tgt *t)
{
	return &t->info;
}

int tgt_refresh(struct tgt *t, struct xerr *err)
{
	return facts_refresh(t, err);
}

int tgt_migrating(struct tgt *t, bool *ret, struct xerr *err)
{
	return facts_migrating(t, ret, err);
}

int tgt_metadata(struct tgt *t, json_t **ret, struct xerr *err)
{
	_cleanup_free_ char *xml = NULL;
	int rc;

	if (!t->chan || !t->chan->ops->metadata)
		return -XO_EMISSING;
	rc = t->chan->ops->metadata(t->chan, &xml, err);
	if (rc)
		return rc;
	rc = metadata_parse(xml, ret);
	return rc ? xerr_set(err, rc, "metadata of the domain, " METADATA_URI ": %s",
			     xo_code_text(rc))
		  : 0;
}

int tgt_backend_open(struct tgt *t, size_t i, bool writable, struct xerr *err)
{
	const struct tgt_backend *b;
	int fd;

	if (i >= t->info.nr_backends)
		return xerr_set(err, XO_EINTERNAL, "no backend %zu", i);
	b = &t->info.backend[i];
	fd = proc_open_file(b->proc_path, b->dev, b->ino, writable ? O_RDWR : O_RDONLY);
	if (fd == -ENOENT)
		return xerr_set(err, XO_ETARGETGONE, "QEMU process %d: ended", (int)t->info.pid);
	if (fd == -ESTALE)
		return xerr_set(err, XO_ETARGETGONE,
				"%s: no longer the guest's memory; QEMU process %d has ended",
				b->proc_path, (int)t->info.pid);
	if (fd < 0)
		return xerr_set(err, XO_EPRIVILEGE, "%s: %s; run as root", b->proc_path,
				strerrordesc_np(-fd));
	return fd;
}

int tgt_memory_open(struct tgt *t, struct xerr *err)
{
	_cleanup_close_ int fd = proc_open_memory(t->info.pid, err);
	uint64_t start_time;
	int rc = fd < 0 ? fd : proc_start_time(t->info.pid, &start_time, err);

	if (rc)
		return rc;
	/* What was opened belongs to the process that has the id now, and it still has it. */
	if (start_time != t->info.start_time)
		return xerr_set(err, XO_ETARGETGONE, "QEMU process %d: ended", (int)t->info.pid);
	return XO_TAKE_FD(fd);
}

int tgt_resume(struct tgt *t, struct xerr *err)
{
	return qchan_call(t->chan, "cont", -1, NULL, err, NULL);
}

int tgt_stop(struct tgt *t, struct xerr *err)
{
	return qchan_call(t->chan, "stop", -1, NULL, err, NULL);
}

int tgt_quit(struct tgt *t, struct xerr *err)
{
	return qchan_call(t->chan, "quit", -1, NULL, err, NULL);
}

int tgt_nmi(struct tgt *t, struct xerr *err)
{
	return qchan_call(t->chan, "inject-nmi", -1, NULL, err, NULL);
}

void tgt_free(struct tgt *t)
{
	if (!t)
		return;
	if (t->uffd_open && tgt_uffd_close(t, NULL))
		t->uffd_open = false; /* QEMU closes it when the last monitor goes */
	if (t->gdb_open && tgt_gdb_close(t, NULL))
		t->gdb_open = false; /* QEMU is gone, or the next attach finds it stale */
	qchan_free(t->chan);
	if (t->lock_fd >= 0)
		close(t->lock_fd);
	free(t);
}
