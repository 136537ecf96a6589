// SPDX-License-Identifier: Apache-2.0
/*
 * The thread ids of the vCPUs are QEMU's word, and whoever may lie there could
 * name another guest's process, or one of root's. So something that only the
 * process behind the monitor can have is put there and looked for: one end of a
 * fresh socket pair, passed with getfd as the gdb stub's is.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "vmm-agent/target/internal.h"
#include "vmm-agent/target/proc.h"

#define TOKEN "exopatch-token"

int process_prove(struct tgt *t, struct xerr *err)
{
	bool found = false;
	struct stat token;
	int sv[2], rc;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		return xerr_set(err, errno, "socketpair: %s", strerrordesc_np(errno));
	rc = fstat(sv[1], &token) ? -errno : 0;
	if (!rc)
		rc = qchan_call(t->chan, "getfd", sv[1], NULL, err, "{s:s}", "fdname", TOKEN);
	close(sv[1]); /* from here on only the peer has it */
	if (!rc) {
		int closed;

		rc = proc_has_file(t->info.pid, token.st_dev, token.st_ino, &found, err);
		closed = qchan_call(t->chan, "closefd", -1, NULL, err, "{s:s}", "fdname", TOKEN);
		rc = rc ? rc : closed;
	}
	close(sv[0]);
	if (!rc && !found)
		rc = xerr_set(err, XO_ENOTQEMU,
			      "process %d: has the vCPU threads that the monitor names, but is not "
			      "the process behind the monitor; is QEMU in another PID namespace?",
			      (int)t->info.pid);
	return rc;
}
