// SPDX-License-Identifier: Apache-2.0
/*
 * QEMU's gdb stub, for TCG guests: given one end of a socket pair, started on
 * it, and removed again, with no path and no port. QEMU has one stub only, so
 * somebody else's must never be replaced: QEMU would do so without a word.
 */
#include <errno.h>
#include <sys/socket.h>

#include "vmm-agent/target/internal.h"
#include "vmm-agent/target/proc.h"

#define CHARDEV	     "exopatch-gdb"
#define QEMU_CHARDEV "gdb" /* the name QEMU itself gives the stub's (-s, -gdb, gdbserver) */
#define DISCONNECTED "disconnected:"

/* The file name that query-chardev gives for @label, or NULL if there is no such device. */
static const char *chardev_of(const json_t *list, const char *label)
{
	const json_t *dev;
	size_t i;

	json_array_foreach(list, i, dev)
	{
		const char *l = json_string_value(json_object_get(dev, "label"));
		const char *file = json_string_value(json_object_get(dev, "filename"));

		if (l && !strcmp(l, label))
			return file ? file : "";
	}
	return NULL;
}

/* A stub that only listens is in the way of ours (TCG), but debugs nobody (KVM). */
static bool stub_in_the_way(const struct tgt *t, const json_t *chardevs)
{
	const char *file = chardev_of(chardevs, QEMU_CHARDEV);

	return file &&
	       (t->info.accel == TGT_TCG || strncmp(file, DISCONNECTED, strlen(DISCONNECTED)) != 0);
}

int debugger_check(struct tgt *t, struct refusal *why, struct xerr *err)
{
	_cleanup_json_ json_t *chardevs = NULL;
	uint64_t tracer;
	int rc;

	rc = qchan_call(t->chan, "query-chardev", -1, &chardevs, err, NULL);
	if (rc)
		return rc;
	t->gdb_stale = chardev_of(chardevs, CHARDEV) != NULL;
	if (stub_in_the_way(t, chardevs))
		refusal_add(why, XO_EDEBUGGER,
			    "QEMU's gdb stub is in use by somebody else; end it with the monitor "
			    "command: gdbserver none");
	for (size_t i = 0; i < t->info.nr_vcpus; i++) {
		rc = proc_status_number(t->info.vcpu[i].tid, "TracerPid:", &tracer, err);
		if (rc)
			return rc;
		if (tracer)
			refusal_add(why, XO_EDEBUGGER, "process %d traces QEMU; detach it",
				    (int)tracer);
	}
	return 0;
}

bool tgt_gdb_stale(const struct tgt *t)
{
	return t->gdb_stale;
}

int tgt_gdb_open(struct tgt *t, int *ret_fd, struct xerr *err)
{
	int sv[2], rc;

	if (t->gdb_open || t->gdb_stale)
		return xerr_set(err, XO_EGDBSTUB, "the gdb stub is open already; close it first");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		return xerr_set(err, errno, "socketpair: %s", strerrordesc_np(errno));
	rc = qchan_call(t->chan, "getfd", sv[1], NULL, err, "{s:s}", "fdname", CHARDEV);
	if (!rc) {
		rc = qchan_call(t->chan, "chardev-add", -1, NULL, err,
				"{s:s, s:{s:s, s:{s:b, s:{s:s, s:{s:s}}}}}", "id", CHARDEV,
				"backend", "type", "socket", "data", "server", 0, "addr", "type",
				"fd", "data", "str", CHARDEV);
		if (rc == -XO_EQMP &&
		    qchan_call(t->chan, "closefd", -1, NULL, NULL, "{s:s}", "fdname", CHARDEV))
			rc = -XO_EQMP; /* it was taken already: nothing is left behind */
	}
	close(sv[1]);
	if (rc) {
		close(sv[0]);
		return rc;
	}
	t->gdb_open = true;
	*ret_fd = sv[0];
	return 0;
}

int tgt_gdb_attach(struct tgt *t, struct xerr *err)
{
	_cleanup_free_ char *text = NULL;
	int rc;

	if (!t->gdb_open)
		return xerr_set(err, XO_EINTERNAL, "the gdb stub is not open");
	rc = qchan_hmp(t->chan, &text, err, "gdbserver chardev:%s", CHARDEV);
	if (!rc && !strstr(text, "Waiting for gdb connection"))
		rc = xerr_set(err, XO_EGDBSTUB, "QEMU did not start its gdb stub");
	return rc;
}

static int chardev_exists(struct tgt *t, bool *ret, struct xerr *err)
{
	_cleanup_json_ json_t *chardevs = NULL;
	int rc = qchan_call(t->chan, "query-chardev", -1, &chardevs, err, NULL);

	if (!rc)
		*ret = chardev_of(chardevs, CHARDEV) != NULL;
	return rc;
}

/*
 * An unused device of ours can just be removed. If QEMU calls it busy, the stub sits on it, and
 * ending the stub deletes it. So somebody else's stub is never ended here.
 */
int tgt_gdb_close(struct tgt *t, struct xerr *err)
{
	_cleanup_free_ char *text = NULL;
	bool there = false;
	int rc = chardev_exists(t, &there, err);

	if (!rc && there) {
		rc = qchan_call(t->chan, "chardev-remove", -1, NULL, NULL, "{s:s}", "id", CHARDEV);
		if (rc == -XO_EQMP)
			rc = qchan_hmp(t->chan, &text, err, "gdbserver none");
		if (!rc)
			rc = chardev_exists(t, &there, err);
		if (!rc && there)
			rc = xerr_set(err, XO_EGDBSTUB, "QEMU did not give up its gdb stub");
	}
	if (rc)
		return xerr_set(err, rc, "gdb stub: %s", xo_code_text(rc));
	t->gdb_open = false;
	t->gdb_stale = false;
	return 0;
}
