/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that need no virtual machine and no privileges. Each returns its exit code. */
#ifndef EXOPATCH_CLI_OFFLINE_H
#define EXOPATCH_CLI_OFFLINE_H

/* Exit codes of `exopatch verify`, besides 0 trusted, 1 error, 2 usage. */
enum cli_verify_exit { CLI_UNTRUSTED = 3, CLI_STALE = 4, CLI_INCOMPLETE = 5 };

/* @argc, @argv: from the command's name on */
int cli_verify(int argc, char **argv);
int cli_log(int argc, char **argv);
int cli_reference(int argc, char **argv);

#endif
