// SPDX-License-Identifier: Apache-2.0
/*
 * A userfaultfd belongs to the process that makes it, so QEMU has to. libvirt's
 * QEMU may neither call userfaultfd(2) nor open the device for it; a descriptor
 * of the device, open already, it may use.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "vmm-agent/target/internal.h"

#define DEVICE "/dev/userfaultfd" /* Linux 6.1 */
#define OPAQUE "exopatch-guard"

int tgt_uffd_open(struct tgt *t, int *ret_fd, struct xerr *err)
{
	_cleanup_json_ json_t *reply = NULL;
	_cleanup_close_ int fd = -1;
	json_int_t set, number;
	int rc;

	if (t->uffd_open)
		return xerr_set(err, XO_EINTERNAL, "QEMU has " DEVICE " already");
	fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return xerr_set(err, errno == ENOENT ? XO_EGUARD : XO_EPRIVILEGE,
				DEVICE ": %s; Linux 6.1 or newer has it, root may open it",
				strerrordesc_np(errno));
	rc = qchan_call(t->chan, "add-fd", fd, &reply, err, "{s:s}", "opaque", OPAQUE);
	if (rc)
		return rc;
	if (json_unpack(reply, "{s:I, s:I}", "fdset-id", &set, "fd", &number) || number < 0 ||
	    number > INT32_MAX)
		return xerr_set(err, XO_EQMP, "add-fd: the answer names no descriptor");
	t->uffd_set = set;
	t->uffd_open = true;
	*ret_fd = (int)number;
	return 0;
}

int tgt_uffd_close(struct tgt *t, struct xerr *err)
{
	int rc;

	if (!t->uffd_open)
		return 0;
	rc = qchan_call(t->chan, "remove-fd", -1, NULL, err, "{s:I}", "fdset-id",
			(json_int_t)t->uffd_set);
	if (!rc)
		t->uffd_open = false;
	return rc;
}
