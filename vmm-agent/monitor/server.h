/* SPDX-License-Identifier: Apache-2.0 */
/* The monitor's own side of the socket. */
#ifndef EXOPATCH_MONITOR_SERVER_H
#define EXOPATCH_MONITOR_SERVER_H

/** server_run - answer requests on @fd until its other end closes or breaks the protocol; the
 *  guest has been let go then. Return: 0 at the end of the connection, or a negative code */
int server_run(int fd);

#endif
