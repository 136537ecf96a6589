// SPDX-License-Identifier: Apache-2.0
/* exopatch-monitor: started by client.c with its socket as descriptor 3; takes no arguments. */
#include <stdio.h>
#include <sys/socket.h>

#include "vmm-agent/monitor/server.h"
#include "vmm-agent/monitor/wire.h"

int main(int argc, char **argv)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int rc;

	(void)argv;
	/* It does what its socket says, so that must come from a process as privileged as this. */
	if (argc != 1 || getsockopt(MON_SOCKET_FD, SOL_SOCKET, SO_PEERCRED, &peer, &len) ||
	    peer.uid != geteuid()) {
		(void)fputs("exopatch-monitor: started by exopatch, not by hand\n", stderr);
		_exit(2);
	}
	rc = server_run(MON_SOCKET_FD);
	if (rc)
		(void)fprintf(stderr, "exopatch-monitor: error=%s\n", xo_code_key(rc));
	_exit(rc ? 1 : 0);
}
